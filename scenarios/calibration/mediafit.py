"""A media model fitted to a recording: parallelism, service times by size and direction, their distribution.

1. Write cache (``cachefit``): where writes show one, the rest is fitted to what passes it.
2. Parallelism: of all candidates, those whose service times depend on load hardly more than the best one's
   (``servicetimes.dependence``); among them the simplest, that is the fewest units.
3. Size: a straight line through the median service time of each size.
4. Distribution of what remains: deterministic or exponential where the recording is indistinguishable from
   that, else its own quantiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import NS_PER_SECOND
from blkcrypto.block.op import ReqOp
from hwmodel.device import Quantiles, ServiceShape
from scenarios.calibration.cachefit import CacheFit, fit_cache
from scenarios.calibration.recording import Bools, Recording
from scenarios.calibration.servicetimes import ServiceTimes, Structure, dependence, service_times
from scenarios.traces.batch import Int64

Floats = npt.NDArray[np.float64]

PERCENTS: Final = (
    *(0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90),
    *(95, 96, 97, 98, 98.5, 99, 99.5, 99.9, 100),
)
_UNITS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_STRIPED_UNITS: Final = (2, 4, 8, 16, 32, 64)
_STRIPES: Final = tuple(1 << bits for bits in range(12, 21))
_SEARCH_ROWS: Final = 20_000
# A more complex structure has to lower the dependence by more than this, and by more than a fifth.
_NOISE: Final = 0.02
_WORTH: Final = 1.25
_SIZE_ROWS: Final = 20  # fewer requests of a size do not say where their median is
_FEWEST_ROWS: Final = 10  # fewer of an operation say nothing about it
_MOST_SIZES: Final = 32
_NARROW: Final = 0.02  # spread, as a share of the median, that counts as none


@dataclass(frozen=True, slots=True, kw_only=True)
class OpFit:
    """Service time of one operation's pieces: a random fixed part and a straight line by size.

    Attributes:
        rows: requests it was fitted to.
        sizes: different sizes among them; one does not tell a rate.
        fixed_ns: mean of the fixed part.
        per_s: rate of the size-dependent part; 0 for none.
        quantiles: (percent, ns) of the fixed part.
    """

    rows: int
    sizes: tuple[int, ...]
    fixed_ns: int
    per_s: int
    quantiles: tuple[tuple[float, int], ...]

    def table(self, source: str) -> Quantiles:
        """The quantiles, to put into a device."""
        return Quantiles(self.quantiles, source)


@dataclass(frozen=True, slots=True)
class MediaFit:
    """The fitted model.

    Attributes:
        structure: parallelism.
        dependence: what it leaves, see ``servicetimes.dependence``.
        most_in_flight: requests in flight at once in the recording; 1 tells nothing about parallelism.
        shape: distribution of service times.
        ops: by operation; missing where the recording has too few, and writes where they go through a cache.
        cache: what writes go through; None where they show none.
    """

    structure: Structure
    dependence: float
    most_in_flight: int
    shape: ServiceShape
    ops: dict[ReqOp, OpFit]
    cache: CacheFit | None = None


def fit_media(recording: Recording) -> MediaFit:
    """Fit to what is not held back; what is leaves gaps, as pauses would.

    Writes that go through a cache tell nothing of the flash but its rate, so the rest is fitted without them.
    """
    settled = recording.settled
    cache = fit_cache(recording, settled)
    used = ~recording.held_back
    if cache is not None:
        used &= recording.op != ReqOp.WRITE
    settled, recording = settled[used], recording.take(used)
    if not settled.any():
        return MediaFit(Structure(1), 0.0, 1, "deterministic", {}, cache)
    structure, left = _best_structure(recording, settled)
    times = service_times(recording, structure)
    usable = settled & (times.service_ns > 0)
    ops: dict[ReqOp, OpFit] = {}
    normed: list[Floats] = []
    for op in (ReqOp.READ, ReqOp.WRITE, ReqOp.FLUSH, ReqOp.DISCARD):
        rows = usable & (recording.op == op)
        if (rows & times.whole).sum() >= _FEWEST_ROWS:
            rows &= times.whole
        if rows.sum() >= _FEWEST_ROWS:
            ops[op], ratio = _fit_op(times, rows)
            if op in (ReqOp.READ, ReqOp.WRITE):
                normed.append(ratio)
    return MediaFit(
        structure=structure,
        dependence=left,
        most_in_flight=int(recording.in_flight.max()) + 1,
        shape=_shape(normed),
        ops=ops,
        cache=cache,
    )


def _candidates(most_in_flight: int) -> Iterator[Structure]:
    """Simplest first."""
    for units in _UNITS:
        if units > most_in_flight:
            return
        yield Structure(units)
        if units in _STRIPED_UNITS:
            for stripe in reversed(_STRIPES):
                yield Structure(units, stripe)


def _best_structure(recording: Recording, settled: Bools) -> tuple[Structure, float]:
    sample, judged = recording.take(np.arange(len(recording)) < _SEARCH_ROWS), settled[:_SEARCH_ROWS]
    in_flight = sample.in_flight
    tried = [
        (structure, dependence(sample, service_times(sample, structure), in_flight, judged))
        for structure in _candidates(int(in_flight.max()) + 1)
    ]
    allowed = min(left for _, left in tried) * _WORTH + _NOISE
    return next((structure, left) for structure, left in tried if left <= allowed)


def _fit_op(times: ServiceTimes, rows: Bools) -> tuple[OpFit, Floats]:
    """The fit, and service times as multiples of their mean at their size."""
    service, nbytes = times.service_ns[rows], times.piece_bytes[rows]
    slope = _slope(nbytes, service)
    fixed = np.maximum(service - slope * nbytes, 1)
    points = np.rint(np.percentile(fixed, PERCENTS)).astype(np.int64)
    fit = OpFit(
        rows=len(service),
        sizes=tuple(np.unique(nbytes).tolist()),
        fixed_ns=round(float(fixed.mean())),
        per_s=round(NS_PER_SECOND / slope) if slope > 0 else 0,
        quantiles=tuple(zip(map(float, PERCENTS), np.maximum.accumulate(points).tolist(), strict=True)),
    )
    return fit, service / (fit.fixed_ns + slope * nbytes)


def _slope(nbytes: Int64, service: Int64) -> float:
    """ns per byte of the line through the medians by size, weighted by how many stand behind each."""
    bins = nbytes
    if len(np.unique(nbytes)) > _MOST_SIZES:
        bins = np.rint(4 * np.log2(np.maximum(nbytes, 1))).astype(np.int64)
    sizes, medians, weights = [], [], []
    for each, count in zip(*np.unique(bins, return_counts=True), strict=True):
        if count >= _SIZE_ROWS:
            of_size = bins == each
            sizes.append(float(nbytes[of_size].mean()))
            medians.append(float(np.median(service[of_size])))
            weights.append(float(count))
    if len(sizes) < 2:
        return 0.0
    x, y, weight = np.array(sizes), np.array(medians), np.array(weights) / sum(weights)
    centred = x - weight @ x
    slope = float((weight * centred) @ y / ((weight * centred) @ centred))
    # Less than a nanosecond for the largest is nothing, and so are larger requests that are quicker.
    return slope if slope * x.max() >= 1 else 0.0


def _shape(normed: list[Floats]) -> ServiceShape:
    """Simplest distribution that the service times, as multiples of their mean, do not rule out."""
    if all(np.ptp(np.percentile(ratio, (1, 99))) <= _NARROW for ratio in normed):
        return "deterministic"
    if all(_exponential_distance(ratio) <= 1.36 / np.sqrt(len(ratio)) for ratio in normed):
        return "exponential"
    return "empirical"


def _exponential_distance(ratio: Floats) -> float:
    """Kolmogorov and Smirnov's distance; 1.36 / sqrt(n) is its 5 % bound."""
    steps = np.arange(1, len(ratio) + 1) / len(ratio)
    expected = 1 - np.exp(-np.sort(ratio))
    return float(max((steps - expected).max(), (expected - steps).max() + 1 / len(ratio)))
