"""Timing-only replay against the textbook SimPy form of the same replay."""

import time
from collections.abc import Iterator
from statistics import median

import numpy as np
import pytest

from hwmodel.columns import Columns
from hwmodel.controller import Machine
from hwmodel.device import Device
from scenarios.run import run
from scenarios.schema import Keys, Layout, Run, Scenario, Workload
from scenarios.traces.batch import BATCH_ROWS, NO_FILE, TraceBatch
from tests.bench.plain_simpy import PlainReplay
from tests.machines import US, device
from tests.machines import keys as key_objects

IOS = 200_000
PAIRS = 5
COMPILED_IOS = 10_000_000
SLOTS, SERVERS, PROGRAM_NS, KEYS = 16, 8, 10 * US, 256
FILE_BYTES = 64 << 20


def columns(ios: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrivals at 70 k/s, Zipf keys, exponential service of 100 us."""
    rng = np.random.default_rng(seed)
    share = np.cumsum(1 / np.arange(1, KEYS + 1))
    keys = np.searchsorted(share / share[-1], rng.random(ios))
    arrivals = np.cumsum(rng.exponential(1e9 / 70e3, ios)).astype(np.int64)
    return arrivals, keys, rng.exponential(100 * US, ios).astype(np.int64) + 1


def the_device() -> Device:
    return device(
        tags=64, slots=SLOTS, program_ns=PROGRAM_NS, units=SERVERS, read_ns=100 * US, shape="exponential"
    )


def scenario() -> Scenario:
    return Scenario(
        name="bench",
        question="How fast?",
        workload=Workload(ios=1),
        device=the_device(),
        layout=Layout(files=KEYS, file_size_bytes=FILE_BYTES),
        keys=Keys(),
        run=Run(),
    )


def batches(arrivals: np.ndarray, keys: np.ndarray) -> Iterator[TraceBatch]:
    for at in range(0, len(arrivals), BATCH_ROWS):
        part = keys[at : at + BATCH_ROWS]
        count = len(part)
        yield TraceBatch(
            time_ns=arrivals[at : at + BATCH_ROWS],
            op=np.zeros(count, dtype=np.uint8),
            sector=part * (FILE_BYTES >> 9),
            nbytes=np.full(count, 4096, dtype=np.int64),
            stream=np.zeros(count, dtype=np.int32),
            file=np.full(count, NO_FILE, dtype=np.int32),
        )


def ours_per_cpu_second(ios: int, *, compiled: bool = False) -> float:
    arrivals, keys, _ = columns(ios)
    began = time.process_time()
    run(scenario(), source=batches(arrivals, keys), compiled=compiled)
    return ios / (time.process_time() - began)


def bio_columns(arrivals: np.ndarray, keys: np.ndarray) -> Iterator[Columns]:
    """The same bios as a model makes them of ``batches``."""
    constant = np.zeros(BATCH_ROWS, dtype=np.int64)
    for at in range(0, len(arrivals), BATCH_ROWS):
        part = keys[at : at + BATCH_ROWS]
        count = len(part)
        yield Columns(
            time_ns=arrivals[at : at + BATCH_ROWS],
            number=np.arange(at, at + count),
            op=constant[:count].astype(np.uint8),
            sector=part * (FILE_BYTES >> 9),
            nbytes=constant[:count] + 4096,
            key=part,
            dun=constant[:count].astype(np.uint64),
            stream=constant[:count].astype(np.int32),
        )


def engine_per_cpu_second(ios: int) -> float:
    """The compiled engine without what makes bios of rows, and figures of records."""
    from hwmodel.compiled.way import compiled_way

    arrivals, keys, _ = columns(ios)
    machine = Machine(
        the_device(),
        where="inline",
        rng=np.random.default_rng(3),
        keys=key_objects(KEYS),
        records=lambda _: None,
    )
    began = time.process_time()
    compiled_way(machine, bio_columns(arrivals, keys))
    return ios / (time.process_time() - began)


def plain_per_cpu_second(ios: int) -> float:
    arrivals, keys, services = (column.tolist() for column in columns(ios))
    replay = PlainReplay(slots=SLOTS, servers=SERVERS, program_ns=PROGRAM_NS)
    began = time.process_time()
    replay.run(arrivals, keys, services)
    return ios / (time.process_time() - began)


@pytest.mark.bench
def test_timing_only_replay_against_plain_simpy() -> None:
    pairs = [(plain_per_cpu_second(IOS), ours_per_cpu_second(IOS)) for _ in range(PAIRS)]
    ratio = median(ours / plain for plain, ours in pairs)
    plain, ours = (median(column) for column in zip(*pairs, strict=True))
    print(f"\nreplay, {IOS} I/Os, median of {PAIRS} pairs, per CPU second:")
    print(f"  plain SimPy {plain:>9,.0f}   blkcrypto {ours:>9,.0f}   ratio {ratio:.2f}")
    long_rate = ours_per_cpu_second(1_000_000)
    print(f"  blkcrypto, 1,000,000 I/Os: {long_rate:>9,.0f}   against plain SimPy {long_rate / plain:.2f}")


@pytest.mark.bench
def test_compiled_replay_of_ten_million_rows_against_the_usual_way() -> None:
    pytest.importorskip("numba", reason="the extra fast is not installed")
    engine_per_cpu_second(1000)  # loads, or compiles
    plain, usual = plain_per_cpu_second(IOS), ours_per_cpu_second(1_000_000)
    engine = max(engine_per_cpu_second(COMPILED_IOS) for _ in range(3))
    whole = max(ours_per_cpu_second(COMPILED_IOS, compiled=True) for _ in range(3))
    print(f"\nreplay, {COMPILED_IOS:,} I/Os compiled, best of 3, per CPU second:")
    print(f"  plain SimPy {plain:>9,.0f}   usual way {usual:>9,.0f}   whole run, compiled {whole:>9,.0f}")
    print(f"  compiled engine alone {engine:>9,.0f}   compiled run against usual {whole / usual:.1f}")
