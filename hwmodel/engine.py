"""Link and inline engine: one path between host and media, first come first served.

Data streams through the engine on its way, so a request holds the path for its size at the slower of the
two rates.  The engine's pipeline latency comes on top and holds nothing.  Plain requests bypass the engine.
"""

from hwmodel.device import Controller, Engine
from hwmodel.media import size_ns
from hwmodel.request import Request


def _clocked(engine: Engine) -> int:
    return engine.rate_per_s.value * engine.clock_percent.value // 100


class DataPath:
    """The shared path.

    Attributes:
        limits: False when neither link nor engine takes any time.
        free: when it is.
    """

    __slots__ = ("_costs", "engine_per_s", "free", "latency_ns", "limits", "link_per_s", "percent")

    def __init__(self, controller: Controller, engine: Engine | None) -> None:
        self.link_per_s = controller.link_per_s.value
        self.engine_per_s = _clocked(engine) if engine else 0
        self.latency_ns = engine.latency_ns.value if engine else 0
        self.free = 0
        self.percent = 100
        self._costs: dict[tuple[int, bool], int] = {}
        self.limits = bool(self.link_per_s or self.engine_per_s or self.latency_ns)

    def _cost_ns(self, nbytes: int, encrypted: bool) -> int:
        cost = size_ns(nbytes, self.link_per_s)
        if encrypted:
            cost = max(cost, size_ns(nbytes, self.engine_per_s))
        cost = self._costs[nbytes, encrypted] = cost * self.percent // 100
        return cost

    def reset(self, now: int) -> None:
        """Give up what passes: the path is free."""
        self.free = now

    def slow_down(self, percent: int) -> None:
        """From here on take ``percent`` of the normal time."""
        self.percent = percent
        self._costs.clear()

    def serve(self, request: Request, now: int, *, inline: bool) -> int:
        """Reserve the path; when the last byte has passed.

        Adds waiting to ``request.device_queue`` and sets ``request.transfer``.
        """
        cost = self._costs.get((request.nbytes, inline))
        if cost is None:
            cost = self._cost_ns(request.nbytes, inline)
        start = self.free if self.free > now else now
        self.free = start + cost
        if inline:
            cost += self.latency_ns
        request.device_queue += start - now
        request.transfer = cost
        return start + cost


class PooledPath:
    """Reads and writes side by side: a link with a lane each way, and an engine that is a pool of cores.

    A request is served with the cores its direction has when it begins: all of them, or its share while the
    other direction is busy.

    Source: the pool of UFS controllers from version 5 on has 28 cores for reads or writes alone, 15 and 13
    when both are on their way (drivers/ufs/host/ufs-qcom.h).
    """

    __slots__ = ("alone_per_s", "free", "latency_ns", "limits", "link_per_s", "mixed_per_s", "percent")

    def __init__(self, controller: Controller, engine: Engine) -> None:
        cores = engine.cores.value
        self.link_per_s = controller.link_per_s.value
        self.alone_per_s = _clocked(engine)
        shares = (engine.mixed_read_cores.value, engine.mixed_write_cores.value)
        self.mixed_per_s = tuple(self.alone_per_s * share // cores for share in shares)
        self.latency_ns = engine.latency_ns.value
        self.free = [0, 0]  # by direction: READ, WRITE
        self.percent = 100
        self.limits = bool(self.link_per_s or self.alone_per_s or self.latency_ns)

    def serve(self, request: Request, now: int, *, inline: bool) -> int:
        """Reserve the direction's path; when the last byte has passed.

        Adds waiting to ``request.device_queue`` and sets ``request.transfer``.
        """
        op = request.op
        start = max(now, self.free[op])
        cost = size_ns(request.nbytes, self.link_per_s)
        if inline:
            mixed = self.free[1 - op] > start
            cost = max(cost, size_ns(request.nbytes, self.mixed_per_s[op] if mixed else self.alone_per_s))
        cost = cost * self.percent // 100
        self.free[op] = start + cost
        if inline:
            cost += self.latency_ns
        request.device_queue += start - now
        request.transfer = cost
        return start + cost

    def reset(self, now: int) -> None:
        """Give up what passes: the path is free."""
        self.free = [now, now]

    def slow_down(self, percent: int) -> None:
        """From here on take ``percent`` of the normal time."""
        self.percent = percent


def data_path(controller: Controller, engine: Engine | None) -> DataPath | PooledPath:
    """The path that a device's facts describe."""
    if engine is not None and engine.cores.value:
        return PooledPath(controller, engine)
    return DataPath(controller, engine)
