"""The block map of ext2 and ext3: 12 direct blocks, then one tree each of one, two and three levels.

Source: Documentation/filesystems/ext4/blockmap.rst.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Final

from blkcrypto.fs.ext4.extents import Extent

_DIRECT: Final = 12
_LEVELS: Final = 3


def map_extents(
    i_block: bytes, block_size: int, blocks: int, read_node: Callable[[int], bytes]
) -> Iterator[Extent]:
    """Mapped blocks in the order of the file, one extent each; a zero is a hole.

    Args:
        i_block: the 60 bytes of the inode.
        block_size: bytes.
        blocks: how many blocks ``i_size`` reaches over; nothing past them is read.
        read_node: an indirect block by its number; raises for blocks outside the filesystem.

    Raises:
        ValueError: damaged.
    """
    seen: set[int] = set()
    per_node = block_size // 4
    unpack = struct.Struct(f"<{per_node}I").unpack

    def walk(pblk: int, level: int, first: int) -> Iterator[Extent]:
        if not pblk or first >= blocks:
            return
        if not level:
            yield Extent(first, pblk, 1)
            return
        if pblk in seen:
            raise ValueError(f"the block map has block {pblk} twice")
        seen.add(pblk)
        span = per_node ** (level - 1)
        for at, child in enumerate(unpack(read_node(pblk))):
            if child:
                yield from walk(child, level - 1, first + at * span)

    pointers = struct.unpack("<15I", i_block)
    for lblk, pblk in enumerate(pointers[:_DIRECT]):
        yield from walk(pblk, 0, lblk)
    first = _DIRECT
    for level in range(1, _LEVELS + 1):
        yield from walk(pointers[_DIRECT + level - 1], level, first)
        first += per_node**level
