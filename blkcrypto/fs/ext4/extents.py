"""Extent trees: which blocks of a file lie where.

Rules that keep a hostile tree from costing more than the image is large: depth falls by one at each level,
logical blocks only grow, no node is read twice, no file maps more blocks than the filesystem has.

Source: Documentation/filesystems/ext4/ifork.rst.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

EXTENT_MAGIC: Final = 0xF30A
MAX_DEPTH: Final = 5
MAX_LOGICAL_BLOCKS: Final = 1 << 32
_MAX_INIT_LENGTH: Final = 1 << 15
_HEADER: Final = struct.Struct("<HHHH4x")
_EXTENT: Final = struct.Struct("<IHHI")
_INDEX: Final = struct.Struct("<IIH2x")


@dataclass(frozen=True, slots=True)
class Extent:
    """Consecutive blocks of a file that are consecutive on disk.

    Attributes:
        lblk: first block in the file.
        pblk: first block on disk.
        count: blocks.
        written: False for space that is only reserved and reads as zeroes.
    """

    lblk: int
    pblk: int
    count: int
    written: bool = True

    @property
    def end(self) -> int:
        """The logical block after the last."""
        return self.lblk + self.count

    def follows(self, other: "Extent") -> bool:
        """Whether it continues ``other`` in the file and on disk."""
        return (
            self.lblk == other.end and self.pblk == other.pblk + other.count and self.written == other.written
        )


def node_checksum_at(node: bytes) -> int:
    """Where the checksum of a node in a block of its own lies: after the last entry there is room for."""
    most: int = _HEADER.unpack_from(node)[2]
    return _HEADER.size + _EXTENT.size * min(most, _capacity(node))


def _capacity(node: bytes) -> int:
    return (len(node) - _HEADER.size) // _EXTENT.size


def tree_extents(root: bytes, read_node: Callable[[int], bytes]) -> Iterator[Extent]:
    """Extents of a tree in the order of the file.

    Args:
        root: the 60 bytes of ``i_block``.
        read_node: a node by its block; raises for blocks outside the filesystem.

    Raises:
        ValueError: damaged.
    """
    seen: set[int] = set()
    magic, _, _, depth = _HEADER.unpack_from(root)
    if magic != EXTENT_MAGIC or depth > MAX_DEPTH:
        raise ValueError(f"no extent tree: magic {magic:#06x}, depth {depth}")

    def walk(node: bytes, level: int, first: int, limit: int) -> Iterator[Extent]:
        for entry in _node_entries(node, level):
            if not first <= entry.lblk < limit:
                raise ValueError(f"extents out of order at logical block {entry.lblk}")
            if not level:
                first = entry.end
                if first > limit:
                    raise ValueError(f"extents overlap at logical block {limit}")
                yield entry
                continue
            if entry.pblk in seen:
                raise ValueError(f"the extent tree has block {entry.pblk} twice")
            seen.add(entry.pblk)
            yield from walk(read_node(entry.pblk), level - 1, entry.lblk, min(limit, entry.end))
            first = entry.lblk + 1

    yield from walk(root, depth, 0, MAX_LOGICAL_BLOCKS)


def _node_entries(node: bytes, level: int) -> Iterator[Extent]:
    """Entries of a node; an index entry appears as an extent up to where the next one begins."""
    magic, entries, most, depth = _HEADER.unpack_from(node)
    if magic != EXTENT_MAGIC or depth != level:
        raise ValueError(f"no node of an extent tree at depth {level}: magic {magic:#06x}, depth {depth}")
    if not entries <= most <= _capacity(node):
        raise ValueError(f"an extent node claims {entries} of {most} entries")
    if level:
        indices = [_INDEX.unpack_from(node, _HEADER.size + at * _INDEX.size) for at in range(entries)]
        starts = [lblk for lblk, _, _ in indices[1:]] + [MAX_LOGICAL_BLOCKS]
        for (lblk, low, high), following in zip(indices, starts, strict=False):
            yield Extent(lblk, low | high << 32, following - lblk)
        return
    for at in range(entries):
        lblk, length, high, low = _EXTENT.unpack_from(node, _HEADER.size + at * _EXTENT.size)
        written = length <= _MAX_INIT_LENGTH
        count = length if written else length - _MAX_INIT_LENGTH
        if not count:
            raise ValueError(f"an extent of no blocks at logical block {lblk}")
        yield Extent(lblk, low | high << 32, count, written)
