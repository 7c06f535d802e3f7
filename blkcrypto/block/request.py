"""A request: bios in a row that a driver gets as one.

Rules (block/blk-mq.c; reference block-layer.md sections 2.4 and 3.11):

- The context is a copy of the lowest bio's; the bios that follow are known to be contiguous.
- A keyslot is held from creation to completion of the last byte.
"""

import enum
from collections import deque
from typing import TYPE_CHECKING, Final

from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.bio import NOMERGE_FLAGS, Bio, ReqFlags
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.op import ReqOp
from blkcrypto.block.ops import NO_SLOT

if TYPE_CHECKING:
    from blkcrypto.block.queue import RequestQueue

_NEVER_MERGED: Final = frozenset({ReqOp.FLUSH, ReqOp.WRITE_ZEROES})


class FlushStep(enum.Enum):
    """What a write with PREFLUSH or FUA still needs."""

    PREFLUSH = "flush before the data"
    DATA = "the data"
    POSTFLUSH = "flush after the data"


class Request:
    """``struct request``.

    Attributes:
        bios: in sector order.
        sector: first sector.
        nbytes: bytes left.
        segments: memory segments (``nr_phys_segments``).
        crypt_ctx: key, and DUN of the first byte left.
        keyslot: slot held, or -1.
        tag: the driver's tag, or -1 while a scheduler holds the request.
        sched_tag: the scheduler's tag, or -1 without a scheduler.
        started: it was at the device at least once, so it merges no more.
        needs: steps a flush still has to make; empty for other requests.
    """

    __slots__ = (
        "bios",
        "blkg",
        "crypt_ctx",
        "flags",
        "ioprio",
        "keyslot",
        "nbytes",
        "needs",
        "op",
        "queue",
        "sched_tag",
        "sector",
        "segments",
        "started",
        "tag",
        "write_hint",
        "write_stream",
    )

    def __init__(self, queue: "RequestQueue", bio: Bio | None, segments: int, op: ReqOp) -> None:
        self.queue = queue
        self.op = op
        self.bios: deque[Bio] = deque(() if bio is None else (bio,))
        self.blkg: object = None
        if bio is None:
            self.flags = ReqFlags.NONE
            self.sector = self.nbytes = self.ioprio = self.write_hint = self.write_stream = 0
        else:
            self.flags, self.blkg = bio.flags, bio.blkg
            self.sector, self.nbytes = bio.it.sector, bio.it.size
            self.ioprio, self.write_hint, self.write_stream = bio.ioprio, bio.write_hint, bio.write_stream
        self.segments = segments
        self.crypt_ctx: BioCryptCtx | None = None
        self.keyslot = NO_SLOT
        self.tag = -1
        self.sched_tag = -1
        self.started = False
        self.needs: list[FlushStep] = []

    def __repr__(self) -> str:
        return f"<Request {self.op.name} {self.sector} + {self.sectors}>"

    @property
    def sectors(self) -> int:
        """512-byte sectors left."""
        return self.nbytes >> SECTOR_SHIFT

    @property
    def end_sector(self) -> int:
        """The sector after the last."""
        return self.sector + (self.nbytes >> SECTOR_SHIFT)

    @property
    def mergeable(self) -> bool:
        """Whether anything may still be merged with it: ``rq_mergeable()``."""
        if self.op in _NEVER_MERGED or self.flags & NOMERGE_FLAGS:
            return False
        return not self.started and not self.needs

    def complete_bios(self, status: BlkStatus, nbytes: int) -> None:
        """The first ``nbytes`` are done: complete the bios they cover and move on, context included."""
        self.sector += nbytes >> SECTOR_SHIFT
        self.nbytes -= nbytes
        if self.nbytes and self.crypt_ctx is not None:
            self.crypt_ctx.advance(nbytes)
        bios = self.bios
        while bios and nbytes >= bios[0].it.size:
            bio = bios.popleft()
            nbytes -= bio.it.size
            bio.complete(status)
        if nbytes:
            self.bios[0].fail(status)
            self.bios[0].advance(nbytes)
        if self.nbytes:
            self.segments = sum(1 for bio in self.bios for _ in bio.bvecs())
