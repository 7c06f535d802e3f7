"""Bios too large for one request: cut into parts that go their own ways, and whole again at the end.

Where to cut is ``blkcrypto.block.split``'s rule.
"""

from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.split import split_period, split_sizes
from hwmodel.pool import RequestPool
from hwmodel.request import STAGE_FIELDS, Request, Then
from hwmodel.staging import PAGE_BYTES


class Splitter:
    """Cuts bios and joins them.

    Args:
        limits: what one request may hold; None for anything.
        submit: takes each part as it takes a bio.

    Attributes:
        max_bytes: a read or write larger than this is to be split.
        period: sectors from one place to the next where a bio would be cut alike.
        splits: parts beyond each bio's first.
    """

    __slots__ = ("_limits", "_pool", "_unit_bytes", "max_bytes", "period", "splits", "submit")

    def __init__(
        self, pool: RequestPool, limits: QueueLimits | None, unit_bytes: int, submit: Then | None = None
    ) -> None:
        self._pool = pool
        self._limits = limits
        self._unit_bytes = unit_bytes
        self.max_bytes = limits.max_sectors << 9 if limits is not None else 1 << 62
        self.period = split_period(limits) if limits is not None else 1
        self.splits = 0
        self.submit = submit

    def split(self, bio: Request, now: int) -> None:
        """Cut ``bio``; its parts meet again in ``joined``."""
        assert self.submit is not None, "wired before anything arrives"
        parts = self.parts(bio)
        bio.parts = len(parts)
        for part in parts:
            self.submit(part, now)

    def parts(self, bio: Request) -> list[Request]:
        """Requests that ``bio`` becomes, in order; the last one's submission ends the bio's."""
        sizes = self.sizes(bio.sector, bio.nbytes, encrypted=bio.key is not None)
        self.splits += len(sizes) - 1
        parts, passed = [], 0
        for nbytes in sizes:
            part = self.part(bio)
            part.sector, part.nbytes = bio.sector + (passed >> 9), nbytes
            part.dun = bio.dun + passed // self._unit_bytes
            parts.append(part)
            passed += nbytes
        parts[-1].slot, bio.slot = bio.slot, -1
        return parts

    def sizes(self, sector: int, nbytes: int, *, encrypted: bool) -> list[int]:
        """Bytes of each request that so much data becomes, in order; its cuts repeat every ``period``."""
        if self._limits is None or nbytes <= self.max_bytes:
            return [nbytes]
        unit = self._unit_bytes if encrypted else 1
        return split_sizes(sector, nbytes, self._limits, segment_bytes=PAGE_BYTES, data_unit_size=unit)

    def part(self, bio: Request) -> Request:
        """A request that ``bio`` waits for."""
        part = self._pool.helper(bio)
        part.parent = bio
        for stage in STAGE_FIELDS:
            setattr(part, stage, getattr(bio, stage))
        return part

    def joined(self, part: Request) -> Request | None:
        """The bio whose last part this is, with that part's times; None while others are on their way."""
        bio = part.parent
        assert bio is not None
        bio.status = bio.status or part.status  # the first error counts
        bio.parts -= 1
        if not bio.parts:
            for stage in STAGE_FIELDS:
                setattr(bio, stage, getattr(part, stage))
        self._pool.put_helper(part)
        return None if bio.parts else bio
