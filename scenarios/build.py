"""A scenario -> a wired model.  The only place that knows every part."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.era import kernel_profile
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from hwmodel.controller import Machine
from hwmodel.dataplane import Corruption, UnitCipher, VerifyingPlane
from hwmodel.device import Device, Figure
from hwmodel.inlinecipher import inline_cipher
from hwmodel.keywrap import KeyWrapUnit
from hwmodel.observer import Observer
from hwmodel.plane import DataPlane
from hwmodel.recordedmedia import RecordedMedia
from hwmodel.storage import Storage
from hwmodel.watchedstorage import watched_storage
from hwmodel.writecache import IsFua
from scenarios.designs import PLAIN, engine_of
from scenarios.filekeys import FileKeys
from scenarios.fua import fua_rows
from scenarios.model import Model
from scenarios.placement.layout import Layout
from scenarios.results.measure import Measure
from scenarios.results.records import Records
from scenarios.schema import Scenario
from scenarios.streams import stream

if TYPE_CHECKING:
    from hwmodel.checked import CheckedMachine
    from hwmodel.checker import Checker
    from hwmodel.companions import DesignMachine
    from hwmodel.watched import WatchedMachine
    from scenarios.keying.wiring import Wired

_CipherOf = Callable[[BlkCryptoKey], UnitCipher]


def build(
    scenario: Scenario,
    *,
    named_files: bool = False,
    watch: Callable[[Records], None] | None = None,
    observer: Observer | None = None,
    check: bool = False,
) -> Model:
    """Wire the parts a scenario names; nothing has run yet.

    Args:
        named_files: rows name the files of a trace instead of addressing the device.
        watch: told of every batch of records too.
        observer: told of everything the machine does, which takes some time.
        check: let the machine check every invariant as it goes, which takes more.
    """
    wanted_engine = scenario.keys.engine
    scenario = settled(scenario)
    seed = scenario.run.seed
    is_fua = fua_rows(scenario.workload.fua_share, seed)
    keywrap = _keywrap(scenario)
    layout = Layout.build(
        scenario.layout,
        scenario.device.media.capacity_bytes.value,
        seed,
        named_files=named_files,
        sample_files=scenario.workload.sample_files,
    )
    keys = wired = None
    if scenario.keys.design not in PLAIN:
        # Most scenarios need none of the designs: not to load them is a sixth of the start.
        from scenarios.keying.wiring import any_size, wire

        sizes = any_size(scenario.layout.file_size_bytes) if named_files else layout.file_map.file_bytes
        wired = wire(scenario, sizes, keywrap)
    elif scenario.keys.design != "none":
        keys = FileKeys(scenario.keys, seed=seed, keywrap=keywrap)
    cipher_of = partial(inline_cipher, unit=keywrap) if wired is None else wired.keyer.cipher_of
    plane = _plane(scenario, wired, cipher_of, is_fua)
    measure = Measure(warmup=scenario.run.warmup)
    records = measure.add if watch is None else _both(measure.add, watch)
    recorded = RecordedMedia() if scenario.run.media == "recorded" else None
    front: DataPlane | None = plane if plane is None or wired is None else wired.plane(plane)
    checker, looking = None, None
    if check:  # as few runs are: the others need not load it
        from hwmodel.checkedplane import CheckedPlane
        from hwmodel.checker import Checker

        checker = Checker()
        if plane is not None and front is not None and scenario.keys.design != "none":
            front = looking = CheckedPlane(front, plane, checker)
    machine = _machine(scenario, keys, wired, front, records, recorded, observer, checker, is_fua)
    return Model(
        scenario, wanted_engine, layout, keys, wired, cipher_of, plane, measure, machine, recorded, looking
    )


def _keywrap(scenario: Scenario) -> KeyWrapUnit | None:
    facts = scenario.device.keywrap
    if facts is None:
        return None
    return KeyWrapUnit(stream(scenario.run.seed, "keywrap"), blob_bytes=facts.blob_bytes.value)


def _plane(
    scenario: Scenario, wired: "Wired | None", cipher_of: _CipherOf, is_fua: IsFua | None
) -> VerifyingPlane | None:
    """What moves the bytes, unless nothing does or a filesystem does it itself."""
    has_own = wired is not None and wired.filesystem is not None
    if scenario.run.payload != "verify" or has_own:
        return None
    in_order = wired is not None and wired.draws_ivs
    return VerifyingPlane(
        scenario.keys.data_unit_size,
        seed=scenario.run.seed,
        cipher_of=cipher_of,
        batch_bytes=0 if in_order else scenario.run.batch_bytes,
        is_fua=is_fua,
        corruptions=[Corruption(flip.byte, flip.mask, flip.after_bios) for flip in scenario.faults.flips],
    )


def _machine(
    scenario: Scenario,
    keys: FileKeys | None,
    wired: "Wired | None",
    plane: DataPlane | None,
    records: Callable[[Records], None],
    recorded: RecordedMedia | None,
    observer: Observer | None,
    checker: "Checker | None",
    is_fua: IsFua | None,
) -> Machine:
    seed = scenario.run.seed
    device = scenario.device if wired is None else wired.device
    storage: Storage | None = recorded
    if recorded is not None:
        device = _without_link(device)
    elif observer is not None or checker is not None:
        storage = watched_storage(device.media, stream(seed, "media"), is_fua)
    plain, design = _kinds(observer, checker)
    if wired is None:
        make: Callable[..., Machine] = plain
        objects = keys.objects if keys is not None else []
    else:
        make = partial(design, work=wired.work)
        objects = wired.keyer.objects
    machine = make(
        device,
        where=scenario.keys.engine,
        rng=stream(seed, "media"),
        keys=objects,
        records=records,
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
        storage=storage,
    )
    if checker is not None:
        cast("CheckedMachine", machine).check(checker, observer)
    elif observer is not None:
        cast("WatchedMachine", machine).watch(observer)
    return machine


def _kinds(
    observer: Observer | None, checker: "Checker | None"
) -> "tuple[type[Machine], type[DesignMachine]]":
    """What plain and other key designs run on; loaded only where needed."""
    if checker is not None:
        from hwmodel.checked import CheckedDesignMachine, CheckedMachine

        return CheckedMachine, CheckedDesignMachine
    if observer is not None:
        from hwmodel.watched import WatchedDesignMachine, WatchedMachine

        return WatchedMachine, WatchedDesignMachine
    from hwmodel.companions import DesignMachine

    return Machine, DesignMachine


def settled(scenario: Scenario) -> Scenario:
    """``scenario`` with contents encrypted where its design really does that."""
    engine = engine_of(scenario.keys, scenario.design)
    if engine == scenario.keys.engine:
        return scenario
    return replace(scenario, keys=replace(scenario.keys, engine=engine))


def _without_link(device: Device) -> Device:
    """Recorded times are from issue to completion: the link is in them."""
    link = Figure(0, "part of the recorded times")
    return replace(device, controller=replace(device.controller, link_per_s=link))


def _both(first: Callable[[Records], None], second: Callable[[Records], None]) -> Callable[[Records], None]:
    def add(records: Records) -> None:
        first(records)
        second(records)

    return add
