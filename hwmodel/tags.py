"""Tags: how many requests exist at once; first come, first served."""

from collections import deque

from hwmodel.request import WRITE, Request, Then


class Tags:
    """The tags of one queue.

    Args:
        count: tags.
        max_bytes: a read or write larger than this is split before it asks for a tag.
        split: takes such a bio.
        granted: called with a request that has its tag.
    """

    __slots__ = ("_split", "count", "free", "granted", "max_bytes", "waiting")

    def __init__(self, count: int, *, max_bytes: int, split: Then, granted: Then) -> None:
        self.free = self.count = count
        self.waiting: deque[Request] = deque()
        self.max_bytes = max_bytes
        self.granted = granted
        self._split = split

    @property
    def is_idle(self) -> bool:
        """Whether every tag is free."""
        return self.free == self.count and not self.waiting

    def get(self, request: Request, now: int) -> None:
        """Go on with a tag, perhaps at once."""
        if request.nbytes > self.max_bytes and request.op <= WRITE:
            self._split(request, now)
        elif self.free:
            self.free -= 1
            self.granted(request, now)
        else:
            request.mark = now
            self.waiting.append(request)

    def put(self, now: int) -> None:
        """A tag is free: who waits longest gets it."""
        if self.waiting:
            request = self.waiting.popleft()
            request.tag_wait += now - request.mark
            self.granted(request, now)
        else:
            self.free += 1

    def power_off(self) -> None:
        """Nobody has a tag, and nobody waits for one."""
        self.waiting.clear()
        self.free = self.count
