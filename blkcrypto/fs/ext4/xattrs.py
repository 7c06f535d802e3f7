"""Extended attributes, in an inode's spare bytes or in a block of their own.

Source: Documentation/filesystems/ext4/attributes.rst; the encryption context is the attribute ``c`` of
index 9, which no system call shows (``EXT4_XATTR_NAME_ENCRYPTION_CONTEXT``).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

XATTR_MAGIC: Final = 0xEA020000
INDEX_SYSTEM: Final = 7
INDEX_ENCRYPTION: Final = 9
NAME_CONTEXT: Final = b"c"
NAME_DATA: Final = b"data"
BLOCK_CHECKSUM_AT: Final = 16
_BLOCK_HEADER_BYTES: Final = 32
_INODE_HEADER_BYTES: Final = 4
_ENTRY: Final = struct.Struct("<BBHII4x")
_END: Final = bytes(4)


@dataclass(frozen=True, slots=True)
class Xattr:
    """One attribute; ``value`` is None when it lies in an inode of its own."""

    index: int
    name: bytes
    value: bytes | None


def inode_xattrs(space: bytes) -> Iterator[Xattr]:
    """Attributes in the spare bytes of an inode.

    Raises:
        ValueError: damaged.
    """
    if int.from_bytes(space[:4], "little") == XATTR_MAGIC:
        yield from _entries(space, _INODE_HEADER_BYTES, _INODE_HEADER_BYTES)


def block_xattrs(block: bytes) -> Iterator[Xattr]:
    """Attributes in a block of their own.

    Raises:
        ValueError: damaged.
    """
    magic, _, blocks = struct.unpack_from("<III", block)
    if magic != XATTR_MAGIC or blocks != 1:
        raise ValueError("no block of extended attributes")
    yield from _entries(block, _BLOCK_HEADER_BYTES, 0)


def _entries(data: bytes, at: int, values_from: int) -> Iterator[Xattr]:
    """Walk entries from ``at``; their value offsets count from ``values_from``."""
    while data[at : at + 4] != _END:
        if at + _ENTRY.size > len(data):
            raise ValueError("extended attributes run past their end")
        name_bytes, index, offset, in_inode, size = _ENTRY.unpack_from(data, at)
        name = data[at + _ENTRY.size : at + _ENTRY.size + name_bytes]
        start = values_from + offset
        if len(name) < name_bytes or (not in_inode and start + size > len(data)):
            raise ValueError("an extended attribute runs past the end")
        yield Xattr(index, name, None if in_inode else data[start : start + size])
        at += (_ENTRY.size + name_bytes + 3) & ~3
