"""A scenario -> a wired model.  The only place that knows every part."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.era import kernel_profile
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.limits import QueueLimits
from blkcrypto.crypto.cipher import new_cipher
from hwmodel.clock import Row
from hwmodel.controller import Machine
from hwmodel.dataplane import Corruption, UnitCipher, VerifyingPlane
from hwmodel.device import Device, Figure
from hwmodel.keywrap import KeyWrapUnit
from hwmodel.recordedmedia import RecordedMedia
from scenarios.filekeys import FileKeys
from scenarios.fua import fua_rows
from scenarios.keyed import KeyedBatch
from scenarios.measure import Measure
from scenarios.placement.layout import Layout, PlacedBatch
from scenarios.records import Records
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
    rows_read: int = 0
    bios_made: int = 0

    def rows(
        self, batches: Iterable[TraceBatch], progress: Callable[[int], None] | None = None
    ) -> Iterator[Row]:
        """Rows for the machine, a batch at a time; ``progress`` hears of each batch's trace rows."""
        unit = self.scenario.keys.data_unit_size
        scale = self.scenario.run.time_scale
        for batch in batches:
            placed = self.layout.place(batch, unit)
            if self.recorded is not None:
                assert isinstance(batch, RecordedBatch)
                self.recorded.append(batch.latency_ns[placed.row])
            self.rows_read += len(batch)
            yield from self._machine_rows(placed, unit, scale)
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
        times = placed.time_ns if scale == 1.0 else (placed.time_ns * scale).astype(placed.time_ns.dtype)
        return zip(
            times.tolist(),
            range(numbers_from, self.bios_made),
            placed.op.tolist(),
            placed.sector.tolist(),
            placed.nbytes.tolist(),
            key,
            dun,
            placed.stream.tolist(),
            strict=True,
        )


def build(
    scenario: Scenario, *, named_files: bool = False, watch: Callable[[Records], None] | None = None
) -> Model:
    """Wire the parts a scenario names; nothing has run yet.

    Args:
        named_files: rows name the files of a trace instead of addressing the device.
        watch: told of every batch of records too.
    """
    seed = scenario.run.seed
    device = scenario.device
    is_fua = fua_rows(scenario.workload.fua_share, seed)
    recorded = None
    if scenario.run.media == "recorded":
        device, recorded = _without_link(device), RecordedMedia()
    keywrap = None
    if device.keywrap is not None:
        keywrap = KeyWrapUnit(stream(seed, "keywrap"), blob_bytes=device.keywrap.blob_bytes.value)
    keys = None
    if scenario.keys.design != "none":
        keys = FileKeys(scenario.keys, seed=seed, keywrap=keywrap)
    plane = None
    if scenario.run.payload == "verify":
        plane = VerifyingPlane(
            scenario.keys.data_unit_size,
            seed=seed,
            cipher_of=_cipher_maker(keywrap),
            batch_bytes=scenario.run.batch_bytes,
            is_fua=is_fua,
            corruptions=[Corruption(flip.byte, flip.mask, flip.after_bios) for flip in scenario.faults.flips],
        )
    measure = Measure(warmup=scenario.run.warmup)
    machine = Machine(
        device,
        where=scenario.keys.engine,
        rng=stream(seed, "media"),
        keys=keys.objects if keys is not None else [],
        records=measure.add if watch is None else _both(measure.add, watch),
        unit_bytes=scenario.keys.data_unit_size,
        scheduler=scenario.block.scheduler,
        limits=QueueLimits(
            max_sectors=scenario.block.max_request_bytes >> SECTOR_SHIFT,
            max_segments=scenario.block.max_segments,
        ),
        fallback_holds_slot=kernel_profile(scenario.run.kernel).slot_held_during_submit,
        max_in_flight=scenario.run.max_in_flight,
        plane=plane,
        faults=scenario.faults,
        fault_rng=stream(seed, "faults"),
        is_fua=is_fua,
        medium=recorded,
    )
    capacity = device.media.capacity_bytes.value
    layout = Layout.build(
        scenario.layout,
        capacity,
        seed,
        named_files=named_files,
        sample_files=scenario.workload.sample_files,
    )
    return Model(scenario, layout, keys, plane, measure, machine, recorded)


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
