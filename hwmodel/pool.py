"""Requests, made once and used again: a run allocates as many as were ever in flight at once."""

from typing import Final

from hwmodel.request import STAGE_FIELDS, Request

_NO_MEMBERS: Final[list[Request]] = []


class RequestPool:
    """All requests of a machine.

    A request stands for a bio, or it is a helper: a part of a split bio, or the carrier of a merged one.

    Args:
        most: bios in the system at once.

    Attributes:
        idle: those that stand for nothing now; the last is taken first.
        every: all of them.
        most: as given.
    """

    __slots__ = ("_helpers", "every", "idle", "most")

    def __init__(self, most: int) -> None:
        self.idle: list[Request] = []
        self.every: list[Request] = []
        self.most = most
        self._helpers = 0

    @property
    def in_flight(self) -> int:
        """Bios submitted and not complete."""
        return len(self.every) - len(self.idle) - self._helpers

    @property
    def has_room(self) -> bool:
        """Whether another bio may enter the system."""
        return bool(self.idle) or self.in_flight < self.most

    def take(self) -> Request:
        """A request whose stages are all 0."""
        if self.idle:
            return self.idle.pop()
        request = Request()
        self.every.append(request)
        return request

    def add_idle(self) -> None:
        """Make one more that stands for nothing yet."""
        self.idle.append(Request())
        self.every.append(self.idle[-1])

    def helper(self, like: Request) -> Request:
        """A request that stands for no bio of its own."""
        self._helpers += 1
        helper = self.take()
        helper.row, helper.op, helper.key, helper.cpu = like.row, like.op, like.key, like.cpu
        helper.arrived = like.arrived
        return helper

    def put_helper(self, helper: Request) -> None:
        """The helper has done its part."""
        self._helpers -= 1
        helper.parent = None
        helper.slot = -1
        helper.status = 0
        helper.members = _NO_MEMBERS
        for stage in STAGE_FIELDS:
            setattr(helper, stage, 0)
        self.idle.append(helper)
