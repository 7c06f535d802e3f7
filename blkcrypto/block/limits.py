"""What a queue can take in one request, and how limits of stacked devices combine.

Source: ``struct queue_limits``, include/linux/blkdev.h and block/blk-settings.c.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.bvec import PAGE_BYTES
from blkcrypto.block.op import ReqOp

UINT_MAX: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """Limits of one queue, under the kernel's names.

    Attributes:
        logical_block_size: bytes; sector and size of every bio are multiples of it.
        physical_block_size: bytes; a split by size ends on a multiple of it where it can.
        max_sectors: 512-byte sectors in one request.
        max_segments: memory segments in one request.
        max_segment_size: bytes in one segment.
        seg_boundary_mask: no segment crosses a multiple of mask + 1.
        virt_boundary_mask: neighbouring segments may not leave a gap inside mask + 1; 0 for none.
        chunk_sectors: no request crosses a multiple of it; 0 for none.
        dma_alignment: mask for the offset of every vector.
        max_discard_sectors: 0 when discard is not supported.
        discard_granularity: bytes; 0 and 512 are the same.
        max_secure_erase_sectors: 0 when secure erase is not supported.
        max_write_zeroes_sectors: 0 when write zeroes is not supported.
        integrity_tag_size: bytes of integrity metadata; excludes a crypto profile.
        nowait: bios with REQ_NOWAIT are taken.
        write_cache: the device has a volatile cache, so flushes mean something.
        fua: forced unit access is native; without it a flush follows the write.
        page_bytes: page size of the kernel.
        max_fast_segment_size: bytes that are one segment whatever their address, when they do not cross a
            page; follows from the others.
    """

    logical_block_size: int = 512
    physical_block_size: int = 512
    max_sectors: int = 2560
    max_segments: int = 128
    max_segment_size: int = 65536
    seg_boundary_mask: int = UINT_MAX
    virt_boundary_mask: int = 0
    chunk_sectors: int = 0
    dma_alignment: int = 511
    max_discard_sectors: int = 0
    discard_granularity: int = 0
    max_secure_erase_sectors: int = 0
    max_write_zeroes_sectors: int = 0
    integrity_tag_size: int = 0
    nowait: bool = True
    write_cache: bool = False
    fua: bool = False
    page_bytes: int = PAGE_BYTES
    max_fast_segment_size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("logical_block_size", "physical_block_size", "page_bytes"):
            value = getattr(self, name)
            if value < 512 or value & (value - 1):
                raise BadInput(f"{value} is not a power of two of at least 512 bytes", where=name)
        if self.physical_block_size < self.logical_block_size:
            raise BadInput("a physical block is at least a logical block", where="physical_block_size")
        if self.max_sectors << SECTOR_SHIFT < self.page_bytes:
            raise BadInput(
                f"a request takes at least one page of {self.page_bytes} bytes", where="max_sectors"
            )
        if self.max_segments < 1:
            raise BadInput("a request takes at least one segment", where="max_segments")
        fast = min(self.page_bytes, self.max_segment_size, self.seg_boundary_mask + 1)
        object.__setattr__(self, "max_fast_segment_size", fast)

    def max_op_sectors(self, op: ReqOp) -> int:
        """Largest request of one operation."""
        if op is ReqOp.DISCARD:
            return min(self.max_discard_sectors, UINT_MAX >> SECTOR_SHIFT)
        if op is ReqOp.SECURE_ERASE:
            return self.max_secure_erase_sectors
        if op is ReqOp.WRITE_ZEROES:
            return self.max_write_zeroes_sectors
        return self.max_sectors

    def sectors_to_boundary(self, sector: int) -> int:
        """Sectors from ``sector`` to the next multiple of ``chunk_sectors``."""
        return self.chunk_sectors - sector % self.chunk_sectors


_SMALLER = (
    "max_sectors",
    "max_segments",
    "max_segment_size",
    "seg_boundary_mask",
    "max_discard_sectors",
    "max_secure_erase_sectors",
    "max_write_zeroes_sectors",
    "nowait",
)
_LARGER = (
    "logical_block_size",
    "physical_block_size",
    "discard_granularity",
    "dma_alignment",
    "virt_boundary_mask",
    "write_cache",
    "fua",
    "page_bytes",
)


def stack_limits(children: list[QueueLimits]) -> QueueLimits:
    """Limits of a device over ``children``: the strictest of each.  Chunks stay the target's business."""
    strictest = children[0]
    for child in children[1:]:
        smaller = {name: min(getattr(strictest, name), getattr(child, name)) for name in _SMALLER}
        larger = {name: max(getattr(strictest, name), getattr(child, name)) for name in _LARGER}
        strictest = replace(strictest, **smaller, **larger)
    return replace(strictest, chunk_sectors=0, integrity_tag_size=0)
