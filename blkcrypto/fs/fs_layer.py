"""Filesystems that encrypt contents themselves: no bio, no crypto context, no keyslot.

Rules (``fscrypt_encrypt_block_inplace()``, fs/crypto/crypto.c; fs/ubifs/crypto.c, fs/ceph/crypto.c; reference
fscrypt.md sections 0, 3.2):

- The filesystem names the data unit by a block number of its own; data is a multiple of 16 bytes.
- A filesystem that offers data units smaller than a block cannot use these calls: EOPNOTSUPP.
- Inodes whose contents go through blk-crypto have no key here: ENOKEY.
- UBIFS encrypts one data node at a time: a 4 KiB block, compressed if that helps, zero-padded to 16 bytes.
  A CRC-32 covers the node; reads look at it with the mount option ``chk_data_crc`` only, which is off by
  default.  What does not decompress is EINVAL.
- CephFS encrypts fixed 4 KiB blocks, so a partial write reads the block first.
"""

import errno
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from blkcrypto.base.dun import DUN_BYTES
from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.fs.fscrypt import iv
from blkcrypto.fs.fscrypt.derive import AnyMasterKey, check_master_key, inode_key_bytes
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.fscrypt.validate import check_supported
from blkcrypto.fs.units import pieces

CONTENTS_ALIGNMENT: Final = 16
BLOCK_BYTES: Final = 4096


class SubBlockUnitsInUse(BlkCryptoError):
    """A block number does not name a data unit where units may be smaller than blocks."""

    errno = errno.EOPNOTSUPP


class NoFsLayerKey(BlkCryptoError):
    """The inode's contents go through blk-crypto, so the filesystem has no cipher for them."""

    errno = errno.ENOKEY


class NodeDamaged(BlkCryptoError):
    """A data node whose CRC does not fit, where the mount checks it."""

    errno = errno.EUCLEAN


class NodeInvalid(BlkCryptoError):
    """A data node that does not decompress to what its header says."""

    errno = errno.EINVAL


class FsLayerCipher:
    """Contents cipher of one inode, used by its filesystem.

    Args:
        policy: of the inode.
        master_key: named by the policy.
        fs: facts of the filesystem.
        ino: inode number.
        nonce: the inode's 16 bytes.

    Raises:
        NoFsLayerKey: a filesystem of bios, on a kernel that always uses blk-crypto (ENOKEY).
        SubBlockUnitsInUse: EOPNOTSUPP.
        UnsupportedPolicy, PolicyNeedsRawKey: EINVAL.
        MasterKeyTooShort, PolicyForAnotherKey: ENOKEY.
    """

    def __init__(
        self, policy: Policy, master_key: AnyMasterKey, fs: FileSystem, *, ino: int, nonce: bytes
    ) -> None:
        if fs.is_block_based and fs.always_blk_crypto:
            raise NoFsLayerKey("contents of this filesystem go through blk-crypto")
        if fs.supports_subblock_data_units:
            raise SubBlockUnitsInUse("this filesystem's data units may be smaller than its blocks")
        check_supported(policy, fs)
        mode = policy.contents
        check_master_key(policy, master_key, mode)
        self._cipher = new_cipher(mode.name, inode_key_bytes(policy, master_key, fs, mode, nonce))
        self._scheme = policy.iv_scheme
        self._iv_bytes = mode.iv_bytes
        self._ino = ino
        self._nonce = nonce

    def encrypt(self, index: int, data: bytes) -> bytes:
        """Ciphertext of the data unit ``index``; ``data`` has a multiple of 16 bytes.

        Raises:
            ValueError: another length.
        """
        return self._crypt(index, data, encrypt=True)

    def decrypt(self, index: int, data: bytes) -> bytes:
        """Inverse of ``encrypt``."""
        return self._crypt(index, data, encrypt=False)

    def _crypt(self, index: int, data: bytes, *, encrypt: bool) -> bytes:
        if not data or len(data) % CONTENTS_ALIGNMENT:
            raise ValueError(f"{len(data)} bytes are not a multiple of {CONTENTS_ALIGNMENT}")
        dun = iv.first_dun(self._scheme, index, ino=self._ino, nonce=self._nonce)
        ivs = np.frombuffer(dun.to_bytes(DUN_BYTES, "little")[: self._iv_bytes], dtype=np.uint8)
        unit = np.frombuffer(data, dtype=np.uint8).reshape(1, -1)
        crypt = self._cipher.encrypt if encrypt else self._cipher.decrypt
        return crypt(ivs.reshape(1, -1), unit).tobytes()


@dataclass(frozen=True, slots=True)
class DataNode:
    """A UBIFS data node.

    Attributes:
        size: bytes of plaintext.
        compressed_size: bytes before padding and encryption.
        is_compressed: whether those are compressed.
        data: ciphertext, a multiple of 16 bytes.
        crc: of all that; unkeyed.
    """

    size: int
    compressed_size: int
    is_compressed: bool
    data: bytes
    crc: int

    @property
    def right_crc(self) -> int:
        """What ``crc`` is when nothing was damaged."""
        return _node_crc(self.size, self.compressed_size, self.is_compressed, self.data)


def _node_crc(size: int, compressed_size: int, is_compressed: bool, data: bytes) -> int:
    return zlib.crc32(struct.pack("<IIB", size, compressed_size, is_compressed) + data)


class UbifsLikeFile:
    """A file of compressed, separately encrypted blocks.  A block not written is a hole.

    Args:
        cipher: of its contents.
        chk_data_crc: the mount option: reads check the CRC of data nodes.
    """

    def __init__(self, cipher: FsLayerCipher, *, chk_data_crc: bool = False) -> None:
        self._cipher = cipher
        self._chk_data_crc = chk_data_crc
        self.nodes: dict[int, DataNode] = {}

    def write_block(self, block: int, data: bytes) -> DataNode:
        """Store 1 to 4096 bytes as block number ``block``."""
        if not 1 <= len(data) <= BLOCK_BYTES:
            raise ValueError(f"a block holds 1 to {BLOCK_BYTES} bytes, not {len(data)}")
        packed = zlib.compress(data)
        stored = packed if len(packed) < len(data) else data
        padded = stored.ljust(-(-len(stored) // CONTENTS_ALIGNMENT) * CONTENTS_ALIGNMENT, b"\0")
        header = (len(data), len(stored), stored is packed)
        encrypted = self._cipher.encrypt(block, padded)
        node = DataNode(*header, encrypted, _node_crc(*header, encrypted))
        self.nodes[block] = node
        return node

    def read_block(self, block: int) -> bytes:
        """The block's bytes; empty for a hole.

        Raises:
            NodeDamaged: EUCLEAN.
            NodeInvalid: EINVAL.
        """
        node = self.nodes.get(block)
        if node is None:
            return b""
        if self._chk_data_crc and node.crc != node.right_crc:
            raise NodeDamaged(f"the node of block {block} does not have its CRC")
        stored = self._cipher.decrypt(block, node.data)[: node.compressed_size]
        return _unpacked(stored, node) if node.is_compressed else stored


def _unpacked(stored: bytes, node: DataNode) -> bytes:
    try:
        data = zlib.decompress(stored)
    except zlib.error as error:
        raise NodeInvalid(f"a data node does not decompress: {error}") from None
    if len(data) != node.size:
        raise NodeInvalid(f"a data node of {len(data)} bytes, not {node.size}")
    return data


class CephLikeFile:
    """A file of fixed encrypted blocks on an object store.

    Attributes:
        blocks: ciphertext by block number, as the servers keep it.
        size: bytes of plaintext.
        reads_for_writes: blocks read because a write covered only part of them.
    """

    def __init__(self, cipher: FsLayerCipher) -> None:
        self._cipher = cipher
        self.blocks: dict[int, bytes] = {}
        self.size = 0
        self.reads_for_writes = 0

    def write(self, pos: int, data: bytes) -> None:
        """Write any range."""
        for piece in pieces(pos, data, BLOCK_BYTES):
            whole = piece.data
            if len(whole) < BLOCK_BYTES:
                self.reads_for_writes += piece.unit in self.blocks
                whole = piece.over(self._read_block(piece.unit))
            self.blocks[piece.unit] = self._cipher.encrypt(piece.unit, whole)
        self.size = max(self.size, pos + len(data))

    def read(self, pos: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``pos``; holes are zeroes."""
        end = min(pos + length, self.size)
        if pos >= end:
            return b""
        blocks = range(pos // BLOCK_BYTES, -(-end // BLOCK_BYTES))
        data = b"".join(self._read_block(block) for block in blocks)
        start = pos % BLOCK_BYTES
        return data[start : start + end - pos]

    def _read_block(self, block: int) -> bytes:
        stored = self.blocks.get(block)
        return bytes(BLOCK_BYTES) if stored is None else self._cipher.decrypt(block, stored)
