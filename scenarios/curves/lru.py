"""An LRU keyslot table of one size: faster than the curve of all sizes at once, and as exact."""

import numpy as np

from scenarios.curves.horizon import MOST_SLOTS, hits_of
from scenarios.curves.reuse import BLOCK, Int64, KeyBlocks, LruCurve


class LruTable:
    """Hits of an LRU table of ``slots`` keyslots."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._hits = 0
        self._recent: Int64 = np.empty(0, np.int64)
        self._blocks = KeyBlocks(BLOCK - min(slots, MOST_SLOTS))
        self._curve = LruCurve(slots) if slots > MOST_SLOTS else None

    @property
    def accesses(self) -> int:
        """Keys added so far."""
        return self._blocks.accesses if self._curve is None else self._curve.accesses

    def add(self, keys: Int64) -> None:
        """Use ``keys``, ``int64[n]`` from 0 on, in this order."""
        if self._curve is not None:
            self._curve.add(keys)
            return
        for block in self._blocks.add(keys):
            self._use(block)

    def hits(self) -> int:
        """Hits so far."""
        if self._curve is not None:
            return int(self._curve.hits()[-1])
        for block in self._blocks.rest():
            self._use(block)
        return self._hits + self._blocks.repeats

    def _use(self, keys: Int64) -> None:
        hits, self._recent = hits_of(self._recent, keys, self._slots)
        self._hits += hits
