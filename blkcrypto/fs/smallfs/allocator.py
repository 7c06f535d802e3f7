"""Which block a file's next block gets.

Two rules: the next free one, as in a filesystem without history; or where a map of files says, so that a
small filesystem lies on its device exactly as the files of a scenario do.
"""

from typing import Protocol

import numpy as np

from blkcrypto.fs.allocation.file_map import FileMap
from blkcrypto.fs.smallfs.errors import NoSpace


class BlockAllocator(Protocol):
    """Hands out blocks of one disk."""

    def allocate(self, ino: int, lblk: int) -> int:
        """A free block for logical block ``lblk`` of inode ``ino``.

        Raises:
            NoSpace: ENOSPC.
        """

    def free(self, block: int) -> None:
        """``block`` holds nothing any more."""


class NextFree:
    """A new block while there is one, so that neighbours in a file are neighbours on disk; then freed ones.

    Args:
        first: first block to hand out.
        end: the block after the last.
    """

    def __init__(self, first: int = 1, end: int = 1 << 20) -> None:
        self._next = first
        self._end = end
        self._freed: list[int] = []

    def allocate(self, ino: int, lblk: int) -> int:
        """See ``BlockAllocator``."""
        if self._next < self._end:
            self._next += 1
            return self._next - 1
        if not self._freed:
            raise NoSpace(f"no block for block {lblk} of inode {ino}: make the disk larger")
        return self._freed.pop()

    def free(self, block: int) -> None:
        """See ``BlockAllocator``."""
        self._freed.append(block)


class Laid:
    """Every file of a map in its place; what has none there, or finds it taken, behind the map.

    Args:
        file_map: where files lie.
        block_size: of the filesystem; a divisor of the map's extents.
        first_ino: inode number of the map's file 0; the others follow.
        spare_blocks: how many blocks there are behind the map.
    """

    def __init__(
        self, file_map: FileMap, block_size: int, first_ino: int, spare_blocks: int = 1 << 20
    ) -> None:
        if file_map.extent_bytes % block_size:
            raise ValueError(f"extents of {file_map.extent_bytes} bytes are not whole blocks of {block_size}")
        self._map = file_map
        self._size = block_size
        self._first_ino = first_ino
        self._covered = file_map.covered_bytes // block_size
        self._behind = NextFree(self._covered, self._covered + spare_blocks)
        self._taken: set[int] = set()

    def allocate(self, ino: int, lblk: int) -> int:
        """See ``BlockAllocator``."""
        place = self._place(ino - self._first_ino, lblk * self._size)
        if place is None or place in self._taken:
            return self._behind.allocate(ino, lblk)
        self._taken.add(place)
        return place

    def free(self, block: int) -> None:
        """See ``BlockAllocator``."""
        if block < self._covered:
            self._taken.remove(block)
        else:
            self._behind.free(block)

    def _place(self, file: int, offset: int) -> int | None:
        """Block of byte ``offset`` of a file of the map; None outside it."""
        files = np.array([file])
        if not 0 <= file < self._map.files or offset >= int(self._map.file_bytes(files)[0]):
            return None
        return int(self._map.address(files, np.array([offset]))[0]) // self._size
