"""A request on its way through the machine, and what a finished one leaves behind.

Requests are reused: a run allocates as many as were ever in flight at once.
"""

from collections.abc import Callable
from typing import Final

from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp

# One record per finished bio: these values in this order, all int64.
RECORD: Final = (
    "row",
    "done_ns",
    "op",
    "nbytes",
    "status",
    "total",
    "queued",
    "submit",
    "tag_wait",
    "scheduler",
    "keyslot_lock",
    "keyslot_idle",
    "keyslot_program",
    "cpu_crypto",
    "device_queue",
    "transfer",
    "media",
)
RECORD_WIDTH: Final = len(RECORD)
STAGE_FIELDS: Final = RECORD[RECORD.index("queued") :]

# Plain integers: comparing with an enum costs more than the rest of a stage.
READ: Final = int(ReqOp.READ)
WRITE: Final = int(ReqOp.WRITE)


Then = Callable[["Request", int], None]  # what a request does next, and when that is: ns


def _unscheduled(request: "Request", _now: int) -> None:
    raise AssertionError(f"{request!r} was called without a continuation")


class Request:
    """One bio's request.  Times are ns; ``mark`` is when its present stage began."""

    __slots__ = (
        "arrived",
        "cpu",
        "cpu_crypto",
        "cpu_then",
        "device_queue",
        "dun",
        "key",
        "keyslot_idle",
        "keyslot_lock",
        "keyslot_program",
        "mark",
        "media",
        "members",
        "nbytes",
        "op",
        "parent",
        "parts",
        "queued",
        "row",
        "scheduler",
        "sector",
        "slot",
        "status",
        "submit",
        "tag_wait",
        "transfer",
    )

    def __init__(self) -> None:
        self.row = self.op = self.sector = self.nbytes = self.dun = self.cpu = self.status = 0
        self.key: BlkCryptoKey | None = None
        self.slot = -1
        self.arrived = self.mark = 0
        self.queued = self.submit = self.tag_wait = self.scheduler = 0
        self.keyslot_lock = self.keyslot_idle = self.keyslot_program = 0
        self.cpu_crypto = self.device_queue = self.transfer = self.media = 0
        # A merged request carries its bios; a split bio waits for its parts.
        self.members: list[Request] = []
        self.parent: Request | None = None
        self.parts = 0
        self.cpu_then: Then = _unscheduled

    def __repr__(self) -> str:
        return f"<Request row {self.row} op {self.op} sector {self.sector} + {self.nbytes}>"
