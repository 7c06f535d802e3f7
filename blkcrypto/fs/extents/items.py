"""What the tree of a subvolume holds, and the bytes of a file extent item with its context.

Rules (``struct btrfs_file_extent_item``, uapi/linux/btrfs_tree.h; reference fscrypt.md sections 6.1, 6.2):

- A file extent item says which part of which extent stands at its file offset; holes have no item.
- Overwriting or punching the middle of an extent leaves two items of it, each with the context.
- The context is appended to the item, whose ``encryption`` byte then holds type and size; or it stands in an
  item of its own, of type 42 and the same offset.
"""

import struct
from dataclasses import dataclass
from typing import Final, Protocol

from blkcrypto.fs.extents.contexts import pack_encryption, unpack_encryption
from blkcrypto.fs.extents.designs import ExtentDesign
from blkcrypto.fs.extents.errors import ExtentContextInvalid
from blkcrypto.fs.extents.tree import Key

BLOCK_BYTES: Final = 4096
INODE_ITEM: Final = 1
ENCRYPTION_CONTEXT: Final = 42
DIR_ITEM: Final = 84
EXTENT_DATA: Final = 108
END_OF_FILE: Final = 1 << 63

_ITEM = struct.Struct("<QQBBHBQQQQ")
FILE_EXTENT_BYTES: Final = _ITEM.size
_REG, _PREALLOC = 1, 2
_ENCRYPTION_FSCRYPT: Final = 1
COMPRESS_NONE: Final = 0
COMPRESS_ZLIB: Final = 1


@dataclass(slots=True, eq=False)
class Extent:
    """A run of blocks on the device.

    Attributes:
        number: never used twice.
        block: first block; changes when the extent is moved.
        blocks: length on the device.
        ram_bytes: length of what it holds, before compression.
        compression: ``COMPRESS_NONE`` or ``COMPRESS_ZLIB``.
        generation: of the transaction that made it.
        refs: file extent items that refer to it.
        cloned: a clone referred to it once.
    """

    number: int
    block: int
    blocks: int
    ram_bytes: int
    compression: int
    generation: int
    refs: int = 0
    cloned: bool = False


class ExtentFreer(Protocol):
    """Who frees extents: the disk."""

    def free(self, extent: Extent) -> None:
        """Nothing refers to ``extent`` any more."""


@dataclass(slots=True, eq=False)
class FileExtent:
    """One file extent item; its file offset is in its key.

    Attributes:
        extent: what it refers to.
        offset: where in the extent's contents it begins, bytes.
        length: bytes of the file.
        prealloc: whether the range reads as zeroes because nothing was written yet.
        context: the extent's encryption context; empty in an unencrypted file.
    """

    extent: Extent
    offset: int
    length: int
    prealloc: bool
    context: bytes
    _disk: ExtentFreer
    _nodes: int = 0

    def acquire(self) -> None:
        """See ``tree.Value``."""
        if not self._nodes:
            self.extent.refs += 1
        self._nodes += 1

    def release(self) -> None:
        """See ``tree.Value``; the last item of an extent frees it."""
        self._nodes -= 1
        if not self._nodes:
            self.extent.refs -= 1
            if not self.extent.refs:
                self._disk.free(self.extent)

    def part(self, start: int, length: int) -> "FileExtent":
        """An item for ``length`` bytes from ``start`` bytes into this one: the same extent and context."""
        return FileExtent(self.extent, self.offset + start, length, self.prealloc, self.context, self._disk)

    def written(self) -> "FileExtent":
        """The same range, no longer preallocated."""
        return FileExtent(self.extent, self.offset, self.length, False, self.context, self._disk)


@dataclass(frozen=True, slots=True)
class InodeItem:
    """An inode: size, encryption context (empty without), and whether it is overwritten in place."""

    size: int
    context: bytes
    nocow: bool = False
    compress: bool = False
    is_dir: bool = False

    def acquire(self) -> None:
        """See ``tree.Value``."""

    def release(self) -> None:
        """See ``tree.Value``."""


@dataclass(frozen=True, slots=True)
class DirItem:
    """A name as stored, and the inode it leads to."""

    name: bytes
    ino: int

    def acquire(self) -> None:
        """See ``tree.Value``."""

    def release(self) -> None:
        """See ``tree.Value``."""


def encode(design: ExtentDesign, key: Key, item: FileExtent) -> list[tuple[Key, bytes]]:
    """The item's bytes, and those of its context's own item where it has one."""
    extent = item.extent
    appended = b"" if design.own_item else item.context
    if design.own_item:
        encryption = _ENCRYPTION_FSCRYPT if item.context else 0
    else:
        encryption = pack_encryption(_ENCRYPTION_FSCRYPT if item.context else 0, len(item.context))
    data = _ITEM.pack(
        extent.generation,
        extent.ram_bytes,
        extent.compression,
        encryption,
        0,
        _PREALLOC if item.prealloc else _REG,
        extent.block * BLOCK_BYTES,
        extent.blocks * BLOCK_BYTES,
        item.offset,
        item.length,
    )
    stored = [(key, data + appended)]
    if design.own_item and item.context:
        stored.insert(0, ((key[0], ENCRYPTION_CONTEXT, key[2]), item.context))
    return stored


@dataclass(frozen=True, slots=True)
class ParsedExtent:
    """A file extent item as its bytes say it; addresses and lengths in bytes."""

    generation: int
    ram_bytes: int
    compression: int
    prealloc: bool
    disk_bytenr: int
    disk_num_bytes: int
    offset: int
    num_bytes: int
    context: bytes


def parse(design: ExtentDesign, data: bytes, own_item: bytes = b"") -> ParsedExtent:
    """A file extent item from its bytes, and its context from them or from ``own_item``.

    Raises:
        ExtentContextInvalid: too short, or the context has not the length that the item states (EINVAL).
    """
    if len(data) < FILE_EXTENT_BYTES:
        raise ExtentContextInvalid(f"a file extent item has at least {FILE_EXTENT_BYTES} bytes")
    generation, ram, compression, encryption, _, kind, bytenr, disk_bytes, offset, length = _ITEM.unpack_from(
        data
    )
    context = data[FILE_EXTENT_BYTES:]
    if design.own_item:
        if context or bool(own_item) != bool(encryption):
            raise ExtentContextInvalid("the item and its context's own item do not agree")
        context = own_item
    elif unpack_encryption(encryption)[1] != len(context):
        raise ExtentContextInvalid(f"the item states another context size than {len(context)} bytes")
    return ParsedExtent(
        generation, ram, compression, kind == _PREALLOC, bytenr, disk_bytes, offset, length, context
    )
