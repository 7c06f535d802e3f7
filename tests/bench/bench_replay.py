"""Timing-only replay against the textbook SimPy form of the same replay, and its memory."""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from hwmodel.columns import Columns
from hwmodel.controller import Machine
from hwmodel.device import Device
from scenarios.load import load_scenario
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


def write_trace(path: Path, rows: int) -> None:
    """A CSV trace of ``rows`` rows in the order time (ns), op, offset, size."""
    rng = np.random.default_rng(4)
    with path.open("w") as out:
        out.write("time,op,offset,size\n")
        now = 0
        for _ in range(0, rows, 100_000):
            gaps = rng.exponential(1e9 / 70e3, 100_000).astype(np.int64)
            times = now + np.cumsum(gaps)
            now = int(times[-1])
            sectors = rng.integers(0, 1 << 24, 100_000) * 4096
            lines = np.char.add(
                times.astype(str), np.char.add(",R,", np.char.add(sectors.astype(str), ",4096\n"))
            )
            out.write("".join(lines.tolist()))


@pytest.mark.bench
def test_peak_memory_of_replaying_ten_million_rows(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    write_trace(trace, 10_000_000)
    mapping = "time=time:ns,op=op,offset=offset:bytes,size=size:bytes"
    command = [sys.executable, "-m", "scenarios.cli", "replay", str(trace), "--format", "csv"]
    command += ["--columns", mapping, "--json", str(tmp_path / "result.json"), "--quiet"]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\nreplay of 10,000,000 CSV rows: {seconds:.0f} s, peak {peak:.0f} MiB")


@pytest.mark.bench
def test_batched_against_immediate_encryption_of_4_kib_random_io_under_1000_keys() -> None:
    sets = ("ios=40000", "payload=verify", "layout.files=1000", "read_share=0.5")
    spent: dict[str, list[float]] = {"8M": [], "0": []}
    media = set()
    for _ in range(3):
        for batch, times in spent.items():
            chosen = load_scenario("keyslot-contention", sets=(*sets, f"run.batch_bytes={batch}"))
            began = time.process_time()
            media.add(run(chosen).medium_sha256)
            times.append(time.process_time() - began)
    assert len(media) == 1
    immediate, batched = median(spent["0"]), median(spent["8M"])
    print(
        f"\nverified 4 KiB random I/O, 1000 keys: immediate {immediate:.2f} s, batched {batched:.2f} s, ",
        end="",
    )
    print(f"ratio {immediate / batched:.2f}")
