"""Rows per second of reading traces."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scenarios.traces import open_trace

pytestmark = pytest.mark.bench

ROWS = 1_000_000


def msr(count: int) -> str:
    rng = np.random.default_rng(1)
    times = 128166372003061629 + np.cumsum(rng.integers(0, 4000, count))
    rows = zip(
        times.tolist(),
        rng.integers(0, 4, count).tolist(),
        rng.integers(0, 2, count).tolist(),
        (rng.integers(0, 1 << 26, count) * 4096).tolist(),
        rng.integers(1, 17, count).tolist(),
        strict=True,
    )
    return "".join(
        f"{when},usr,{disk},{('Read', 'Write')[op]},{offset},{size * 4096},411\n"
        for when, disk, op, offset, size in rows
    )


def blkparse(count: int) -> str:
    """A queue, a get-request, an issue and a completion of each I/O."""
    rng = np.random.default_rng(2)
    sectors = (rng.integers(0, 1 << 28, count // 4) * 8).tolist()
    return "".join(
        f"  8,0    1 {4 * at + step:8d} {at * 1e-5 + step * 1e-6:14.9f} {4000 + at % 9:5d}  {event}   R "
        f"{sector} + 8 [fio]\n"
        for at, sector in enumerate(sectors)
        for step, event in enumerate("QGDC")
    )


@pytest.mark.parametrize("written", [msr, blkparse])
def test_lines_per_second(tmp_path: Path, written: Callable[[int], str]) -> None:
    path = tmp_path / "trace"
    path.write_text(written(ROWS))
    seconds = []
    for _ in range(5):
        begun = time.process_time()
        with open_trace(path) as reader:
            rows = sum(len(batch) for batch in reader.batches())
        seconds.append(time.process_time() - begun)
    rate = ROWS / min(seconds) / 1e6
    print(f"\n{reader.format}: {rate:.2f} M lines/s per CPU second, {rows:,} I/Os of {ROWS:,} lines")
