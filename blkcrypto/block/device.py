"""Disks, partitions, and the two seams to whoever does the I/O.

A disk either has a request queue in front of a driver (``RequestSink``) or takes bios as they are
(``BioDriver``: device-mapper).  Partitions share the disk's queue and crypto profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import Bio
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.pages import Page
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.block.waiting import Steps, Task

if TYPE_CHECKING:
    from blkcrypto.block.request import Request


class RequestSink(Protocol):
    """A driver under a request queue.  It completes a request later, through its queue."""

    def queue_rq(self, rq: "Request") -> BlkStatus:
        """Take ``rq``: OK; RESOURCE or DEV_RESOURCE when busy, to be offered again; else the I/O fails."""


class BioDriver(Protocol):
    """A driver that takes bios and submits others: a layered device, or a queue."""

    def submit_bio(self, task: Task, bio: Bio) -> Steps[None]:
        """Take ``bio``; may wait.  It completes in any case."""

    def page_room(self, task: Task) -> int:
        """Pages that may be submitted before one has to wait; 0 where each must be a bio."""

    def submit_pages(self, task: Task, bdev: "BlockDevice", pages: Sequence[Page]) -> int:
        """Take of ``pages``, for which there is room, those in front that nothing is in the way of; how many.

        They pass the checks of submission and need no fallback, and none lies next to the one before it.
        """


@dataclass(slots=True, eq=False)
class Disk:
    """A whole disk: ``struct gendisk`` with its queue.

    Attributes:
        name: as in /sys/block.
        capacity: 512-byte sectors.
        limits: what one request or bio may be.
        driver: where its bios go.
        profile: what it can encrypt; None when it cannot.
    """

    name: str
    capacity: int
    limits: QueueLimits
    driver: BioDriver
    profile: CryptoProfile | None = None

    @property
    def whole(self) -> "BlockDevice":
        """The device that is the whole disk."""
        return BlockDevice(self, 0, self.capacity)


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A disk or a partition of it: ``struct block_device``.

    Attributes:
        disk: the disk.
        start: first sector on the disk.
        sectors: how many.
    """

    disk: Disk
    start: int
    sectors: int

    @property
    def profile(self) -> CryptoProfile | None:
        """The disk's crypto profile: partitions share it."""
        return self.disk.profile

    @property
    def is_partition(self) -> bool:
        """Whether sectors of bios must be moved by ``start``."""
        return bool(self.start) or self.sectors != self.disk.capacity
