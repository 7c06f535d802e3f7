"""Inodes: the fields that reading files, names and contexts needs.

Source: Documentation/filesystems/ext4/inodes.rst.
"""

import stat
import struct
from dataclasses import dataclass
from typing import Final

from blkcrypto.fs.ext4.checksum import crc32c
from blkcrypto.fs.ext4.features import InodeFlags
from blkcrypto.fs.fscrypt.inherit import InodeKind

I_BLOCK_BYTES: Final = 60
GOOD_OLD_INODE_BYTES: Final = 128
_CHECKSUM_LO_AT: Final = 0x7C
_CHECKSUM_HI_AT: Final = 0x82
_CHECKSUM_HI_NEEDS: Final = 4  # bytes of i_extra_isize that reach past i_checksum_hi
_FIXED: Final = struct.Struct("<HHI16xHH4xI4x60sIII4xHH")
_KINDS: Final = {
    stat.S_IFREG: InodeKind.REGULAR,
    stat.S_IFDIR: InodeKind.DIRECTORY,
    stat.S_IFLNK: InodeKind.SYMLINK,
}


@dataclass(frozen=True, slots=True)
class Inode:
    """``struct ext4_inode``.

    Attributes:
        ino: inode number.
        mode: type and permissions, as ``stat()`` tells them.
        uid: owner, low 16 bits.
        links: names that lead here.
        size: ``i_size`` in bytes.
        flags: ``i_flags``.
        i_block: 60 bytes: extent tree, block map, or a short symlink.
        generation: ``i_generation``, which seeds checksums.
        xattr_block: block of extended attributes, or 0.
        xattr_space: bytes after the fields, in which extended attributes may lie.
    """

    ino: int
    mode: int
    uid: int
    links: int
    size: int
    flags: int
    i_block: bytes
    generation: int
    xattr_block: int
    xattr_space: bytes

    @property
    def kind(self) -> InodeKind:
        """What it is, as far as encryption cares."""
        return _KINDS.get(stat.S_IFMT(self.mode), InodeKind.SPECIAL)

    @property
    def is_encrypted(self) -> bool:
        """Whether the inode says it is encrypted."""
        return bool(self.flags & InodeFlags.ENCRYPT)

    @property
    def is_casefolded(self) -> bool:
        """Whether it is a directory whose names are found without regard to case."""
        return bool(self.flags & InodeFlags.CASEFOLD) and self.kind is InodeKind.DIRECTORY

    @property
    def is_fast_symlink(self) -> bool:
        """Whether the target lies in ``i_block``; an encrypted one counts its ciphertext."""
        return (
            self.kind is InodeKind.SYMLINK
            and 0 < self.size < I_BLOCK_BYTES
            and not self.flags & (InodeFlags.EXTENTS | InodeFlags.INLINE_DATA)
        )


def parse_inode(ino: int, data: bytes) -> Inode:
    """An inode from its bytes on disk, 128 or more.

    Raises:
        ValueError: ``i_extra_isize`` does not fit the inode.
    """
    fields = _FIXED.unpack_from(data)
    mode, uid, size_lo, _, links, flags, i_block, generation, acl_lo, size_hi, _, acl_hi = fields
    space = b""
    if len(data) > GOOD_OLD_INODE_BYTES:
        extra = int.from_bytes(data[0x80:0x82], "little")
        start = GOOD_OLD_INODE_BYTES + extra
        if start > len(data) or extra % 4:
            raise ValueError(f"i_extra_isize {extra} in an inode of {len(data)} bytes")
        space = data[start:]
    # The upper half is something else in old filesystems, for all but regular files.
    size = size_lo | (size_hi << 32 if stat.S_ISREG(mode) else 0)
    return Inode(ino, mode, uid, links, size, flags, i_block, generation, acl_lo | acl_hi << 32, space)


def checksum_seed(seed: int, ino: int, generation: int) -> int:
    """State with which the checksums of an inode and of its own metadata blocks begin."""
    return crc32c(crc32c(seed, ino.to_bytes(4, "little")), generation.to_bytes(4, "little"))


def inode_checksum_holds(seed: int, ino: int, data: bytes) -> bool:
    """Whether the stored checksum fits ``data``; small inodes keep only its lower half."""
    low = int.from_bytes(data[_CHECKSUM_LO_AT : _CHECKSUM_LO_AT + 2], "little")
    blank = bytearray(data)
    blank[_CHECKSUM_LO_AT : _CHECKSUM_LO_AT + 2] = bytes(2)
    extra = int.from_bytes(data[0x80:0x82], "little") if len(data) > GOOD_OLD_INODE_BYTES else 0
    stored, mask = low, 0xFFFF
    if extra >= _CHECKSUM_HI_NEEDS:
        stored |= int.from_bytes(data[_CHECKSUM_HI_AT : _CHECKSUM_HI_AT + 2], "little") << 16
        blank[_CHECKSUM_HI_AT : _CHECKSUM_HI_AT + 2] = bytes(2)
        mask = 0xFFFFFFFF
    generation = int.from_bytes(data[0x64:0x68], "little")
    return crc32c(checksum_seed(seed, ino, generation), bytes(blank)) & mask == stored
