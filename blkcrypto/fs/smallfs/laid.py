"""A small filesystem over a map of files: same sizes, same fragmentation, same addresses as in a scenario.

File ``f`` of the map is inode ``FIRST_INO + f``, as scenarios number theirs, and so has the same DUNs where
they are made of inode numbers.
"""

import numpy as np

from blkcrypto.fs.allocation.file_map import FileMap
from blkcrypto.fs.smallfs import namei
from blkcrypto.fs.smallfs.allocator import NextFree
from blkcrypto.fs.smallfs.disk import FIRST_INO, Disk
from blkcrypto.fs.smallfs.mount import Mount


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


def disk_over(file_map: FileMap, block_size: int) -> Disk:
    """A disk for the files of a map: make one directory on it, then the files."""
    return Disk(Laid(file_map, block_size, FIRST_INO), first_ino=FIRST_INO - 1)


def make_files(mount: Mount, directory: str, file_map: FileMap) -> None:
    """Make the files of a map in ``directory``, named by their numbers, of their sizes and without data."""
    sizes = file_map.file_bytes(np.arange(file_map.files)).tolist()
    for number, size in enumerate(sizes):
        inode = namei.create(mount, f"{directory}/{number}")
        assert inode.disk.ino == FIRST_INO + number, "the files come right after their directory"
        inode.disk.size = size
