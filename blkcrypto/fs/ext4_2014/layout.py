"""What lies on the medium: a layout in the manner of ext4, all of it in clear but the contents.

=========  ==========================================================================================
block      holds
=========  ==========================================================================================
0          superblock: magic, number of blocks, number of inodes, blocks of the inode table
1          block bitmap: one bit a block
2 ...      inode table: inodes of 256 bytes
then       data: directory, xattr blocks, file contents
=========  ==========================================================================================

An inode: flags (LE16, bit 0 in use), uid (LE16), size (LE64), xattr block (LE32, 0 none), xattr bytes
(LE32), then 59 block numbers (LE32, 0 a hole).  The root directory is inode 0: entries of inode (LE32),
length (1 byte) and name, in clear; inode 0 in an entry ends the block.

Deviation from ext4: the numbers are ours, and there is no journal; sizes that matter (256-byte inodes, one
4 KiB xattr block) are ext4's.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

BLOCK_BYTES: Final = 4096
INODE_BYTES: Final = 256
BLOCKS_PER_INODE: Final = 59
ROOT_INO: Final = 0
XATTR_HEADER_BYTES: Final = 32
XATTR_ROOM: Final = BLOCK_BYTES - XATTR_HEADER_BYTES
"""What one xattr block holds, its header and our entry's not counted."""

_SUPER = struct.Struct("<8sIII")
_INODE = struct.Struct("<HHQII59I")
_MAGIC: Final = b"ext42014"
_BITMAP_BLOCK: Final = 1
_TABLE_BLOCK: Final = 2
_INODES_PER_BLOCK: Final = BLOCK_BYTES // INODE_BYTES


class LayoutInvalid(ValueError):
    """The medium does not hold such a filesystem."""


@dataclass(slots=True)
class Inode:
    """An inode.

    Attributes:
        ino: its number.
        uid: owner.
        size: bytes of plaintext.
        xattr_block: where its root packet lies; 0 for none.
        xattr_bytes: length of the root packet.
        blocks: physical block per page; 0 is a hole.
    """

    ino: int
    uid: int = 0
    size: int = 0
    xattr_block: int = 0
    xattr_bytes: int = 0
    blocks: list[int] = field(default_factory=lambda: [0] * BLOCKS_PER_INODE)


class Layout:
    """Reads and writes the metadata of a medium in memory.

    Args:
        medium: whole blocks, as ``mkfs`` left them or later.

    Raises:
        LayoutInvalid: not such a filesystem.
    """

    def __init__(self, medium: bytearray) -> None:
        magic, self.blocks, self.inodes, table = _SUPER.unpack(medium[: _SUPER.size].ljust(_SUPER.size))
        if magic != _MAGIC or self.blocks * BLOCK_BYTES != len(medium):
            raise LayoutInvalid("no superblock, or of another size")
        if table != -(-self.inodes // _INODES_PER_BLOCK) or table + _TABLE_BLOCK >= self.blocks:
            raise LayoutInvalid(f"an inode table of {table} blocks for {self.inodes} inodes")
        self.medium = medium
        self.first_data_block = _TABLE_BLOCK + table

    def block(self, number: int) -> memoryview:
        """A view of one block."""
        return memoryview(self.medium)[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]

    def _inode_offset(self, ino: int) -> int:
        if not 0 <= ino < self.inodes:
            raise LayoutInvalid(f"there is no inode {ino}")
        return _TABLE_BLOCK * BLOCK_BYTES + ino * INODE_BYTES

    def load(self, ino: int) -> Inode | None:
        """An inode; None when it is free."""
        flags, uid, size, xattr_block, xattr_bytes, *blocks = _INODE.unpack_from(
            self.medium, self._inode_offset(ino)
        )
        return Inode(ino, uid, size, xattr_block, xattr_bytes, blocks) if flags & 1 else None

    def store(self, inode: Inode) -> None:
        """Write an inode."""
        _INODE.pack_into(
            self.medium, self._inode_offset(inode.ino), 1, inode.uid, inode.size, inode.xattr_block,
            inode.xattr_bytes, *inode.blocks,
        )  # fmt: skip

    def free_inode(self, ino: int) -> None:
        """Mark it free; its other bytes stay, as they do in ext4."""
        self.medium[self._inode_offset(ino)] &= 0xFE

    def is_used(self, block: int) -> bool:
        """Whether the bitmap has the block."""
        return bool(self.medium[_BITMAP_BLOCK * BLOCK_BYTES + block // 8] >> block % 8 & 1)

    def set_used(self, block: int, used: bool) -> None:
        """Change the bitmap."""
        at = _BITMAP_BLOCK * BLOCK_BYTES + block // 8
        bit = 1 << block % 8
        self.medium[at] = self.medium[at] | bit if used else self.medium[at] & ~bit

    def entries(self) -> dict[str, int]:
        """Names of the root directory."""
        root = self.load(ROOT_INO)
        if root is None:
            raise LayoutInvalid("no root directory")
        found: dict[str, int] = {}
        for number in filter(None, root.blocks):
            data, at = self.block(number), 0
            while at + 5 <= BLOCK_BYTES and (ino := int.from_bytes(data[at : at + 4], "little")):
                end = at + 5 + data[at + 4]
                found[str(data[at + 5 : end], "utf-8", "replace")] = ino
                at = end
        return found

    def packed_entries(self, entries: dict[str, int]) -> list[bytes]:
        """Blocks of a directory with these entries, zero-filled."""
        blocks, current = [], b""
        for name, ino in entries.items():
            text = name.encode()
            entry = ino.to_bytes(4, "little") + bytes([len(text)]) + text
            if len(current) + len(entry) > BLOCK_BYTES:
                blocks.append(current.ljust(BLOCK_BYTES, b"\0"))
                current = b""
            current += entry
        return [*blocks, current.ljust(BLOCK_BYTES, b"\0")]


def mkfs(blocks: int, inodes: int) -> bytearray:
    """An empty medium: only the root directory.

    Args:
        blocks: of 4 KiB, at most 32768: one bitmap block.
        inodes: at most 65536.
    """
    table = -(-inodes // _INODES_PER_BLOCK)
    if not table + _TABLE_BLOCK < blocks <= 8 * BLOCK_BYTES:
        raise ValueError(f"{blocks} blocks do not fit, or do not hold, {inodes} inodes")
    medium = bytearray(blocks * BLOCK_BYTES)
    _SUPER.pack_into(medium, 0, _MAGIC, blocks, inodes, table)
    layout = Layout(medium)
    for block in range(layout.first_data_block):
        layout.set_used(block, used=True)
    layout.store(Inode(ROOT_INO))
    return medium
