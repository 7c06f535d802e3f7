"""A scenario -> a wired model.  The only place that knows every part."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

from msgspec.structs import replace

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.era import kernel_profile
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.limits import QueueLimits
from blkcrypto.crypto.cipher import new_cipher
from hwmodel.clock import Row
from hwmodel.companions import DesignMachine
from hwmodel.controller import Machine
from hwmodel.dataplane import Corruption, UnitCipher, VerifyingPlane
from hwmodel.device import Device, Figure
from hwmodel.keywrap import KeyWrapUnit
from hwmodel.observer import Observer
from hwmodel.plane import DataPlane
from hwmodel.recordedmedia import RecordedMedia
from hwmodel.watched import WatchedDesignMachine, WatchedMachine, WatchedMedia
from scenarios.designs import PLAIN, engine_of
from scenarios.filekeys import FileKeys
from scenarios.fua import fua_rows
from scenarios.keyed import Int64, KeyedBatch
from scenarios.keying.plane import DesignPlane
from scenarios.keying.wiring import Wired, any_size, wire
from scenarios.placement.layout import Layout, PlacedBatch
from scenarios.results.measure import Measure
from scenarios.results.records import Records
from scenarios.schema import Scenario
from scenarios.streams import stream
from scenarios.traces.batch import RecordedBatch, TraceBatch

_MODE = "AES-256-XTS"


@dataclass(slots=True)
class Model:
    """Everything of one run."""

    scenario: Scenario
    layout: Layout
    keys: FileKeys | None
    plane: VerifyingPlane | None
    measure: Measure
    machine: Machine
    recorded: RecordedMedia | None = None
    wired: Wired | None = None
    wanted_engine: str = ""
    keywrap: KeyWrapUnit | None = None
    rows_read: int = 0
    bios_made: int = 0

    def rows(
        self, batches: Iterable[TraceBatch], progress: Callable[[int], None] | None = None
    ) -> Iterator[Row]:
        """Rows for the machine; ``progress`` hears of each batch's trace rows when they are used up."""
        # From zip to the machine without a step in Python between.
        return chain.from_iterable(self._batches_of_rows(batches, progress))

    def _batches_of_rows(
        self, batches: Iterable[TraceBatch], progress: Callable[[int], None] | None
    ) -> Iterator[Iterable[Row]]:
        unit = self.scenario.keys.data_unit_size
        scale = self.scenario.run.time_scale
        if self.wired is not None and self.wired.filesystem is not None:
            yield self.wired.filesystem.rows(self.wired.work)
            self.rows_read = self.wired.filesystem.steps
            return
        for batch in batches:
            placed = self.layout.place(batch, unit)
            if self.recorded is not None:
                assert isinstance(batch, RecordedBatch)
                self.recorded.append(batch.latency_ns[placed.row])
            self.rows_read += len(batch)
            if self.wired is None:
                yield self._machine_rows(placed, unit, scale)
            else:
                yield self.wired.rows(placed, _scaled(placed, scale), batch)
                self.bios_made = self.wired.bios_made
            if progress is not None:
                progress(len(batch))

    def _machine_rows(self, placed: PlacedBatch, unit: int, scale: float) -> Iterator[Row]:
        if self.keys is None:
            key = dun = [-1] * len(placed.op)
        else:
            keyed = KeyedBatch.of(placed, self.keys, unit)
            placed, key, dun = keyed.placed, keyed.key.tolist(), keyed.dun.tolist()
        numbers_from = self.bios_made
        self.bios_made += len(placed)
        return zip(
            _scaled(placed, scale).tolist(),
            range(numbers_from, self.bios_made),
            placed.op.tolist(),
            placed.sector.tolist(),
            placed.nbytes.tolist(),
            key,
            dun,
            placed.stream.tolist(),
            strict=True,
        )

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """The cipher that ``key`` gives."""
        maker = _cipher_maker(self.keywrap) if self.wired is None else self.wired.keyer.cipher_of
        return maker(key)


def _scaled(placed: PlacedBatch, scale: float) -> Int64:
    """Arrival times."""
    return placed.time_ns if scale == 1.0 else (placed.time_ns * scale).astype(placed.time_ns.dtype)


def build(
    scenario: Scenario,
    *,
    named_files: bool = False,
    watch: Callable[[Records], None] | None = None,
    observer: Observer | None = None,
) -> Model:
    """Wire the parts a scenario names; nothing has run yet.

    Args:
        named_files: rows name the files of a trace instead of addressing the device.
        watch: told of every batch of records too.
        observer: told of everything the machine does, which takes some time.
    """
    wanted_engine = scenario.keys.engine
    scenario = settled(scenario)
    seed = scenario.run.seed
    device = scenario.device
    is_fua = fua_rows(scenario.workload.fua_share, seed)
    keywrap = None
    if device.keywrap is not None:
        keywrap = KeyWrapUnit(stream(seed, "keywrap"), blob_bytes=device.keywrap.blob_bytes.value)
    capacity = device.media.capacity_bytes.value
    layout = Layout.build(
        scenario.layout,
        capacity,
        seed,
        named_files=named_files,
        sample_files=scenario.workload.sample_files,
    )
    keys = wired = None
    if scenario.keys.design not in PLAIN:
        sizes = any_size(scenario.layout.file_size_bytes) if named_files else layout.file_map.file_bytes
        wired = wire(scenario, sizes, keywrap)
    elif scenario.keys.design != "none":
        keys = FileKeys(scenario.keys, seed=seed, keywrap=keywrap)
    plane = None
    own_rows = wired is not None and wired.filesystem is not None
    if scenario.run.payload == "verify" and not own_rows:
        plane = VerifyingPlane(
            scenario.keys.data_unit_size,
            seed=seed,
            cipher_of=_cipher_maker(keywrap) if wired is None else wired.keyer.cipher_of,
            batch_bytes=scenario.run.batch_bytes,
            is_fua=is_fua,
            corruptions=[Corruption(flip.byte, flip.mask, flip.after_bios) for flip in scenario.faults.flips],
        )
    measure = Measure(warmup=scenario.run.warmup)
    make: Callable[..., Machine] = Machine if observer is None else WatchedMachine
    data: DataPlane | None = plane
    objects = keys.objects if keys is not None else []
    if wired is not None:
        make = partial(DesignMachine if observer is None else WatchedDesignMachine, work=wired.work)
        device, objects = wired.device, wired.keyer.objects
        data = None if plane is None else DesignPlane(plane, wired.regions)
    recorded = None
    if scenario.run.media == "recorded":
        device, recorded = _without_link(device), RecordedMedia()
    machine = make(
        device,
        where=scenario.keys.engine,
        rng=stream(seed, "media"),
        keys=objects,
        records=measure.add if watch is None else _both(measure.add, watch),
        unit_bytes=scenario.keys.data_unit_size,
        scheduler=scenario.block.scheduler,
        limits=QueueLimits(
            max_sectors=scenario.block.max_request_bytes >> SECTOR_SHIFT,
            max_segments=scenario.block.max_segments,
        ),
        fallback_holds_slot=kernel_profile(scenario.run.kernel).slot_held_during_submit,
        max_in_flight=scenario.run.max_in_flight,
        plane=data,
        faults=scenario.faults,
        fault_rng=stream(seed, "faults"),
        is_fua=is_fua,
        storage=recorded if observer is None else recorded or _watched_media(device, seed),
    )
    if observer is not None:
        assert isinstance(machine, WatchedMachine)
        machine.watch(observer)
    return Model(scenario, layout, keys, plane, measure, machine, recorded, wired, wanted_engine, keywrap)


def settled(scenario: Scenario) -> Scenario:
    """``scenario`` with contents encrypted where its design really does that."""
    engine = engine_of(scenario.keys, scenario.design)
    if engine == scenario.keys.engine:
        return scenario
    return replace(scenario, keys=replace(scenario.keys, engine=engine))


def _watched_media(device: Device, seed: int) -> WatchedMedia | None:
    """What ``Machine`` would take, but watched; None where that is not the flash itself."""
    return None if device.media.cache_bytes.value else WatchedMedia(device.media, stream(seed, "media"))


def _without_link(device: Device) -> Device:
    """Recorded times are from issue to completion: the link is in them."""
    link = Figure(0, "part of the recorded times")
    return replace(device, controller=replace(device.controller, link_per_s=link))


def _both(first: Callable[[Records], None], second: Callable[[Records], None]) -> Callable[[Records], None]:
    def add(records: Records) -> None:
        first(records)
        second(records)

    return add


def _cipher_maker(keywrap: KeyWrapUnit | None) -> Callable[[BlkCryptoKey], UnitCipher]:
    def cipher_of(key: BlkCryptoKey) -> UnitCipher:
        if key.crypto_cfg.key_type is KeyType.HW_WRAPPED:
            assert keywrap is not None, "a wrapped key exists only where a unit wrapped it"
            return new_cipher(_MODE, keywrap.inline_key(key.raw))
        return new_cipher(_MODE, key.raw)

    return cipher_of
