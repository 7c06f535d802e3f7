"""Distributions of a measured quantity, built from batches in bounded memory.

Percentiles come from all values until there are too many to keep; from then on from a log-linear histogram
(fio's kind) with ``2**SUBBUCKET_BITS`` buckets per power of two.  Counts of equal buckets are merged by
addition, so a result does not depend on the order of batches.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from scenarios.results.result import PERCENTILES, Distribution

EXACT_VALUES: Final = 1_000_000
SUBBUCKET_BITS: Final = 9
_SHIFT: Final = 52 - SUBBUCKET_BITS  # a float64 has 52 bits of mantissa
# Bucket 0 is the value 0; bucket 1 begins at the float 1.0.
_FIRST_KEY: Final = (int(np.float64(1.0).view(np.int64)) >> _SHIFT) - 1
_FEW_T975: Final = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
BUCKETS: Final = 63 * (1 << SUBBUCKET_BITS) + 2

Values = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def buckets_of(values: Values) -> Values:
    """Bucket of each of ``int64[n]``, ``>= 0``: less than ``BUCKETS``, never falling with the value."""
    return _buckets_in_place(values.astype(np.float64))


def _buckets_in_place(floats: Floats) -> Values:
    keys: Values = floats.view(np.int64)
    keys >>= _SHIFT
    keys -= _FIRST_KEY
    return np.maximum(keys, 0, out=keys)


class Histogram:
    """Counts per bucket of non-negative integers; percentiles are off by at most ``relative_error``."""

    relative_error: Final = 2.0 ** -(SUBBUCKET_BITS + 1)

    def __init__(self) -> None:
        self.counts: Values = np.zeros(BUCKETS, dtype=np.int64)

    def add(self, values: Values) -> None:
        """Count ``int64[n]``."""
        self.add_in_place(values.astype(np.float64))

    def add_in_place(self, floats: Floats) -> None:
        """Count ``float64[n]``, which is overwritten."""
        counts = np.bincount(_buckets_in_place(floats))
        self.counts[: len(counts)] += counts

    def percentiles(self, percentages: tuple[float, ...], total: int) -> dict[float, int]:
        """Middle of the bucket in which each percentile lies."""
        upto = np.cumsum(self.counts)
        ranks = [max(1, math.ceil(percentage / 100 * total)) for percentage in percentages]
        buckets = np.searchsorted(upto, ranks).tolist()
        return {percentage: _middle(bucket) for percentage, bucket in zip(percentages, buckets, strict=True)}


def _middle(bucket: int) -> int:
    if bucket == 0:
        return 0
    edges = (np.array([bucket, bucket + 1], dtype=np.int64) + _FIRST_KEY << _SHIFT).view(np.float64)
    return int(edges.mean())


class BatchMeans:
    """Confidence interval of the mean of correlated values: the spread of the means of long batches.

    Keeps 32 to 64 batches; when there are 64, neighbours are joined and batches are twice as long.
    """

    _FEWEST: Final = 32

    def __init__(self) -> None:
        self._length = 1
        self._sums: list[int] = []
        self._rest = 0  # sum of the batch that is not full, and of how many values
        self._rest_count = 0

    def add(self, values: Values, total: int) -> None:
        """Add ``int64[n]``, whose sum is ``total``, in the order they were measured."""
        while len(self._sums) + (self._rest_count + len(values)) // self._length >= 2 * self._FEWEST:
            self._join_neighbours()
        missing = self._length - self._rest_count
        if len(values) < missing:
            self._rest += total
            self._rest_count += len(values)
            return
        self._sums.append(self._rest + int(values[:missing].sum()))
        values = values[missing:]
        whole = len(values) // self._length * self._length
        self._sums.extend(values[:whole].reshape(-1, self._length).sum(axis=1).tolist())
        self._rest = int(values[whole:].sum())
        self._rest_count = len(values) - whole

    def _join_neighbours(self) -> None:
        if len(self._sums) % 2:  # one without a neighbour is not full any more
            self._rest += self._sums.pop()
            self._rest_count += self._length
        self._sums = [first + second for first, second in zip(*[iter(self._sums)] * 2, strict=True)]
        self._length *= 2

    def halfwidth95(self) -> float:
        """Half the 95 % confidence interval of the mean; 0 when there are too few values to say."""
        if len(self._sums) < self._FEWEST // 2 or self._length < 2:
            return 0.0
        means = np.array(self._sums) / self._length
        return student_t975(len(means) - 1) * float(means.std(ddof=1)) / math.sqrt(len(means))


def student_t975(freedom: int) -> float:
    """0.975 quantile of Student's t, by its expansion around the normal (Abramowitz and Stegun 26.7.5).

    It is no good for few degrees of freedom, which have a table (26.10).
    """
    if freedom in _FEW_T975:
        return _FEW_T975[freedom]
    z = 1.959963984540054
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


class DistributionBuilder:
    """Collects values of one quantity and one kind of bio."""

    def __init__(self) -> None:
        self._count = 0
        self._min = 0
        self._max = 0
        self._sum = 0
        self._squares = 0.0
        self._kept: list[Values] = []
        self._histogram: Histogram | None = None
        self._means = BatchMeans()

    def add(self, values: Values) -> None:
        """Add ``int64[n]``, ``>= 0``, in the order they were measured."""
        if not len(values):
            return
        least, most, total = int(values.min()), int(values.max()), int(values.sum())
        self._min = min(self._min, least) if self._count else least
        self._max = max(self._max, most)
        self._count += len(values)
        self._sum += total
        self._means.add(values, total)
        if most:  # all zero is what many stages are
            floats = values.astype(np.float64)
            self._squares += float(np.square(floats).sum())
        if self._histogram is not None:
            if most:
                self._histogram.add_in_place(floats)
            else:
                self._histogram.counts[0] += len(values)
            return
        self._kept.append(values.copy() if most else np.broadcast_to(np.int64(0), len(values)))
        if self._count > EXACT_VALUES:
            self._histogram = Histogram()
            for kept in self._kept:
                self._histogram.add(kept)
            self._kept.clear()

    @property
    def total(self) -> int:
        """Sum of all values."""
        return self._sum

    def result(self) -> Distribution:
        """The distribution so far."""
        if not self._count:
            return Distribution(N=0, min=0, max=0, mean=0.0, stddev=0.0, mean_halfwidth95=0.0, percentile={})
        mean = self._sum / self._count
        return Distribution(
            N=self._count,
            min=self._min,
            max=self._max,
            mean=mean,
            stddev=math.sqrt(max(0.0, self._squares / self._count - mean * mean)),
            mean_halfwidth95=self._means.halfwidth95(),
            percentile=self._percentiles(),
            relative_error=0.0 if self._histogram is None else Histogram.relative_error,
        )

    def _percentiles(self) -> dict[float, int]:
        if self._min == self._max:
            return dict.fromkeys(PERCENTILES, self._min)
        if self._histogram is not None:
            return self._histogram.percentiles(PERCENTILES, self._count)
        ranks = [max(1, math.ceil(percentage / 100 * self._count)) - 1 for percentage in PERCENTILES]
        ordered = np.partition(np.concatenate(self._kept), sorted(set(ranks)))  # in its place at each rank
        return dict(zip(PERCENTILES, ordered[ranks].tolist(), strict=True))
