"""The LRU curve from a sample of a huge trace, with its error.

The usual sample, all accesses of some keys (SHARDS), tells distances only in steps of one over the share: one
key in a hundred says nothing about fewer than a hundred keyslots, and controllers have 16 or 32.  So the
sample here is one of stretches of the trace.  Each stretch is counted exactly, for every number of slots, for
the keys used last before it are always known; a stretch left out is only looked at from its end, as far
back as those keys need.  What is saved is nearly all of the work on the stretches left out.

The trace is cut into stretches of ``STRETCH_ROWS`` rows, ``1 / share`` of them make a group, and one of each
group is drawn.  The miss ratio is misses by accesses in the stretches drawn, and its error is that of a
ratio of sums over independent draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from scenarios.curves.reuse import distances, recent_keys
from scenarios.traces.batch import BATCH_ROWS, TraceBatch

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
KeysOf = Callable[[TraceBatch], Int64]

STRETCH_ROWS: Final = 8192
# With fewer, the error itself would be a guess.
FEWEST_STRETCHES: Final = 20
_FIRST_LOOK_ROWS: Final = 512
_NORMAL975: Final = 1.959963984540054

assert BATCH_ROWS % STRETCH_ROWS == 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampledHits:
    """What a sample says.

    Attributes:
        stretches: stretches drawn.
        accesses: accesses in them.
        hits: ``int64[most]``, hits among those accesses with 1, 2, ... slots.
        halfwidth95: ``float64[most]``, half the 95 % confidence interval of the hit ratio.
    """

    stretches: int
    accesses: int
    hits: Int64
    halfwidth95: Float64


class SampledCurve:
    """Draws stretches, and counts those drawn.

    Args:
        most: keyslots, as in ``LruCurve``.
        share: of the trace that is counted, above 0 and below 1.
        keys_of: keys used by a batch of rows, in order.
    """

    def __init__(self, most: int, share: float, rng: np.random.Generator, keys_of: KeysOf) -> None:
        self._most = most
        self._group = max(2, round(1 / share))
        self._rng = rng
        self._keys_of = keys_of
        self._recent: Int64 = np.empty(0, np.int64)
        self._seen = self._drawn = 0
        self._counted: list[Int64] = []
        self._accesses: list[int] = []

    def add(self, batch: TraceBatch) -> None:
        """Take the next rows of the trace."""
        for start in range(0, len(batch), STRETCH_ROWS):
            stretch = batch.slice(start, start + STRETCH_ROWS)
            if self._seen % self._group == 0:
                self._drawn = self._seen + int(self._rng.integers(self._group))
            if self._seen == self._drawn:
                self._count(self._keys_of(stretch))
            else:
                self._recent = self._look_back(stretch)
            self._seen += 1

    def _count(self, keys: Int64) -> None:
        histogram, self._recent = distances(self._recent, keys, self._most)
        self._counted.append(np.cumsum(histogram))
        self._accesses.append(len(keys))

    def _look_back(self, stretch: TraceBatch) -> Int64:
        """The keys used last after ``stretch``, from as little of its end as will do."""
        for recent in self._looks(stretch):
            if len(recent) == self._most:
                return recent
        return recent_keys(self._recent, recent, self._most)

    def _looks(self, stretch: TraceBatch) -> Iterator[Int64]:
        """The keys used last in longer and longer ends of ``stretch``."""
        recent: Int64 = np.empty(0, np.int64)
        end, rows = len(stretch), max(_FIRST_LOOK_ROWS, 2 * self._most)
        while end > 0:
            start = max(0, end - rows)
            recent = recent_keys(self._keys_of(stretch.slice(start, end)), recent, self._most)
            yield recent
            end, rows = start, 2 * rows

    def result(self) -> SampledHits:
        """What the sample says of the rows taken so far."""
        hits = np.array(self._counted, np.int64).reshape(-1, self._most)
        accesses = np.array(self._accesses, np.int64)
        return SampledHits(
            stretches=len(accesses),
            accesses=int(accesses.sum()),
            hits=hits.sum(axis=0),
            halfwidth95=_halfwidth95(hits, accesses, 1 - 1 / self._group),
        )


def _halfwidth95(hits: Int64, accesses: Int64, left_out: float) -> Float64:
    """Half the 95 % confidence interval of ``hits.sum(0) / accesses.sum()``; infinite for too few draws.

    The ratio estimator's variance (Cochran 1977, section 6.4), with the correction for a finite population.
    """
    draws, total = len(accesses), int(accesses.sum())
    if draws < FEWEST_STRETCHES or not total:
        return np.full(hits.shape[1], np.inf)
    residuals = hits - hits.sum(axis=0) / total * accesses[:, None]
    variance = left_out * draws / (draws - 1) * np.square(residuals).sum(axis=0)
    # Student's t by the first terms of its expansion (Abramowitz and Stegun 26.7.5).
    z, freedom = _NORMAL975, draws - 1
    t = z + (z**3 + z) / (4 * freedom)
    halfwidth: Float64 = t * np.sqrt(variance) / total
    return halfwidth
