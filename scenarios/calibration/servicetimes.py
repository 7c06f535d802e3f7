"""From issue and completion times back to service times, for a supposed parallelism.

Rule: units serve in the order of arrival.  So a request began at the later of its issue and the moment its
unit finished what came before, and both are recorded.  No distribution has to be supposed.

When the supposition is right, a service time does not depend on how busy the device was.  When it has too
few units, requests overtake what they should have waited for; with too many, waiting is taken for service,
and busy times look slow.  ``dependence`` measures both.
"""

from dataclasses import dataclass
from heapq import heapreplace
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from scenarios.calibration.recording import Bools, Recording
from scenarios.traces.batch import Int64

WHOLE: Final = 0
"""Stripe of requests that any idle unit serves whole."""

_GROUP_ROWS: Final = 50  # fewer of one kind tell nothing about dependence
_NOT_JUDGED: Final = -1
_LEARN: Final = 0.02  # weight of the newest piece in a running mean


@dataclass(frozen=True, slots=True)
class Structure:
    """A supposed parallelism: ``stripe_bytes`` is ``WHOLE``, or addresses choose the unit."""

    units: int
    stripe_bytes: int = WHOLE


@dataclass(frozen=True, slots=True, eq=False)
class ServiceTimes:
    """Of each request of a recording, under one structure.

    Attributes:
        service_ns: ``int64``, of its last piece; not above 0 where the structure contradicts the recording.
        piece_bytes: ``int64``, size of its largest piece.
        waited: it had to wait for a unit.
        whole: it is one piece, so its service time is exact.
    """

    service_ns: Int64
    piece_bytes: Int64
    waited: Bools
    whole: Bools


def service_times(recording: Recording, structure: Structure) -> ServiceTimes:
    """What each request's service took if the device is like ``structure``."""
    if structure.stripe_bytes == WHOLE:
        return _any_idle_unit(recording, structure.units)
    return _striped(recording, structure)


def _any_idle_unit(recording: Recording, units: int) -> ServiceTimes:
    free = [0] * units
    began = []
    for issued, done in zip(recording.issued_ns.tolist(), recording.done_ns.tolist(), strict=True):
        idle = free[0]
        began.append(issued if issued > idle else idle)
        heapreplace(free, done if done > idle else idle)
    start = np.array(began, dtype=np.int64)
    return ServiceTimes(
        recording.done_ns - start,
        recording.nbytes,
        start > recording.issued_ns,
        np.ones(len(recording), dtype=np.bool_),
    )


def _striped(recording: Recording, structure: Structure) -> ServiceTimes:
    """Pieces of a cut request end unseen, but for the last: they are taken to last as long as others do."""
    units, stripe = structure.units, structure.stripe_bytes
    first = (recording.sector << SECTOR_SHIFT) // stripe
    last = ((recording.sector << SECTOR_SHIFT) + np.maximum(recording.nbytes, 1) - 1) // stripe
    free = [0] * units
    usual: dict[int, float] = {}
    began = []
    columns = (recording.issued_ns, recording.done_ns, recording.op, first, last)
    for issued, done, op, low, high in zip(*(column.tolist() for column in columns), strict=True):
        if low == high:
            unit = low % units
            start = max(issued, free[unit])
            free[unit] = max(free[unit], done)
            known = usual.setdefault(op, float(done - start))
            usual[op] = known + (done - start - known) * _LEARN
        else:
            chosen = {index % units for index in range(low, min(high + 1, low + units))}
            starts = {unit: max(issued, free[unit]) for unit in chosen}
            start = max(starts.values())
            likely = int(usual.get(op, done - start))
            for unit, at in starts.items():
                free[unit] = max(free[unit], min(done, at + likely))
        began.append(start)
    start_ns = np.array(began, dtype=np.int64)
    return ServiceTimes(
        recording.done_ns - start_ns,
        np.where(first == last, recording.nbytes, stripe),
        start_ns > recording.issued_ns,
        first == last,
    )


def dependence(recording: Recording, times: ServiceTimes, in_flight: Int64, judged: Bools) -> float:
    """How much service times depend on load: 0 for not at all.

    The share of contradictions, plus the rank correlation (Spearman's, without its sign) of service times
    with the number of requests in flight or with having waited, whichever is stronger; taken among requests
    of one operation and size, and averaged over them.  Only ``judged`` requests count.
    """
    kinds = np.where(judged, recording.op.astype(np.int64) << 48 | recording.nbytes, _NOT_JUDGED)
    strongest = np.zeros(2)
    compared = 0
    for kind, count in zip(*np.unique(kinds, return_counts=True), strict=True):
        if count < _GROUP_ROWS or kind == _NOT_JUDGED:
            continue
        rows = kinds == kind
        service = _ranks(times.service_ns[rows])
        for at, busy in enumerate((in_flight[rows], times.waited[rows].astype(np.int64))):
            strongest[at] += count * abs(_correlation(service, _ranks(busy)))
        compared += int(count)
    contradictions = float((times.service_ns[judged] <= 0).mean())
    return contradictions + (float(strongest.max()) / compared if compared else 0.0)


def _ranks(values: Int64) -> npt.NDArray[np.float64]:
    """Ranks, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: npt.NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse]
    return means


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0
