"""Link and inline engine: one path between host and media, first come first served.

Data streams through the engine on its way, so a request holds the path for its size at the slower of the
two rates.  The engine's pipeline latency comes on top and holds nothing.  Plain requests bypass the engine.
"""

from blkcrypto.base.units import NS_PER_SECOND
from hwmodel.device import Controller, Engine
from hwmodel.request import Request


def _ns_for(nbytes: int, per_s: int) -> int:
    return -(-nbytes * NS_PER_SECOND // per_s) if per_s else 0


class DataPath:
    """The shared path; ``limits`` is False when neither link nor engine takes any time."""

    __slots__ = ("_costs", "_engine_per_s", "_free", "_latency", "_link_per_s", "limits")

    def __init__(self, controller: Controller, engine: Engine | None) -> None:
        self._link_per_s = controller.link_per_s.value
        self._engine_per_s = engine.rate_per_s.value if engine else 0
        self._latency = engine.latency_ns.value if engine else 0
        self._free = 0
        self._costs: dict[tuple[int, bool], int] = {}
        self.limits = bool(self._link_per_s or self._engine_per_s or self._latency)

    def _cost_ns(self, nbytes: int, encrypted: bool) -> int:
        cost = _ns_for(nbytes, self._link_per_s)
        if encrypted:
            cost = max(cost, _ns_for(nbytes, self._engine_per_s))
        self._costs[nbytes, encrypted] = cost
        return cost

    def serve(self, request: Request, now: int, *, inline: bool) -> int:
        """Reserve the path; when the last byte has passed.

        Adds waiting to ``request.device_queue`` and sets ``request.transfer``.
        """
        cost = self._costs.get((request.nbytes, inline))
        if cost is None:
            cost = self._cost_ns(request.nbytes, inline)
        start = self._free if self._free > now else now
        self._free = start + cost
        if inline:
            cost += self._latency
        request.device_queue += start - now
        request.transfer = cost
        return start + cost
