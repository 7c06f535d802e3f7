"""Tags: how many requests there can be.

Rules (block/blk-mq-tag.c; reference block-layer.md sections 1.1 and 3.6):

- Without a scheduler a request takes the driver's tag when it is made.
- With one it takes a scheduler tag, of which there are twice as many, and the driver's tag when it is
  dispatched.
- A bio with REQ_NOWAIT never waits for a tag.
"""

import heapq
from collections.abc import Iterable
from typing import Final

from blkcrypto.block.waiting import Steps, WaitQueue

NO_TAG: Final = -1
BORROWED_TAG: Final = -2


def scheduler_tags(depth: int) -> int:
    """Requests a scheduler may hold for a device of ``depth`` tags: ``blk_mq_default_nr_requests()``."""
    return 2 * min(depth, 128)


class TagSet:
    """Numbered tags, the lowest free one first."""

    def __init__(self, what: str, depth: int) -> None:
        self.depth = depth
        self._free = list(range(depth))
        self.freed = WaitQueue(what, lambda: f"{len(self._free)} of {self.depth} free")

    @property
    def available(self) -> int:
        """Tags free."""
        return len(self._free)

    @property
    def in_use(self) -> int:
        """Tags taken."""
        return self.depth - len(self._free)

    def try_get(self) -> int:
        """A tag, or -1 when none is free."""
        return heapq.heappop(self._free) if self._free else NO_TAG

    def take(self, count: int) -> list[int]:
        """``count`` tags, which must be free."""
        return [heapq.heappop(self._free) for _ in range(count)]

    def get(self) -> Steps[int]:
        """A tag, waiting for one."""
        while not self._free:
            yield self.freed
        return heapq.heappop(self._free)

    def put(self, tag: int) -> None:
        """Give ``tag`` back and wake who waits for one."""
        self.put_all((tag,))

    def put_all(self, tags: Iterable[int]) -> None:
        """Give ``tags`` back and wake who waits for one."""
        for tag in tags:
            heapq.heappush(self._free, tag)
        if self.freed.sleepers:
            self.freed.wake_all()
