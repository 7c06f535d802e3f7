"""I/O schedulers: which request next, and which may still grow.

Rules (block/blk-mq-sched.c, block/mq-deadline.c, block/elevator.c; reference block-layer.md section 3.6):

- ``none``: first come, first served; a bio is tried against the last 8 queued requests.
- ``mq-deadline``: sorted by sector, one direction at a time in batches of 16, reads before writes, a
  write at the latest after 2 read batches.  A bio is tried against the request merged last, then against
  one that ends where it begins, then against one that begins where it ends; a grown request is tried
  against its neighbour.  A request that is inserted is tried as well.
- Requests held here already have their keyslot.

``mq-deadline`` here has one priority class.
"""

import bisect
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from blkcrypto.block.bio import Bio
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.merge import (
    Attempt,
    Merge,
    attempt,
    attempt_back,
    attempt_front,
    bio_mergeable,
    may_merge,
    position,
    requests_merge,
)
from blkcrypto.block.request import Request

LOOK_BACK: Final = 8
FIFO_BATCH: Final = 16
WRITES_STARVED: Final = 2
FIFO_EXPIRE_NS: Final = {False: 500_000_000, True: 5_000_000_000}


class Scheduler(Protocol):
    """What a queue asks of its scheduler.

    Attributes:
        holds_back: requests take scheduler tags and wait here until dispatched.
    """

    holds_back: bool

    def merge_bio(self, bio: Bio, segments: int) -> Merge:
        """Merge ``bio`` into a held request, if any takes it."""

    def insert(self, rq: Request) -> bool:
        """Hold ``rq``; False when it was merged into another request instead."""

    def next(self) -> Request | None:
        """The request to dispatch now, which is held no more."""

    def __len__(self) -> int: ...


Dropper = Callable[[Request], None]


class NoScheduler:
    """``none``: the software queue in front of the device.

    Args:
        limits: of the queue.
    """

    holds_back = False

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._queue: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def merge_bio(self, bio: Bio, segments: int) -> Merge:
        """Try the newest 8; stop at the first that is adjacent but does not fit: ``blk_bio_list_merge()``."""
        if not self._queue:
            return Merge.NONE
        for _, rq in zip(range(LOOK_BACK), reversed(self._queue), strict=False):
            result, where = attempt(rq, bio, segments, self._limits)
            if result is Attempt.OK:
                return where
            if result is Attempt.FAILED:
                break
        return Merge.NONE

    def insert(self, rq: Request) -> bool:
        """Hold ``rq`` at the end."""
        self._queue.append(rq)
        return True

    def next(self) -> Request | None:
        """The oldest."""
        return self._queue.popleft() if self._queue else None


class MqDeadline:
    """``mq-deadline``.

    Args:
        limits: of the queue.
        drop: called with a request that was merged into another, to free it.
        clock: nanoseconds, for the expiry of requests; time stands still by default.
    """

    holds_back = True

    def __init__(self, limits: QueueLimits, drop: Dropper, clock: Callable[[], int] = lambda: 0) -> None:
        self._limits = limits
        self._drop = drop
        self._clock = clock
        self._sorted: dict[bool, list[Request]] = {False: [], True: []}
        self._fifo: dict[bool, dict[Request, int]] = {False: {}, True: {}}
        self._by_end: dict[int, list[Request]] = {}
        self._last_merge: Request | None = None
        self._writing = True  # as in Linux: what comes first counts as a batch of writes going on
        self._batched = 0
        self._starved = 0
        self._latest = {False: 0, True: 0}

    def __len__(self) -> int:
        return len(self._fifo[False]) + len(self._fifo[True])

    def insert(self, rq: Request) -> bool:
        """Hold ``rq`` in sector order, unless a held request takes it in: ``dd_insert_request()``."""
        if rq.mergeable:
            if self._last_merge is not None and self._absorb(self._last_merge, rq):
                return False
            before = self._ending_at(rq.sector)
            if before is not None and self._absorb(before, rq):
                # The grown request may now touch the one before it, and so on.
                while (lower := self._ending_at(before.sector)) is not None:
                    if not self._absorb(lower, before, held=True):
                        break
                    before = lower
                return False
        self._link(rq)
        if rq.mergeable and self._last_merge is None:
            self._last_merge = rq
        return True

    def merge_bio(self, bio: Bio, segments: int) -> Merge:
        """Merge ``bio`` into a held request, and that one into its neighbour if it now touches it."""
        rq, where = self._find(bio)
        if rq is None:
            return Merge.NONE
        end, join = rq.end_sector, attempt_back if where is Merge.BACK else attempt_front
        self._forget_end(rq, end)
        if where is Merge.FRONT:
            self._unsort(rq)
        result = join(rq, bio, segments, self._limits)
        if where is Merge.FRONT:
            self._sort(rq)
        self._by_end.setdefault(rq.end_sector, []).insert(0, rq)
        if result is not Attempt.OK:
            if self._last_merge is rq and not rq.mergeable:
                self._last_merge = None
            return Merge.NONE
        self._merge_neighbour(rq, where)
        return where

    def next(self) -> Request | None:
        """The request the batch, the direction and the deadlines select: ``__dd_dispatch_request()``."""
        rq = self._from_position(self._writing)
        if rq is None or self._batched >= FIFO_BATCH:
            direction = self._choose_direction()
            if direction is None:
                return None
            rq = self._from_position(direction)
            if rq is None or self._expired(direction):
                rq = next(iter(self._fifo[direction]))
            self._writing, self._batched = direction, 0
        self._batched += 1
        self._unlink(rq)
        self._latest[self._writing] = rq.sector
        return rq

    def _choose_direction(self) -> bool | None:
        reads, writes = self._fifo[False], self._fifo[True]
        if reads:
            if writes and self._starved >= WRITES_STARVED:
                self._starved = 0
                return True
            self._starved += bool(writes)
            return False
        if writes:
            self._starved = 0
            return True
        return None

    def _expired(self, writing: bool) -> bool:
        oldest = next(iter(self._fifo[writing].values()), None)
        return oldest is not None and self._clock() >= oldest + FIFO_EXPIRE_NS[writing]

    def _from_position(self, writing: bool) -> Request | None:
        held = self._sorted[writing]
        index = bisect.bisect_left(held, self._latest[writing], key=_sector)
        return held[index] if index < len(held) else None

    def _ending_at(self, sector: int) -> Request | None:
        return next((rq for rq in self._by_end.get(sector, ()) if rq.mergeable), None)

    def _starting_at(self, sector: int, writing: bool) -> Request | None:
        held = self._sorted[writing]
        index = bisect.bisect_left(held, sector, key=_sector)
        return held[index] if index < len(held) and held[index].sector == sector else None

    def _find(self, bio: Bio) -> tuple[Request | None, Merge]:
        """Which held request, if any, may take ``bio``: ``elv_merge()``."""
        if not bio_mergeable(bio):
            return None, Merge.NONE
        last = self._last_merge
        if last is not None and may_merge(last, bio):
            where = position(last, bio)
            if where is not Merge.NONE:
                return last, where
        before = self._ending_at(bio.sector)
        if before is not None and may_merge(before, bio):
            return before, Merge.BACK
        after = self._starting_at(bio.end_sector, bio.is_write)
        if after is not None and may_merge(after, bio):
            return after, Merge.FRONT
        return None, Merge.NONE

    def _merge_neighbour(self, rq: Request, where: Merge) -> None:
        self._last_merge = rq
        held = self._sorted[bool(rq.op & 1)]
        index = held.index(rq)
        if where is Merge.BACK and index + 1 < len(held):
            self._absorb(rq, held[index + 1], held=True)
        elif where is Merge.FRONT and index:
            self._absorb(held[index - 1], rq, held=True)

    def _absorb(self, rq: Request, following: Request, *, held: bool = False) -> bool:
        """Merge ``following`` into the held ``rq``; ``held`` when ``following`` is held too."""
        end, following_end = rq.end_sector, following.end_sector
        if not requests_merge(rq, following, self._limits):
            return False
        if held:
            self._inherit_deadline(rq, following)
            self._unlink(following, end=following_end)
        self._forget_end(rq, end)
        self._by_end.setdefault(rq.end_sector, []).insert(0, rq)
        self._last_merge = rq
        self._drop(following)
        return True

    def _inherit_deadline(self, rq: Request, following: Request) -> None:
        """The grown request takes the place of ``following`` in the queue when that is the older one."""
        fifo = self._fifo[bool(rq.op & 1)]
        when = fifo[following]
        if when < fifo[rq]:
            del fifo[rq]
            order = list(fifo.items())
            fifo.clear()
            for held, its_time in order:
                if held is following:
                    fifo[rq] = when
                fifo[held] = its_time

    def _sort(self, rq: Request) -> None:
        bisect.insort_right(self._sorted[bool(rq.op & 1)], rq, key=_sector)

    def _unsort(self, rq: Request) -> None:
        self._sorted[bool(rq.op & 1)].remove(rq)

    def _forget_end(self, rq: Request, end: int) -> None:
        self._by_end[end].remove(rq)
        if not self._by_end[end]:
            del self._by_end[end]

    def _link(self, rq: Request) -> None:
        self._sort(rq)
        self._fifo[bool(rq.op & 1)][rq] = self._clock()
        self._by_end.setdefault(rq.end_sector, []).insert(0, rq)

    def _unlink(self, rq: Request, end: int | None = None) -> None:
        self._unsort(rq)
        del self._fifo[bool(rq.op & 1)][rq]
        self._forget_end(rq, rq.end_sector if end is None else end)
        if self._last_merge is rq:
            self._last_merge = None


def _sector(rq: Request) -> int:
    return rq.sector
