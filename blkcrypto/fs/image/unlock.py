"""The mounted side of an image: its keyring, and ciphers for the inodes that have a key there.

The rules of encrypted inodes are ``InodeCrypto``'s.  The filesystem's facts are chosen so that every policy
some kernel could write is taken: a kernel before 7.3, without ``inlinecrypt``.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from blkcrypto.block.era import kernel_profile
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from blkcrypto.fs.ext4.inode import Inode
from blkcrypto.fs.ext4.superblock import Superblock
from blkcrypto.fs.fscrypt.casefold import dirhash_key
from blkcrypto.fs.fscrypt.filesystem import ext4_like
from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo, InodeCrypto
from blkcrypto.fs.fscrypt.iv import ivs_from_low_limbs
from blkcrypto.fs.fscrypt.keyring import FsKeyring
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.names import NameCipher
from blkcrypto.fs.fscrypt.policy import IvScheme
from blkcrypto.fs.image.keys import ImageKeys

_MOST_PERMISSIVE: Final = "7.2"


class UnitCrypt:
    """Encrypts and decrypts the data units of one file."""

    def __init__(self, setup: KeySetup, ino: int, nonce: bytes, cipher: DataUnitCipher) -> None:
        self._setup = setup
        self._ino = ino
        self._nonce = nonce if setup.scheme is IvScheme.DIRECT_KEY else b""
        self._cipher = cipher
        self.data_unit_size = setup.config.data_unit_size

    def decrypt(self, first_unit: int, data: bytes) -> bytes:
        """Plaintext of whole data units, the first being the file's ``first_unit``-th."""
        ivs, units = self._prepare(first_unit, data)
        return self._cipher.decrypt(ivs, units).tobytes()

    def encrypt(self, first_unit: int, data: bytes) -> bytes:
        """Inverse of ``decrypt``."""
        ivs, units = self._prepare(first_unit, data)
        return self._cipher.encrypt(ivs, units).tobytes()

    def _prepare(self, first_unit: int, data: bytes) -> tuple[U8Array, U8Array]:
        units = np.frombuffer(data, dtype=np.uint8).reshape(-1, self.data_unit_size)
        # Each its own IV, not a run: IV_INO_LBLK_32 may wrap inside the range.
        indices = np.arange(first_unit, first_unit + len(units), dtype=np.int64)
        limbs = self._setup.duns(np.full(len(units), self._ino, dtype=np.int64), indices)
        iv_bytes = self._setup.policy.contents.iv_bytes
        return ivs_from_low_limbs(limbs, nonce=self._nonce, iv_bytes=iv_bytes), units


class _NobodyHome:
    """The keyring's filesystem.  Keys are never removed, so it is never asked for anything."""

    def sync_filesystem(self) -> None:
        """Nothing is dirty."""

    def evict_unlocked(self, inos: Iterable[int]) -> None:
        """No inode is cached."""


class ImageCrypto:
    """Ciphers of an image's inodes.

    Args:
        sb: the image's superblock.
        keys: master keys at hand.
    """

    def __init__(self, sb: Superblock, keys: ImageKeys) -> None:
        fs = ext4_like(
            sb.uuid,
            block_size=sb.block_size,
            stable_inodes=sb.has_stable_inodes,
            inlinecrypt=False,
            kernel=kernel_profile(_MOST_PERMISSIVE),
        )
        keyring = FsKeyring(fs, _NobodyHome(), evict_key=_no_device)
        keys.add_to(keyring)
        self._inodes = InodeCrypto(fs, "ext4", keyring, evict_key=_no_device)

    def has_key(self, inode: Inode, stored: bytes) -> bool:
        """Whether an inode's key is here, and its policy one that works."""
        info = self._load(inode, stored, allow_unsupported=True)
        if info is not None:
            self._inodes.drop(inode.ino, info)
        return info is not None

    def names(self, inode: Inode, stored: bytes) -> NameCipher | None:
        """Cipher of a directory's names or a symlink's target; None without its key."""
        info = self._load(inode, stored, allow_unsupported=True)
        if info is None:
            return None
        self._inodes.drop(inode.ino, info)
        return info.names

    def dirhash_key(self, inode: Inode, stored: bytes) -> bytes | None:
        """Key of the hashes in a casefolded directory; None without its master key."""
        info = self._load(inode, stored, allow_unsupported=True)
        if info is None:
            return None
        secret = info.entry.secret if info.entry is not None else None
        key = dirhash_key(secret, info.nonce) if isinstance(secret, MasterKey) else None
        self._inodes.drop(inode.ino, info)
        return key

    def contents(self, inode: Inode, stored: bytes) -> UnitCrypt | None:
        """Cipher of a regular file's contents; None without its key.

        Raises:
            ContextUnrecognised, UnsupportedPolicy: EINVAL, as ``open()`` answers.
        """
        info = self._load(inode, stored, allow_unsupported=False)
        if info is None or info.setup is None:
            return None
        raw = info.setup.contents_key(inode.ino, info.nonce).raw
        cipher = new_cipher(info.policy.contents.name, raw)
        self._inodes.drop(inode.ino, info)
        return UnitCrypt(info.setup, inode.ino, info.nonce, cipher)

    def _load(self, inode: Inode, stored: bytes, *, allow_unsupported: bool) -> CryptInfo | None:
        return self._inodes.load(
            inode.ino,
            inode.kind,
            stored,
            casefolded=inode.is_casefolded,
            allow_unsupported=allow_unsupported,
        )


def _no_device(_key: BlkCryptoKey) -> None:
    """Keys are evicted from every device; here is none."""
