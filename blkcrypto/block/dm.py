"""Layered devices: a table of targets over other block devices.

Rules (drivers/md/dm.c, dm-table.c; reference block-layer.md section 3.17):

- A bio is cut at target and stripe borders; each part is a clone, context included, submitted to the
  device below.  The rest of the bio is submitted anew, so that it comes after the clones.
- The device has no keyslots and programs nothing.  It can what all devices below can; a target that does
  not pass encryption on leaves nothing, and a device that can nothing has no profile.
- Evicting evicts from every device below; operations on wrapped keys go to the first one.
- A new table may not be able to do less than the live one.
- A flush goes to every device; a write with PREFLUSH follows when they are done.
"""

import bisect
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import evict_key
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.capabilities import EVERYTHING, NOTHING, Capabilities, has_capabilities, intersect
from blkcrypto.block.device import BlockDevice, Disk
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.limits import stack_limits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.pages import Page
from blkcrypto.block.profile import CryptoProfile, WrappedKeysNotSupported
from blkcrypto.block.submit import submit_bio_noacct
from blkcrypto.block.trace import Tracepoint
from blkcrypto.block.waiting import RunLoop, Steps, Task, WorkQueue


class TableLosesCrypto(BlkCryptoError):
    """A table that cannot do what the live one can."""

    errno = errno.EINVAL


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sector of a target is.

    Attributes:
        bdev: the device below.
        sector: on that device.
        room: sectors from there that lie in one piece.
    """

    bdev: BlockDevice
    sector: int
    room: int


class Target(Protocol):
    """One row of a table."""

    @property
    def name(self) -> str:
        """As in the table, e.g. ``linear``; says whether encryption is passed on."""

    @property
    def sectors(self) -> int:
        """Length."""

    @property
    def devices(self) -> Sequence[BlockDevice]:
        """The devices below, in order."""

    def locate(self, offset: int) -> Place:
        """Where the sector ``offset`` of the target is."""


@dataclass(frozen=True, slots=True)
class Linear:
    """``linear``: a run of sectors of one device, from ``start`` on.  ``name`` may be any such target."""

    sectors: int
    bdev: BlockDevice
    start: int = 0
    name: str = "linear"

    @property
    def devices(self) -> Sequence[BlockDevice]:
        """The one device."""
        return (self.bdev,)

    def locate(self, offset: int) -> Place:
        """All in one piece."""
        return Place(self.bdev, self.start + offset, self.sectors - offset)


@dataclass(frozen=True, slots=True)
class Striped:
    """``striped``: chunks of ``chunk`` sectors, dealt out to the devices in turn."""

    sectors: int
    devices: tuple[BlockDevice, ...]
    chunk: int
    name: str = "striped"

    def locate(self, offset: int) -> Place:
        """One chunk in one piece."""
        number, inside = divmod(offset, self.chunk)
        row, column = divmod(number, len(self.devices))
        return Place(self.devices[column], row * self.chunk + inside, self.chunk - inside)


class _LayeredOps:
    """The low-level operations of a layered device: evicting only."""

    def __init__(self, kernel: Kernel, targets: Sequence[Target]) -> None:
        self._kernel = kernel
        self._devices = [bdev for target in targets for bdev in target.devices]

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        """Evict from every device below; errors stay there."""
        del slot
        for bdev in self._devices:
            evict_key(self._kernel, bdev, key)


class _LayeredWrappedOps(_LayeredOps):
    """The same for a device whose children all take hardware-wrapped keys."""

    @property
    def _first(self) -> CryptoProfile:
        profile = self._devices[0].profile
        if profile is None:
            raise WrappedKeysNotSupported(f"{self._devices[0].disk.name} has no crypto profile")
        return profile

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        """On the first device below."""
        return self._first.derive_sw_secret(eph_key)

    def import_key(self, raw_key: bytes) -> bytes:
        """On the first device below."""
        return self._first.import_key(raw_key)

    def generate_key(self) -> bytes:
        """On the first device below."""
        return self._first.generate_key()

    def prepare_key(self, lt_key: bytes) -> bytes:
        """On the first device below."""
        return self._first.prepare_key(lt_key)


def table_capabilities(kernel: Kernel, targets: Sequence[Target]) -> Capabilities:
    """What a table can encrypt: ``dm_table_construct_crypto_profile()``."""
    can = EVERYTHING
    for target in targets:
        if target.name not in kernel.era.dm_passes_crypto:
            return NOTHING
        for bdev in target.devices:
            can = intersect(can, None if bdev.profile is None else bdev.profile.capabilities)
    return can


class MappedDevice:
    """A layered device.

    Args:
        kernel: the system.
        name: of the disk, e.g. ``dm-0``.
        targets: the table, first sector to last.
        loop: runs the worker that goes on after a flush.
    """

    def __init__(self, kernel: Kernel, name: str, targets: Sequence[Target], loop: RunLoop) -> None:
        self._kernel = kernel
        self._flushers = WorkQueue(f"kdmflush/{name}", loop, 1)
        self._load(targets)
        limits = stack_limits([bdev.disk.limits for target in targets for bdev in target.devices])
        self.disk = Disk(name, self._ends[-1], limits, self, self._make_profile(name))

    def _load(self, targets: Sequence[Target]) -> None:
        self._targets = tuple(targets)
        self._ends: list[int] = []
        for target in targets:
            self._ends.append(target.sectors + (self._ends[-1] if self._ends else 0))

    def _make_profile(self, name: str) -> CryptoProfile | None:
        can = table_capabilities(self._kernel, self._targets)
        if not can.has_modes:
            return None
        wrapped = bool(can.key_types & KeyType.HW_WRAPPED)
        ops = (_LayeredWrappedOps if wrapped else _LayeredOps)(self._kernel, self._targets)
        return CryptoProfile(name, 0, can, ops, era=self._kernel.era, warn=self._kernel.warn)

    def reload(self, targets: Sequence[Target]) -> None:
        """Replace the table.

        Raises:
            TableLosesCrypto: EINVAL; the live table stays.
        """
        live = self.disk.profile
        new = table_capabilities(self._kernel, targets)
        if live is not None and not has_capabilities(new if new.has_modes else None, live.capabilities):
            raise TableLosesCrypto(f"{self.disk.name}: the new table can encrypt less than the live one")
        self._load(targets)
        self.disk.capacity = self._ends[-1]
        made = self._make_profile(self.disk.name)
        if live is None or made is None:
            self.disk.profile = made
        else:
            live.capabilities, live.ops = made.capabilities, made.ops

    def page_room(self, task: Task) -> int:
        """See ``BioDriver``: none, for a bio below has to be made."""
        del task
        return 0

    def submit_pages(self, task: Task, bdev: BlockDevice, pages: Sequence[Page]) -> int:
        """See ``BioDriver``: none."""
        del task, bdev, pages
        return 0

    def submit_bio(self, task: Task, bio: Bio) -> Steps[None]:
        """``dm_submit_bio()``."""
        if bio.flags & ReqFlags.PREFLUSH:
            yield from self._flush_all(task, bio)
            return
        index = bisect.bisect_right(self._ends, bio.sector)
        target = self._targets[index]
        begin = self._ends[index] - target.sectors
        place = target.locate(bio.sector - begin)
        rest = bio.sectors > place.room
        if rest:
            clone = yield from bio.split(task, place.room)
            clone.chain(bio)
            self._kernel.trace(Tracepoint.SPLIT, self.disk.name, clone, bio.sector)
        else:
            clone = yield from bio.clone(task)
            clone.end_io = lambda done: bio.complete(done.status)
        clone.bdev, clone.remapped = place.bdev, False
        clone.it = clone.it._replace(sector=place.sector)
        self._kernel.trace(Tracepoint.BIO_REMAP, place.bdev.disk.name, clone)
        yield from submit_bio_noacct(self._kernel, task, clone)
        if rest:
            yield from submit_bio_noacct(self._kernel, task, bio)

    def _flush_all(self, task: Task, bio: Bio) -> Steps[None]:
        """Flush every device below, then end ``bio`` or go on with its data."""
        devices = [bdev for target in self._targets for bdev in target.devices]
        state = _Flushes(len(devices))

        def done(flush: Bio) -> None:
            state.left -= 1
            if state.status is BlkStatus.OK:
                state.status = flush.status
            if state.left:
                return
            if state.status is not BlkStatus.OK or not bio.nbytes:
                bio.complete(state.status)
                return
            bio.flags = ReqFlags(bio.flags & ~ReqFlags.PREFLUSH)
            self._flushers.queue(lambda worker: submit_bio_noacct(self._kernel, worker, bio))

        for bdev in devices:
            flush = Bio(bdev, ReqOp.WRITE, 0, flags=ReqFlags.PREFLUSH, end_io=done)
            yield from submit_bio_noacct(self._kernel, task, flush)


@dataclass(slots=True)
class _Flushes:
    left: int
    status: BlkStatus = BlkStatus.OK
