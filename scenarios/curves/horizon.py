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
_BYTES_OF_A_WORD: Final = np.uint64(0x0101010101010101)


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
    step = 1 << bits
    width = -(-_WINDOW * slots // step) * step
    places = np.arange(-(-len(next_use) // step) + 1) * step
    # Before the block nothing is live: 0 is no next use of anything.
    padded = np.zeros(width + int(places[-1]), np.uint16)
    padded[width : width + len(next_use)] = next_use
    windows = np.lib.stride_tricks.as_strided(padded, (len(places), width), (step * 2, 2), writeable=False)
    live = windows >= np.clip(places, 1, int(_NEVER)).astype(np.uint16)[:, None]
    # Eight truth values are one word; adding words adds them bytewise, and the product sums a word's bytes.
    words = live.view(np.uint64).reshape(len(places), width // step, step // 8)
    sums = words[..., 0].copy()
    for word in range(1, step // 8):
        sums += words[..., word]
    counts = (sums * _BYTES_OF_A_WORD >> np.uint64(56)).astype(np.int64)
    enough = np.cumsum(counts[:, ::-1], axis=1) >= slots
    back = np.argmax(enough, axis=1)
    found = enough[np.arange(len(places)), back]
    low = places - (back + 1) * step
    high = np.where(found, low + step, places - width)
    return np.where(found, low, 0), np.maximum(high, 0)


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
    return int(np.count_nonzero(np.count_nonzero(live, axis=1) <= slots))
