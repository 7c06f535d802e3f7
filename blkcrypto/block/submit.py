"""Submitting a bio: who checks what, in which order, with which status.

Rules (block/blk-core.c, block/blk-crypto.c; reference block-layer.md sections 3.6 and 3.7):

``blk_crypto_submit_bio`` (from 7.0; before, there is only ``submit_bio``):

1. No context: plain submission.
2. No data (size 0, discard, secure erase, write zeroes): I/O error.
3. Not natively supported: no fallback built, NOTSUPP; else the fallback takes it.
4. Plain submission.

Plain submission:

1. REQ_NOWAIT on a device that cannot: NOTSUPP.
2. From 7.0, with a context: no data, I/O error; not natively supported by this device, NOTSUPP.
3. Past the end of the device: I/O error.  A partition's sectors become the disk's.
4. A flush or FUA on anything but a write: I/O error.  Without a write cache the flags are dropped, and an
   empty flush is done.
5. An operation the device lacks: NOTSUPP.
6. Before 7.0, with a context, wherever the bio reaches a device: no data, I/O error; misaligned segments,
   INVAL (I/O error in 5.x); not natively supported, the fallback takes it, or NOTSUPP without one.

A bio submitted while another is being submitted by the same task waits on a list: bios for devices below
come first, then the rest of this device's.

``submit_all`` does all that for many, pages in a row together where no step would wait, fail or trace.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import natively_supported
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import segments
from blkcrypto.block.device import BlockDevice
from blkcrypto.block.era import AlignmentCheck, FallbackPlace
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.op import ReqOp
from blkcrypto.block.pages import Page
from blkcrypto.block.trace import Tracepoint
from blkcrypto.block.waiting import Steps, Task

_MAX_SECTORS_ATTRIBUTE = (ReqOp.DISCARD, ReqOp.SECURE_ERASE, ReqOp.WRITE_ZEROES)
_FLUSHES = ReqFlags.PREFLUSH | ReqFlags.FUA


def _native(kernel: Kernel, bio: Bio) -> bool:
    assert bio.crypt_ctx is not None
    return natively_supported(bio.bdev, bio.crypt_ctx.key.crypto_cfg, kernel.era)


def blk_crypto_submit_bio(kernel: Kernel, task: Task, bio: Bio) -> Steps[None]:
    """Submit a bio that may have a context.  It completes in any case, once.

    Before 7.0 this is ``submit_bio``: the fallback sits inside the block layer.
    """
    if bio.crypt_ctx is None or kernel.era.fallback is FallbackPlace.INSIDE:
        yield from submit_bio_noacct(kernel, task, bio)
        return
    if not bio.has_data:
        kernel.warn_once("a bio without data has a crypt context")
        bio.complete(BlkStatus.IOERR)
        return
    if not _native(kernel, bio):
        if kernel.fallback is None:
            kernel.warn_once("a bio needs the crypto API fallback, which is not built in")
            bio.complete(BlkStatus.NOTSUPP)
            return
        if not (yield from kernel.fallback.take_above(task, bio)):
            return
    yield from submit_bio_noacct(kernel, task, bio)


def submit_all(kernel: Kernel, task: Task, bdev: BlockDevice, work: Sequence[Bio | Page]) -> Steps[None]:
    """Submit bios, and pages to ``bdev``, in order, as ``blk_crypto_submit_bio`` does one by one."""
    at, before = 0, None
    while at < len(work):
        if not _adjoin(before, work[at]):
            at += yield from _submit_pages(kernel, task, bdev, work, at)
        if at < len(work):
            before = work[at]
            yield from blk_crypto_submit_bio(kernel, task, (yield from _bio(kernel, task, bdev, before)))
            at += 1


def _bio(kernel: Kernel, task: Task, bdev: BlockDevice, one: Bio | Page) -> Steps[Bio]:
    if isinstance(one, Bio):
        return one
    bio = one.bio(bdev)
    if one.key is not None:
        yield from bio.set_ctx(task, kernel.ctx_pool, one.key, one.dun)
    return bio


def _adjoin(first: Bio | Page | None, second: Bio | Page) -> bool:
    return isinstance(first, Page) and isinstance(second, Page) and second.adjoins(first)


def _submit_pages(
    kernel: Kernel, task: Task, bdev: BlockDevice, work: Sequence[Bio | Page], first: int
) -> Steps[int]:
    """Submit of ``work``, from ``first`` on, the pages in a row that nothing is in the way of; how many."""
    driver = bdev.disk.driver
    room = driver.page_room(task)
    if not room or task.bio_list is not None or bdev.is_partition:
        return 0
    native, pages = _passing(kernel, bdev, islice(work, first, first + room))
    if not pages:
        return 0
    if native:
        return driver.submit_pages(task, bdev, pages)
    if kernel.fallback is None:
        return 0
    taken = kernel.fallback.take_pages(task, bdev, pages)
    yield from submit_all(kernel, task, bdev, taken.plain)
    kernel.fallback.put_keyslots(taken.slots)
    return len(taken.plain)


def _passing(kernel: Kernel, bdev: BlockDevice, work: Iterable[Bio | Page]) -> tuple[bool, list[Page]]:
    """The pages in front that the checks above let pass, and whether they need no fallback: all or none.

    Not those that lie next to the one before or after: they may be merged.
    """
    pages: list[Page] = []
    native, key = True, None
    for each in work:
        if not isinstance(each, Page):
            break
        if pages and each.adjoins(pages[-1]):
            pages.pop()
            break
        if not each.sector < each.end <= bdev.sectors:
            break
        if each.key is not key or not pages:
            key = each.key
            by_device = key is None or natively_supported(bdev, key.crypto_cfg, kernel.era)
            if pages and by_device is not native:
                break
            native = by_device
        if key is not None and kernel.era.fallback is FallbackPlace.INSIDE:
            break
        pages.append(each)
    return native, pages


def submit_bio_noacct(kernel: Kernel, task: Task, bio: Bio) -> Steps[None]:
    """``submit_bio()``: plain submission.  Never falls back from 7.0 on."""
    status = _refusal(kernel, bio)
    if status is not None:
        bio.complete(status)
        return
    if not bio.traced:
        bio.traced = True
        if kernel.traced:
            kernel.trace(Tracepoint.BIO_QUEUE, bio.bdev.disk.name, bio)
    waiting = task.bio_list
    if waiting is not None:
        waiting.append(bio)
        return
    yield from _submit_noacct(kernel, task, bio)


def _submit_noacct(kernel: Kernel, task: Task, bio: Bio) -> Steps[None]:
    """Submit ``bio`` and all that its submission submits: ``__submit_bio_noacct()``."""
    inside = kernel.era.fallback is FallbackPlace.INSIDE
    later: deque[Bio] = deque((bio,))
    fresh = task.bio_list = deque()
    try:
        while later:
            bio = later.popleft()
            disk = bio.bdev.disk
            prepared: Bio | None = bio
            if inside and bio.crypt_ctx is not None:
                prepared = yield from _prepare_inside(kernel, task, bio)
            if prepared is not None:
                yield from prepared.bdev.disk.driver.submit_bio(task, prepared)
            if fresh:
                # Bios for devices below first, so that a stacked device cannot starve what it waits for.
                lower = [new for new in fresh if new.bdev.disk is not disk]
                same = [new for new in fresh if new.bdev.disk is disk]
                later.extendleft(reversed(lower + same))
                fresh.clear()
    finally:
        task.bio_list = None


def _prepare_inside(kernel: Kernel, task: Task, bio: Bio) -> Steps[Bio | None]:
    """The hook of kernels before 7.0: ``__blk_crypto_bio_prep()``."""
    assert bio.crypt_ctx is not None
    if not bio.has_data:
        kernel.warn_once("a bio without data has a crypt context")
        bio.complete(BlkStatus.IOERR)
        return None
    if kernel.era.alignment_check is AlignmentCheck.AT_SUBMISSION:
        size = bio.crypt_ctx.key.crypto_cfg.data_unit_size
        for part in segments(bio.vecs, bio.it, kernel.page_bytes):
            if (part.address % kernel.page_bytes | part.length) & (size - 1):
                bio.complete(kernel.era.misaligned_status)
                return None
    if _native(kernel, bio):
        return bio
    if kernel.fallback is None:
        kernel.warn_once("a bio needs the crypto API fallback, which is not built in")
        bio.complete(BlkStatus.NOTSUPP)
        return None
    return (yield from kernel.fallback.take_inside(task, bio))


def _refusal(kernel: Kernel, bio: Bio) -> BlkStatus | None:
    """Status that ends ``bio`` before it reaches its queue, or None."""
    limits = bio.bdev.disk.limits
    if bio.flags & ReqFlags.NOWAIT and not limits.nowait:
        return BlkStatus.NOTSUPP
    if bio.crypt_ctx is not None and kernel.era.fallback is FallbackPlace.ABOVE:
        if not bio.has_data:
            kernel.warn_once("a bio without data has a crypt context")
            return BlkStatus.IOERR
        if not _native(kernel, bio):
            return BlkStatus.NOTSUPP
    if not bio.remapped:
        if bio.end_sector > bio.bdev.sectors:
            return BlkStatus.IOERR
        _remap_partition(bio)
    if bio.flags & _FLUSHES:
        if bio.op is not ReqOp.WRITE:
            return BlkStatus.IOERR
        if not limits.write_cache:
            bio.flags = ReqFlags(bio.flags & ~_FLUSHES)
            if not bio.nbytes:
                return BlkStatus.OK
    if bio.op in _MAX_SECTORS_ATTRIBUTE and not limits.max_op_sectors(bio.op):
        return BlkStatus.NOTSUPP
    return None


def _remap_partition(bio: Bio) -> None:
    """Move a partition's bio to the disk, once: ``blk_partition_remap()``."""
    if bio.bdev.is_partition:
        bio.it = bio.it._replace(sector=bio.it.sector + bio.bdev.start)
        bio.bdev = bio.bdev.disk.whole
        bio.remapped = True
