"""Reads and writes of one page each, many at a time and in columns: what random I/O mostly is.

A ``Page`` is a bio that needs nothing but the usual: it passes every check as it is, has one memory segment,
and finds tag, contexts and keyslot.  A run of them is one object from submission to completion.

Whoever has to look at one alone gets it as what it stands for: ``Page.bio`` is what is submitted when a step
would wait, trace or decide something; ``PageRun.requests`` is what a run becomes when one of them may be
merged with, or has to be offered again.  Nobody can tell the difference.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.bio import Bio
from blkcrypto.block.bvec import U8, BioVec
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.block.ops import NO_SLOT
from blkcrypto.block.request import Request
from blkcrypto.block.waiting import Task

if TYPE_CHECKING:
    from blkcrypto.block.device import BlockDevice
    from blkcrypto.block.queue import RequestQueue


class Page(NamedTuple):
    """One read or write without flags.

    Attributes:
        op: READ or WRITE.
        sector: first sector on the device.
        data: ``uint8[n]`` at the start of a page, and no longer than one.
        key: None without a context.
        dun: of the first byte; 0 without a context.
        ended: called once, with the status.
    """

    op: ReqOp
    sector: int
    data: U8
    key: BlkCryptoKey | None
    dun: int
    ended: Callable[[BlkStatus], None]

    @property
    def end(self) -> int:
        """The sector after the last."""
        return self.sector + (len(self.data) >> SECTOR_SHIFT)

    def adjoins(self, other: "Page") -> bool:
        """Whether they lie side by side, so that they may be merged."""
        return self.sector == other.end or self.end == other.sector

    def without_ctx(self, data: U8, ended: Callable[[BlkStatus], None]) -> "Page":
        """The same place and direction, with other memory and nothing to encrypt."""
        return Page(self.op, self.sector, data, None, 0, ended)

    def bio(self, bdev: "BlockDevice") -> Bio:
        """The bio that it stands for, without its context."""
        vec = BioVec(0, len(self.data), self.data)  # which page of memory it is shows nowhere
        return Bio(bdev, self.op, self.sector, (vec,), end_io=lambda bio: self.ended(bio.status))


class PageRun:
    """Requests of one page each, made one after the other.

    Attributes:
        queue: theirs.
        pages: in the order they were submitted.
        tags: the driver's.
        slots: keyslots held, -1 without.
    """

    __slots__ = ("_bdev", "_owner", "_with_ctx", "pages", "queue", "slots", "tags")

    def __init__(
        self,
        queue: "RequestQueue",
        bdev: "BlockDevice",
        owner: str,
        pages: Sequence[Page],
        slots: Sequence[int],
        with_ctx: int,
    ) -> None:
        self.queue = queue
        self.pages = pages
        self.slots = slots
        self.tags = queue.tags.take(len(pages))
        self._bdev = bdev
        self._owner = owner
        self._with_ctx = with_ctx

    def __len__(self) -> int:
        return len(self.pages)

    @property
    def nbytes(self) -> int:
        """Bytes of the first request."""
        return len(self.pages[0].data)

    @property
    def total_bytes(self) -> int:
        """Bytes of all."""
        return sum([len(page.data) for page in self.pages])

    def requests(self) -> list[Request]:
        """The requests that it stands for, which then hold its tags, contexts and keyslots."""
        kernel, requests = self.queue.kernel, list[Request]()
        for page, tag, slot in zip(self.pages, self.tags, self.slots, strict=True):
            bio = page.bio(self._bdev)
            rq = Request(self.queue, bio, 1, page.op)
            rq.tag, rq.keyslot = tag, slot
            if page.key is not None:
                bio.crypt_ctx, bio.ctx_pool = BioCryptCtx(page.key, page.dun, self._owner), kernel.ctx_pool
                rq.crypt_ctx = bio.crypt_ctx.copy(self._owner)
            requests.append(rq)
        return requests

    def complete(self, statuses: Sequence[BlkStatus]) -> None:
        """The device did all of them, each to its end: ``blk_mq_end_request_batch()``."""
        queue, kernel, count = self.queue, self.queue.kernel, self._with_ctx
        queue.in_flight.discard(self)
        if count and queue.profile is not None:
            queue.profile.put_keyslots(self.slots)
        if count:
            kernel.ctx_pool.free(self._owner, count)
            kernel.rq_ctx_pool.free(self._owner, count)
        for page, status in zip(self.pages, statuses, strict=True):
            page.ended(status)
        queue.tags.put_all(self.tags)
        queue.run()


@runtime_checkable
class PageSink(Protocol):
    """A driver that takes pages in columns: ``queue_rqs()`` of ``struct blk_mq_ops``."""

    def queue_pages(self, run: PageRun) -> None:
        """Take ``run``, and complete it later."""


def next_to(page: Page, held: Request | PageRun) -> bool:
    """Whether ``page`` lies side by side with the last of ``held``."""
    if isinstance(held, PageRun):
        return page.adjoins(held.pages[-1])
    return page.sector == held.sector + (held.nbytes >> SECTOR_SHIFT) or page.end == held.sector


def take(
    queue: "RequestQueue",
    bdev: "BlockDevice",
    task: Task,
    pages: Sequence[Page],
    newest: Request | PageRun | None,
) -> PageRun | None:
    """A run of those of ``pages`` in front that nothing stands in the way of; None when that is none.

    Args:
        queue: theirs; it has tags for all.
        bdev: the disk.
        task: the submitter.
        pages: they pass the checks of submission, and none lies next to the one before it.
        newest: the request that the first may be merged with.
    """
    limits, profile = queue.limits, queue.profile
    mask, most = limits.logical_block_size - 1, limits.max_fast_segment_size
    slots: list[int] = []
    if newest is not None and not queue.nomerges and next_to(pages[0], newest):
        return None
    for page in pages:
        sector, nbytes = page.sector, len(page.data)
        if (sector << SECTOR_SHIFT | nbytes) & mask or nbytes > most:
            break
        slot = NO_SLOT
        if page.key is not None and profile is not None:
            grant = profile.hit(page.key)
            if grant is None:
                break
            slot = grant.slot
        slots.append(slot)
    taken = pages[: len(slots)]
    with_ctx = sum([page.key is not None for page in taken])
    if slots and _contexts(queue, task, with_ctx):
        return PageRun(queue, bdev, task.name, taken, slots, with_ctx)
    if profile is not None:
        profile.put_keyslots(slots)
    return None


def _contexts(queue: "RequestQueue", task: Task, count: int) -> bool:
    """Take contexts for ``count`` bios and for their requests, or none."""
    kernel = queue.kernel
    if not kernel.ctx_pool.try_alloc(task, count):
        return False
    if not kernel.rq_ctx_pool.try_alloc(task, count):
        kernel.ctx_pool.free(task.name, count)
        return False
    return True
