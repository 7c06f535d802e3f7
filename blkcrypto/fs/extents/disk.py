"""What lies on the device besides contents: subvolumes, extents, checksums, free space.

Rules:

- No key is known here.
- A subvolume is one tree; a snapshot is another tree that shares everything until either side changes.
- An extent that is as old as its subvolume's last snapshot counts as shared: nothing overwrites it in place.
- Freed blocks keep their ciphertext until they are written again.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Final

from blkcrypto.fs.errors import NoSpace
from blkcrypto.fs.extents.designs import ExtentDesign
from blkcrypto.fs.extents.items import (
    COMPRESS_NONE,
    END_OF_FILE,
    EXTENT_DATA,
    Extent,
    FileExtent,
    encode,
)
from blkcrypto.fs.extents.tree import Key, Tree

ROOT_INO: Final = 256
MAX_EXTENT_BYTES: Final = 128 << 20
MAX_COMPRESSED_BYTES: Final = 128 << 10


@dataclass(slots=True, eq=False)
class Subvolume:
    """A tree of inodes, names and file extents.

    Attributes:
        number: of the subvolume.
        tree: its items.
        last_snapshot: generation in which it was last part of a snapshot, -1 for never.
        next_ino: number of the next inode.
    """

    number: int
    tree: Tree = field(default_factory=Tree)
    last_snapshot: int = -1
    next_ino: int = ROOT_INO + 1


class ExtentDisk:
    """A filesystem on its device, unmounted or mounted.

    Args:
        design: how its extents are keyed; fixed when the filesystem is made.
        blocks: of 4096 bytes.
        max_extent_bytes: largest extent; smaller ones model fragmentation.

    Attributes:
        csums: checksum by block, over ciphertext.
        extents: by number.
    """

    def __init__(
        self, design: ExtentDesign, *, blocks: int = 1 << 32, max_extent_bytes: int = MAX_EXTENT_BYTES
    ) -> None:
        self.design = design
        self.max_extent_bytes = max_extent_bytes
        self.subvolumes: dict[int, Subvolume] = {}
        self.extents: dict[int, Extent] = {}
        self.csums: dict[int, int] = {}
        self.generation = 0
        self._blocks = blocks
        self._next_block = 1
        self._next_extent = 1
        self._next_subvolume = 0
        self._free: list[tuple[int, int]] = []
        self.new_subvolume()

    def new_subvolume(self) -> Subvolume:
        """An empty subvolume; the first has number 0."""
        subvolume = Subvolume(self._next_subvolume)
        self._next_subvolume += 1
        self.subvolumes[subvolume.number] = subvolume
        return subvolume

    def snapshot(self, source: Subvolume) -> Subvolume:
        """A snapshot of ``source``, whose dirty pages were written."""
        copy = self.new_subvolume()
        copy.tree = source.tree.snapshot()
        copy.next_ino = source.next_ino
        source.last_snapshot = copy.last_snapshot = self.generation
        self.generation += 1
        return copy

    def allocate(self, blocks: int) -> int:
        """First of ``blocks`` free blocks in a row; freed runs are used once the device was filled once.

        Raises:
            NoSpace: ENOSPC.
        """
        if self._next_block + blocks <= self._blocks:
            self._next_block += blocks
            return self._next_block - blocks
        at = bisect_left(self._free, (blocks, 0))
        if at == len(self._free):
            raise NoSpace(f"no {blocks} free blocks in a row: give the disk more blocks")
        length, start = self._free.pop(at)
        self.give_back(start + blocks, length - blocks)
        return start

    def give_back(self, block: int, blocks: int) -> None:
        """A run of blocks is free."""
        if blocks:
            insort(self._free, (blocks, block))

    def new_extent(self, blocks: int, ram_bytes: int, compression: int = COMPRESS_NONE) -> Extent:
        """An extent that no item refers to yet.

        Raises:
            NoSpace: ENOSPC.
        """
        block = self.allocate(blocks)
        extent = Extent(self._next_extent, block, blocks, ram_bytes, compression, self.generation)
        self._next_extent += 1
        self.extents[extent.number] = extent
        return extent

    def free(self, extent: Extent) -> None:
        """See ``items.ExtentFreer``."""
        del self.extents[extent.number]
        for block in range(extent.block, extent.block + extent.blocks):
            self.csums.pop(block, None)
        self.give_back(extent.block, extent.blocks)

    def is_shared(self, subvolume: Subvolume, extent: Extent) -> bool:
        """Whether something besides one file of ``subvolume`` may refer to ``extent``; errs towards yes."""
        return extent.cloned or extent.generation <= subvolume.last_snapshot

    def stored_items(self, subvolume: Subvolume) -> list[tuple[Key, bytes]]:
        """Bytes of all file extent items and their contexts, in key order of the extents."""
        stored: list[tuple[Key, bytes]] = []
        for key, value in subvolume.tree.walk((0, 0, 0), (END_OF_FILE, 0, 0)):
            if key[1] == EXTENT_DATA and isinstance(value, FileExtent):
                stored += encode(self.design, key, value)
        return stored
