"""CPUs: who runs where, and who waits for whom.

Each task runs on one CPU and each CPU runs one task at a time, first come first served.  A task that
sleeps gives its CPU up; a task whose work goes on without sleeping keeps it.
"""

from collections import deque

from hwmodel.clock import Clock
from hwmodel.request import Request, Then


class Cpus:
    """The host's CPUs.

    ``run`` charges nothing by itself: the continuation knows which stage the time belongs to, and finds it
    as ``now - request.mark``.  Waiting for the CPU goes to ``request.queued``.
    """

    __slots__ = ("_busy", "_clock", "_keeps", "_waiting", "count")

    def __init__(self, clock: Clock, count: int) -> None:
        self.count = count
        self._clock = clock
        self._busy = [False] * count
        self._waiting: list[deque[tuple[Request, int, Then]]] = [deque() for _ in range(count)]
        self._keeps = -1  # the CPU whose task is in its continuation and may go on

    def run(self, request: Request, now: int, cost_ns: int, then: Then) -> None:
        """Run ``cost_ns`` of work on ``request.cpu``, then call ``then``; waits while the CPU is busy."""
        cpu = request.cpu
        request.mark = now
        if self._keeps == cpu:
            self._keeps = -1
        elif self._busy[cpu]:
            self._waiting[cpu].append((request, cost_ns, then))
            return
        self._start(request, now, cost_ns, then)

    def _start(self, request: Request, now: int, cost_ns: int, then: Then) -> None:
        self._busy[request.cpu] = True
        request.cpu_then = then
        self._clock.call_at(now + cost_ns, request, self._done)

    def _done(self, request: Request, now: int) -> None:
        cpu = request.cpu
        self._keeps = cpu
        request.cpu_then(request, now)
        if self._keeps != cpu:
            return  # the task, or one it woke here, goes on
        self._keeps = -1
        if not self._waiting[cpu]:
            self._busy[cpu] = False
            return
        following, cost_ns, then = self._waiting[cpu].popleft()
        following.queued += now - following.mark
        following.mark = now
        self._start(following, now, cost_ns, then)

    def power_off(self) -> None:
        """Forget every task."""
        self._busy = [False] * self.count
        self._waiting = [deque() for _ in range(self.count)]
        self._keeps = -1

    def least_loaded(self) -> int:
        """CPU with the fewest tasks, lowest number first: where an unbound workqueue starts a worker."""
        waiting = self._waiting
        busy = self._busy
        return min(range(self.count), key=lambda cpu: len(waiting[cpu]) + busy[cpu])
