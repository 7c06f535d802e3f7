"""May these two become one request, and what happens when they do.

Rules (block/blk-merge.c; reference block-layer.md section 3.8):

- First the cheap questions: same operation, priority, hints, cgroup, same key object, neither marked.
- Then the position: the bio begins where the request ends (back) or ends where it begins (front).
- Then what makes it fit: no forbidden gap, next DUN, size, segments.  Failing on size or segments marks
  the request, so that nobody asks again.
- Back merge: the bio's context is freed.  Front merge: the request takes the bio's DUN; the bio keeps
  its context.  Two requests: the second one's keyslot is released at once and its context freed.

The order of the questions shows in the marking, so it is kept.
"""

import enum
from collections.abc import Callable
from typing import Final

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block import crypt_ctx
from blkcrypto.block.bio import NOMERGE_FLAGS, Bio, ReqFlags
from blkcrypto.block.bvec import BioVec, bvecs
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.request import Request
from blkcrypto.block.split import gap_between


class Merge(enum.Enum):
    """Where a bio would join a request."""

    NONE = "not adjacent"
    BACK = "after its end"
    FRONT = "before its start"


class Attempt(enum.Enum):
    """What became of trying."""

    OK = "merged"
    NONE = "not adjacent, or never mergeable"
    FAILED = "adjacent, but it does not fit"


def bio_mergeable(bio: Bio) -> bool:
    """Whether a bio may be merged at all: not a flush, not the front of a split."""
    return not bio.flags & NOMERGE_FLAGS


def _same_terms(first: Request | Bio, second: Request | Bio) -> bool:
    return (
        first.write_hint == second.write_hint
        and first.write_stream == second.write_stream
        and first.ioprio == second.ioprio
        and bool(first.flags & ReqFlags.ATOMIC) == bool(second.flags & ReqFlags.ATOMIC)
    )


def may_merge(rq: Request, bio: Bio) -> bool:
    """The cheap questions: ``blk_rq_merge_ok()``."""
    if not rq.mergeable or not bio_mergeable(bio):
        return False
    if rq.op is not bio.op or rq.blkg is not bio.blkg:
        return False
    if bool(rq.flags & ReqFlags.INTEGRITY) != bool(bio.flags & ReqFlags.INTEGRITY):
        return False
    return crypt_ctx.compatible(rq.crypt_ctx, bio.crypt_ctx) and _same_terms(rq, bio)


def position(rq: Request, bio: Bio) -> Merge:
    """Where ``bio`` lies next to ``rq``: ``blk_try_merge()``."""
    if rq.end_sector == bio.sector:
        return Merge.BACK
    if rq.sector - bio.sectors == bio.sector:
        return Merge.FRONT
    return Merge.NONE


def _first_vec(bio: Bio) -> BioVec:
    return next(bvecs(bio.vecs, bio.it))


def _last_vec(bio: Bio) -> BioVec:
    *_, last = bvecs(bio.vecs, bio.it)
    return last


def _gap(limits: QueueLimits, first: Bio, before: Bio, after: Bio) -> bool:
    """Whether ``after`` behind ``before``, in a request that begins with ``first``, leaves a gap."""
    if not limits.virt_boundary_mask or not before.has_data:
        return False
    if _first_vec(first).address & limits.virt_boundary_mask:
        return True
    last, following = _last_vec(before), _first_vec(after)
    mask = limits.seg_boundary_mask
    touching = last.address + last.length == following.address
    if touching and last.address | mask == (following.address + following.length - 1) | mask:
        return False
    return gap_between(limits, last, following.address)


def max_request_sectors(limits: QueueLimits, op: ReqOp, sector: int) -> int:
    """Largest request that begins at ``sector``: ``blk_rq_get_max_sectors()``."""
    most = limits.max_op_sectors(op)
    if not limits.chunk_sectors or op in (ReqOp.DISCARD, ReqOp.SECURE_ERASE):
        return most
    return min(most, limits.sectors_to_boundary(sector))


def _refuse(rq: Request) -> bool:
    """Mark ``rq`` so that nothing is tried on it again."""
    rq.flags |= ReqFlags.NOMERGE
    return False


def _fits(rq: Request, bio: Bio, segments: int, first_sector: int, limits: QueueLimits) -> bool:
    if rq.sectors + bio.sectors > max_request_sectors(limits, rq.op, first_sector):
        return _refuse(rq)
    if rq.op is ReqOp.DISCARD:
        return True
    if rq.segments + segments > limits.max_segments:
        return _refuse(rq)
    rq.segments += segments
    return True


def back_fits(rq: Request, bio: Bio, segments: int, limits: QueueLimits) -> bool:
    """Whether ``bio`` fits behind ``rq``; counts its segments in if so: ``ll_back_merge_fn()``."""
    if _gap(limits, rq.bios[0], rq.bios[-1], bio):
        return False
    if not crypt_ctx.mergeable(rq.crypt_ctx, rq.nbytes, bio.crypt_ctx):
        return False
    return _fits(rq, bio, segments, rq.sector, limits)


def front_fits(rq: Request, bio: Bio, segments: int, limits: QueueLimits) -> bool:
    """Whether ``bio`` fits in front of ``rq``; counts its segments in if so: ``ll_front_merge_fn()``."""
    if _gap(limits, bio, bio, rq.bios[0]):
        return False
    if not crypt_ctx.mergeable(bio.crypt_ctx, bio.nbytes, rq.crypt_ctx):
        return False
    return _fits(rq, bio, segments, bio.sector, limits)


def attempt_back(rq: Request, bio: Bio, segments: int, limits: QueueLimits) -> Attempt:
    """Append ``bio`` if it fits: ``bio_attempt_back_merge()``."""
    if not back_fits(rq, bio, segments, limits):
        return Attempt.FAILED
    rq.bios.append(bio)
    rq.nbytes += bio.nbytes
    bio.free_ctx()
    return Attempt.OK


def attempt_front(rq: Request, bio: Bio, segments: int, limits: QueueLimits) -> Attempt:
    """Prepend ``bio`` if it fits: ``bio_attempt_front_merge()``."""
    if not front_fits(rq, bio, segments, limits):
        return Attempt.FAILED
    rq.bios.appendleft(bio)
    rq.sector = bio.sector
    rq.nbytes += bio.nbytes
    if rq.crypt_ctx is not None and bio.crypt_ctx is not None:
        rq.crypt_ctx.dun = bio.crypt_ctx.dun
    return Attempt.OK


Joiner = Callable[[Request, Bio, int, QueueLimits], Attempt]
JOIN: Final[dict[Merge, Joiner]] = {Merge.BACK: attempt_back, Merge.FRONT: attempt_front}


def attempt(rq: Request, bio: Bio, segments: int, limits: QueueLimits) -> tuple[Attempt, Merge]:
    """Merge ``bio`` into ``rq`` if allowed: ``blk_attempt_bio_merge()``."""
    # Linux asks the other way round; neither question leaves a mark, and this one is cheap and mostly no.
    where = position(rq, bio)
    if where is Merge.NONE or not may_merge(rq, bio):
        return Attempt.NONE, Merge.NONE
    return JOIN[where](rq, bio, segments, limits), where


def requests_merge(rq: Request, following: Request, limits: QueueLimits) -> bool:
    """Append the bios of ``following`` to ``rq`` if allowed: ``attempt_merge()``.

    The caller then frees ``following``: its keyslot first, at once.
    """
    if not rq.mergeable or not following.mergeable or rq.op is not following.op:
        return False
    if not _same_terms(rq, following) or rq.end_sector != following.sector:
        return False
    if _gap(limits, rq.bios[0], rq.bios[-1], following.bios[0]):
        return False
    if rq.sectors + following.sectors > max_request_sectors(limits, rq.op, rq.sector):
        return False
    if rq.segments + following.segments > limits.max_segments or rq.blkg is not following.blkg:
        return False
    if not crypt_ctx.mergeable(rq.crypt_ctx, rq.nbytes, following.crypt_ctx):
        return False
    rq.segments += following.segments
    rq.bios.extend(following.bios)
    rq.nbytes += following.sectors << SECTOR_SHIFT
    following.bios.clear()
    return True
