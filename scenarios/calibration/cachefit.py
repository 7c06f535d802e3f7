"""A write cache, found in recorded completion times.

Behind a cache a write takes the same short time until the cache is full, and then waits for room: as long as
the bytes beyond its size take to drain.  With a drain rate supposed, the bytes in the cache at each write
follow from issue times alone, and each write that waited tells the cache's size: what was in it less what
drained while it waited.  The rate whose predictions are nearest to the recorded times is taken.

A device with a few units and no cache looks the same, with the bytes in service for the cache: but there the
whole "cache" drains in one service time.  So a cache has to take several times as long to drain.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import NS_PER_SECOND
from blkcrypto.block.op import ReqOp
from scenarios.calibration.recording import Bools, Recording
from scenarios.traces.batch import Int64

Floats = npt.NDArray[np.float64]

_FEWEST: Final = 20  # writes that waited, and writes that did not: fewer tell nothing
_EXPLAINED: Final = 0.5  # of the mean deviation from one constant time
_DRAINS_LONGER: Final = 4  # than accepting a write takes
_SLOW: Final = 3  # times the usual time of a write: it may have waited
_STEPS: Final = 96  # rates tried between a quarter of the mean rate and 2**10 of it
_FINE_STEPS: Final = 35  # between one of these and its neighbours: half a percent apart
_SEARCH_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFit:
    """A write cache.

    Attributes:
        nbytes: its size.
        drain_per_s: bytes per second that leave it.
        write_ns: accepting a write while there is room.
        rows: writes it was fitted to, of which ``waited`` waited for room.
        explained: share of the writes' mean deviation from one constant time that it accounts for.
    """

    nbytes: int
    drain_per_s: int
    write_ns: int
    rows: int
    waited: int
    explained: float


def fit_cache(recording: Recording, judged: Bools) -> CacheFit | None:
    """The cache that a recording's writes went through; None where they do not show one.

    Args:
        judged: the requests to judge by; the others only fill the cache.
    """
    writes = np.flatnonzero(recording.op == ReqOp.WRITE)[:_SEARCH_ROWS]
    judged = judged[writes]
    if judged.sum() < 2 * _FEWEST:
        return None
    issued, nbytes = recording.issued_ns[writes], recording.nbytes[writes]
    took = recording.latency_ns[writes].astype(np.float64)
    mean_per_ns = float(nbytes.sum()) / max(1, int(issued[-1] - issued[0]))

    def best_of(rates: Floats) -> CacheFit | None:
        tried = (_with_rate(rate, _filled(issued, nbytes, rate)[judged], took[judged]) for rate in rates)
        return max((fit for fit in tried if fit is not None), key=lambda fit: fit.explained, default=None)

    best = best_of(mean_per_ns * np.geomspace(0.25, 1024, _STEPS))
    if best is not None:
        best = best_of(best.drain_per_s / NS_PER_SECOND * np.geomspace(0.92, 1.09, _FINE_STEPS))
    return best if best is not None and best.explained >= _EXPLAINED else None


def _filled(issued: Int64, nbytes: Int64, per_ns: float) -> Floats:
    """Bytes in the cache and before it when each write has come, were all of them let in."""
    # A bucket that never overflows: the highest level of "came in less drained" since it was last empty.
    came = np.cumsum(nbytes, dtype=np.float64)
    drained = (issued - issued[0]) * per_ns
    before = came - nbytes - drained
    lowest = np.minimum.accumulate(before)
    filled: Floats = came - drained - np.minimum(lowest, 0)
    return filled


def _with_rate(per_ns: float, filled: Floats, took: Floats) -> CacheFit | None:
    """The best cache that drains at this rate."""
    usual = float(np.percentile(took, 25))
    slow = took > _SLOW * usual
    if min(slow.sum(), (~slow).sum()) < _FEWEST:
        return None
    size = float(np.median(filled[slow] - (took[slow] - usual) * per_ns))
    waits = np.maximum(filled - size, 0) / per_ns
    waited = waits > 0
    if min(waited.sum(), (~waited).sum()) < _FEWEST or size < _DRAINS_LONGER * usual * per_ns:
        return None
    usual = float(np.median(took[~waited]))
    left = np.abs(took - usual - waits).mean()
    constant = np.abs(took - np.median(took)).mean()
    return CacheFit(
        nbytes=round(size),
        drain_per_s=round(per_ns * NS_PER_SECOND),
        write_ns=round(usual),
        rows=len(took),
        waited=int(waited.sum()),
        explained=1 - float(left / constant),
    )
