"""A fault campaign: many small runs with faults at random, each checked for what must never happen.

A run is a function of its seed alone: the device, who encrypts, the workload, and what goes wrong when are
drawn from streams of that seed.  Every data unit is really encrypted; at the end everything that was written
is read once more.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import simpy

from blkcrypto.block.op import ReqOp
from hwmodel.device import Device, Figure, Programs
from hwmodel.faultplan import (
    Eviction,
    Hang,
    KeyOperation,
    KeyOperationName,
    MediaError,
    PowerCut,
    ProgramFailure,
    Rates,
    Removal,
    Reset,
    Slowdown,
)
from hwmodel.invariants import InvariantBroken
from hwmodel.request import RECORD
from scenarios.build import build
from scenarios.load import load_device
from scenarios.model import Model
from scenarios.schema import Block, EngineName, Faults, Keys, KeyTypeName, Layout, Run, Scenario, Workload
from scenarios.streams import stream
from scenarios.sweeps.executor import Workers
from scenarios.traces.batch import NO_FILE, TraceBatch

_US: Final = 1_000
_MS: Final = 1_000_000
_UNIT: Final = 4096
_SPAN_BYTES: Final = 4 << 20
_FILE_BYTES: Final = 256 << 10
_LARGEST_UNITS: Final = 16
_HORIZON_NS: Final = 1_000_000 * _MS  # far beyond any run: whoever is in flight then waits for ever
_CHUNK: Final = 10
_ROW: Final = RECORD.index("row")

# Device, who encrypts, type of keys, design: every kind of hardware and of path.
_MACHINES: Final[tuple[tuple[str, EngineName, KeyTypeName, str], ...]] = (
    ("ufs31-ice-raw", "inline", "raw", "fscrypt-per-file"),
    ("ufs31-ice-raw", "inline", "raw", "none"),
    ("ufs31-ice-raw", "fallback", "raw", "fscrypt-per-file"),
    ("ufs31-ice-raw", "fs-layer", "raw", "fscrypt-per-file"),
    ("ufs40-ice-hwkm", "inline", "hw-wrapped", "fscrypt-iv-ino-lblk-64"),
    ("emmc51-cqhci", "inline", "raw", "fscrypt-per-file"),
    ("exynos-fmp", "inline", "raw", "fscrypt-per-file"),
    ("tensor-kdn", "inline", "hw-wrapped", "fscrypt-iv-ino-lblk-64"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a campaign: what happened, and what must not have."""

    seed: int
    counts: Counter[str]
    violations: Counter[str]


@dataclass(frozen=True, slots=True)
class Campaign:
    """All runs together.

    Attributes:
        violations: by name.
        failed_seeds: of the runs that had any.
    """

    runs: int
    counts: Counter[str]
    violations: Counter[str]
    failed_seeds: tuple[int, ...]


def run_campaign(
    runs: int,
    seed: int,
    *,
    on: str = "local",
    progress: Callable[[int], None] | None = None,
    check: bool = False,
) -> Campaign:
    """``runs`` runs with the seeds from ``seed`` on; ``progress`` hears of every few that ended.

    With ``check`` each run checks every invariant as it goes.

    Raises:
        BadInput: ``on`` is no place to run.
    """
    seeds = [list(range(at, min(at + _CHUNK, seed + runs))) for at in range(seed, seed + runs, _CHUNK)]
    counts: Counter[str] = Counter()
    violations: Counter[str] = Counter()
    failed: list[int] = []
    with Workers(on) as workers:
        for outcomes in workers.executor.map(partial(_run_seeds, check=check), seeds):
            for outcome in outcomes:
                counts += outcome.counts
                violations += outcome.violations
                if outcome.violations:
                    failed.append(outcome.seed)
            if progress is not None:
                progress(len(outcomes))
    return Campaign(runs, counts, violations, tuple(failed))


def _run_seeds(seeds: Sequence[int], *, check: bool) -> list[Outcome]:
    return [_run_whatever_happens(seed, check) for seed in seeds]


def _run_whatever_happens(seed: int, check: bool) -> Outcome:
    try:
        return run_seed(seed, check=check)
    except InvariantBroken as broken:
        return Outcome(seed, Counter({"runs": 1}), Counter({f"runs with a {broken}": 1}))
    except Exception as error:  # a broken machine is what a campaign looks for; its seed shows it again
        return Outcome(seed, Counter({"runs": 1}), Counter({f"runs broken by {error!r}": 1}))


def run_seed(seed: int, *, check: bool = False) -> Outcome:
    """The run that ``seed`` means; with ``check`` InvariantBroken when an invariant does not hold."""
    rng = stream(seed, "campaign")
    batch = _workload(rng)
    scenario = _scenario(rng, seed, int(batch.time_ns[-1]))
    rows: list[npt.NDArray[np.int64]] = []
    model = build(scenario, watch=lambda records: rows.append(records[:, _ROW].copy()), check=check)
    with closing(model):
        model.machine.clock.process(_alarm(model))
        model.machine.run(model.rows(_with_read_back(batch)), queue_depth=scenario.run.queue_depth)
        assert model.plane is not None
        model.plane.process()
        if model.looking is not None:
            model.looking.look()
        completed = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        return Outcome(seed, _counts(model, scenario), _violations(model, completed))


def _alarm(model: Model) -> Generator[simpy.Event, object, None]:
    """Let time reach a point that no run needs; who waits then, waits for ever, and the run just ends."""
    yield model.machine.clock.timeout(_HORIZON_NS)


def _counts(model: Model, scenario: Scenario) -> Counter[str]:
    injector = model.machine.injector
    counts = Counter[str]() if injector is None else Counter(injector.counts)
    counts["runs"] = 1
    if model.machine.power is not None:
        counts["runs of suspended devices"] = min(1, model.machine.power.resumes)
    counts[f"runs on {scenario.device.name}, {scenario.keys.engine}"] = 1
    if scenario.workload.fua_share:
        counts["runs with FUA writes"] = 1
    if scenario.device.media.programs != "in-order":
        counts["runs in which reads pass programs"] = 1
    counts["bios"] = model.measure.bios
    for status, bios in model.measure.errors.items():
        counts[f"bios with {status}"] = bios
    assert model.plane is not None
    counts["bytes read back and compared"] = model.plane.verified.bytes
    return counts


def _violations(model: Model, completed: npt.NDArray[np.int64]) -> Counter[str]:
    assert model.plane is not None
    injector = model.machine.injector
    times = np.bincount(completed, minlength=model.bios_made)
    found = {
        "data units with wrong plaintext and status OK": model.plane.verified.mismatches,
        "flushed data units lost": model.plane.broken_promises,
        "bios lost": int((times == 0).sum()),
        "bios completed twice": int((times > 1).sum()),
        "runs that did not end": int(not model.machine.is_idle),
        "runs whose stage times do not sum up": int(not model.measure.stages_sum_to_total),
        "runs with negative stage times": int(not model.measure.no_negative_time),
    }
    if injector is not None:
        found |= injector.violations
    return Counter({name: count for name, count in found.items() if count})


# --- what is drawn ------------------------------------------------------------------------------------


def _workload(rng: np.random.Generator) -> TraceBatch:
    """Reads, writes, flushes and a few discards over a small space, so that most of them overlap."""
    ios = int(rng.integers(100, 500))
    kinds = rng.choice(
        [ReqOp.READ, ReqOp.WRITE, ReqOp.FLUSH, ReqOp.DISCARD], size=ios, p=[0.35, 0.5, 0.13, 0.02]
    ).astype(np.uint8)
    units = rng.integers(1, _LARGEST_UNITS + 1, ios)
    first = rng.integers(0, _SPAN_BYTES // _UNIT - _LARGEST_UNITS, ios)
    flush = kinds == ReqOp.FLUSH
    gap_ns = int(rng.choice([5 * _US, 50 * _US, 200 * _US]))
    return _batch(
        np.cumsum(rng.exponential(gap_ns, ios)).astype(np.int64),
        kinds,
        np.where(flush, 0, first * (_UNIT >> 9)),
        np.where(flush, 0, units * _UNIT),
        rng.integers(0, 4, ios),
    )


def _with_read_back(batch: TraceBatch) -> Iterator[TraceBatch]:
    """The workload, and then, when everything is over, all of the space once more."""
    yield batch
    size = _LARGEST_UNITS * _UNIT
    starts = np.arange(0, _SPAN_BYTES, size, dtype=np.int64)
    last_ns = int(batch.time_ns[-1]) + 10_000 * _MS
    yield _batch(
        last_ns + np.arange(len(starts), dtype=np.int64) * _MS,
        np.full(len(starts), ReqOp.READ, dtype=np.uint8),
        starts >> 9,
        np.full(len(starts), size, dtype=np.int64),
        np.zeros(len(starts), dtype=np.int64),
    )


def _batch(
    time_ns: npt.NDArray[np.int64],
    op: npt.NDArray[np.uint8],
    sector: npt.NDArray[np.int64],
    nbytes: npt.NDArray[np.int64],
    streams: npt.NDArray[np.int64],
) -> TraceBatch:
    return TraceBatch(
        time_ns=time_ns,
        op=op,
        sector=sector,
        nbytes=nbytes,
        stream=streams.astype(np.int32),
        file=np.full(len(op), NO_FILE, dtype=np.int32),
    )


def _scenario(rng: np.random.Generator, seed: int, length_ns: int) -> Scenario:
    name, engine, key_type, design = _MACHINES[int(rng.integers(len(_MACHINES)))]
    others = stream(seed, "campaign.others")
    return Scenario(
        name="campaign",
        question="Does anything happen that must not?",
        workload=Workload(ios=1, fua_share=float(others.choice([0.0, 0.0, 0.3]))),
        device=_caching(others, _device(rng, name)),
        layout=Layout(
            files=_SPAN_BYTES // _FILE_BYTES,
            file_size_bytes=_FILE_BYTES,
            extent_bytes=64 << 10,
            span_bytes=_SPAN_BYTES,
            fragmentation=float(rng.choice([0.0, 0.5])),
        ),
        keys=Keys(design=design, type=key_type, engine=engine, master_keys=8),
        block=Block(
            scheduler="mq-deadline" if rng.random() < 0.3 else "none",
            max_request_bytes=int(rng.choice([16 << 10, 1 << 20])),
        ),
        faults=msgspec.structs.replace(
            _faults(rng, length_ns), key_operations=_key_operations(others, length_ns)
        ),
        run=Run(
            seed=seed,
            payload="verify",
            queue_depth=int(rng.choice([0, 0, 4, 32])),
            batch_bytes=int(rng.choice([0, 64 << 10, 8 << 20])),
        ),
    )


def _device(rng: np.random.Generator, name: str) -> Device:
    """A shipped device with few keyslots and tags, so that requests wait for both; it may sleep, or cache."""
    device = load_device(name)
    controller = msgspec.structs.replace(
        device.controller,
        tags=_drawn(int(rng.choice([2, 8, 31]))),
        reset_ns=_drawn(int(rng.integers(100 * _US, 5 * _MS))),
        gate_after_ns=_drawn(200 * _US if rng.random() < 0.3 else 0),
        ungate_ns=_drawn(100 * _US),
        suspend_after_ns=_drawn(1 * _MS if rng.random() < 0.3 else 0),
        resume_ns=_drawn(300 * _US),
    )
    media = msgspec.structs.replace(
        device.media,
        cache_bytes=_drawn(256 << 10 if rng.random() < 0.3 else 0),
        cache_write_ns=_drawn(10 * _US),
    )
    slots = device.keyslots
    if slots is not None and slots.count.value:
        slots = msgspec.structs.replace(slots, count=_drawn(int(rng.integers(1, 9))))
    return msgspec.structs.replace(device, controller=controller, media=media, keyslots=slots)


def _key_operations(rng: np.random.Generator, length_ns: int) -> tuple[KeyOperation, ...]:
    names: tuple[KeyOperationName, ...] = get_args(KeyOperationName)
    times = rng.integers(0, length_ns, rng.poisson(0.5)).tolist()
    return tuple(KeyOperation(op=names[int(rng.integers(len(names)))], at_ns=at) for at in times)


def _caching(rng: np.random.Generator, device: Device) -> Device:
    """Any way for reads to get past the cache's programs, with native FUA or without."""
    if not device.media.cache_bytes.value:
        return device
    ways: tuple[Programs, ...] = get_args(Programs)
    media = msgspec.structs.replace(
        device.media,
        programs=ways[int(rng.integers(len(ways)))],
        suspend_ns=_drawn(10 * _US),
        fua=bool(rng.random() < 0.5),
    )
    return msgspec.structs.replace(device, media=media)


def _drawn(value: int) -> Figure:
    return Figure(value, "drawn for the campaign")


def _faults(rng: np.random.Generator, length_ns: int) -> Faults:
    """At least one fault, at times within the workload and a little after it."""

    def times(mean: float) -> Iterator[int]:
        yield from rng.integers(0, length_ns * 5 // 4, rng.poisson(mean)).tolist()

    def span() -> int:
        return int(rng.integers(100 * _US, 10 * _MS))

    def chance(share: float, most: float) -> float:
        return float(rng.random() * most) if rng.random() < share else 0.0

    errors = ("EIO", "EINVAL", "EBUSY", "ENOMEM", "ETIMEDOUT")
    return Faults(
        resets=tuple(Reset(at_ns=at) for at in times(0.8)),
        program_failures=tuple(
            ProgramFailure(
                at_ns=at,
                count=int(rng.integers(1, 5)),
                error=errors[int(rng.integers(len(errors)))],  # type: ignore[arg-type]  # of the Literal
                takes_ns=span() if rng.random() < 0.3 else 0,
                clobbers=bool(rng.random() < 0.5),
            )
            for at in times(1)
        ),
        hangs=tuple(Hang(at_ns=at, duration_ns=span(), timeout_ns=span()) for at in times(0.3)),
        media_errors=tuple(MediaError(at_ns=at, count=int(rng.integers(1, 4))) for at in times(0.5)),
        power_cuts=tuple(
            PowerCut(at_ns=at, outage_ns=span(), tear_bytes=int(rng.choice([512, 4096])))
            for at in [*times(0.8), int(rng.integers(1, length_ns))]
        ),
        removals=tuple(Removal(at_ns=at) for at in times(0.05)),
        slowdowns=tuple(
            Slowdown(at_ns=at, duration_ns=span(), percent=int(rng.integers(110, 500))) for at in times(0.3)
        ),
        evictions=tuple(Eviction(at_ns=at, key=int(rng.integers(0, 16))) for at in times(4)),
        rates=Rates(
            resets_per_s=chance(0.2, 100),
            program_failure=chance(0.3, 0.3),
            clobber=chance(0.5, 1),
            media_error=chance(0.3, 0.05),
        ),
    )
