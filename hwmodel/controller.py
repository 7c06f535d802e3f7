"""The machine: from an arriving bio to its completion.

Order of one encrypted bio on slotted hardware: submission on a CPU, split and merge, a tag, a keyslot, the
scheduler, the device (writes pass the data path before the media, reads after), then the keyslot is released,
the bio completes, and the tag is freed.  Source: reference block-layer.md section 6.6.

Cost per bio: an arrival needs no event; a keyslot hit needs at most three (submission, media, data path).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.tags import scheduler_tags
from hwmodel.clock import Clock, Row
from hwmodel.device import Device
from hwmodel.engine import data_path
from hwmodel.faultdoor import FaultDoor
from hwmodel.faultplan import FaultPlan
from hwmodel.faults import Injector
from hwmodel.gates import Gates
from hwmodel.holding import Holding
from hwmodel.host import Cpus
from hwmodel.invariants import Invariant
from hwmodel.keyslots import Keyslots
from hwmodel.plane import DataPlane
from hwmodel.pool import RequestPool
from hwmodel.power import Power
from hwmodel.recordbuffer import RecordBuffer
from hwmodel.request import READ, WRITE, Request, Then
from hwmodel.shortway import short_way
from hwmodel.software import SoftwareCrypto
from hwmodel.splitter import Splitter
from hwmodel.staging import Staging
from hwmodel.storage import Storage
from hwmodel.storage import storage as new_storage
from hwmodel.tags import Tags
from hwmodel.wiring import new_injector, program_costs
from hwmodel.writecache import IsFua

Where = Literal["inline", "fallback", "fs-layer"]
SchedulerName = Literal["none", "mq-deadline"]


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
        software: the CPU as cipher; None when the device encrypts.
        device_keyslots: the device's own keyslots, whoever encrypts.
        send: hands a request to the device, through whatever may hold it back.
        splitter: cuts bios that are too large for a request.
        submit_ns: CPU time of submission so far.
        submit_cost_ns, per_unit_ns: of one bio, and of each of its data units that the device encrypts.
    """

    # What a machine is made of: ``hwmodel.watched`` has parts that tell what they do.
    _clock_type: ClassVar[type[Clock]] = Clock
    _cpus_type: ClassVar[type[Cpus]] = Cpus
    _keyslots_type: ClassVar[type[Keyslots]] = Keyslots
    _holding_type: ClassVar[type[Holding]] = Holding
    _records_type: ClassVar[type[RecordBuffer]] = RecordBuffer
    _splitter_type: ClassVar[type[Splitter]] = Splitter

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
        self.clock = self._clock_type()
        self.cpus = self._cpus_type(self.clock, device.host.cpus.value)
        self.pool = RequestPool(max_in_flight)
        self.storage = storage if storage is not None else new_storage(device.media, rng, is_fua)
        self.path = data_path(device.controller, device.engine)
        self.submit_ns = 0
        self._where: Where = where
        self.keys = keys
        self.plane = plane
        self.recorded = self._records_type(records)
        self.room: list[None] | None = None
        self.unit_bytes = unit_bytes
        self.submit_cost_ns = device.host.submit_ns.value
        self.per_unit_ns = 0
        # What comes next is settled once, not asked per bio.
        self.device_keyslots: Keyslots | None = None
        self.injector: Injector | None = None
        if faults is not None and not faults.is_empty:
            self.injector = new_injector(
                faults, fault_rng, device, door=FaultDoor(self), keys=keys, plane=plane
            )
            self.plane = self.injector
        slots = device.keyslots
        self._gates = Gates(
            self.clock,
            device,
            drains=slots is not None and slots.drains_io and where == "inline",
            keyslots=lambda: self.device_keyslots,
            injector=self.injector,
            dispatch=self.dispatch,
        )
        self.send: Then = self._gates.send
        self.splitter = self._splitter_type(self.pool, limits, unit_bytes)
        self.joined = self.splitter.joined
        self._holding: Holding | None = None
        self._ready: Then = self.send
        self.tags = Tags(
            device.controller.tags.value,
            max_bytes=self.splitter.max_bytes,
            split=self.splitter.split,
            granted=self._tagged,
        )
        self._get_tag: Then = self.tags.get
        if scheduler != "none":
            self._use_scheduler(limits, is_fua)
        self.splitter.submit = self._get_tag
        self._enter: Then = self._get_tag
        self.software: SoftwareCrypto | None = None
        if where == "inline":
            self._use_inline_hardware(device)
        else:
            self._enter = self._enter_software
            self.software = self._new_software(device, fallback_holds_slot)

    def _use_scheduler(self, limits: QueueLimits | None, is_fua: IsFua | None) -> None:
        def now() -> int:
            return self.clock.now

        def new_staging(freed: Callable[[Request], None]) -> Staging:
            return Staging(
                limits or QueueLimits(),
                now=now,
                encrypted_below=self._where == "inline",
                freed=freed,
                is_fua=is_fua,
            )

        driver_tags = self.tags.count
        self.tags.free = self.tags.count = scheduler_tags(driver_tags)
        self._holding = self._holding_type(
            new_staging,
            driver_tags=driver_tags,
            pool=self.pool,
            free_tag=self.tags.put,
            now=now,
            keyslots=lambda: self.device_keyslots,
            send=self.send,
        )
        self._ready = self._holding.hold
        self._get_tag = self._merge_or_get_tag

    def _use_inline_hardware(self, device: Device) -> None:
        facts = device.keyslots
        if facts is None:
            return
        self.per_unit_ns = facts.per_data_unit_ns.value
        if not facts.count.value:
            return
        injector = self.injector
        self.device_keyslots = self._keyslots_type(
            self.clock,
            facts.count.value,
            program_ns=program_costs(device) if injector is None else injector.program_ns,
            granted=self._ready,
            cpus=self.cpus if facts.program_on_cpu else None,
            quiesce=self._gates.quiesce,
            evicted=self.plane.forget if self.plane is not None else None,
            ended=None if injector is None else injector.program_ended,
            failed=self._not_programmed,
            power=self._gates.power,
        )

    def _new_software(self, device: Device, holds_slot: bool) -> SoftwareCrypto:
        return SoftwareCrypto(
            self.clock,
            self.cpus,
            device.host,
            fallback=self._where == "fallback",
            holds_slot=holds_slot,
            unit_bytes=self.unit_bytes,
            keyslots=self._keyslots_type,
            encrypted=self._get_tag,
            decrypted=lambda request, now: self._finish(request, now, request.key),
        )

    # --- what is seen from outside --------------------------------------------------------------------

    @property
    def keyslots(self) -> Keyslots | None:
        """The keyslots that contents pass through, of the device or of the fallback."""
        return self.software.slots if self.software is not None else self.device_keyslots

    @property
    def power(self) -> Power | None:
        """What puts the idle device to sleep; None when it never sleeps."""
        return self._gates.power

    @property
    def submit_takes_cpu(self) -> bool:
        """Whether submitting a bio takes CPU time."""
        return bool(self.submit_cost_ns or self.per_unit_ns)

    @property
    def checked(self) -> tuple[Invariant, ...]:
        """What is checked here, beyond what every run checks."""
        return ()

    @property
    def why_not_plain(self) -> str:
        """Why the short way is not the whole way; empty when nothing is overridden or holds a bio back."""
        if self._where != "inline":
            return "CPUs encrypt"
        if type(self) is not Machine:
            return "a design, an observer or a check takes part in every bio"
        if self.injector is not None:
            return "faults happen"
        if self._holding is not None:
            return "a scheduler holds requests back"
        return "the device is drained or sleeps" if self._gates.count else ""

    @property
    def is_plain(self) -> bool:
        """Whether the short way is the whole way."""
        return not self.why_not_plain

    @property
    def splits(self) -> int:
        """Requests that bios were split into beyond the first."""
        return self.splitter.splits

    @property
    def merges(self) -> int:
        """Bios and requests merged into held requests."""
        return self._holding.merges if self._holding is not None else 0

    @property
    def in_flight(self) -> int:
        """Bios submitted and not complete."""
        return self.pool.in_flight

    @property
    def is_idle(self) -> bool:
        """Whether every tag is free, nothing waits and no keyslot is referenced."""
        slots = self.keyslots
        return (
            self.tags.is_idle
            and not self.in_flight
            and not (self.software and self.software.bounce_pages)
            and (slots is None or slots.is_idle)
        )

    def run(self, rows: Iterator[Row], *, queue_depth: int = 0) -> None:
        """Run ``rows`` to the end: an open loop by their arrival times, or a closed loop of ``queue_depth``.

        A row is (arrival ns, row number, op, sector, bytes, key number, DUN, CPU-choosing stream).
        """
        if self.is_plain and not self.clock.items:
            short_way(self)(rows, queue_depth)
        elif queue_depth:
            self.room = []
            self.clock.run_closed(rows, self.arrive, queue_depth, self.room)
        else:
            self.clock.run_open(rows, self.arrive)
        self.recorded.flush()

    # --- submission and the tag -----------------------------------------------------------------------

    def arrive(self, row: Row) -> None:
        """A bio is submitted now."""
        row = self.wait_for_room(row)
        request = self.pool.take()
        now, request.row, request.op, request.sector, request.nbytes, key, request.dun, stream = row
        request.arrived = now
        request.key = self.keys[key] if key >= 0 else None
        request.cpu = stream % self.cpus.count
        if self.submit_takes_cpu:
            self.submit(request, now)
        else:
            self._enter(request, now)

    def submit(self, request: Request, now: int) -> None:
        """Charge a CPU with the submission of a new bio."""
        cost = self.submit_cost_ns
        if self.per_unit_ns and request.key is not None:
            cost += self.per_unit_ns * (request.nbytes // self.unit_bytes)
        if cost:
            self.cpus.run(request, now, cost, self._submitted)
        else:
            self._enter(request, now)

    def wait_for_room(self, row: Row) -> Row:
        """Let time pass until one more bio may come: memory is bounded, however late a device is.

        Returns:
            ``row`` as it arrives then.
        """
        if self.pool.has_room:
            return row
        while not self.pool.idle:
            self.clock.step()
        return (self.clock.now, *row[1:])

    def _submitted(self, request: Request, now: int) -> None:
        cost = now - request.mark
        request.submit = cost
        self.submit_ns += cost
        self._enter(request, now)

    def _enter_software(self, request: Request, now: int) -> None:
        assert self.software is not None
        if request.op == WRITE and request.key is not None:
            self.software.encrypt_first(request, now)
        else:
            self._get_tag(request, now)

    def _merge_or_get_tag(self, request: Request, now: int) -> None:
        assert self._holding is not None
        is_too_large = request.nbytes > self.tags.max_bytes and request.op <= WRITE
        if is_too_large or not self._holding.merge(request):
            self.tags.get(request, now)
            return
        request.mark = now
        if self.software is not None:
            self.software.submitted(request, now)
        self._holding.settle(now)

    def _tagged(self, request: Request, now: int) -> None:
        slots = self.device_keyslots
        if slots is not None and request.key is not None:
            slots.acquire(request, now)
            return
        if self.software is not None:
            self.software.submitted(request, now)
        self._ready(request, now)

    def _not_programmed(self, request: Request, now: int, status: BlkStatus) -> None:
        request.status = status
        request.transfer = request.media = 0
        self.clock.call_at(now, request, self._never_sent)

    def _never_sent(self, request: Request, now: int) -> None:
        self.bio_done(request, now, None)
        self.tags.put(now)

    # --- the device -----------------------------------------------------------------------------------

    def dispatch(self, request: Request, now: int) -> None:
        """Let the device serve ``request``."""
        if request.op == WRITE and self.path.limits:
            inline = request.key is not None and self.software is None
            self.clock.call_at(self.path.serve(request, now, inline=inline), request, self._write_media)
            return
        done = self.storage.serve(request, now)
        if request.op == READ and self.path.limits:
            self.clock.call_at(done, request, self._read_path)
        else:
            request.transfer = 0
            self.clock.call_at(done, request, self._device_done)

    def _write_media(self, request: Request, now: int) -> None:
        self.clock.call_at(self.storage.serve(request, now), request, self._device_done)

    def _read_path(self, request: Request, now: int) -> None:
        inline = request.key is not None and self.software is None
        done = self.path.serve(request, now, inline=inline)
        self.clock.call_at(done, request, self._device_done)

    @property
    def at_device(self) -> tuple[Then, ...]:
        """How requests continue that the device is serving."""
        return (self._write_media, self._read_path, self._device_done)

    def left_device(self) -> None:
        """A request is not at the device, though it was sent."""
        self._gates.left()

    def refused(self, request: Request, now: int) -> None:
        """Complete a request that was taken for one that had left the device."""
        self._gates.back()
        self._device_done(request, now)

    # --- completion -----------------------------------------------------------------------------------

    def _device_done(self, request: Request, now: int) -> None:
        key = request.key
        if self._gates.count:
            self._gates.left()
        slots = self.device_keyslots
        if slots is not None and request.slot >= 0:
            slot = request.slot
            key = slots.hardware[slot]
            request.slot = -1
            slots.release(slot, now)
        if request.members:
            self._carrier_done(request, now, key)
        else:
            self.bio_done(request, now, key)
        self.tags.put(now)
        if self._holding is not None:
            self._holding.done(now)

    def _carrier_done(self, carrier: Request, now: int, key: BlkCryptoKey | None) -> None:
        for bio in carrier.members:
            bio.device_queue, bio.transfer, bio.media = carrier.device_queue, carrier.transfer, carrier.media
            bio.status = carrier.status
            self.bio_done(bio, now, key if self.software is None else bio.key)
        self.pool.put_helper(carrier)

    def bio_done(self, bio: Request, now: int, key: BlkCryptoKey | None) -> None:
        """The device is done with a bio, or with a part of one, by way of ``key``."""
        if bio.parent is not None:
            whole = self.splitter.joined(bio)
            if whole is None:
                return
            bio = whole
        if self.software is not None and key is not None:
            if bio.op == WRITE:
                self.software.written(bio.nbytes)
            elif not bio.status:
                # The request is over; the bio is not complete before it is decrypted.
                self.software.decrypt_later(bio, now)
                return
        self._finish(bio, now, key)

    def _finish(self, request: Request, now: int, key: BlkCryptoKey | None) -> None:
        if self.plane is not None:
            self.plane.complete(request, key)
        self.record(request, now)

    def record(self, request: Request, now: int) -> None:
        """A bio is complete; its request may be used again."""
        self.recorded.take(request, now)
        self.pool.idle.append(request)
        if self.room is not None:
            self.room.append(None)

    def power_off(self, now: int) -> None:
        """Forget everything that is under way; keys in the hardware are lost."""
        self.cpus.power_off()
        self.storage.power_off(now)
        self._gates.power_off(now)
        self.tags.power_off()
        if self._holding is not None:
            self._holding.power_off()
        if self.software is not None:
            self.software.power_off()
        if self.device_keyslots is not None:
            self.device_keyslots = self.device_keyslots.anew()
