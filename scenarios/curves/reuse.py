"""LRU stack distances: one pass over the keys used tells what every number of keyslots would have hit.

An LRU table of ``n`` slots holds the ``n`` keys used last.  So an access hits exactly when fewer than ``n``
other keys were used since its own key's last use; that number is its *distance*.

For the access at ``i`` of a key last used at ``p``, the distance is the number of first uses in between:
``i - p - 1`` less the accesses before ``i`` whose own last use is after ``p``.  Those are the inversions of
the column "last use", counted per element.  numpy has no such operation, so a block of accesses is cut into
cells of equal width, along ``i`` and along ``p`` alike, and each pair of accesses is counted by one of three
means: a table of cells (different cells both ways), or comparing all pairs within a cell along ``i``, or
within a cell along ``p``.

Blocks follow one another through the ``most`` keys used last: they go in front of the next block, as accesses
that are not counted.  Memory is that of one block, whatever the trace's length.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]

MOST_KEYSLOTS: Final = 1 << 14
# Positions in a block and "no last use" fit 16 bits, which is what makes comparing pairs and sorting fast.
BLOCK: Final = (1 << 16) - 1


class KeyBlocks:
    """Keys without immediate repeats, cut into blocks of ``rows``.

    A repeat hits in any table and leaves it as it was, so it is only counted.

    Attributes:
        accesses: keys added so far.
        repeats: those equal to the one before.
    """

    def __init__(self, rows: int) -> None:
        self.accesses = self.repeats = 0
        self._rows = rows
        self._pending: list[Int64] = []
        self._pending_rows = 0
        self._last = -1

    def add(self, keys: Int64) -> Iterator[Int64]:
        """Blocks that are full with ``keys``, ``int64[n]`` from 0 on."""
        kept = without_repeats(keys, self._last)
        self.accesses += len(keys)
        self.repeats += len(keys) - len(kept)
        if len(kept):
            self._last = int(kept[-1])
            self._pending.append(kept)
            self._pending_rows += len(kept)
        return self._blocks(self._rows) if self._pending_rows >= self._rows else iter(())

    def rest(self) -> Iterator[Int64]:
        """The keys that are left; no keys, no block."""
        return self._blocks(1)

    def _blocks(self, least: int) -> Iterator[Int64]:
        keys = np.concatenate((np.empty(0, np.int64), *self._pending))
        full = len(keys) // self._rows * self._rows if least > 1 else len(keys)
        self._pending = [keys[full:]]
        self._pending_rows = len(keys) - full
        for start in range(0, full, self._rows):
            yield keys[start : min(full, start + self._rows)]


class LruCurve:
    """Hits of an LRU keyslot table for each number of slots from 1 to ``most``."""

    def __init__(self, most: int) -> None:
        if not 1 <= most <= MOST_KEYSLOTS:
            raise ValueError(f"1 to {MOST_KEYSLOTS} keyslots at once, not {most}")
        self._most = most
        self._blocks = KeyBlocks(BLOCK - most)
        self._histogram: Int64 = np.zeros(most, np.int64)
        self._recent: Int64 = np.empty(0, np.int64)

    @property
    def accesses(self) -> int:
        """Keys added so far."""
        return self._blocks.accesses

    def add(self, keys: Int64) -> None:
        """Use ``keys``, ``int64[n]`` from 0 on, in this order."""
        self._count(self._blocks.add(keys))

    def hits(self) -> Int64:
        """``int64[most]``: hits so far with 1, 2, ... slots."""
        self._count(self._blocks.rest())
        return np.cumsum(self._histogram) + self._blocks.repeats

    def _count(self, blocks: Iterator[Int64]) -> None:
        for block in blocks:
            histogram, self._recent = distances(self._recent, block, self._most)
            self._histogram += histogram


def without_repeats(keys: Int64, last: int) -> Int64:
    """``keys`` less those equal to the one before; ``last`` is before the first, -1 for none.

    A repeat hits in any table and leaves it as it was.
    """
    different = np.empty(len(keys), np.bool_)
    different[:1] = keys[:1] != last
    np.not_equal(keys[1:], keys[:-1], out=different[1:])
    return keys if different.all() else keys[different]


def distances(recent: Int64, keys: Int64, most: int) -> tuple[Int64, Int64]:
    """How many accesses have each distance below ``most``.

    Args:
        recent: up to ``most`` distinct keys, those used last before, the last one last.
        keys: ``int64[n]`` from 0 on.

    Returns:
        ``int64[most]`` counts by distance; and the keys used last now, as ``recent``.
    """
    histogram: Int64 = np.zeros(most + 1, np.int64)
    for start in range(0, len(keys), BLOCK - most):
        together = np.concatenate((recent, keys[start : start + BLOCK - most]))
        earlier, later = uses(together)
        between = np.minimum(_between(earlier, later, len(together)), most)
        histogram += np.bincount(between, minlength=most + 1)
        recent = _last_used(together, earlier, most)
    return histogram[:most], recent


def recent_keys(recent: Int64, keys: Int64, most: int) -> Int64:
    """The ``most`` keys used last, the last one last, after ``recent`` and then ``keys``."""
    together = np.concatenate((recent, keys))
    earlier, _ = uses(together)
    return _last_used(together, earlier, most)


def _last_used(keys: Int64, earlier: Int64, most: int) -> Int64:
    final = np.ones(len(keys), np.bool_)
    final[earlier] = False
    return keys[np.flatnonzero(final)[-most:]]


def uses(keys: Int64) -> tuple[Int64, Int64]:
    """Positions of each two consecutive uses of a key: the earlier ones and the later ones; by key."""
    # numpy sorts 16-bit integers by radix, ten times as fast as wider ones.
    low = keys.astype(np.uint16)
    order = np.argsort(low, kind="stable")
    if int(keys.max(initial=0)) > 0xFFFF:
        order = order[_order_of_high_bits(keys[order] >> 16)]
        ordered: npt.NDArray[np.integer] = keys[order]
    else:
        ordered = low[order]
    same = ordered[1:] == ordered[:-1]
    return order[:-1][same], order[1:][same]


def _order_of_high_bits(high: Int64) -> Int64:
    if int(high.max()) <= 0xFFFF:
        return np.argsort(high.astype(np.uint16), kind="stable")
    return np.argsort(high, kind="stable")


def _between(earlier: Int64, later: Int64, count: int) -> Int64:
    """Distance of each access ``later`` of a key last used at ``earlier``; ``count`` positions in all."""
    bits = max(3, (count.bit_length() - 1) // 2)
    width = 1 << bits
    cells = -(-count // width)
    later_cell, earlier_cell = later >> bits, earlier >> bits
    table = _later_cells(later_cell, earlier_cell, cells)
    inverted: Int32 = table[later_cell, earlier_cell]
    # Along the later use: the last use of each position, 0 for none.
    last_use = np.zeros(cells * width, np.uint16)
    last_use[later] = earlier + 1
    inverted += _inversions(last_use, width)[later & width - 1, later_cell]
    # Along the earlier use, from behind: how many cells from the end its next use is, 0 for none.
    next_use = np.zeros(cells * width, np.uint16)
    next_use[cells * width - 1 - earlier] = cells - later_cell
    backwards = cells * width - 1 - earlier
    inverted += _inversions(next_use, width)[backwards & width - 1, backwards >> bits]
    between: Int64 = later - earlier - 1 - inverted
    return between


def _later_cells(later_cell: Int64, earlier_cell: Int64, cells: int) -> Int32:
    """``int32[cells, cells]``: accesses in an earlier cell than the row whose last use is in a later one
    than the column."""
    columns = later_cell * cells + (cells - 1 - earlier_cell)
    counts = np.bincount(columns, minlength=cells * cells).reshape(cells, cells)
    table = np.zeros((cells, cells), np.int32)
    table[1:, 1:] = counts[:-1, :-1]
    # np.cumsum along the first axis takes five times as long.
    for row in range(1, cells):
        table[row] += table[row - 1]
    return np.cumsum(table, axis=1, out=table)[:, ::-1]


def _inversions(values: UInt16, width: int) -> UInt8:
    """Per element, how many before it in its cell are greater: ``uint8[width, cells]``."""
    # One row per place in a cell: comparing rows takes all cells at once.
    rows = np.ascontiguousarray(values.reshape(-1, width).T)
    counts = np.zeros(rows.shape, np.uint8)
    for place in range(1, width):
        greater = (rows[:place] > rows[place]).view(np.uint8)
        np.add.reduce(greater, axis=0, dtype=np.uint8, out=counts[place])
    return counts
