"""Inodes with an inline area, and the feature bit that keeps older kernels away.

An inode: flags (LE32: 1 inline, 2 encrypted), size (LE64), context length (1 byte) and the context (up to 40
bytes) at 16; then the area, which holds either inline data or block numbers (LE32).

==========  ============  ======================  =====================================================
user        inode         area                    usable inline bytes
==========  ============  ======================  =====================================================
f2fs-like   4096 bytes    3488 bytes at 364       3488; with extra attributes 3452, of which 3440
ext4-like   256 or more   60 bytes at 64, then    the same, cut to a multiple of 16
                          what the inode's end
                          has beside the context
==========  ============  ======================  =====================================================

Deviation: offsets other than those of the f2fs area are ours.

Source: reference fscrypt.md sections 7.1, 7.3.
"""

import errno
import struct
from dataclasses import dataclass
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.inline_data.region import ALIGNMENT

BLOCK_BYTES: Final = 4096
INCOMPAT_ENCRYPTED_INLINE_DATA: Final = 0x1
FLAG_INLINE: Final = 1
FLAG_ENCRYPTED: Final = 2
_SUPER = struct.Struct("<8sI")
_MAGIC: Final = b"inlndata"
_INODE = struct.Struct("<IQ4xB")
_CONTEXT_OFFSET: Final = 17
_F2FS_AREA: Final = 3488
_F2FS_EXTRA: Final = 36
_EXT4_I_BLOCK: Final = 60
# ext4, bytes of a large inode that inline data cannot have: 128 fixed, 32 of i_extra_isize; xattr magic and
# end (8), the entry of the context and its value (20 + 40), the entry of system.data (20).
_EXT4_TAKEN: Final = 128 + 32 + 8 + 20 + 40 + 20


class InodeCorrupt(BlkCryptoError):
    """An encrypted inode with inline data where the feature bit is not set, or sizes that do not fit."""

    errno = errno.EUCLEAN


class UnknownFeature(BlkCryptoError):
    """The image has an incompatible feature that the kernel does not know: it does not mount."""

    errno = errno.EINVAL


@dataclass(frozen=True, slots=True)
class InlineLayout:
    """Where a user of the helper has room.

    Attributes:
        name: of the user.
        inode_bytes: size of an inode on disk.
        area: runs (offset, length) that make up the area, in order.
    """

    name: str
    inode_bytes: int
    area: tuple[tuple[int, int], ...]

    @property
    def area_bytes(self) -> int:
        """Length of the area."""
        return sum(length for _, length in self.area)

    @property
    def usable(self) -> int:
        """Bytes of encrypted data that fit: whole blocks of the cipher."""
        return self.area_bytes // ALIGNMENT * ALIGNMENT


def f2fs_layout(*, extra_attr: bool = False) -> InlineLayout:
    """f2fs: most of a block."""
    extra = _F2FS_EXTRA if extra_attr else 0
    return InlineLayout("f2fs-like", BLOCK_BYTES, ((364 + extra, _F2FS_AREA - extra),))


def ext4_layout(inode_bytes: int = 256) -> InlineLayout:
    """ext4: ``i_block``, and what the xattrs of a large inode leave."""
    room = max(0, inode_bytes - _EXT4_TAKEN)
    tail = ((inode_bytes - room, room),) if room else ()
    return InlineLayout("ext4-like", inode_bytes, ((64, _EXT4_I_BLOCK), *tail))


@dataclass(slots=True)
class InodeRecord:
    """An inode as it is on disk.

    Attributes:
        flags: ``FLAG_*``.
        size: bytes of plaintext.
        context: encryption context; empty for none.
        area: inline data, or block numbers.
    """

    flags: int
    size: int
    context: bytes
    area: bytes


class Volume:
    """An unmounted filesystem: superblock and inodes.  File blocks are in a store.

    Args:
        layout: which user.
        features: incompatible features; mkfs or tune sets them.
    """

    def __init__(self, layout: InlineLayout, *, features: int = 0) -> None:
        self.layout = layout
        self.superblock = bytearray(_SUPER.pack(_MAGIC, features))
        self.inodes: dict[int, bytearray] = {}
        self.next_block = 1

    @property
    def features(self) -> int:
        """Incompatible features."""
        _, features = _SUPER.unpack(self.superblock)
        return int(features)

    def set_features(self, features: int) -> None:
        """What tune does."""
        self.superblock[:] = _SUPER.pack(_MAGIC, features)

    def load(self, ino: int) -> InodeRecord:
        """An inode.

        Raises:
            InodeCorrupt: EUCLEAN.
        """
        data = self.inodes[ino]
        flags, size, context_bytes = _INODE.unpack_from(data)
        context = bytes(data[_CONTEXT_OFFSET : _CONTEXT_OFFSET + context_bytes])
        area = b"".join(bytes(data[at : at + length]) for at, length in self.layout.area)
        record = InodeRecord(flags, size, context, area)
        if flags & FLAG_INLINE:
            if flags & FLAG_ENCRYPTED and not self.features & INCOMPAT_ENCRYPTED_INLINE_DATA:
                raise InodeCorrupt(f"inode {ino} has encrypted inline data without the feature")
            if size > self.layout.usable:
                raise InodeCorrupt(f"inode {ino} has {size} inline bytes, but room for {self.layout.usable}")
        return record

    def store(self, ino: int, record: InodeRecord) -> None:
        """Write an inode.

        Raises:
            InodeCorrupt: encrypted inline data without the feature bit: never written (EUCLEAN).
        """
        both = FLAG_INLINE | FLAG_ENCRYPTED
        if record.flags & both == both and not self.features & INCOMPAT_ENCRYPTED_INLINE_DATA:
            raise InodeCorrupt(f"inode {ino} would need the feature bit: set it first")
        data = bytearray(self.layout.inode_bytes)
        _INODE.pack_into(data, 0, record.flags, record.size, len(record.context))
        data[_CONTEXT_OFFSET : _CONTEXT_OFFSET + len(record.context)] = record.context
        area, done = record.area.ljust(self.layout.area_bytes, b"\0"), 0
        for at, length in self.layout.area:
            data[at : at + length] = area[done : done + length]
            done += length
        self.inodes[ino] = data

    def image(self) -> bytes:
        """Superblock and inodes as one string."""
        return bytes(self.superblock) + b"".join(self.inodes.values())
