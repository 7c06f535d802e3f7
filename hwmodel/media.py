"""Flash: parallel units, each serving one piece at a time, first come first served.

A request is cut at stripe boundaries and each piece goes to one unit; it is done when its last piece is.
Because units serve in arrival order and a piece's service time is known when it arrives, a piece's end is
known then too: ``max(now, unit free) + service``.  No event is needed until the request is done.
"""

from collections.abc import Callable
from heapq import heapreplace
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import NS_PER_SECOND, SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from hwmodel.device import Media as MediaFacts
from hwmodel.request import READ, WRITE, Request

_DRAWS: Final = 8192

Floats = npt.NDArray[np.float64]


def size_ns(nbytes: int, per_s: int) -> int:
    """What ``nbytes`` take at a rate, rounded up; 0 at no rate."""
    return -(-nbytes * NS_PER_SECOND // per_s) if per_s else 0


def _fixed_ns(facts: MediaFacts) -> dict[int, int]:
    return {
        int(ReqOp.READ): facts.read_ns.value,
        int(ReqOp.WRITE): facts.write_ns.value,
        int(ReqOp.FLUSH): facts.flush_ns.value,
        int(ReqOp.DISCARD): facts.discard_ns.value,
        int(ReqOp.SECURE_ERASE): facts.discard_ns.value,
        int(ReqOp.WRITE_ZEROES): facts.discard_ns.value,
    }


def _rates_per_s(facts: MediaFacts) -> dict[int, int]:
    return {int(ReqOp.READ): facts.read_per_s.value, int(ReqOp.WRITE): facts.write_per_s.value}


class ServiceTimes:
    """Service time of a piece by operation and size: its mean, or exponentially distributed around it.

    Attributes:
        fixed_ns: by operation, what a piece takes whatever its size.
        rates_per_s: by operation, bytes; what passes at it comes on top.
        draws: by operation, numbers drawn and not used yet, the last to be used first; operations may share
            a list, and have none where nothing is drawn.
        draws_are_factors: of the mean, rather than times that come on top of it.
        means: by operation and size, those asked for so far.
    """

    __slots__ = ("_rng", "draws", "fixed_ns", "means", "rates_per_s")

    draws_are_factors = True

    def __init__(self, facts: MediaFacts, rng: np.random.Generator) -> None:
        self.fixed_ns = _fixed_ns(facts)
        self.rates_per_s = _rates_per_s(facts)
        self.means: dict[int, dict[int, int]] = {op: {} for op in self.fixed_ns}  # by operation and size
        self._rng = rng
        common: list[float] = []
        self.draws = dict.fromkeys(self.fixed_ns, common) if facts.shape == "exponential" else {}

    def mean_ns(self, op: int, nbytes: int) -> int:
        """Mean service time of one piece."""
        mean = self.means[op].get(nbytes)
        if mean is None:
            mean = self.fixed_ns[op] + size_ns(nbytes, self.rates_per_s.get(op, 0))
            self.means[op][nbytes] = mean
        return mean

    def draw(self, _op: int) -> Floats:
        """The next draws of one operation, ``float64[n]``, the last to be used first."""
        return self._rng.standard_exponential(_DRAWS)

    def drawing(self) -> Callable[[int, int], int]:
        """Gives the service time of the next piece by operation and size."""
        if not self.draws:
            return self.mean_ns
        # Asked for every piece: a closure finds what it needs without a look at the object.
        means, mean_ns, draw, draws = self.means, self.mean_ns, self.draw, self.draws[READ]

        def draw_ns(op: int, nbytes: int) -> int:
            if not draws:
                draws.extend(draw(op).tolist())
            return round((means[op].get(nbytes) or mean_ns(op, nbytes)) * draws.pop())

        return draw_ns


class EmpiricalTimes:
    """Service time of a piece whose fixed part follows a measured distribution.

    The part that grows with the size is added to it.  An operation without a distribution takes its mean.
    Attributes are those of ``ServiceTimes``.
    """

    __slots__ = ("_rng", "_sizes", "_tables", "draws", "fixed_ns", "rates_per_s")

    draws_are_factors = False

    def __init__(self, facts: MediaFacts, rng: np.random.Generator) -> None:
        measured = {
            ReqOp.READ: facts.read_quantiles,
            ReqOp.WRITE: facts.write_quantiles,
            ReqOp.FLUSH: facts.flush_quantiles,
        }
        self._tables = {
            int(op): np.array(table.points, dtype=np.float64).T for op, table in measured.items() if table
        }
        self.fixed_ns = {op: 0 if op in self._tables else ns for op, ns in _fixed_ns(facts).items()}
        self.rates_per_s = _rates_per_s(facts)
        self._sizes: dict[tuple[int, int], int] = {}
        self._rng = rng
        self.draws: dict[int, list[float]] = {op: [] for op in self._tables}

    def draw(self, op: int) -> Floats:
        """The next draws of one operation, ``float64[n]``, the last to be used first."""
        percents, values = self._tables[op]
        drawn: Floats = np.interp(self._rng.random(_DRAWS) * 100, percents, values)
        return np.rint(drawn)

    def draw_ns(self, op: int, nbytes: int) -> int:
        """Service time of the next piece."""
        known = self._sizes.get((op, nbytes))
        if known is None:
            known = self.fixed_ns[op] + size_ns(nbytes, self.rates_per_s.get(op, 0))
            self._sizes[op, nbytes] = known
        draws = self.draws.get(op)
        if draws is None:
            return known
        if not draws:
            draws.extend(self.draw(op).tolist())
        return known + int(draws.pop())

    def drawing(self) -> Callable[[int, int], int]:
        """Gives the service time of the next piece by operation and size."""
        return self.draw_ns


Times = ServiceTimes | EmpiricalTimes


def times_of(facts: MediaFacts, rng: np.random.Generator) -> Times:
    """The service times that ``facts`` describe."""
    return (EmpiricalTimes if facts.shape == "empirical" else ServiceTimes)(facts, rng)


def service_times(facts: MediaFacts, rng: np.random.Generator) -> Callable[[int, int], int]:
    """What the next piece takes, by operation and bytes."""
    return times_of(facts, rng).drawing()


class Media:
    """The units and when each is free.

    Attributes:
        times: what a piece takes.
        free: when each unit is free; by number, or as a heap where a request may go to any.
    """

    __slots__ = ("_draw_ns", "_normal_ns", "free", "stripe", "takes_any", "times", "units")

    def __init__(self, facts: MediaFacts, rng: np.random.Generator) -> None:
        self.units = facts.units.value
        self.stripe = facts.stripe_bytes.value
        self.takes_any = facts.placement == "any"
        self.free = [0] * self.units
        self.times = times_of(facts, rng)
        self._draw_ns = self._normal_ns = self.times.drawing()

    def reset(self, now: int) -> None:
        """Give up what is served: every unit is free."""
        self.free = [now] * self.units

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
        if self.takes_any:
            service = request.media = self._draw_ns(request.op, request.nbytes)
            free = self.free
            start = free[0]
            if start < now:
                start = now
            done = start + service
            heapreplace(free, done)
            request.device_queue += start - now
            return done
        op, nbytes = request.op, request.nbytes
        offset = request.sector << SECTOR_SHIFT
        stripe = self.stripe
        if offset % stripe + nbytes > stripe and op <= WRITE:
            start, done = self._serve_pieces(op, offset, nbytes, now)
        else:
            start, done = self._serve_piece(op, nbytes, offset // stripe, now)
        request.device_queue += start - now
        request.media = done - start
        return done

    def serving(self) -> Callable[[Request, int], int]:
        """``serve`` in as few calls as it takes, for as long as nothing is slowed down or reset."""
        times = self.times
        if not (self.takes_any and isinstance(times, ServiceTimes) and times.draws):
            return self.serve
        free, draws, draw, means = self.free, times.draws[READ], times.draw, times.means
        mean_ns = times.mean_ns

        def serve(request: Request, now: int) -> int:
            if not draws:
                draws.extend(draw(request.op).tolist())
            service = request.media = round(
                (means[request.op].get(request.nbytes) or mean_ns(request.op, request.nbytes)) * draws.pop()
            )
            start = free[0]
            if start > now:
                request.device_queue += start - now
            else:
                start = now
            done = start + service
            heapreplace(free, done)
            return done

        return serve

    def _serve_piece(self, op: int, nbytes: int, stripe_index: int, now: int) -> tuple[int, int]:
        free = self.free
        unit = stripe_index % self.units
        start = free[unit] if free[unit] > now else now
        done = free[unit] = start + self._draw_ns(op, nbytes)
        return start, done

    def _serve_pieces(self, op: int, offset: int, nbytes: int, now: int) -> tuple[int, int]:
        stripe = self.stripe
        first, last = offset // stripe, (offset + nbytes - 1) // stripe
        start, done = self._serve_piece(op, (first + 1) * stripe - offset, first, now)
        for index in range(first + 1, last + 1):
            size = min(stripe, offset + nbytes - index * stripe)
            piece_start, piece_done = self._serve_piece(op, size, index, now)
            start = min(start, piece_start)
            done = max(done, piece_done)
        return start, done
