"""The request queue: from bios to requests at the driver, and back.

Rules (block/blk-mq.c; reference block-layer.md sections 3.6, 3.8 and 3.11), in this order for a bio:

1. Sector and size are multiples of the logical block, else I/O error.
2. It is cut to the limits; what is left is submitted anew, after the front.
3. A bio with integrity and a context: the integrity is dropped, with a warning.
4. It is merged into a plugged or scheduled request if one takes it; then no keyslot is taken.
5. A tag; a bio with REQ_NOWAIT gets EAGAIN instead of waiting.
6. The context is copied into the request.
7. The keyslot: may sleep, also for REQ_NOWAIT.  On error the bio gets the status.
8. Flush machinery, plug, scheduler or driver.

A keyslot is released when the last byte is done, before any bio of the request completes (since 6.4), and
the tag after that.  A requeued request keeps its slot.

Deviation: after a partial completion Linux leaves the request's DUN as it was; here it moves on with the
data, and a completion that is no multiple of the data unit is refused.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus, errno_to_blk_status
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.device import BlockDevice, Disk, RequestSink
from blkcrypto.block.flush import FlushMachine, flush_steps
from blkcrypto.block.kernel import SPLIT_BIOS, Kernel
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.mempool import Mempool
from blkcrypto.block.merge import Merge, bio_mergeable
from blkcrypto.block.op import ReqOp
from blkcrypto.block.ops import NO_SLOT
from blkcrypto.block.pages import Page, PageRun, PageSink, take
from blkcrypto.block.plug import Plug
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.block.request import FlushStep, Request
from blkcrypto.block.scheduler import MqDeadline, NoScheduler, Scheduler
from blkcrypto.block.split import split_point
from blkcrypto.block.submit import submit_bio_noacct
from blkcrypto.block.tags import BORROWED_TAG, NO_TAG, TagSet, scheduler_tags
from blkcrypto.block.trace import Tracepoint
from blkcrypto.block.waiting import Steps, Task

_BUSY = (BlkStatus.RESOURCE, BlkStatus.DEV_RESOURCE)
_FLUSHES = ReqFlags.PREFLUSH | ReqFlags.FUA
_MERGED = {Merge.BACK: Tracepoint.BIO_BACKMERGE, Merge.FRONT: Tracepoint.BIO_FRONTMERGE}


@dataclass(slots=True)
class QueueCounts:
    """What a queue did since it was made."""

    splits: int = 0
    back_merges: int = 0
    front_merges: int = 0
    request_merges: int = 0
    requests: int = 0
    requeues: int = 0


class RequestQueue:
    """A queue with one hardware context.

    Args:
        kernel: the system.
        name: of the disk.
        limits: of the device.
        sink: the driver.
        depth: tags of the driver.
        scheduler: ``none`` or ``mq-deadline``.
        profile: the device's crypto profile.
        nomerges: merge nothing.
        split_reserve: bios set aside for splitting.
        clock: nanoseconds, for the scheduler's deadlines; time stands still by default.
    """

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        limits: QueueLimits,
        sink: RequestSink,
        *,
        depth: int = 31,
        scheduler: str = "none",
        profile: CryptoProfile | None = None,
        nomerges: bool = False,
        split_reserve: int = SPLIT_BIOS,
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.limits = limits
        self.profile = profile
        self.nomerges = nomerges
        self.counts = QueueCounts()
        self.in_flight: set[Request | PageRun] = set()
        self._sink = sink
        self.tags = TagSet(f"a tag of {name}", depth)
        self.scheduler: Scheduler = NoScheduler(limits)
        self.sched_tags: TagSet | None = None
        if scheduler == "mq-deadline":
            self.scheduler = MqDeadline(limits, self._drop_merged, clock)
            self.sched_tags = TagSet(f"a scheduler tag of {name}", scheduler_tags(depth))
        elif scheduler != "none":
            raise ValueError(f"{scheduler!r} is no scheduler: use none or mq-deadline")
        self._page_sink: PageSink | None = None
        in_order = self.sched_tags is None and kernel.era.release_before_callback
        if in_order and not limits.chunk_sectors and isinstance(sink, PageSink):
            self._page_sink = sink
        self._dispatch: deque[Request] = deque()
        self._split_bios = Mempool(f"bios for splitting on {name}", split_reserve, kernel.memory)
        self._flush = FlushMachine(self._issue_flush, self._insert_data, self._end)

    def make_disk(self, capacity: int) -> Disk:
        """The disk in front of this queue, of ``capacity`` sectors."""
        return Disk(self.name, capacity, self.limits, self, self.profile)

    # Submission

    def submit_bio(self, task: Task, bio: Bio) -> Steps[None]:
        """``blk_mq_submit_bio()``: the eight steps above."""
        block = self.limits.logical_block_size
        if (bio.sector << SECTOR_SHIFT) % block or bio.nbytes % block:
            bio.complete(BlkStatus.IOERR)
            return
        try:
            sectors, segments = split_point(bio, self.limits)
        except BlkCryptoError as error:
            bio.complete(errno_to_blk_status(error.errno))
            return
        if sectors:
            bio = yield from self._split(task, bio, sectors)
        if bio.flags & ReqFlags.INTEGRITY and bio.crypt_ctx is not None:
            self.kernel.warn_once(f"{self.name}: integrity and a crypt context do not go together")
            bio.flags = ReqFlags(bio.flags & ~ReqFlags.INTEGRITY)
        if not self.nomerges and bio_mergeable(bio) and self._merge(task, bio, segments):
            return
        rq = yield from self._make_request(task, bio, segments)
        if rq is not None:
            self._hand_on(task, rq, bio)

    def page_room(self, task: Task) -> int:
        """See ``BioDriver``."""
        plug, kernel = task.plug, self.kernel
        if not isinstance(plug, Plug) or self._page_sink is None or len(self.scheduler) or kernel.traced:
            return 0
        if plug.multiple_queues or (plug.requests and plug.requests[-1].queue is not self):
            return 0
        return min(plug.room, self.tags.available)

    def submit_pages(self, task: Task, bdev: BlockDevice, pages: Sequence[Page]) -> int:
        """See ``BioDriver``; what would wait or decide something is left to ``submit_bio``."""
        plug = task.plug
        assert isinstance(plug, Plug)
        run = take(self, bdev, task, pages, plug.requests[-1] if plug.requests else None)
        if run is None:
            return 0
        self.counts.requests += len(run)
        plug.add_pages(run)
        return len(run)

    def _split(self, task: Task, bio: Bio, sectors: int) -> Steps[Bio]:
        """The first ``sectors`` of ``bio``; the rest is submitted anew."""
        pool = self._split_bios
        yield from pool.alloc(task)
        front = yield from bio.split(task, sectors)
        front.flags |= ReqFlags.NOMERGE  # it was cut because nothing more fits
        front.chain(bio, then=lambda: pool.free(task.name))
        self.counts.splits += 1
        if self.kernel.traced:
            self.kernel.trace(Tracepoint.SPLIT, self.name, front, bio.sector)
        yield from submit_bio_noacct(self.kernel, task, bio)
        return front

    def _merge(self, task: Task, bio: Bio, segments: int) -> bool:
        where = Merge.NONE
        if isinstance(task.plug, Plug):
            where = task.plug.merge_bio(self, bio, segments)
        if where is Merge.NONE:
            where = self.scheduler.merge_bio(bio, segments)
        if where is Merge.NONE:
            return False
        self.counts.back_merges += where is Merge.BACK
        self.counts.front_merges += where is Merge.FRONT
        if self.kernel.traced:
            self.kernel.trace(_MERGED[where], self.name, bio)
        return True

    def _make_request(self, task: Task, bio: Bio, segments: int) -> Steps[Request | None]:
        tags = self.sched_tags or self.tags
        tag = tags.try_get()
        if tag == NO_TAG:
            if bio.flags & ReqFlags.NOWAIT:
                bio.complete(BlkStatus.AGAIN)
                return None
            tag = yield from tags.get()
        rq = Request(self, bio, segments, bio.op)
        if self.sched_tags is None:
            rq.tag = tag
        else:
            rq.sched_tag = tag
        if self.kernel.traced:
            self.kernel.trace(Tracepoint.GETRQ, self.name, bio)
        if bio.crypt_ctx is not None:
            pool, profile = self.kernel.rq_ctx_pool, self.profile
            if not pool.try_alloc(task):
                yield from pool.alloc(task)
            rq.crypt_ctx = bio.crypt_ctx.copy(task.name)
            if profile is not None:
                grant = profile.hit(rq.crypt_ctx.key) or (yield from profile.get_keyslot(rq.crypt_ctx.key))
                if grant.status is not BlkStatus.OK:
                    self._free(rq)
                    bio.complete(grant.status)
                    return None
                rq.keyslot = grant.slot
        self.counts.requests += 1
        return rq

    def _hand_on(self, task: Task, rq: Request, bio: Bio) -> None:
        if bio.flags & _FLUSHES:
            steps = flush_steps(bio.flags, rq.nbytes, self.limits)
            rq.flags = ReqFlags(rq.flags & ~ReqFlags.PREFLUSH)
            if not self.limits.fua:
                rq.flags = ReqFlags(rq.flags & ~ReqFlags.FUA)
            if steps != [FlushStep.DATA]:
                self._flush.insert(rq, steps)
                return
        if isinstance(task.plug, Plug):
            task.plug.add(rq)
        elif self.scheduler.holds_back:
            self._insert(rq)
            self.run()
        else:
            self._issue_directly(rq)

    # Dispatch

    def unplug(self, requests: list[Request | PageRun], *, direct: bool) -> None:
        """Take requests that a plug held back, oldest first."""
        for held in requests:
            if isinstance(held, PageRun) and direct and self._page_sink is not None and not self._dispatch:
                self.in_flight.add(held)
                self._page_sink.queue_pages(held)
                continue
            for rq in held.requests() if isinstance(held, PageRun) else (held,):
                if direct:
                    self._issue_directly(rq)
                else:
                    self._insert(rq)
        if not direct:
            self.run()

    def _insert(self, rq: Request) -> None:
        if self.kernel.traced:
            self.kernel.trace(Tracepoint.RQ_INSERT, self.name, rq)
        self.scheduler.insert(rq)

    def _insert_data(self, rq: Request) -> None:
        """The data step of a flush goes straight to the dispatch list: it merges with nothing."""
        self._dispatch.append(rq)
        self.run()

    def _issue_directly(self, rq: Request) -> None:
        """Straight to the driver, unless others already wait for it: ``blk_mq_try_issue_directly()``."""
        if self._dispatch:
            self._insert(rq)
        elif not self._issue(rq):
            self._dispatch.append(rq)

    def run(self) -> None:
        """Offer waiting requests to the driver until it is busy: ``blk_mq_run_hw_queue()``."""
        while True:
            rq = self._dispatch.popleft() if self._dispatch else self.scheduler.next()
            if rq is None:
                return
            if not self._issue(rq):
                self._dispatch.appendleft(rq)
                return

    def _issue(self, rq: Request) -> bool:
        """Give ``rq`` to the driver; False when it has to be offered again."""
        if rq.tag == NO_TAG:
            rq.tag = self.tags.try_get()
            if rq.tag == NO_TAG:
                return False
        rq.started = True
        self.in_flight.add(rq)
        if self.kernel.traced:
            self.kernel.trace(Tracepoint.RQ_ISSUE, self.name, rq)
        status = self._sink.queue_rq(rq)
        if status in _BUSY:
            self.requeue(rq, put_back=False)
            return False
        if status is not BlkStatus.OK:
            self.complete(rq, status)
        return True

    def requeue(self, rq: Request, *, put_back: bool = True) -> None:
        """The driver hands ``rq`` back untouched: the keyslot is kept, the driver's tag is not."""
        self.in_flight.discard(rq)
        if rq.sched_tag != NO_TAG and rq.tag != NO_TAG:
            self.tags.put(rq.tag)
            rq.tag = NO_TAG
        self.counts.requeues += 1
        if self.kernel.traced:
            self.kernel.trace(Tracepoint.RQ_REQUEUE, self.name, rq)
        if put_back:
            self._dispatch.append(rq)

    def _issue_flush(self) -> None:
        rq = Request(self, None, 0, ReqOp.FLUSH)
        rq.tag = BORROWED_TAG  # of the request that needs the flush: a flush never waits for a tag
        rq.needs = [FlushStep.PREFLUSH]
        self._dispatch.append(rq)
        self.run()

    # Completion

    def complete(self, rq: Request, status: BlkStatus = BlkStatus.OK, nbytes: int | None = None) -> bool:
        """The device did ``nbytes`` of ``rq`` (all by default): ``blk_update_request()``.

        Returns:
            True when bytes are left; the driver then goes on with them or requeues the request.

        Raises:
            ValueError: not a number of bytes this request can complete.
        """
        if nbytes is None:
            nbytes = rq.nbytes
        else:
            unit = 512 if rq.crypt_ctx is None else max(512, rq.crypt_ctx.key.crypto_cfg.data_unit_size)
            if nbytes > rq.nbytes or (nbytes < rq.nbytes and (nbytes % unit or not nbytes)):
                raise ValueError(f"{nbytes} of {rq.nbytes} bytes are no whole data units of {unit} bytes")
        if self.kernel.traced:
            self.kernel.trace(Tracepoint.RQ_COMPLETE, self.name, rq, nbytes >> SECTOR_SHIFT)
        last = nbytes == rq.nbytes
        if last:
            self.in_flight.discard(rq)
        if last and self.kernel.era.release_before_callback:
            self._put_keyslot(rq)
        if rq.op is ReqOp.FLUSH:
            self._end_flush(rq, status)
            return False
        if last and rq.needs and not self._flush_data_done(rq, status):
            return False
        rq.complete_bios(status, nbytes)
        if not last:
            return True
        self._free(rq)
        self.run()
        return False

    def _flush_data_done(self, rq: Request, status: BlkStatus) -> bool:
        """Whether a write with flush steps may end now; a failed one skips the flush after it."""
        if status is BlkStatus.OK:
            return self._flush.data_done(rq)
        rq.needs = []
        return True

    def _end(self, rq: Request, status: BlkStatus) -> None:
        """All steps of a flush or a write with flushes are done, or one failed."""
        if self.kernel.era.release_before_callback:
            self._put_keyslot(rq)
        rq.complete_bios(status, rq.nbytes)
        self._free(rq)
        self.run()

    def _end_flush(self, rq: Request, status: BlkStatus) -> None:
        rq.needs = []
        self._flush.flush_done(status)
        self.run()

    def _put_keyslot(self, rq: Request) -> None:
        if rq.keyslot != NO_SLOT and self.profile is not None:
            self.profile.put_keyslot(rq.keyslot)
            rq.keyslot = NO_SLOT

    def _drop_merged(self, rq: Request) -> None:
        """``rq`` was merged into another request: its slot goes first, at once."""
        self.counts.request_merges += 1
        if self.kernel.traced:
            self.kernel.trace(Tracepoint.RQ_MERGE, self.name, rq)
        self._free(rq)

    def _free(self, rq: Request) -> None:
        if rq.keyslot != NO_SLOT:
            self._put_keyslot(rq)
        if rq.crypt_ctx is not None:
            self.kernel.rq_ctx_pool.free(rq.crypt_ctx.owner)
            rq.crypt_ctx = None
        if rq.tag >= 0:
            self.tags.put(rq.tag)
        if rq.sched_tag != NO_TAG and self.sched_tags is not None:
            self.sched_tags.put(rq.sched_tag)
        rq.tag = rq.sched_tag = NO_TAG
