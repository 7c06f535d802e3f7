"""All bios of several runs together: distributions that add up.

Percentiles of runs cannot be averaged.  So a point of a sweep also leaves, of each quantity, the counts of a
log-linear histogram (``scenarios.results.distribution``), and its values' number, sum and extremes.  Adding
these gives what one histogram over all bios would have counted: a pooled percentile is off by at most
``Histogram.relative_error`` however many runs were pooled, and number, extremes and mean are exact.
"""

import base64
import math
import zlib
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from blkcrypto.block.op import ReqOp
from scenarios.results.distribution import Histogram
from scenarios.results.records import COLUMN, Records
from scenarios.results.result import DEVICE_STAGES, KEYSLOT_STAGES, PERCENTILES, Distribution

Int64 = npt.NDArray[np.int64]

DIRECTIONS: Final = ("read", "write", "all")
# As in ``DirectionResult``; each is the sum of these columns of a record.
QUANTITIES: Final = {
    "lat_ns": ("total",),
    "keyslot_wait_ns": KEYSLOT_STAGES,
    "cpu_crypto_ns": ("cpu_crypto",),
    "device_ns": DEVICE_STAGES,
}


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A ``Spread`` for a file.

    Attributes:
        counts: base64 of zlib of the buckets that are not empty (``uint16``, little-endian) and then of their
            counts (``uint64``).
    """

    N: int
    min: int
    max: int
    sum: int
    squares: float
    counts: str


class Spread:
    """Values of one quantity, as far as they add up."""

    def __init__(self) -> None:
        self._count = self._sum = self._max = 0
        self._min: int | None = None
        self._squares = 0.0
        self._histogram = Histogram()

    def add(self, values: Int64) -> None:
        """Add ``int64[n]``, ``>= 0``."""
        if not len(values):
            return
        squares = float(np.square(values, dtype=np.float64).sum())
        self._extend(len(values), int(values.min()), int(values.max()), int(values.sum()), squares)
        self._histogram.add(values)

    def _extend(self, count: int, low: int, high: int, total: int, squares: float) -> None:
        self._min = low if self._min is None else min(self._min, low)
        self._max = max(self._max, high)
        self._count += count
        self._sum += total
        self._squares += squares

    def merge(self, packed: Packed) -> None:
        """Add the values that ``packed`` stands for."""
        if not packed.N:
            return
        self._extend(packed.N, packed.min, packed.max, packed.sum, packed.squares)
        content = zlib.decompress(base64.b64decode(packed.counts))
        buckets = len(content) // 10
        at = np.frombuffer(content, "<u2", buckets)
        self._histogram.counts[at] += np.frombuffer(content, "<u8", buckets, 2 * buckets).astype(np.int64)

    def packed(self) -> Packed:
        """What ``merge`` takes."""
        at = np.flatnonzero(self._histogram.counts)
        content = at.astype("<u2").tobytes() + self._histogram.counts[at].astype("<u8").tobytes()
        return Packed(
            N=self._count,
            min=self._min or 0,
            max=self._max,
            sum=self._sum,
            squares=self._squares,
            counts=base64.b64encode(zlib.compress(content)).decode("ascii"),
        )

    def distribution(self) -> Distribution:
        """All values together; without a confidence interval, which pooled runs do not give."""
        mean = self._sum / self._count if self._count else 0.0
        variance = self._squares / self._count - mean * mean if self._count else 0.0
        return Distribution(
            N=self._count,
            min=self._min or 0,
            max=self._max,
            mean=mean,
            stddev=math.sqrt(max(0.0, variance)),
            mean_halfwidth95=0.0,
            percentile=self._percentiles(),
            relative_error=Histogram.relative_error,
        )

    def _percentiles(self) -> dict[float, int]:
        if self._min is None:
            return {}
        found = self._histogram.percentiles(PERCENTILES, self._count)
        return {percentage: min(max(value, self._min), self._max) for percentage, value in found.items()}


class Pool:
    """Collects a run's bios (a ``RecordSink``), less the first ``warmup`` to complete, and other pools'."""

    def __init__(self, *, warmup: int = 0) -> None:
        self._warmup = warmup
        self._spreads = {
            direction: {quantity: Spread() for quantity in QUANTITIES} for direction in DIRECTIONS
        }

    def add(self, records: Records) -> None:
        """Take a batch of records."""
        skip = min(len(records), self._warmup)
        self._warmup -= skip
        records = records[skip:]
        op = records[:, COLUMN["op"]]
        parts = {"read": op == ReqOp.READ, "write": op == ReqOp.WRITE}
        for quantity, names in QUANTITIES.items():
            values: Int64 = records[:, [COLUMN[name] for name in names]].sum(axis=1)
            self._spreads["all"][quantity].add(values)
            for direction, part in parts.items():
                self._spreads[direction][quantity].add(values[part])

    def merge(self, packed: dict[str, dict[str, Packed]]) -> None:
        """Add another pool's values."""
        for direction, spreads in self._spreads.items():
            for quantity, spread in spreads.items():
                spread.merge(packed[direction][quantity])

    def packed(self) -> dict[str, dict[str, Packed]]:
        """Direction -> quantity -> what ``merge`` takes."""
        return {
            direction: {quantity: spread.packed() for quantity, spread in spreads.items()}
            for direction, spreads in self._spreads.items()
        }

    def distributions(self) -> dict[str, dict[str, Distribution]]:
        """Direction -> quantity -> all values together."""
        return {
            direction: {quantity: spread.distribution() for quantity, spread in spreads.items()}
            for direction, spreads in self._spreads.items()
        }
