"""Where a bio must be cut to fit a queue.

Rules (block/blk-merge.c; reference block-layer.md section 3.10):

- Every vector's offset obeys the DMA alignment and, with a context, the data unit size; so does its
  length.  Otherwise EINVAL.  A small bio (one vector inside a page, no chunks) skips the whole loop,
  this check included.
- A cut is needed at the size limit, the chunk boundary, the segment limit, or a gap that the virtual
  boundary forbids.  A size-limited cut ends on a physical block where that leaves anything.
- The cut is rounded down to the logical block.  REQ_NOWAIT then means EAGAIN, REQ_ATOMIC EINVAL, and a
  cut with nothing in front EINVAL.
- Deviation: Linux rounds to the logical block even inside a data unit, relying on aligned vectors; with
  limits that are no multiple of the data unit that would garble data.  Here it rounds to the data unit.
"""

import errno
import math
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import BioVec
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp

NO_SPLIT: Final = 0


class MisalignedVector(BlkCryptoError):
    """A vector's offset or length does not fit the DMA alignment or the data unit."""

    errno = errno.EINVAL


class CannotSplit(BlkCryptoError):
    """The bio must be split but no valid part of it fits, or it is atomic."""

    errno = errno.EINVAL


class SplitWouldBlock(BlkCryptoError):
    """A bio with REQ_NOWAIT must be split."""

    errno = errno.EAGAIN


def max_io_sectors(limits: QueueLimits, sector: int, op: ReqOp = ReqOp.WRITE) -> int:
    """Sectors one request at ``sector`` may have: ``get_max_io_size()``."""
    most = limits.max_op_sectors(op)
    if limits.chunk_sectors:
        most = min(most, limits.sectors_to_boundary(sector))
    physical = limits.physical_block_size >> SECTOR_SHIFT
    logical = limits.logical_block_size >> SECTOR_SHIFT
    start = sector & (physical - 1)
    end = (start + most) & ~(physical - 1)
    return end - start if end > start else most & ~(logical - 1)


def gap_between(limits: QueueLimits, previous: BioVec, address: int) -> bool:
    """Whether memory at ``address`` after ``previous`` leaves a gap the virtual boundary forbids."""
    mask = limits.virt_boundary_mask
    return bool(mask and (address & mask or (previous.address + previous.length) & mask))


class _Fill:
    """A request being filled with vectors."""

    __slots__ = ("limits", "max_bytes", "nbytes", "segments")

    def __init__(self, limits: QueueLimits, max_bytes: int) -> None:
        self.limits = limits
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.segments = 0

    def add(self, vec: BioVec) -> bool:
        """Take ``vec`` in; False when only part of it fits (``bvec_split_segs()``)."""
        limits = self.limits
        offset = vec.address % limits.page_bytes
        fits = self.segments < limits.max_segments and self.nbytes + vec.length <= self.max_bytes
        if fits and offset + vec.length <= limits.max_fast_segment_size:
            self.segments += 1
            self.nbytes += vec.length
            return True
        room = self.max_bytes - self.nbytes
        left, taken = min(vec.length, room), 0
        while left and self.segments < limits.max_segments:
            address = vec.address + taken
            to_boundary = limits.seg_boundary_mask - (address & limits.seg_boundary_mask) + 1
            piece = min(left, to_boundary, limits.max_segment_size)
            self.segments += 1
            taken += piece
            left -= piece
            if (address + piece) & limits.virt_boundary_mask:
                break
        self.nbytes += taken
        return not left and vec.length <= room


def may_need_split(bio: Bio, limits: QueueLimits) -> bool:
    """False for a small bio: one vector inside a page, no chunks."""
    if limits.chunk_sectors or len(bio.vecs) != 1:
        return True
    vec = bio.vecs[0]
    if vec.address & limits.dma_alignment:
        return True
    return vec.address % limits.page_bytes + vec.length > limits.max_fast_segment_size


def _split_rw(bio: Bio, limits: QueueLimits) -> tuple[int, int]:
    start_mask, length_mask, unit = limits.dma_alignment, 0, limits.logical_block_size
    if bio.crypt_ctx is not None:
        size = bio.crypt_ctx.key.crypto_cfg.data_unit_size
        start_mask |= size - 1
        length_mask |= size - 1
        unit = max(unit, size)
    fill = _Fill(limits, max_io_sectors(limits, bio.sector, bio.op) << SECTOR_SHIFT)
    previous: BioVec | None = None
    for vec in bio.bvecs():
        if vec.address & start_mask or vec.length & length_mask:
            raise MisalignedVector(f"a vector of {vec.length} bytes at {vec.address:#x} is not aligned")
        if previous is not None and gap_between(limits, previous, vec.address):
            break
        if not fill.add(vec):
            break
        previous = vec
    else:
        return NO_SPLIT, fill.segments
    if bio.flags & ReqFlags.ATOMIC:
        raise CannotSplit("an atomic write does not fit one request")
    if bio.flags & ReqFlags.NOWAIT:
        raise SplitWouldBlock("a bio with REQ_NOWAIT does not fit one request")
    nbytes = fill.nbytes - fill.nbytes % unit
    if not nbytes:
        raise CannotSplit("no whole block of the bio fits one request")
    return nbytes >> SECTOR_SHIFT, fill.segments


def _split_discard(bio: Bio, limits: QueueLimits) -> int:
    granularity = max(limits.discard_granularity >> SECTOR_SHIFT, 1)
    most = limits.max_op_sectors(bio.op)
    most -= most % granularity
    if not most or bio.sectors <= most:
        return NO_SPLIT
    # End where the next part starts on a multiple of the granularity.
    past = (bio.sector + most) % granularity
    return most - past if most > past else most


def split_point(bio: Bio, limits: QueueLimits) -> tuple[int, int]:
    """Where ``bio`` must be cut: ``__bio_split_to_limits()``.

    Returns:
        Sectors in front of the cut, 0 for no cut, and the memory segments of that front (of the bio).

    Raises:
        MisalignedVector, CannotSplit: EINVAL.
        SplitWouldBlock: EAGAIN.
    """
    if bio.op in (ReqOp.READ, ReqOp.WRITE):
        if not bio.nbytes:
            return NO_SPLIT, 0
        return _split_rw(bio, limits) if may_need_split(bio, limits) else (NO_SPLIT, 1)
    if bio.op in (ReqOp.DISCARD, ReqOp.SECURE_ERASE):
        return _split_discard(bio, limits), 1
    if bio.op is ReqOp.WRITE_ZEROES:
        most = max_io_sectors(limits, bio.sector, bio.op)
        return (most if most and bio.sectors > most else NO_SPLIT), 0
    return NO_SPLIT, 0


def split_period(limits: QueueLimits) -> int:
    """Sectors by which a transfer may be moved without being cut differently, and any multiple of them."""
    return math.lcm(limits.chunk_sectors or 1, limits.physical_block_size >> SECTOR_SHIFT)


def split_sizes(
    sector: int, nbytes: int, limits: QueueLimits, *, segment_bytes: int, data_unit_size: int = 1
) -> list[int]:
    """Requests that one transfer becomes, for models without memory.

    Memory is taken to come in separate segments of ``segment_bytes``; the result equals what splitting a
    bio with such vectors gives.

    Args:
        sector: first sector.
        nbytes: size of the transfer, a multiple of the logical block and the data unit.
        segment_bytes: size of a memory segment, at most ``max_segment_size``.
        data_unit_size: bytes; 1 when the transfer is not encrypted.

    Returns:
        Bytes per request, in order.

    Raises:
        CannotSplit: not even one block fits.
    """
    unit = max(limits.logical_block_size, data_unit_size)
    sizes: list[int] = []
    done = 0
    while nbytes > 0:
        # A cut inside a segment leaves its rest as the first segment of the next request.
        by_segments = limits.max_segments * segment_bytes - done % segment_bytes
        piece = min(nbytes, by_segments, max_io_sectors(limits, sector) << SECTOR_SHIFT)
        if piece < nbytes:
            piece -= piece % unit
        if not piece:
            raise CannotSplit("no whole block of the transfer fits one request")
        sizes.append(piece)
        done += piece
        nbytes -= piece
        sector += piece >> SECTOR_SHIFT
    return sizes
