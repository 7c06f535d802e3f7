"""Files of the 2014 draft: create, read and write, and what users do to each other's access.

Rules (July 2014 draft and prototype; reference fscrypt.md section 8.1):

- Every file has a random data key; the xattr wraps it once for each user.
- Contents are AES-256-XTS, a page at a time; the tweak is the page's index in its file.
- Opening needs one of the users' keys.  Listing, stat, deleting and checking need none.
- Adding a user needs a key that unwraps.  Revoking drops a packet: a copy of the old xattr still unwraps.
- Rotating makes a new data key and writes the whole file anew, for those users only whose keys are here.
- Crypto-erase overwrites the packets: ``5 + 147 * N`` bytes, whatever the file's size.
"""

import errno
from collections.abc import Iterable
from itertools import chain
from typing import Final

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.fs.errors import FileExists, NoSpace, NoSuchFile
from blkcrypto.fs.ext4_2014 import packet
from blkcrypto.fs.ext4_2014.layout import BLOCK_BYTES, BLOCKS_PER_INODE, ROOT_INO, XATTR_ROOM, Inode, Layout
from blkcrypto.fs.ext4_2014.open_file import OpenFile
from blkcrypto.fs.ext4_2014.packet import UserKey
from blkcrypto.fs.keysetup_io.progress import Take

_CIPHER: Final = "AES-256-XTS"
MAX_USERS: Final = (XATTR_ROOM - packet.ROOT_HEADER_BYTES) // packet.WRAPPED_PACKET_BYTES

# 128 crypto contexts and 32 bounce pages are set aside; a page is written with one of each, in this order.
WRITE_PATH: Final = (Take("crypto contexts", 1, 128), Take("bounce pages", 2, 32))


class LastUser(BlkCryptoError):
    """Revoking the only user would lose the file: that is what crypto-erase is for."""

    errno = errno.EINVAL


class Volume:
    """A mounted medium.

    Args:
        medium: what ``layout.mkfs`` made, and later mounts changed.
        rng: data keys, nonces and IVs.

    Attributes:
        keyring: users' keys that are here, by signature.
        bytes_written_for_keys: xattr bytes written so far.
    """

    def __init__(self, medium: bytearray, rng: np.random.Generator) -> None:
        self.layout = Layout(medium)
        self.keyring: dict[str, UserKey] = {}
        self.bytes_written_for_keys = 0
        self._rng = rng
        self._next_block = self.layout.first_data_block

    def allocate(self) -> int:
        """A free block.

        Raises:
            NoSpace: ENOSPC.
        """
        data = range(self.layout.first_data_block, self.layout.blocks)
        start = self._next_block - data.start
        for block in chain(data[start:], data[:start]):
            if not self.layout.is_used(block):
                self.layout.set_used(block, used=True)
                self._next_block = block
                return block
        raise NoSpace("no free block")

    def free_blocks(self, blocks: Iterable[int]) -> None:
        """Free what is not a hole; the bytes stay."""
        for block in filter(None, blocks):
            self.layout.set_used(block, used=False)

    def names(self) -> list[str]:
        """Names in clear: no key is needed."""
        return list(self.layout.entries())

    def stat(self, name: str) -> Inode:
        """The inode: no key is needed.

        Raises:
            NoSuchFile: ENOENT.
        """
        ino = self.layout.entries().get(name)
        inode = None if ino is None else self.layout.load(ino)
        if inode is None:
            raise NoSuchFile(f"no file {name!r}")
        return inode

    def root_packet(self, inode: Inode) -> bytes:
        """The xattr's bytes."""
        return bytes(self.layout.block(inode.xattr_block)[: inode.xattr_bytes])

    def _store_root_packet(self, inode: Inode, value: bytes) -> None:
        if len(value) > XATTR_ROOM:
            raise NoSpace(f"an xattr block holds packets for {MAX_USERS} users")
        # To the end of the block: a packet that was dropped must not stay behind.
        self.layout.block(inode.xattr_block)[:] = value.ljust(BLOCK_BYTES, b"\0")
        inode.xattr_bytes = len(value)
        self.layout.store(inode)
        self.bytes_written_for_keys += len(value)

    def create(self, name: str, users: Iterable[UserKey], *, uid: int = 0) -> OpenFile:
        """A file whose key is wrapped for ``users``, at least one.

        Raises:
            FileExists: EEXIST.
            NoSpace: ENOSPC.
        """
        entries = self.layout.entries()
        if name in entries:
            raise FileExists(f"{name!r} is there already")
        data_key = self._rng.bytes(packet.DATA_KEY_BYTES)
        wrapped = [packet.wrap_randomly(data_key, user, self._rng) for user in users]
        if not wrapped:
            raise ValueError("a file is for at least one user")
        if len(wrapped) > MAX_USERS:
            raise NoSpace(f"an xattr block holds packets for {MAX_USERS} users")
        free = (ino for ino in range(ROOT_INO + 1, self.layout.inodes) if self.layout.load(ino) is None)
        ino = next(free, None)
        if ino is None:
            raise NoSpace("no free inode")
        inode = Inode(ino, uid, xattr_block=self.allocate())
        self._store_root_packet(inode, packet.build_root(wrapped))
        self._store_entries({**entries, name: ino})
        return OpenFile(self, inode, new_cipher(_CIPHER, data_key))

    def _store_entries(self, entries: dict[str, int]) -> None:
        root = self.layout.load(ROOT_INO)
        assert root is not None, "mkfs makes the root directory"
        packed = self.layout.packed_entries(entries)
        for index, data in enumerate(packed):
            root.blocks[index] = root.blocks[index] or self.allocate()
            self.layout.block(root.blocks[index])[:] = data
        self.free_blocks(root.blocks[len(packed) :])
        root.blocks[len(packed) :] = [0] * (BLOCKS_PER_INODE - len(packed))
        self.layout.store(root)

    def open(self, name: str) -> OpenFile:
        """Open with a key of the keyring.

        Raises:
            NoSuchFile, NoSuchSignature: ENOENT.
            PacketInvalid: EINVAL.
            ModeNotImplemented: EOPNOTSUPP.
        """
        inode = self.stat(name)
        data_key = packet.unwrap_any(self.root_packet(inode), self.keyring)
        return OpenFile(self, inode, new_cipher(_CIPHER, data_key))

    def delete(self, name: str) -> None:
        """Remove name, inode, xattr and blocks; no key is needed, and nothing is overwritten."""
        inode = self.stat(name)
        self.free_blocks([inode.xattr_block, *inode.blocks])
        self.layout.free_inode(inode.ino)
        self._store_entries({key: ino for key, ino in self.layout.entries().items() if key != name})

    def add_user(self, name: str, user: UserKey) -> None:
        """Wrap the data key for one more user.

        Raises:
            NoSuchSignature: no key here unwraps (ENOENT).
            PacketInvalid: EINVAL.
            NoSpace: ENOSPC.
        """
        inode = self.stat(name)
        value = self.root_packet(inode)
        packets = packet.parse_root(value)
        data_key = packet.unwrap_any(value, self.keyring)
        packets[user.signature] = packet.wrap_randomly(data_key, user, self._rng)
        self._store_root_packet(inode, packet.build_root(list(packets.values())))

    def revoke_user(self, name: str, signature: str) -> None:
        """Drop a user's packet; no key is needed.

        Raises:
            NoSuchSignature: the user has none (ENOENT).
            LastUser: EINVAL.
        """
        inode = self.stat(name)
        packets = packet.parse_root(self.root_packet(inode))
        if packets.pop(signature, None) is None:
            raise packet.NoSuchSignature(f"no packet for {signature}")
        if not packets:
            raise LastUser(f"{signature} is the only user of {name!r}: erase or delete the file instead")
        self._store_root_packet(inode, packet.build_root(list(packets.values())))

    def rotate(self, name: str) -> int:
        """A new data key, and the whole file anew; bytes of contents written.

        Users whose keys are not in the keyring lose the file: only a key at hand can wrap.

        Raises:
            NoSuchSignature: ENOENT.
            PacketInvalid: EINVAL.
        """
        old = self.open(name)
        pages = {index: old.read_page(index) for index, block in enumerate(old.inode.blocks) if block}
        present = [sig for sig in packet.parse_root(self.root_packet(old.inode)) if sig in self.keyring]
        data_key = self._rng.bytes(packet.DATA_KEY_BYTES)
        wrapped = [packet.wrap_randomly(data_key, self.keyring[sig], self._rng) for sig in present]
        self._store_root_packet(old.inode, packet.build_root(wrapped))
        fresh = OpenFile(self, old.inode, new_cipher(_CIPHER, data_key))
        for index, page in pages.items():
            fresh.write_page(index, page)
        return len(pages) * BLOCK_BYTES

    def crypto_erase(self, name: str) -> int:
        """Overwrite the packets in place with random bytes; how many.  Contents stay, as noise.

        Copies elsewhere (snapshots, journals, remapped flash pages) are not reached.
        """
        inode = self.stat(name)
        self.layout.block(inode.xattr_block)[: inode.xattr_bytes] = self._rng.bytes(inode.xattr_bytes)
        return inode.xattr_bytes
