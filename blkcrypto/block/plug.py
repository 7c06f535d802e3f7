"""A plug: requests a task holds back for a moment, so that more can be merged into them.

Rules (block/blk-mq.c, block/blk-merge.c; reference block-layer.md sections 3.6 and 3.12):

- A bio is tried against the newest held request; with several queues in one plug, against the newest
  of its own queue.
- Requests of one page each may be held as a run of them; it becomes single requests when a bio is tried
  against it.
- Before a request is added the plug is flushed when it holds 32 requests (64 with several queues) or
  when the request at its *head* has at least 128 KiB.  Newer kernels look at the head, not at the
  request added last; recorded event orders show it.
- A task flushes its plug when it sleeps, so that it never waits for a slot or tag of its own requests.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from blkcrypto.block.bio import Bio
from blkcrypto.block.merge import Attempt, Merge, attempt
from blkcrypto.block.pages import PageRun
from blkcrypto.block.request import Request
from blkcrypto.block.waiting import Task

if TYPE_CHECKING:
    from blkcrypto.block.queue import RequestQueue

MAX_REQUESTS: Final = 32
FLUSH_BYTES: Final = 128 * 1024


class Plug:
    """``struct blk_plug``."""

    def __init__(self) -> None:
        self.requests: list[Request | PageRun] = []
        self._held = 0
        self.multiple_queues = False
        self.has_elevator = False

    @property
    def room(self) -> int:
        """Requests that may be added before any is handed on."""
        most = MAX_REQUESTS * 2 if self.multiple_queues else MAX_REQUESTS
        head = self.requests[0] if self.requests else None
        if head is not None and head.nbytes >= FLUSH_BYTES and not head.queue.nomerges:
            return 0
        return max(0, most - self._held)

    def merge_bio(self, queue: "RequestQueue", bio: Bio, segments: int) -> Merge:
        """Merge ``bio`` into a held request, if it takes it: ``blk_attempt_plug_merge()``."""
        for at in range(len(self.requests) - 1, -1, -1):
            rq = self.requests[at]
            if rq.queue is queue:
                if isinstance(rq, PageRun):
                    self.requests[at : at + 1] = single = rq.requests()
                    rq = single[-1]
                result, where = attempt(rq, bio, segments, queue.limits)
                return where if result is Attempt.OK else Merge.NONE
            if not self.multiple_queues:
                break
        return Merge.NONE

    def add(self, rq: Request) -> None:
        """Hold ``rq`` back, flushing first what has waited long enough: ``blk_add_rq_to_plug()``."""
        if not self.room:
            self.flush(from_schedule=False)
        if self.requests and self.requests[-1].queue is not rq.queue:
            self.multiple_queues = True
        self.has_elevator |= rq.queue.scheduler.holds_back
        self.requests.append(rq)
        self._held += 1

    def add_pages(self, run: PageRun) -> None:
        """Hold ``run`` back, for which there is ``room``, behind requests of the same queue."""
        self.requests.append(run)
        self._held += len(run)

    def flush(self, *, from_schedule: bool) -> None:
        """Hand everything to its queue: ``blk_mq_flush_plug_list()``."""
        held, self.requests = self.requests, []
        direct = not (from_schedule or self.has_elevator)
        self._held, self.multiple_queues, self.has_elevator = 0, False, False
        while held:
            queue = held[0].queue
            queue.unplug([rq for rq in held if rq.queue is queue], direct=direct)
            held = [rq for rq in held if rq.queue is not queue]


@contextmanager
def plugged(task: Task) -> Iterator[Plug]:
    """Hold requests back inside the block: ``blk_start_plug()`` and ``blk_finish_plug()``.

    An inner plug of a task that already has one does nothing, as in the kernel.
    """
    if isinstance(task.plug, Plug):
        yield task.plug
        return
    plug = Plug()
    task.plug = plug
    try:
        yield plug
    finally:
        task.plug = None
        plug.flush(from_schedule=False)
