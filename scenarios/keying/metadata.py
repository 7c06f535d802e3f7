"""I/O of a design's own: headers, xattrs, inodes, tags, journals, trees.

Metadata lies in blocks of 4096 bytes at the end of the device, block 0 last.  What a bio needs goes out with
it (``COMPANION``), so waiting for one before the other is not modelled; what only has to happen some time is
``BACKGROUND``.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.authenticated.medium import BLOCK_BYTES
from blkcrypto.fs.authenticated.seal import IV_BYTES, TAG_BYTES
from blkcrypto.fs.keysetup_io.master import EXTENT_NONCE_BYTES
from hwmodel.clock import Row
from hwmodel.companions import BACKGROUND, COMPANION
from scenarios.keying.bios import Bios

READ: Final = int(ReqOp.READ)
WRITE: Final = int(ReqOp.WRITE)
_LONGEST: Final = 1 << 20
_JOURNAL_SEALS: Final = 32
_LEAF_HEAD: Final = 8  # block and CRC of a seal
_INNER_BYTES: Final = 36  # block and SHA-256 of a node


class Metadata(Protocol):
    """What goes with bios."""

    def rows(self, bios: Bios, first_number: int) -> Iterator[Row]:
        """Rows of ``bios``, numbered from ``first_number``, with their companions and background I/O."""

    @property
    def in_memory_bytes(self) -> int:
        """Cached metadata."""


class Place:
    """Where metadata blocks lie on the device."""

    def __init__(self, capacity_bytes: int) -> None:
        self._blocks = capacity_bytes // BLOCK_BYTES

    def row(self, like: Row, op: int, block: int, blocks: int = 1, *, number: int = COMPANION) -> Row:
        """I/O of metadata blocks, at the time and on the CPU of the bio ``like``."""
        first = self._blocks - 1 - (block + blocks - 1) % self._blocks
        sector = first * BLOCK_BYTES >> SECTOR_SHIFT
        return (like[0], number, op, sector, blocks * BLOCK_BYTES, -1, 0, like[7])


class BlockCache:
    """The least recently used of so many blocks."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._held: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def use(self, block: int) -> bool:
        """Whether ``block`` has to be read first."""
        held = self._held
        if block in held:
            held.move_to_end(block)
            return False
        held[block] = None
        if len(held) > self._blocks:
            held.popitem(last=False)
        return True


class FirstTouch:
    """Blocks that are read with the first bio of every file: a header, an xattr, an inode.

    Args:
        blocks: per file.
    """

    def __init__(self, place: Place, blocks: int) -> None:
        self._place = place
        self._blocks = blocks
        self._seen: set[int] = set()

    def rows(self, bios: Bios, first_number: int) -> Iterator[Row]:
        """See ``Metadata``."""
        for row, file in zip(bios.rows(first_number), bios.file.tolist(), strict=True):
            if file >= 0 and file not in self._seen:
                self._seen.add(file)
                yield self._place.row(row, READ, file * self._blocks, self._blocks)
            yield row

    @property
    def in_memory_bytes(self) -> int:
        """What was read is used once."""
        return 0


class PartialBlocks:
    """Blocks that a partial write has to read first, as CephFS does.

    Args:
        unit_bytes: data unit size.
        partial: for a bio's row, whether its first and its last unit are written in part.
    """

    def __init__(self, unit_bytes: int, partial: Callable[[int], tuple[bool, bool]]) -> None:
        self._unit = unit_bytes
        self._partial = partial

    def rows(self, bios: Bios, first_number: int) -> Iterator[Row]:
        """See ``Metadata``."""
        origin = bios.row.tolist()
        writes = bios.writes.tolist()
        for at, row in enumerate(bios.rows(first_number)):
            if writes[at]:
                head, tail = self._partial(origin[at])
                head &= at == 0 or origin[at - 1] != origin[at]
                tail &= at + 1 == len(origin) or origin[at + 1] != origin[at]
                last = row[3] + (row[4] - self._unit >> SECTOR_SHIFT)
                sectors = {row[3]} if head else set()
                if tail:
                    sectors.add(last)
                for sector in sorted(sectors):
                    yield (row[0], COMPANION, READ, sector, self._unit, -1, 0, row[7])
            yield row

    @property
    def in_memory_bytes(self) -> int:
        """None."""
        return 0


class TagTable:
    """Entries in blocks beside the data, which are read, changed and written with every write.

    Args:
        unit_bytes: data unit size.
        cache_blocks: blocks of entries that stay in memory.
        journal: data and entries go to a journal first.
    """

    entry_bytes: Final = IV_BYTES + TAG_BYTES

    def __init__(self, place: Place, unit_bytes: int, cache_blocks: int, *, journal: bool) -> None:
        self._place = place
        self._unit = unit_bytes
        self._per_block = BLOCK_BYTES // self.entry_bytes
        self._cache = BlockCache(cache_blocks)
        self._journal = journal
        self._journal_blocks = 1 + _JOURNAL_SEALS * unit_bytes // BLOCK_BYTES if journal else 0

    def rows(self, bios: Bios, first_number: int) -> Iterator[Row]:
        """See ``Metadata``."""
        for row, data in zip(bios.rows(first_number), bios.with_data.tolist(), strict=True):
            if data:
                yield from self._companions(row)
            yield row

    def _companions(self, row: Row) -> Iterator[Row]:
        first = (row[3] << SECTOR_SHIFT) // self._unit
        seals = row[4] // self._unit
        if row[2] == WRITE and self._journal:
            for start in range(0, seals, _JOURNAL_SEALS):
                yield from self._batch(row, first + start, min(_JOURNAL_SEALS, seals - start))
            return
        for block in self._blocks(first, seals):
            if self._cache.use(block):
                yield self._place.row(row, READ, block)
            if row[2] == WRITE:
                yield self._place.row(row, WRITE, block)

    def _blocks(self, first: int, seals: int) -> range:
        offset = self._journal_blocks
        return range(offset + first // self._per_block, offset + (first + seals - 1) // self._per_block + 1)

    def _batch(self, row: Row, first: int, seals: int) -> Iterator[Row]:
        """Payload and descriptor to the journal, entries in place, descriptor cleared."""
        place = self._place
        yield place.row(row, WRITE, 1, -(-seals * self._unit // BLOCK_BYTES))
        yield place.row(row, WRITE, 0)
        for block in self._blocks(first, seals):
            if self._cache.use(block):
                yield place.row(row, READ, block)
            yield place.row(row, WRITE, block)
        yield place.row(row, WRITE, 0)

    @property
    def in_memory_bytes(self) -> int:
        """Cached blocks of entries."""
        return len(self._cache) * BLOCK_BYTES


class TagTree:
    """Entries in a copy-on-write tree: read when not cached, written when a transaction commits.

    Args:
        seals: how many the tree has room for.
        entry_bytes: of one seal.
        first_seal: seals that a bio covers: the first, and how many.
        also_read: what a read has to read besides, as (sector, bytes).
        cache_blocks: nodes that stay in memory.
        commit_bios: writes of one transaction.
    """

    def __init__(
        self,
        place: Place,
        *,
        seals: int,
        entry_bytes: int,
        covered: Callable[[Bios, int], tuple[int, int]],
        also_read: Callable[[Bios, int], Iterable[tuple[int, int]]],
        cache_blocks: int,
        commit_bios: int,
    ) -> None:
        self._place = place
        self._per_leaf = BLOCK_BYTES // (_LEAF_HEAD + entry_bytes)
        self._fanout = BLOCK_BYTES // _INNER_BYTES
        self._covered = covered
        self._also_read = also_read
        self._cache = BlockCache(cache_blocks)
        self._commit_bios = commit_bios
        self._changed: set[int] = set()
        self._writes = 0
        self.height = 0
        reach = self._per_leaf
        while reach < seals:
            self.height, reach = self.height + 1, reach * self._fanout
        # Where nodes of each level are numbered from; the superblock is 0.
        leaves = -(-seals // self._per_leaf)
        self._from = [1]
        for _ in range(self.height):
            self._from.append(self._from[-1] + leaves)
            leaves = -(-leaves // self._fanout)

    def rows(self, bios: Bios, first_number: int) -> Iterator[Row]:
        """See ``Metadata``."""
        for at, (row, data) in enumerate(zip(bios.rows(first_number), bios.with_data.tolist(), strict=True)):
            if not data:
                yield row
                continue
            first, count = self._covered(bios, at)
            leaves = range(first // self._per_leaf, (first + count - 1) // self._per_leaf + 1)
            for leaf in leaves:
                yield from self._path(row, leaf)
            if row[2] == READ:
                for sector, nbytes in self._also_read(bios, at):
                    for done in range(0, nbytes, _LONGEST):
                        size = min(_LONGEST, nbytes - done)
                        yield (row[0], COMPANION, READ, sector + (done >> SECTOR_SHIFT), size, -1, 0, row[7])
            yield row
            if row[2] == WRITE:
                self._changed.update(leaves)
                self._writes += 1
                if self._writes == self._commit_bios:
                    yield from self._commit(row)

    def _path(self, row: Row, leaf: int) -> Iterator[Row]:
        """Nodes from leaf to root that are not cached."""
        for level in range(self.height + 1):
            node = self._from[level] + leaf // self._fanout**level
            if self._cache.use(node):
                yield self._place.row(row, READ, node)

    def _commit(self, row: Row) -> Iterator[Row]:
        """Every changed node once, and the superblock."""
        nodes = self._changed
        for level in range(self.height + 1):
            for node in sorted(nodes):
                yield self._place.row(row, WRITE, self._from[level] + node, number=BACKGROUND)
            nodes = {node // self._fanout for node in nodes}
        yield self._place.row(row, WRITE, 0, number=BACKGROUND)
        self._changed = set()
        self._writes = 0

    @property
    def in_memory_bytes(self) -> int:
        """Cached nodes."""
        return len(self._cache) * BLOCK_BYTES


def units_on_device(unit_bytes: int) -> Callable[[Bios, int], tuple[int, int]]:
    """Seals of one unit each, in the order of the device."""

    def covered(bios: Bios, at: int) -> tuple[int, int]:
        first = (int(bios.sector[at]) << SECTOR_SHIFT) // unit_bytes
        return first, int(bios.nbytes[at]) // unit_bytes

    return covered


def nothing_more(_bios: Bios, _at: int) -> Iterable[tuple[int, int]]:
    """A read needs nothing beside its own data."""
    return ()


ENTRY_OF_EXTENT: Final = EXTENT_NONCE_BYTES + TAG_BYTES
