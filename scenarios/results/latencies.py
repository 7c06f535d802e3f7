"""Latencies finer than a result keeps them: up to 99.999 %, and what bios of each latency were made of.

Everything is counted in the buckets of ``scenarios.results.distribution``, so memory does not grow with the
run and a latency is off by at most ``Histogram.relative_error``.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.op import ReqOp
from scenarios.results.distribution import BUCKETS, Histogram, buckets_of
from scenarios.results.records import COLUMN, Records
from scenarios.results.result import STAGES

HIGHEST_PERCENTAGE: Final = 99.999
# Bios from one percentage of the latencies to the next.
BANDS: Final = ((0.0, 50.0), (50.0, 90.0), (90.0, 99.0), (99.0, 99.9), (99.9, 100.0))
_SLOWEST: Final = 20
_POINTS_PER_NINE: Final = 24
_STAGE_COLUMNS: Final = [COLUMN[stage] for stage in STAGES]
_BY_STAGE: Final = {"read": ReqOp.READ, "write": ReqOp.WRITE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Bios whose latency lies between two percentages, and their mean stage times in ns."""

    low: float
    high: float
    bios: float
    stage_ns: dict[str, float]


class LatencyProfile:
    """Collects latencies by direction, without the first ``warmup`` bios to complete.  A ``RecordSink``."""

    def __init__(self, *, warmup: int = 0) -> None:
        self._warmup = warmup
        self._histograms = {"read": Histogram(), "write": Histogram(), "all": Histogram()}
        self._extremes: dict[str, tuple[int, int]] = {}
        self._stages = {(name, stage): Histogram() for name in _BY_STAGE for stage in STAGES}
        self._stage_ns: npt.NDArray[np.int64] = np.zeros((len(STAGES), BUCKETS), dtype=np.int64)
        self._slowest: Records = np.zeros((0, len(COLUMN)), dtype=np.int64)

    def add(self, records: Records) -> None:
        """Take a batch of records."""
        skip = min(len(records), self._warmup)
        self._warmup -= skip
        records = records[skip:]
        op = records[:, COLUMN["op"]]
        total = records[:, COLUMN["total"]]
        for name, code in _BY_STAGE.items():
            ours = records[op == code]
            self._count(name, ours[:, COLUMN["total"]])
            for stage in STAGES if len(ours) else ():
                self._stages[name, stage].add(ours[:, COLUMN[stage]])
        self._count("all", total)
        buckets = buckets_of(total)
        for row, column in enumerate(_STAGE_COLUMNS):
            # float64 weights are exact here: one batch's sums stay far below 2**53.
            sums = np.bincount(buckets, weights=records[:, column], minlength=BUCKETS)
            self._stage_ns[row] += sums.astype(np.int64)
        self._keep_slowest(records)

    def _count(self, direction: str, total: npt.NDArray[np.int64]) -> None:
        if not len(total):
            return
        self._histograms[direction].add(total)
        low, high = int(total.min()), int(total.max())
        least, most = self._extremes.get(direction, (low, high))
        self._extremes[direction] = (min(least, low), max(most, high))

    def _keep_slowest(self, records: Records) -> None:
        total = COLUMN["total"]
        if len(self._slowest) == _SLOWEST:
            records = records[records[:, total] > self._slowest[-1, total]]
        both = np.concatenate((self._slowest, records))
        # Stable: of equal ones the first to complete stays.
        self._slowest = both[np.argsort(-both[:, total], kind="stable")[:_SLOWEST]]

    @property
    def slowest(self) -> Records:
        """Records of the slowest bios, slowest first."""
        return self._slowest.copy()

    def count(self, direction: str) -> int:
        """Bios counted of ``read``, ``write`` or ``all``."""
        return int(self._histograms[direction].counts.sum())

    def cdf(self, direction: str) -> list[tuple[float, int]]:
        """(percentage, ns) from 0 % up to what the number of bios can tell, at most ``HIGHEST_PERCENTAGE``.

        Percentages are evenly spaced in the number of nines.  Empty without bios.
        """
        count = self.count(direction)
        if not count:
            return []
        low, high = self._extremes[direction]
        found = self._histograms[direction].percentiles(_percentages(count), count)
        return [(percentage, min(max(ns, low), high)) for percentage, ns in found.items()]

    def stage_cdf(self, direction: str, stage: str) -> list[tuple[float, int]]:
        """The same of the time that ``read`` or ``write`` bios spend in one stage; 0 ns for none."""
        count = self.count(direction)
        if not count:
            return []
        return list(self._stages[direction, stage].percentiles(_percentages(count), count).items())

    def percentile(self, direction: str, percentage: float) -> int | None:
        """Latency in ns at ``percentage``; None when fewer than one bio would lie above it."""
        count = self.count(direction)
        if count * (100 - percentage) < 100 * (1 - 1e-9):
            return None
        low, high = self._extremes[direction]
        return min(max(self._histograms[direction].percentiles((percentage,), count)[percentage], low), high)

    def bands(self) -> list[Band]:
        """Mean stage times of the fast half, and so on to the slowest thousandth; of all bios together."""
        counts = self._histograms["all"].counts
        total = int(counts.sum())
        upto = np.concatenate(([0], np.cumsum(counts)))
        bands = []
        for low, high in BANDS:
            begin, end = total * low / 100, total * high / 100
            # Bios of one bucket are alike, so a bucket on a border is dealt to both sides by number.
            inside = np.clip(upto[1:], begin, end) - np.clip(upto[:-1], begin, end)
            share = np.divide(inside, counts, out=np.zeros(BUCKETS), where=counts > 0)
            sums = (self._stage_ns * share).sum(axis=1)
            mean = {stage: float(ns) / max(end - begin, 1e-9) for stage, ns in zip(STAGES, sums, strict=True)}
            bands.append(Band(low=low, high=high, bios=end - begin, stage_ns=mean))
        return bands


def _percentages(count: int) -> tuple[float, ...]:
    """What ``count`` bios can tell, evenly spaced in the number of nines."""
    nines = min(5.0, math.log10(count))
    steps = max(1, math.floor(nines * _POINTS_PER_NINE))
    return tuple(100 * (1 - 10 ** (-nines * step / steps)) for step in range(steps + 1))
