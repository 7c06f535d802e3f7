"""Figures of a run, from its model."""

from collections.abc import Sequence

from msgspec.structs import replace

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.dataplane import UnitCipher
from scenarios.build import build
from scenarios.keying.bios import Bios
from scenarios.keying.figures import DesignFigures
from scenarios.keying.probe import KeyOf, Probe
from scenarios.keying.wiring import Wired
from scenarios.model import Model
from scenarios.schema import Faults, Layout, Scenario


def design_figures(model: Model, *, seen: dict[str, int] | None = None) -> DesignFigures:
    """What the design cost ``model``, whose run is over; ``seen`` is the attacker's view."""
    slots = model.machine.keyslots
    programs = slots.programs if slots is not None else 0
    per_io = programs / max(1, model.measure.bios)
    if model.wired is not None:
        return _of_wired(model, model.wired, per_io, seen or {})
    keys = model.keys
    if keys is None:
        return DesignFigures(
            files=0, data_bytes=0, extents=0, keys_made=0, keys_live=0, derivations=0,
            on_disk_bytes=0, in_memory_bytes=0, write_amplification=1.0, seen=seen or {},
        )  # fmt: skip
    return DesignFigures(
        files=keys.files,
        data_bytes=int(model.layout.file_map.file_bytes(keys.touched % model.layout.file_map.files).sum()),
        extents=0,
        keys_made=len(keys.objects),
        keys_live=len(keys.objects),
        derivations=keys.derivations,
        on_disk_bytes=keys.on_disk_bytes,
        in_memory_bytes=keys.in_memory_bytes,
        setups_at_open=keys.files,
        open_cpu_ns=keys.files * model.scenario.design.hkdf_ns,
        programs_per_io=per_io,
        write_amplification=1.0 if _written(model) else 0.0,
        seen=seen or {},
    )


def _written(model: Model) -> int:
    return model.measure.directions()["write"].io_bytes


def _of_wired(model: Model, wired: Wired, per_io: float, seen: dict[str, int]) -> DesignFigures:
    keyer, work, tally = wired.keyer, wired.work, wired.keyer.tally
    footprint = keyer.footprint()
    written = _written(model)
    cached = wired.metadata.in_memory_bytes if wired.metadata is not None else 0
    return DesignFigures(
        files=footprint.files,
        data_bytes=footprint.data_bytes,
        extents=footprint.extents,
        keys_made=len(keyer.objects),
        keys_live=footprint.keys_live,
        derivations=footprint.derivations,
        on_disk_bytes=footprint.on_disk_bytes + wired.tag_bytes,
        in_memory_bytes=footprint.in_memory_bytes + cached,
        setups_at_open=tally.at_open,
        setups_in_io=tally.during_io,
        open_cpu_ns=tally.open_ns,
        io_cpu_ns=work.set_up_ns - tally.crypto_ns,
        programs_per_io=per_io,
        metadata_reads=work.reads,
        metadata_writes=work.writes,
        metadata_read_bytes=work.read_bytes,
        metadata_write_bytes=work.write_bytes,
        write_amplification=(written + work.write_bytes) / written if written else 0.0,
        violations=dict(sorted(tally.violations.items())),
        extra=footprint.extra,
        seen=seen,
    )


def attackers_view(scenario: Scenario) -> dict[str, int]:
    """What the experiment of ``scenarios.keying.probe`` shows of the scenario's design."""
    chosen = replace(
        scenario,
        workload=replace(scenario.workload, access="random"),
        layout=Layout(files=2, file_size_bytes=256 << 10, extent_bytes=64 << 10),
        run=replace(scenario.run, payload="none"),
        design=replace(scenario.design, small_files=0.0, metadata_share=0.0),
        faults=Faults(),
    )
    model = build(chosen)
    unit = chosen.keys.data_unit_size
    if model.wired is not None:
        keyer = model.wired.keyer
        return Probe(unit, keyer.keyed, _objects(keyer.objects), keyer.cipher_of).seen()
    keys = model.keys
    if keys is None:
        return Probe(unit, lambda bios: bios, lambda _number, _dun: None, _no_cipher).seen()

    def keyed(bios: Bios) -> Bios:
        bios.key, bios.dun = keys.look_up(bios.file, bios.unit)
        return bios

    return Probe(unit, keyed, _objects(keys.objects), model.cipher_of).seen()


def _objects(objects: Sequence[BlkCryptoKey]) -> KeyOf:
    return lambda number, dun: (objects[number], dun)


def _no_cipher(_key: BlkCryptoKey) -> UnitCipher:
    raise AssertionError("nothing is encrypted")
