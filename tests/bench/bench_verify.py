"""Replay with verified data: every 4 KiB encrypted, stored, decrypted and compared, against plain SimPy."""

import ctypes
import time
from collections.abc import Iterator
from statistics import median

import numpy as np
import pytest
from msgspec.structs import replace

from scenarios.run import run
from scenarios.schema import Layout, Run, Scenario
from scenarios.traces.batch import BATCH_ROWS, NO_FILE, TraceBatch
from tests.bench.bench_replay import IOS, KEYS, SLOTS, columns, plain_per_cpu_second, scenario, the_device

PAIRS = 3
READ_SHARE = 0.5
UNIT_BYTES = 4096

IOS_VERIFIED = 500_000

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt(3)

# Bytes in each of 256 files under a key of its own, and so how often each data unit is used.  The first time
# costs more: a unit that is read is laid out before.  No digest: only ``--json`` asks for one.
FILE_BYTES = {"64 MiB, used 30 times over": 1 << 18, "256 MiB, 8 times": 1 << 20, "16 GiB, once": 64 << 20}


def verified(file_bytes: int) -> Scenario:
    """``bench_replay``'s machine, with bytes; writes take as long as reads, so that it keeps up."""
    machine = the_device()
    return replace(
        scenario(),
        device=replace(machine, media=replace(machine.media, write_ns=machine.media.read_ns)),
        layout=Layout(files=KEYS, file_size_bytes=file_bytes),
        run=Run(payload="verify"),
    )


def batches(ios: int, file_bytes: int) -> Iterator[TraceBatch]:
    """``bench_replay``'s arrivals and Zipf keys; half reads and half writes anywhere in the file."""
    arrivals, keys, _ = columns(ios)
    rng = np.random.default_rng(5)
    units = keys * (file_bytes // UNIT_BYTES) + rng.integers(0, file_bytes // UNIT_BYTES, ios)
    ops = (rng.random(ios) >= READ_SHARE).astype(np.uint8)
    for at in range(0, ios, BATCH_ROWS):
        part = slice(at, at + BATCH_ROWS)
        count = len(units[part])
        yield TraceBatch(
            time_ns=arrivals[part],
            op=ops[part],
            sector=units[part] * (UNIT_BYTES >> 9),
            nbytes=np.full(count, UNIT_BYTES, dtype=np.int64),
            stream=np.zeros(count, dtype=np.int32),
            file=np.full(count, NO_FILE, dtype=np.int32),
        )


def ours_per_cpu_second(ios: int, file_bytes: int, *, compiled: bool = False) -> float:
    source = list(batches(ios, file_bytes))
    began = time.process_time()
    result = run(verified(file_bytes), source=source, compiled=compiled, digest=False)
    seconds = time.process_time() - began
    assert result.bios == ios
    assert not result.mismatches
    assert result.verified_bytes == result.read_bytes
    return ios / seconds


def keep_freed_memory() -> None:
    """Let the C library keep what is freed: a virtual machine's host takes up to 9 us to give 4 KiB back.

    What the first run of a pattern touched is thus used again by those after it.  Nothing on systems without
    glibc.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, -1)


@pytest.mark.bench
@pytest.mark.parametrize("compiled", [False, True], ids=["usual", "compiled"])
@pytest.mark.parametrize("name", FILE_BYTES)
def test_verified_replay_against_plain_simpy(name: str, compiled: bool) -> None:
    if compiled:
        pytest.importorskip("numba", reason="the extra fast is not installed")
    keep_freed_memory()
    ours_per_cpu_second(IOS_VERIFIED, FILE_BYTES[name], compiled=compiled)  # loads, compiles, takes memory
    pairs = [
        (plain_per_cpu_second(IOS), ours_per_cpu_second(IOS_VERIFIED, FILE_BYTES[name], compiled=compiled))
        for _ in range(PAIRS)
    ]
    ratio = median(ours / plain for plain, ours in pairs)
    plain, ours = (median(column) for column in zip(*pairs, strict=True))
    way = "compiled" if compiled else "the usual way"
    print(f"\nverified replay of {IOS_VERIFIED:,} I/Os of 4 KiB, half reads, anywhere in {name}, {way};")
    print(f"  {KEYS} keys, {SLOTS} keyslots; median of {PAIRS} pairs, I/Os per CPU second:")
    print(f"  plain SimPy {plain:>9,.0f}   blkcrypto {ours:>9,.0f}   ratio {ratio:.2f}")
