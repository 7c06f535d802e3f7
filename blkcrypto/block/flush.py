"""PREFLUSH and FUA: the steps around a write.

Rules (block/blk-flush.c; reference block-layer.md section 3.6, step 9):

- A write needs a flush before it (PREFLUSH) or after it (FUA without native support), and only when the
  device has a write cache.  An empty bio with PREFLUSH is a flush alone.
- One flush is at the device at a time.  Whoever needs one while it runs waits for the *next* one, and all
  who wait share it.
- The write keeps its tag and its keyslot through all its steps.
"""

from collections import deque
from collections.abc import Callable

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import ReqFlags
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.request import FlushStep, Request


def flush_steps(flags: ReqFlags, nbytes: int, limits: QueueLimits) -> list[FlushStep]:
    """What a request with ``flags`` needs, in order: ``blk_flush_policy()``."""
    steps = []
    if limits.write_cache and flags & ReqFlags.PREFLUSH:
        steps.append(FlushStep.PREFLUSH)
    if nbytes:
        steps.append(FlushStep.DATA)
    if limits.write_cache and flags & ReqFlags.FUA and not limits.fua:
        steps.append(FlushStep.POSTFLUSH)
    return steps


class FlushMachine:
    """The flush queue of one device.

    Args:
        issue_flush: sends a flush request to the device; ``flush_done`` is called when it is done.
        issue_data: hands a write on for its data step.
        finish: ends a request whose last step is done.
    """

    def __init__(
        self,
        issue_flush: Callable[[], None],
        issue_data: Callable[[Request], None],
        finish: Callable[[Request, BlkStatus], None],
    ) -> None:
        self._issue_flush = issue_flush
        self._issue_data = issue_data
        self._finish = finish
        self._waiting: deque[Request] = deque()
        self._served: list[Request] = []
        self._running = False

    def insert(self, rq: Request, steps: list[FlushStep]) -> None:
        """Take ``rq`` through ``steps``."""
        rq.needs = steps
        self._go_on(rq)

    def data_done(self, rq: Request) -> bool:
        """The data step of ``rq`` is done; True when that was its last."""
        rq.needs.pop(0)
        if not rq.needs:
            return True
        self._go_on(rq)
        return False

    def flush_done(self, status: BlkStatus) -> None:
        """The flush at the device is done: everybody who shared it takes the next step, or fails with it."""
        served, self._served, self._running = self._served, [], False
        for rq in served:
            rq.needs.pop(0)
            if status is BlkStatus.OK:
                self._go_on(rq)
            else:
                rq.needs = []
                self._finish(rq, status)
        self._kick()

    def _go_on(self, rq: Request) -> None:
        if not rq.needs:
            self._finish(rq, BlkStatus.OK)
        elif rq.needs[0] is FlushStep.DATA:
            self._issue_data(rq)
        else:
            self._waiting.append(rq)
            self._kick()

    def _kick(self) -> None:
        if self._running or not self._waiting:
            return
        self._served, self._running = list(self._waiting), True
        self._waiting.clear()
        self._issue_flush()
