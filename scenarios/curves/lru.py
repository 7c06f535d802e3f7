"""An LRU keyslot table of one size, as fast as it goes.

With numba it is a linked list in arrays, one step per access.  Without, the curve for all sizes at once
(``scenarios.curves.reuse``) is the fastest way there is, and the wanted size is read from it.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from scenarios.compiled import compiled
from scenarios.curves.reuse import LruCurve

Int64 = npt.NDArray[np.int64]
_Use = Callable[[Int64, int, Int64, Int64, Int64], int]

_NONE = -1
_ABSENT = -2


class LruTable:
    """Hits of an LRU table of ``slots`` keyslots.

    Attributes:
        accesses: keys added so far.
    """

    def __init__(self, slots: int) -> None:
        self.accesses = 0
        self._slots = slots
        self._hits = 0
        self._use: _Use | None = compiled(use_keys)
        self._curve = LruCurve(slots) if self._use is None else None
        self._older: Int64 = np.full(1024, _ABSENT, np.int64)
        self._newer: Int64 = np.full(1024, _NONE, np.int64)
        self._ends: Int64 = np.array([_NONE, _NONE, 0], np.int64)

    def add(self, keys: Int64) -> None:
        """Use ``keys``, ``int64[n]``, numbered densely from 0 on, in this order."""
        self.accesses += len(keys)
        if self._use is None:
            assert self._curve is not None
            self._curve.add(keys)
            return
        missing = int(keys.max(initial=0)) + 1 - len(self._older)
        if missing > 0:
            grow = max(missing, len(self._older))
            self._older = np.append(self._older, np.full(grow, _ABSENT, np.int64))
            self._newer = np.append(self._newer, np.full(grow, _NONE, np.int64))
        self._hits += self._use(keys, self._slots, self._older, self._newer, self._ends)

    def hits(self) -> int:
        """Hits so far."""
        return self._hits if self._curve is None else int(self._curve.hits()[-1])


def use_keys(keys: Int64, slots: int, older: Int64, newer: Int64, ends: Int64) -> int:
    """Use ``keys`` in order.

    Args:
        older: by key, the key in the table used just before it; ``_NONE`` for the oldest, ``_ABSENT`` for a
            key that is not in the table.
        newer: by key, the key in the table used just after it; ``_NONE`` for the newest.
        ends: the newest key, the oldest, and how many there are.

    Returns:
        Hits.
    """
    newest, oldest, held = ends
    hits = 0
    for key in keys:
        if key == newest:
            hits += 1
            continue
        if older[key] != _ABSENT:
            hits += 1
            before, after = older[key], newer[key]
            older[after] = before
            if before == _NONE:
                oldest = after
            else:
                newer[before] = after
        elif held == slots:
            victim = oldest
            oldest = newer[victim]
            older[victim] = _ABSENT
            if oldest == _NONE:
                newest = _NONE
            else:
                older[oldest] = _NONE
        else:
            held += 1
        older[key], newer[key] = newest, _NONE
        if newest == _NONE:
            oldest = key
        else:
            newer[newest] = key
        newest = key
    ends[0], ends[1], ends[2] = newest, oldest, held
    return hits
