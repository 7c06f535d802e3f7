"""Hits of an LRU table of one size, exact, in one vectorised pass.

An access is *live* at ``i`` when its key is not used again before ``i``.  A table of ``n`` slots holds the
keys of the last ``n`` live accesses; the place of the first of these is the table's *horizon*.  So the access
at ``i`` of a key last used at ``p`` hits exactly when ``p`` is not before the horizon at ``i``.

The horizon only moves forwards.  It is found at every ``step``-th place, to within ``step`` places, and that
decides almost every access: a last use behind the next such place's horizon hits, one before the last such
place's horizon misses, and one less than ``n`` accesses ago hits anyway.  For the few in between the live
accesses are counted.

Blocks follow one another through the keys used last, as in ``scenarios.curves.reuse``.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from scenarios.curves.reuse import Int64, distances, uses

UInt16 = npt.NDArray[np.uint16]

# More keyslots are counted faster by the curve: the windows below become as long as a block.
MOST_SLOTS: Final = 512
_NEVER: Final = np.uint16(0xFFFF)
# Places looked back at for the horizon, as a multiple of the slots; further back its bounds become loose.
_WINDOW: Final = 4
_LEAST_STEP, _MOST_STEP = 8, 32
# Live accesses counted one by one, per access, above which the curve is faster.
_MOST_WORK: Final = 32
_PAIRS_OF_A_WORD: Final = np.uint64(0x0001000100010001)
_EVEN_BYTES: Final = np.uint64(0x00FF00FF00FF00FF)


def hits_of(recent: Int64, keys: Int64, slots: int) -> tuple[int, Int64]:
    """Hits of a table of ``slots``.

    Args:
        recent: up to ``slots`` distinct keys, those used last before, the last one last.
        keys: ``int64[n]`` from 0 on, at most ``BLOCK - slots``, none equal to the one before.

    Returns:
        the hits, and the keys used last now, as ``recent``.
    """
    together = np.concatenate((recent, keys))
    earlier, later = uses(together)
    next_use = np.full(len(together), _NEVER, np.uint16)
    next_use[earlier] = later
    now_recent = together[np.flatnonzero(next_use == _NEVER)[-slots:]]
    far = np.flatnonzero(later - earlier > slots)
    hits = len(earlier) - len(far)
    found, undecided = _decided(next_use, earlier[far], later[far], slots)
    counted = _counted(next_use, earlier[far[undecided]], later[far[undecided]], slots)
    if counted is None:
        histogram, _ = distances(recent, keys, slots)
        return int(histogram.sum()), now_recent
    return hits + found + counted, now_recent


def _decided(next_use: UInt16, earlier: Int64, later: Int64, slots: int) -> tuple[int, Int64]:
    """Accesses ``later`` that surely hit, and the indices of those that may."""
    bits = min(max(_LEAST_STEP, slots // 2), _MOST_STEP).bit_length() - 1
    low, high = _horizons(next_use, slots, bits)
    place = later >> bits
    near = np.flatnonzero(earlier >= low[place])
    sure = earlier[near] >= high[place[near] + 1]
    return int(np.count_nonzero(sure)), near[~sure]


def _horizons(next_use: UInt16, slots: int, bits: int) -> tuple[Int64, Int64]:
    """At every ``2**bits``-th place, the least that the horizon can be, and what it is below or equal to."""
    live = _live(next_use, -(-_WINDOW * slots >> bits), bits)
    cells = live.shape[1]
    # Cell by cell backwards from each place, until the live accesses fill the table.
    found = np.zeros(cells + 1, np.uint16)
    back = np.ones(cells + 1, np.uint16)
    for away in range(1, min(len(live), cells + 1)):
        found[away:] += live[away, : cells + 1 - away]
        back += found < slots
    low = np.arange(cells + 1) - back << bits
    return np.where(found >= slots, low, 0), np.maximum(low + (1 << bits), 0)


def _live(next_use: UInt16, most: int, bits: int) -> npt.NDArray[np.uint8]:
    """``uint8[most + 1, cells]``: accesses of each cell of ``2**bits`` that are live so many cells later."""
    cells = -(-len(next_use) >> bits)
    cell = np.arange(len(next_use), dtype=np.uint16) >> bits
    lives = np.minimum((next_use >> bits) - cell, most)
    lives[next_use == _NEVER] = most
    places = lives.astype(np.int64)  # numpy before 2 keeps 16 bits when a scalar is the wider one
    places *= cells
    places += cell
    live = np.bincount(places, minlength=(most + 1) * cells).astype(np.uint8).reshape(-1, cells)
    for away in range(most - 1, 0, -1):
        live[away] += live[away + 1]
    return live


def _counted(next_use: UInt16, earlier: Int64, later: Int64, slots: int) -> int | None:
    """How many of the accesses ``later`` hit, by counting what is live; None when that is too much work."""
    length = later - earlier
    if int(length.sum()) > _MOST_WORK * len(next_use):
        return None
    hits, width = 0, 64
    while len(length):
        chosen = length <= width
        hits += _counted_within(next_use, later[chosen], length[chosen], width, slots)
        later, length = later[~chosen], length[~chosen]
        width *= 2
    return hits


def _counted_within(next_use: UInt16, later: Int64, length: Int64, width: int, slots: int) -> int:
    """``_counted`` of accesses whose keys were last used at most ``width`` accesses ago."""
    padded = np.concatenate((np.zeros(width, np.uint16), next_use))
    rows = np.lib.stride_tricks.sliding_window_view(padded, width)[later]
    live = rows >= later.astype(np.uint16)[:, None]
    live &= np.arange(width, dtype=np.uint16) >= (width - length).astype(np.uint16)[:, None]
    return int(np.count_nonzero(_true_in(live) <= slots))


def _true_in(rows: npt.NDArray[np.bool_]) -> Int64:
    """True values in each row of a power of two from 8 on; np.count_nonzero takes ten times as long."""
    words = rows.view(np.uint64)
    # Adding words adds them bytewise, up to 255 of them; the product sums up a word's pairs of bytes.
    at_once = min(words.shape[1], 128)
    sums = words.reshape(len(words), words.shape[1] // at_once, at_once).sum(axis=2)
    pairs = (sums & _EVEN_BYTES) + (sums >> np.uint64(8) & _EVEN_BYTES)
    counts: Int64 = (pairs * _PAIRS_OF_A_WORD >> np.uint64(48)).astype(np.int64).sum(axis=1)
    return counts
