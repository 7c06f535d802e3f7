"""Flash: parallel units, each serving one piece at a time, first come first served.

A request is cut at stripe boundaries and each piece goes to one unit; it is done when its last piece is.
Because units serve in arrival order and a piece's service time is known when it arrives, a piece's end is
known then too: ``max(now, unit free) + service``.  No event is needed until the request is done.
"""

from collections.abc import Callable
from heapq import heapreplace
from typing import Final

import numpy as np

from blkcrypto.base.units import NS_PER_SECOND, SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from hwmodel.device import Media as MediaFacts
from hwmodel.request import WRITE, Request

_DRAWS: Final = 8192


def size_ns(nbytes: int, per_s: int) -> int:
    """What ``nbytes`` take at a rate, rounded up; 0 at no rate."""
    return -(-nbytes * NS_PER_SECOND // per_s) if per_s else 0


def _fixed_ns(facts: MediaFacts) -> dict[ReqOp, int]:
    return {
        ReqOp.READ: facts.read_ns.value,
        ReqOp.WRITE: facts.write_ns.value,
        ReqOp.FLUSH: facts.flush_ns.value,
        ReqOp.DISCARD: facts.discard_ns.value,
        ReqOp.SECURE_ERASE: facts.discard_ns.value,
        ReqOp.WRITE_ZEROES: facts.discard_ns.value,
    }


def _rates_per_s(facts: MediaFacts) -> dict[ReqOp, int]:
    return {ReqOp.READ: facts.read_per_s.value, ReqOp.WRITE: facts.write_per_s.value}


class ServiceTimes:
    """Service time of a piece by operation and size: its mean, or drawn around it."""

    __slots__ = ("_fixed", "_means", "_rate", "_rng")

    def __init__(self, facts: MediaFacts, rng: np.random.Generator) -> None:
        self._fixed = _fixed_ns(facts)
        self._rate = _rates_per_s(facts)
        self._means: dict[int, dict[int, int]] = {int(op): {} for op in self._fixed}  # by operation and size
        self._rng = rng

    def mean_ns(self, op: int, nbytes: int) -> int:
        """Mean service time of one piece."""
        mean = self._means[op].get(nbytes)
        if mean is None:
            mean = self._fixed[ReqOp(op)] + size_ns(nbytes, self._rate.get(ReqOp(op), 0))
            self._means[op][nbytes] = mean
        return mean

    def exponential(self) -> Callable[[int, int], int]:
        """Gives the service time of the next piece by operation and size, exponentially distributed."""
        # Asked for every piece: a closure finds what it needs without a look at the object.
        means, mean_ns, rng = self._means, self.mean_ns, self._rng
        draws: list[float] = []

        def draw_ns(op: int, nbytes: int) -> int:
            nonlocal draws
            if not draws:
                draws = rng.standard_exponential(_DRAWS).tolist()
            return round((means[op].get(nbytes) or mean_ns(op, nbytes)) * draws.pop())

        return draw_ns


class EmpiricalTimes:
    """Service time of a piece whose fixed part follows a measured distribution.

    The part that grows with the size is added to it.  An operation without a distribution takes its mean.
    """

    __slots__ = ("_draws", "_fixed", "_rate", "_rng", "_sizes", "_tables")

    def __init__(self, facts: MediaFacts, rng: np.random.Generator) -> None:
        measured = {
            ReqOp.READ: facts.read_quantiles,
            ReqOp.WRITE: facts.write_quantiles,
            ReqOp.FLUSH: facts.flush_quantiles,
        }
        self._tables = {
            int(op): np.array(table.points, dtype=np.float64).T for op, table in measured.items() if table
        }
        self._fixed = {op: ns for op, ns in _fixed_ns(facts).items() if op not in self._tables}
        self._rate = _rates_per_s(facts)
        self._sizes: dict[tuple[int, int], int] = {}
        self._rng = rng
        self._draws: dict[int, list[int]] = {op: [] for op in self._tables}

    def draw_ns(self, op: int, nbytes: int) -> int:
        """Service time of the next piece."""
        known = self._sizes.get((op, nbytes))
        if known is None:
            known = self._fixed.get(ReqOp(op), 0) + size_ns(nbytes, self._rate.get(ReqOp(op), 0))
            self._sizes[op, nbytes] = known
        draws = self._draws.get(op)
        if draws is None:
            return known
        if not draws:
            percents, values = self._tables[op]
            drawn = np.interp(self._rng.random(_DRAWS) * 100, percents, values)
            draws = self._draws[op] = np.rint(drawn).astype(np.int64).tolist()
        return known + draws.pop()


def service_times(facts: MediaFacts, rng: np.random.Generator) -> Callable[[int, int], int]:
    """What the next piece takes, by operation and bytes."""
    if facts.shape == "empirical":
        return EmpiricalTimes(facts, rng).draw_ns
    times = ServiceTimes(facts, rng)
    return times.exponential() if facts.shape == "exponential" else times.mean_ns


class Media:
    """The units and when each is free."""

    __slots__ = ("_any", "_draw_ns", "_free", "_normal_ns", "_stripe", "units")

    def __init__(self, facts: MediaFacts, rng: np.random.Generator) -> None:
        self.units = facts.units.value
        self._stripe = facts.stripe_bytes.value
        self._any = facts.placement == "any"
        self._free = [0] * self.units
        self._draw_ns = self._normal_ns = service_times(facts, rng)

    def reset(self, now: int) -> None:
        """Give up what is served: every unit is free."""
        self._free = [now] * self.units

    def power_off(self, now: int) -> None:
        """After a boot every unit is free."""
        self.reset(now)

    def slow_down(self, percent: int) -> None:
        """From here on let each piece take ``percent`` of its time."""
        normal = self._normal_ns
        if percent == 100:
            self._draw_ns = normal
        else:
            self._draw_ns = lambda op, nbytes: normal(op, nbytes) * percent // 100

    def serve(self, request: Request, now: int) -> int:
        """Reserve the units ``request`` needs; when it will be done.

        Adds the wait until its first piece starts to ``request.device_queue`` and sets ``request.media``.
        """
        if self._any:
            service = request.media = self._draw_ns(request.op, request.nbytes)
            free = self._free
            start = free[0]
            if start < now:
                start = now
            done = start + service
            heapreplace(free, done)
            request.device_queue += start - now
            return done
        op, nbytes = request.op, request.nbytes
        offset = request.sector << SECTOR_SHIFT
        stripe = self._stripe
        if offset % stripe + nbytes > stripe and op <= WRITE:
            start, done = self._serve_pieces(op, offset, nbytes, now)
        else:
            start, done = self._serve_piece(op, nbytes, offset // stripe, now)
        request.device_queue += start - now
        request.media = done - start
        return done

    def _serve_piece(self, op: int, nbytes: int, stripe_index: int, now: int) -> tuple[int, int]:
        free = self._free
        unit = stripe_index % self.units
        start = free[unit] if free[unit] > now else now
        done = free[unit] = start + self._draw_ns(op, nbytes)
        return start, done

    def _serve_pieces(self, op: int, offset: int, nbytes: int, now: int) -> tuple[int, int]:
        stripe = self._stripe
        first, last = offset // stripe, (offset + nbytes - 1) // stripe
        start, done = self._serve_piece(op, (first + 1) * stripe - offset, first, now)
        for index in range(first + 1, last + 1):
            size = min(stripe, offset + nbytes - index * stripe)
            piece_start, piece_done = self._serve_piece(op, size, index, now)
            start = min(start, piece_start)
            done = max(done, piece_done)
        return start, done
