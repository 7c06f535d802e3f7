"""Simulated time: a SimPy environment that also moves requests.

Control work (setup, eviction, resets, faults) is ordinary SimPy processes.  Requests are too many for
that: a request *is* its own event.  It is queued together with a continuation, which is called with it and
told the time when that comes, in the same queue and the same order as SimPy's events.  Arrivals come from
sorted columns and are merged with the queue, so an arrival costs no event at all.

At one instant everything queued runs before an arrival: completions come first.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, cast

import simpy

from hwmodel.request import Request, Then

# SimPy's NORMAL priority; URGENT (0) is its own, for starting processes.
NORMAL = 1

# (time, priority, order, event) or (time, priority, order, request, continuation): told apart by the class of
# the fourth, so untyped where it is read.  Orders are unique, so nothing behind them is ever compared.
_Item = Any

Row = tuple[int, ...]
Arrive = Callable[[Row], None]


class Clock(simpy.Environment):
    """A SimPy environment whose time is ``int`` nanoseconds.

    Attributes:
        late: arrivals that came after their time.
    """

    _now: int

    def __init__(self) -> None:
        super().__init__()
        self.late = 0
        # SimPy's own queue and counter, under the types they have here.
        self.items = cast(list[_Item], self._queue)
        self.order = cast(Iterator[int], self._eid)

    @property
    def now(self) -> int:
        """Nanoseconds since the run began."""
        return self._now

    def call_at(self, when: int, request: Request, then: Then) -> None:
        """Continue ``request`` with ``then`` at ``when``, which is not in the past."""
        heappush(self.items, (when, NORMAL, next(self.order), request, then))

    def withdraw(self, thens: tuple[Then, ...] | None = None) -> list[Request]:
        """Take queued requests back, in the order in which they were queued.

        ``thens``: only those that would continue with one of these; None takes all.
        """
        items = self.items
        taken: list[_Item] = []
        kept: list[_Item] = []
        for item in items:
            chosen = item[3].__class__ is Request and (thens is None or item[4] in thens)
            (taken if chosen else kept).append(item)
        items[:] = kept  # in place: whoever runs the clock looks at this list
        heapify(items)
        taken.sort(key=lambda item: item[2])
        return [item[3] for item in taken]

    def skip_to(self, now: int) -> None:
        """Nothing is queued before ``now``, which is not in the past."""
        self._now = now

    def step(self) -> None:
        """Run the next thing in the queue, request or event."""
        items = self.items
        if items and items[0][3].__class__ is Request:
            self._now, _, _, request, then = heappop(items)
            then(request, self._now)
        else:
            super().step()

    def run_open(self, rows: Iterable[Row], arrive: Arrive) -> None:
        """Feed ``rows`` (first field: arrival time, never decreasing) and run until nothing is left."""
        for row in rows:
            when = row[0]
            self._run_until(when)
            if when < self._now:  # an earlier arrival waited for room while this one's time passed
                row = (self._now, *row[1:])
            else:
                self._now = when
            arrive(row)
            if self._now > when:
                self.late += 1
        self.run_until_empty()

    def _run_until(self, when: int) -> None:
        items = self.items
        while items and items[0][0] <= when:
            if items[0][3].__class__ is Request:
                item = heappop(items)
                self._now = now = item[0]
                item[4](item[3], now)
            else:
                super().step()

    def run_closed(self, rows: Iterator[Row], arrive: Arrive, depth: int, room: list[None]) -> None:
        """Keep ``depth`` rows in the system: whoever completes one appends to ``room``."""
        room.extend([None] * depth)
        items = self.items
        step = self.step
        exhausted = False
        while True:
            while room and not exhausted:
                row = next(rows, None)
                if row is None:
                    exhausted = True
                    break
                room.pop()
                arrive((self.now, *row[1:]))
            if not items:
                return
            step()

    def run_until_empty(self) -> None:
        """Run everything that is queued."""
        while self.items:
            self.step()
