"""The machine: from an arriving bio to its completion.

Order of one encrypted bio on slotted hardware: submission on a CPU, split and merge, a tag, a keyslot, the
scheduler, the device (writes pass the data path before the media, reads after), then the keyslot is released,
the bio completes, and the tag is freed.  Source: reference block-layer.md section 6.6.

Cost per bio: an arrival needs no event; a keyslot hit needs at most three (submission, media, data path).
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.split import split_sizes
from blkcrypto.block.tags import scheduler_tags
from hwmodel.clock import Clock, Row
from hwmodel.device import Device
from hwmodel.engine import data_path
from hwmodel.faultplan import FaultPlan
from hwmodel.faults import Injector
from hwmodel.host import Cpus
from hwmodel.keyslots import Keyslots
from hwmodel.plane import DataPlane
from hwmodel.power import Power
from hwmodel.quiesce import Quiesce
from hwmodel.request import READ, RECORD_WIDTH, STAGE_FIELDS, WRITE, Request, Then
from hwmodel.software import SoftwareCrypto
from hwmodel.staging import PAGE_BYTES, Staging
from hwmodel.storage import Storage
from hwmodel.storage import storage as new_storage
from hwmodel.writecache import IsFua

Where = Literal["inline", "fallback", "fs-layer"]
SchedulerName = Literal["none", "mq-deadline"]

_NO_MEMBERS: Final[list[Request]] = []
_FLUSH_RECORDS_AT: Final = 65536 * RECORD_WIDTH


class Machine:
    """A host with one storage device.

    Args:
        device: the facts.
        where: who encrypts file contents.
        rng: draws the media's service times.
        keys: key objects by the number rows carry; grows while the run goes on; -1 in a row means no key.
        records: called with ``int64[n, RECORD_WIDTH]`` (columns as in ``hwmodel.request.RECORD``) in
            completion order.
        unit_bytes: data unit size.
        scheduler: ``none``, or ``mq-deadline``, which holds requests back so that they merge.
        limits: what one request may hold.
        fallback_holds_slot: the fallback keeps its slot until the request has a tag (7.0 and later).
        max_in_flight: bios in the system; beyond it an open loop's arrivals wait, and are counted as late.
        plane: what moves the bytes; None for timing only.
        faults: what goes wrong, and when; ``fault_rng`` draws what is left to chance.
        is_fua: which rows are FUA writes; None for none.
        storage: takes the place of the device's own.

    Attributes:
        injector: makes the faults; None when nothing goes wrong.
        power: puts the idle device to sleep; None when it never sleeps.
        submit_ns: CPU time of submission so far.
        splits: requests that bios were split into beyond the first; ``merges`` are in ``staging``.
    """

    # What a machine is made of: ``hwmodel.watched`` has parts that tell what they do.
    _cpus_type: ClassVar[type[Cpus]] = Cpus
    _keyslots_type: ClassVar[type[Keyslots]] = Keyslots

    def __init__(
        self,
        device: Device,
        *,
        where: Where,
        rng: np.random.Generator,
        keys: Sequence[BlkCryptoKey],
        records: Callable[[npt.NDArray[np.int64]], None],
        unit_bytes: int = 4096,
        scheduler: SchedulerName = "none",
        limits: QueueLimits | None = None,
        fallback_holds_slot: bool = True,
        max_in_flight: int = 1 << 16,
        plane: DataPlane | None = None,
        faults: FaultPlan | None = None,
        fault_rng: np.random.Generator | None = None,
        is_fua: IsFua | None = None,
        storage: Storage | None = None,
    ) -> None:
        self.clock = Clock()
        self.cpus = self._cpus_type(self.clock, device.host.cpus.value)
        self.submit_ns = 0
        self.splits = 0
        self._where: Where = where
        self._keys = keys
        self._plane = plane
        self._is_fua = is_fua
        self._records = records
        self._recorded = array("q")
        self._pool: list[Request] = []
        self._every: list[Request] = []
        self._requests = 0
        self._max_in_flight = max_in_flight
        self._helpers = 0  # parts of split bios and carriers of merged ones, now
        self._room: list[None] | None = None
        self._media = storage if storage is not None else new_storage(device.media, rng, is_fua)
        self._path = data_path(device.controller, device.engine)
        self._submit_cost_ns = device.host.submit_ns.value
        self._unit_bytes = unit_bytes
        self._limits = limits
        self._max_bytes = limits.max_sectors << 9 if limits is not None else 1 << 62
        self._tags = self._all_tags = device.controller.tags.value
        self._tag_queue: deque[Request] = deque()
        self._driver_tags = self._driver_tags_at_boot = self._tags
        self._staging: Staging | None = None
        self._given_up: deque[int] = deque()  # keyslots of requests merged away, -1 for none
        self._settling = False
        if scheduler != "none":
            self._tags = self._all_tags = scheduler_tags(self._tags)
            self._staging = self._new_staging()
        # What comes next is settled once, not asked per bio.
        slots = device.keyslots
        self._device_slots: Keyslots | None = None
        self.injector: Injector | None = None
        self._quiesce: Quiesce | None = None
        self._send: Then = self.dispatch
        if faults is not None and not faults.is_empty:
            self.injector = self._new_injector(device, faults, fault_rng)
            self._plane = self.injector
            self._send = self.injector.dispatch
        self.power: Power | None = None
        if device.controller.gate_after_ns.value or device.controller.suspend_after_ns.value:
            self.power = Power(self.clock, device.controller, lambda: self._device_slots, self._send)
            self._send = self.power.dispatch
        if slots is not None and slots.drains_io and where == "inline":
            self._quiesce = Quiesce(self.clock, slots.drain_poll_ns.value, self._send)
            self._send = self._quiesce.dispatch
        self._watched = self._quiesce is not None or self.power is not None
        ready: Then = self._send if self._staging is None else self._hold
        self._get_tag: Then = self._get_free_tag if self._staging is None else self._merge_or_get_tag
        self._enter: Then = self._get_tag
        self._tagged: Then = ready
        self._software: SoftwareCrypto | None = None
        self._per_unit_ns = 0
        self._ready = ready
        if where == "inline":
            self._use_inline_hardware(device)
        else:
            self._software = self._new_software(device, fallback_holds_slot)
            self._enter = self._enter_software
            self._tagged = self._tagged_after_software

    def _new_staging(self) -> Staging:
        return Staging(
            self._limits or QueueLimits(),
            now=lambda: self.clock.now,
            encrypted_below=self._where == "inline",
            freed=self._merged_away,
            is_fua=self._is_fua,
        )

    def _use_inline_hardware(self, device: Device) -> None:
        facts = device.keyslots
        if facts is None:
            return
        self._per_unit_ns = facts.per_data_unit_ns.value
        if not facts.count.value:
            return
        injector = self.injector
        self._device_slots = self._keyslots_type(
            self.clock,
            facts.count.value,
            program_ns=_program_costs(device) if injector is None else injector.program_ns,
            granted=self._ready,
            cpus=self.cpus if facts.program_on_cpu else None,
            quiesce=self._quiesce,
            evicted=self._plane.forget if self._plane is not None else None,
            ended=None if injector is None else injector.program_ended,
            failed=self._not_programmed,
            power=self.power,
        )
        self._acquire = self._device_slots.acquire
        self._tagged = self._tagged_with_slots

    def _new_injector(self, device: Device, faults: FaultPlan, rng: np.random.Generator | None) -> Injector:
        assert rng is not None, "faults need a stream of their own"
        return Injector(
            faults,
            rng,
            self,
            down_ns=device.controller.reset_ns.value,
            evict_ns=device.keyslots.evict_ns.value if device.keyslots is not None else 0,
            program_ns=_program_costs(device),
            keywrap=device.keywrap,
            keys=self._keys,
            plane=self._plane,
        )

    def _new_software(self, device: Device, holds_slot: bool) -> SoftwareCrypto:
        return SoftwareCrypto(
            self.clock,
            self.cpus,
            device.host,
            fallback=self._where == "fallback",
            holds_slot=holds_slot,
            unit_bytes=self._unit_bytes,
            keyslots=self._keyslots_type,
            encrypted=self._get_tag,
            decrypted=lambda request, now: self._finish(request, now, request.key),
        )

    @property
    def keyslots(self) -> Keyslots | None:
        """The keyslots that contents pass through, of the device or of the fallback."""
        return self._software.slots if self._software is not None else self._device_slots

    @property
    def software(self) -> SoftwareCrypto | None:
        """The CPU as cipher, unless the device encrypts."""
        return self._software

    @property
    def merges(self) -> int:
        """Bios and requests merged into held requests."""
        return self._staging.merges if self._staging is not None else 0

    @property
    def in_flight(self) -> int:
        """Bios submitted and not complete."""
        return self._requests - len(self._pool) - self._helpers

    @property
    def is_idle(self) -> bool:
        """Whether every tag is free, nothing waits and no keyslot is referenced."""
        slots = self.keyslots
        return (
            self._tags == self._all_tags
            and not self._tag_queue
            and not self.in_flight
            and not (self._software and self._software.bounce_pages)
            and (slots is None or slots.is_idle)
        )

    def run(self, rows: Iterator[Row], *, queue_depth: int = 0) -> None:
        """Run ``rows`` to the end: an open loop by their arrival times, or a closed loop of ``queue_depth``.

        A row is (arrival ns, row number, op, sector, bytes, key number, DUN, CPU-choosing stream).
        """
        if queue_depth:
            self._room = []
            self.clock.run_closed(rows, self.arrive, queue_depth, self._room)
        else:
            self.clock.run_open(rows, self.arrive)
        self._flush_records()

    # --- submission, split and merge ------------------------------------------------------------------

    def arrive(self, row: Row) -> None:
        """A bio is submitted now."""
        pool = self._pool
        if pool:
            request = pool.pop()
        else:
            if self.in_flight >= self._max_in_flight:
                row = self._wait_for_room(row)
            request = pool.pop() if pool else self._new_request()
        now, request.row, request.op, request.sector, request.nbytes, key, request.dun, stream = row
        request.arrived = now
        request.key = self._keys[key] if key >= 0 else None
        request.cpu = stream % self.cpus.count
        cost = self._submit_cost_ns
        if self._per_unit_ns and key >= 0:
            cost += self._per_unit_ns * (request.nbytes // self._unit_bytes)
        if cost:
            self.cpus.run(request, now, cost, self._submitted)
        else:
            self._enter(request, now)

    def _wait_for_room(self, row: Row) -> Row:
        """Let time pass until a bio completes: memory is bounded, however far a trace outruns the device."""
        while not self._pool:
            self.clock.step()
        return (self.clock.now, *row[1:])

    def _new_request(self) -> Request:
        self._requests += 1
        request = Request()
        self._every.append(request)
        return request

    def _submitted(self, request: Request, now: int) -> None:
        cost = now - request.mark
        request.submit = cost
        self.submit_ns += cost
        self._enter(request, now)

    def _enter_software(self, request: Request, now: int) -> None:
        assert self._software is not None
        if request.op == WRITE and request.key is not None:
            self._software.encrypt_first(request, now)
        else:
            self._get_tag(request, now)

    def _split(self, bio: Request, now: int) -> None:
        """Cut a bio too large for one request; its parts go their own ways and meet in ``_joined``."""
        assert self._limits is not None
        unit = self._unit_bytes if bio.key is not None else 1
        sizes = split_sizes(
            bio.sector, bio.nbytes, self._limits, segment_bytes=PAGE_BYTES, data_unit_size=unit
        )
        self.splits += len(sizes) - 1
        bio.parts = len(sizes)
        passed = 0
        for nbytes in sizes:
            part = self._helper(bio)
            part.parent = bio
            part.sector = bio.sector + (passed >> 9)
            part.nbytes = nbytes
            part.dun = bio.dun + passed // self._unit_bytes
            for stage in STAGE_FIELDS:
                setattr(part, stage, getattr(bio, stage))
            passed += nbytes
            if passed == bio.nbytes:  # the last part's submission ends the bio's
                part.slot, bio.slot = bio.slot, -1
            self._get_tag(part, now)

    def _helper(self, like: Request) -> Request:
        """A request that stands for no bio of its own."""
        self._helpers += 1
        helper = self._pool.pop() if self._pool else self._new_request()
        helper.row, helper.op, helper.key, helper.cpu = like.row, like.op, like.key, like.cpu
        helper.arrived = like.arrived
        return helper

    def _joined(self, part: Request) -> Request | None:
        """The bio whose last part this is, with that part's times; None while others are on their way."""
        bio = part.parent
        assert bio is not None
        bio.status = bio.status or part.status  # the first error counts
        bio.parts -= 1
        if not bio.parts:
            for stage in STAGE_FIELDS:
                setattr(bio, stage, getattr(part, stage))
        self._recycle_helper(part)
        return None if bio.parts else bio

    def _recycle_helper(self, helper: Request) -> None:
        self._helpers -= 1
        helper.parent = None
        helper.slot = -1
        helper.status = 0
        helper.members = _NO_MEMBERS
        for stage in STAGE_FIELDS:
            setattr(helper, stage, 0)
        self._pool.append(helper)

    def _merge_or_get_tag(self, request: Request, now: int) -> None:
        assert self._staging is not None
        if request.nbytes > self._max_bytes and request.op <= WRITE:
            self._split(request, now)
        elif self._staging.merge(request):
            request.mark = now
            if self._software is not None:
                self._software.submitted(request, now)
            self._settle(now)
        else:
            self._get_free_tag(request, now)

    def _merged_away(self, holder: Request) -> None:
        """A held request was merged into its neighbour: its tag and its keyslot are free at once.

        Whoever gets them may touch the scheduler, which is at work: ``_settle`` follows when it is done.
        """
        self._given_up.append(holder.slot)
        holder.slot = -1

    def _settle(self, now: int) -> None:
        """Hand on what merged requests gave up, then dispatch."""
        if self._settling:
            return  # from within: the outer call goes on
        self._settling = True
        while self._given_up:
            slot = self._given_up.popleft()
            if slot >= 0 and self._device_slots is not None:
                self._device_slots.release(slot, now)
            self._free_tag(now)
        self._settling = False
        self._dispatch_held(now)

    # --- tags, keyslots, device -----------------------------------------------------------------------

    def _get_free_tag(self, request: Request, now: int) -> None:
        if request.nbytes > self._max_bytes and request.op <= WRITE:
            self._split(request, now)
        elif self._tags:
            self._tags -= 1
            self._tagged(request, now)
        else:
            request.mark = now
            self._tag_queue.append(request)

    def _tagged_with_slots(self, request: Request, now: int) -> None:
        if request.key is None:
            self._ready(request, now)
        else:
            self._acquire(request, now)

    def _tagged_after_software(self, request: Request, now: int) -> None:
        assert self._software is not None
        self._software.submitted(request, now)
        self._ready(request, now)

    def _hold(self, request: Request, now: int) -> None:
        assert self._staging is not None
        request.mark = now
        self._staging.insert(request)
        self._settle(now)

    def _dispatch_held(self, now: int) -> None:
        assert self._staging is not None
        while self._driver_tags:
            found = self._staging.next()
            if found is None:
                return
            self._driver_tags -= 1
            holder, bios, sector, nbytes = found
            for bio in bios:
                bio.scheduler += now - bio.mark
            if len(bios) == 1:
                self._send(bios[0], now)
                continue
            carrier = self._helper(holder)
            carrier.sector, carrier.nbytes = sector, nbytes
            carrier.members = bios
            carrier.slot, holder.slot = holder.slot, -1
            self._send(carrier, now)

    def dispatch(self, request: Request, now: int) -> None:
        """Let the device serve ``request``."""
        if request.op == WRITE and self._path.limits:
            inline = request.key is not None and self._software is None
            self.clock.call_at(self._path.serve(request, now, inline=inline), request, self._write_media)
            return
        done = self._media.serve(request, now)
        if request.op == READ and self._path.limits:
            self.clock.call_at(done, request, self._read_path)
        else:
            request.transfer = 0
            self.clock.call_at(done, request, self._device_done)

    def _write_media(self, request: Request, now: int) -> None:
        self.clock.call_at(self._media.serve(request, now), request, self._device_done)

    def _read_path(self, request: Request, now: int) -> None:
        inline = request.key is not None and self._software is None
        done = self._path.serve(request, now, inline=inline)
        self.clock.call_at(done, request, self._device_done)

    # --- completion -----------------------------------------------------------------------------------

    def _device_done(self, request: Request, now: int) -> None:
        key = request.key
        if self._watched:
            self.left_device()
        slots = self._device_slots
        if slots is not None and request.slot >= 0:
            slot = request.slot
            key = slots.hardware[slot]
            request.slot = -1
            slots.release(slot, now)
        if request.members:
            for bio in request.members:
                bio.device_queue, bio.transfer, bio.media = (
                    request.device_queue,
                    request.transfer,
                    request.media,
                )
                bio.status = request.status
                self._bio_done(bio, now, key if self._software is None else bio.key)
            self._recycle_helper(request)
        else:
            self._bio_done(request, now, key)
        self._free_tag(now)
        if self._staging is not None:
            self._driver_tags += 1
            self._settle(now)

    def _bio_done(self, bio: Request, now: int, key: BlkCryptoKey | None) -> None:
        if bio.parent is not None:
            whole = self._joined(bio)
            if whole is None:
                return
            bio = whole
        if self._software is not None and key is not None:
            if bio.op == WRITE:
                self._software.written(bio.nbytes)
            elif not bio.status:
                # The request is over; the bio is not complete before it is decrypted.
                self._software.decrypt_later(bio, now)
                return
        self._finish(bio, now, key)

    def _free_tag(self, now: int) -> None:
        waiting = self._tag_queue
        if waiting:
            request = waiting.popleft()
            request.tag_wait += now - request.mark
            self._tagged(request, now)
        else:
            self._tags += 1

    def _finish(self, request: Request, now: int, key: BlkCryptoKey | None) -> None:
        if self._plane is not None:
            self._plane.complete(request, key)
        recorded = self._recorded
        recorded.extend(
            (
                request.row,
                now,
                request.op,
                request.nbytes,
                request.status,
                now - request.arrived,
                request.queued,
                request.submit,
                request.tag_wait,
                request.scheduler,
                request.keyslot_lock,
                request.keyslot_idle,
                request.keyslot_program,
                request.cpu_crypto,
                request.device_queue,
                request.transfer,
                request.media,
            )
        )
        if len(recorded) >= _FLUSH_RECORDS_AT:
            self._flush_records()
        request.queued = request.submit = request.tag_wait = request.cpu_crypto = request.scheduler = 0
        request.keyslot_lock = request.keyslot_idle = request.keyslot_program = request.device_queue = 0
        request.status = 0
        self._pool.append(request)
        if self._room is not None:
            self._room.append(None)

    # --- faults ---------------------------------------------------------------------------------------

    @property
    def device_keyslots(self) -> Keyslots | None:
        """The device's own keyslots, whoever encrypts."""
        return self._device_slots

    def key_inside(self, request: Request) -> BlkCryptoKey | None:
        """The key that ``request``'s data is really encrypted with; None also for an empty keyslot."""
        slots = self._device_slots
        return request.key if slots is None or request.slot < 0 else slots.hardware[request.slot]

    def withdraw(self) -> list[Request]:
        """Take every request back from the device, in the order in which they came there; it is idle then."""
        taken = self.clock.withdraw((self._write_media, self._read_path, self._device_done))
        self._media.reset(self.clock.now)
        self._path.reset(self.clock.now)
        for _ in taken:
            self.left_device()
        return taken

    def left_device(self) -> None:
        """A request is not at the device, though it was sent."""
        if self._quiesce is not None:
            self._quiesce.done()
        if self.power is not None:
            self.power.done(self.clock.now)

    def resend(self, request: Request, now: int) -> None:
        """Send a request again that was withdrawn or held back; all the time lost counts as waiting."""
        _spent_waiting(request, now)
        self._send(request, now)

    def refuse(self, request: Request, now: int, status: BlkStatus) -> None:
        """Complete a request that was sent and that the device does not serve."""
        _spent_waiting(request, now)
        request.status = status
        self.clock.call_at(now, request, self._refused)

    def _refused(self, request: Request, now: int) -> None:
        if self._quiesce is not None:
            self._quiesce.back()
        if self.power is not None:
            self.power.back()
        self._device_done(request, now)

    def _not_programmed(self, request: Request, now: int, status: BlkStatus) -> None:
        request.status = status
        request.transfer = request.media = 0
        self.clock.call_at(now, request, self._never_sent)

    def _never_sent(self, request: Request, now: int) -> None:
        self._bio_done(request, now, None)
        self._free_tag(now)

    def slow_down(self, percent: int) -> None:
        """Let media, link and engine take ``percent`` of their time."""
        self._media.slow_down(percent)
        self._path.slow_down(percent)

    def power_off(self) -> int:
        """Forget everything in memory and in flight; how many bios that were.

        Such a bio has no completion in reality.  Here it is recorded with ``BLK_STS_IOERR``, now.
        """
        now = self.clock.now
        self.clock.withdraw()
        interrupted = self._interrupt(now)
        self.cpus.power_off()
        self._media.power_off(now)
        if self.power is not None:
            self.power.power_off(now)
        self._tag_queue.clear()
        self._tags = self._all_tags
        self._driver_tags = self._driver_tags_at_boot
        self._given_up.clear()
        if self._staging is not None:
            merges = self._staging.merges
            self._staging = self._new_staging()
            self._staging.merges = merges
        if self._quiesce is not None:
            self._quiesce.power_off()
        if self._software is not None:
            self._software.power_off()
        if self._device_slots is not None:
            self._device_slots = self._device_slots.anew()
            self._acquire = self._device_slots.acquire
        return interrupted

    def _interrupt(self, now: int) -> int:
        plane, self._plane = self._plane, None
        waiting = {id(request) for request in self._pool}
        gone = [request for request in self._every if id(request) not in waiting]
        interrupted = 0
        for request in gone:
            if request.parent is not None or request.members:
                continue
            interrupted += 1
            _spent_waiting(request, now)
            request.status = BlkStatus.IOERR
            request.slot, request.parts = -1, 0
            self._finish(request, now, None)
        for request in gone:
            if request.parent is not None or request.members:
                self._recycle_helper(request)
        self._plane = plane
        return interrupted

    def _flush_records(self) -> None:
        if self._recorded:
            self._records(np.array(self._recorded, dtype=np.int64).reshape(-1, RECORD_WIDTH))
            self._recorded = array("q")


def _program_costs(device: Device) -> Callable[[BlkCryptoKey], int]:
    """What programming a key takes on ``device``."""
    facts = device.keyslots
    if facts is None:
        return lambda _key: 0
    costs = {
        KeyType.RAW: facts.program_raw_ns.value,
        KeyType.HW_WRAPPED: facts.program_hw_wrapped_ns.value,
    }
    return lambda key: costs[key.crypto_cfg.key_type]


_BEFORE_DEVICE: Final = STAGE_FIELDS[: STAGE_FIELDS.index("device_queue")]


def _spent_waiting(request: Request, now: int) -> None:
    """Book everything since the last stage before the device as waiting for it: it did not serve."""
    # A carrier's own times are those of its bios only from the device on.
    bio = request.members[0] if request.members else request
    before: int = sum(getattr(bio, stage) for stage in _BEFORE_DEVICE)
    request.device_queue = now - bio.arrived - before
    request.transfer = request.media = 0
