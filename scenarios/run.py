"""One run: scenario -> ``RunResult``."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

import blkcrypto
from blkcrypto.base.errors import BadInput
from hwmodel.invariants import (
    ACQUIRES_ADD_UP,
    CIPHERTEXT,
    EXACTLY_ONCE,
    INVARIANTS,
    NO_EVICTED_KEY,
    NO_FLUSHED_WRITE_LOST,
    NO_NEGATIVE_STAGE,
    NOTHING_LEFT,
    STAGE_SUMS,
    Invariant,
    InvariantBroken,
)
from hwmodel.observer import Observer
from scenarios.build import build
from scenarios.collector import collecting_seldom
from scenarios.compiled import compiled_way_of
from scenarios.files.figures import shown
from scenarios.model import Model
from scenarios.results.records import RecordSink
from scenarios.results.result import CpuResult, KeyslotResult, RunResult
from scenarios.schema import Scenario
from scenarios.source import GivenSource, open_source
from scenarios.traces.batch import TraceBatch

Progress = Callable[[int], None]


def run(
    scenario: Scenario,
    *,
    source: Iterable[TraceBatch] | None = None,
    progress: Progress | None = None,
    sinks: Sequence[RecordSink] = (),
    figures: bool = False,
    observer: Observer | None = None,
    check: bool = False,
    compiled: bool = False,
    digest: bool = True,
) -> RunResult:
    """Run ``scenario`` to the end.

    Args:
        source: batches to run instead of the scenario's own workload.
        progress: told how many rows of the workload were just consumed.
        sinks: given the record of every finished bio, warm-up included.
        figures: of the key design too, where it is a plain one; all others give theirs anyway.
        observer: told of everything the machine does; the result is the same.
        check: every invariant, as the run goes on (``hwmodel.invariants``); the result is the same, and says
            which were checked.
        compiled: lead the machine by compiled code where it can be; the result is the same.
        digest: of the medium in the end; 2 to 3 us for each data unit, for nothing where nobody looks at it.

    Raises:
        BadInput: the trace is damaged or unreadable, or the workload is empty; or numba is not installed.
        InvariantBroken: with ``check``, one does not hold.
    """
    with closing(open_source(scenario) if source is None else GivenSource(source)) as opened:
        model = build(scenario, named_files=opened.named_files, observer=observer, check=check)
        with closing(model):
            _execute(model, opened.batches(model.layout), progress, sinks, compiled)
            skipped = Counter(opened.counts) + Counter(model.layout.counts)
            result = _result(model, dict(skipped), figures=figures, digest=digest)
    if check:
        _require_all(result, model.measure.first_broken)
    return result


def _require_all(result: RunResult, history: str) -> None:
    for invariant in INVARIANTS:
        if not result.checks.get(invariant.name, True):
            raise InvariantBroken(invariant, "seen at the end of the run", history)


def _execute(
    model: Model,
    batches: Iterable[TraceBatch],
    progress: Progress | None,
    sinks: Sequence[RecordSink],
    compiled: bool,
) -> None:
    scenario = model.scenario
    model.measure.sinks = sinks
    lead = compiled_way_of(model) if compiled else None
    with collecting_seldom():
        if lead is not None:
            lead(model.machine, model.columns(batches, progress), _depth(scenario))
        else:
            model.machine.run(model.rows(batches, progress), queue_depth=_depth(scenario))
    if model.plane is not None:
        model.plane.process()
    if model.looking is not None:
        model.looking.look()
    if not model.measure.bios:
        raise BadInput("the workload has no I/O to run", where=scenario.workload.trace or scenario.name)


def _depth(scenario: Scenario) -> int:
    return scenario.run.queue_depth * scenario.workload.jobs


def _result(model: Model, skipped: dict[str, int], *, figures: bool, digest: bool) -> RunResult:
    scenario = model.scenario
    design = None
    if figures or model.wired is not None:
        # As in ``build``: most runs ask for none.
        from scenarios.keying.measured import attackers_view, design_figures

        design = design_figures(model, seen=attackers_view(scenario))
    measure = model.measure
    directions = measure.directions()
    keyslots = _keyslots(model)
    verified = model.plane.verified if model.plane is not None else None
    medium = model.plane.medium.sha256() if digest and model.plane is not None else ""
    if model.wired is not None and model.wired.filesystem is not None:
        verified, medium = model.wired.filesystem.verified, model.wired.filesystem.medium_sha256
    counted = design if design is not None else model.keys
    return RunResult(
        scenario=scenario.name,
        question=scenario.question,
        device=scenario.device.name,
        design=scenario.keys.design,
        key_type=scenario.keys.type,
        engine=scenario.keys.engine,
        seed=scenario.run.seed,
        payload=scenario.run.payload,
        version=blkcrypto.__version__,
        assumptions=(*assumptions(scenario), *(model.wired.assumptions if model.wired is not None else ())),
        bios=measure.bios,
        rows=model.rows_read,
        read_bytes=directions["read"].io_bytes,
        write_bytes=directions["write"].io_bytes,
        sim_time_ns=measure.last_done_ns,
        inflight_mean=measure.inflight_mean,
        splits=model.machine.splits,
        merges=model.machine.merges,
        errors=measure.errors,
        skipped=skipped,
        directions=directions,
        keyslots=keyslots,
        cpu=_cpu(model),
        verified_bytes=verified.bytes if verified else 0,
        mismatches=verified.mismatches if verified else 0,
        medium_sha256=medium,
        design_on_disk_bytes=counted.on_disk_bytes if counted is not None else 0,
        design_in_memory_bytes=counted.in_memory_bytes if counted is not None else 0,
        design_derivations=counted.derivations if counted is not None else 0,
        key_ops=_key_ops(model),
        files=counted.files if counted is not None else 0,
        checks={
            STAGE_SUMS.name: measure.stages_sum_to_total,
            NO_NEGATIVE_STAGE.name: measure.no_negative_time,
            ACQUIRES_ADD_UP.name: (
                keyslots.acquires
                == keyslots.hits + keyslots.programs + keyslots.failures + keyslots.abandoned
            ),
            NOTHING_LEFT.name: model.machine.is_idle,
            **{invariant.name: True for invariant in _checked(model)},
            **_fault_checks(model),
        },
        faults=dict(model.machine.injector.counts) if model.machine.injector is not None else {},
        notes=tuple(_notes(model)),
        figures=design,
    )


def _keyslots(model: Model) -> KeyslotResult:
    slots = model.machine.keyslots
    keys = model.keys if model.wired is None else model.wired.keyer
    distinct = len(keys.objects) if keys is not None else 0
    if slots is None:
        return KeyslotResult(
            count=0,
            acquires=0,
            hits=0,
            programs=0,
            evicts=0,
            waits=0,
            lock_waits=0,
            distinct_keys=distinct,
            lock_held_ns=0,
        )
    return KeyslotResult(
        count=slots.table.num_slots,
        acquires=slots.acquires,
        hits=slots.hits,
        programs=slots.programs,
        evicts=slots.evicts,
        waits=slots.waits,
        lock_waits=slots.lock_waits,
        distinct_keys=distinct,
        lock_held_ns=slots.lock_held_ns,
        failures=slots.failures,
        abandoned=slots.abandoned,
    )


def _fault_checks(model: Model) -> dict[str, bool]:
    """What faults must never lead to; nothing without faults."""
    injector = model.machine.injector
    if injector is None:
        return {}
    checks = {
        NO_EVICTED_KEY.name: not injector.violations,
        EXACTLY_ONCE.name: model.measure.bios == model.bios_made,
    }
    if model.plane is not None:
        checks[NO_FLUSHED_WRITE_LOST.name] = not model.plane.broken_promises
    return checks


def _checked(model: Model) -> tuple[Invariant, ...]:
    """What was checked as the run went on, and held, or the run would have ended."""
    return (*model.machine.checked, *((CIPHERTEXT,) if model.looking is not None else ()))


def _cpu(model: Model) -> CpuResult:
    machine = model.machine
    slots = machine.keyslots
    on_cpu_ns = slots.program_cpu_ns if slots is not None else 0
    fallback = model.scenario.keys.engine == "fallback"
    set_up_ns = crypto_ns = 0
    if model.wired is not None:
        crypto_ns = model.wired.keyer.tally.crypto_ns
        set_up_ns = model.wired.work.set_up_ns - crypto_ns
    return CpuResult(
        cpus=machine.cpus.count,
        crypto_ns=crypto_ns + (machine.software.crypto_ns if machine.software is not None else 0),
        setkey_ns=set_up_ns + (on_cpu_ns if fallback else 0),
        submit_ns=machine.submit_ns,
        program_ns=0 if fallback else on_cpu_ns,
    )


def _key_ops(model: Model) -> dict[str, tuple[int, int]]:
    unit = model.scenario.device.keywrap
    keys = model.keys if model.wired is None else model.wired.keyer
    if unit is None or keys is None:
        return {}
    cost = {
        "generate": unit.generate_ns.value,
        "prepare": unit.prepare_ns.value,
        "derive_sw_secret": unit.derive_sw_secret_ns.value,
    }
    return {name: (count, count * cost[name]) for name, count in keys.key_ops.items()}


def _notes(model: Model) -> Iterable[str]:
    if model.wired is not None and model.wanted_engine != model.scenario.keys.engine:
        scenario = model.scenario
        yield f"{scenario.keys.design} encrypts by {scenario.keys.engine}, not {model.wanted_engine}"
    if late := model.machine.clock.late:
        most = model.scenario.run.max_in_flight
        yield f"the device could not keep up: {late} bios arrived late, behind {most} in flight"
    if model.measure.first_broken:
        yield f"the first bio that breaks a check: {model.measure.first_broken}"
    if model.machine.injector is not None:
        for name, count in sorted(model.machine.injector.counts.items()):
            yield f"faults: {name}: {count}"
    plane = model.plane
    if plane is None:
        return
    unit = model.scenario.keys.data_unit_size
    for address in plane.verified.where:
        yield f"data unit of {unit} bytes at byte {address} of the medium did not compare equal"
    if plane.pending_corruptions:
        yield f"{plane.pending_corruptions} medium corruptions never took place: nothing was stored there"


def assumptions(scenario: Scenario) -> Iterable[str]:
    """The device's assumed figures that bear on this scenario, one line each."""
    unused = _unused(scenario)
    for name, figure in scenario.device.figures():
        if figure.is_assumption and name not in unused and name.partition(".")[0] not in unused:
            yield f"{name} = {shown(name, figure.value)} ({figure.source})"


def _unused(scenario: Scenario) -> set[str]:
    """Sections and figures of the device that this scenario never asks."""
    keys = scenario.keys
    unused: set[str] = set()
    if not scenario.faults.evictions:
        unused.add("keyslots.evict_ns")
    if not (scenario.faults.resets or scenario.faults.power_cuts or scenario.faults.rates.resets_per_s):
        unused.add("controller.reset_ns")
    if keys.engine == "inline":
        unused |= {f"host.{name}" for name in ("setkey_ns", "cipher_per_s", "cipher_ns", "worker_ns")}
    if keys.engine != "inline" or keys.design == "none":
        unused |= {"keyslots", "engine"}
    if scenario.run.media == "recorded":
        unused.add("media")
    if keys.type == "hw-wrapped":
        unused.add("keyslots.program_raw_ns")
    else:
        unused |= {"keywrap", "keyslots.program_hw_wrapped_ns"}
    return unused
