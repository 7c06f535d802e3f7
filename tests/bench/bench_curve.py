"""Rows per second of the keyslot curve: the counting alone, and a whole curve from generated rows."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scenarios.curves.curve import curve, curve_at, curve_scenario, sampled_curve
from scenarios.curves.lru import LruTable
from scenarios.curves.optimal import OptimalCurve
from scenarios.curves.reuse import Int64, LruCurve
from scenarios.traces.batch import BATCH_ROWS

pytestmark = pytest.mark.bench

ROWS = 4_000_000
BATCHES = range(0, ROWS, BATCH_ROWS)


def keys() -> Int64:
    """A thousand keys by Zipf's law with exponent 1.2: nothing repeats often enough to be left out."""
    return np.random.default_rng(1).zipf(1.2, ROWS) % 1000


def best_rate(once: Callable[[], object], rows: int = ROWS) -> float:
    """Million rows per CPU second, the best of five."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        once()
        times.append(time.process_time() - begun)
    return rows / min(times) / 1e6


def count_all(used: Int64, most: int) -> None:
    found = LruCurve(most)
    for start in BATCHES:
        found.add(used[start : start + BATCH_ROWS])
    found.hits()


def count_one(used: Int64, slots: int) -> None:
    found = LruTable(slots)
    for start in BATCHES:
        found.add(used[start : start + BATCH_ROWS])
    found.hits()


def count_optimal(used: Int64, most: int) -> None:
    with OptimalCurve(most) as found:
        for start in BATCHES:
            found.add(used[start : start + BATCH_ROWS])
        found.hits()


@pytest.mark.parametrize("most", [32, 256, 4096])
def test_rows_per_second_for_all_numbers_of_keyslots_at_once(most: int) -> None:
    used = keys()
    print(f"\nall of 1 to {most} keyslots: {best_rate(lambda: count_all(used, most)):.1f} M rows/s")


@pytest.mark.parametrize("slots", [32, 256])
def test_rows_per_second_for_one_number_of_keyslots(slots: int) -> None:
    used = keys()
    print(f"\n{slots} keyslots: {best_rate(lambda: count_one(used, slots)):.1f} M rows/s")


@pytest.mark.parametrize("most", [32, 256])
def test_rows_per_second_for_the_optimum(most: int) -> None:
    used = keys()
    print(f"\noptimum of 1 to {most} keyslots: {best_rate(lambda: count_optimal(used, most)):.2f} M rows/s")


def test_rows_per_second_from_generated_rows_to_the_curve(tmp_path: Path) -> None:
    rows = 2_000_000
    path = tmp_path / "made.toml"
    path.write_text(
        f'question = "bench"\ndevice = "ufs31-ice-raw"\nworkload = {{ ios = {rows}, zipf = 1.0 }}\n'
        "layout = { files = 1000 }\nrun = { queue_depth = 1 }\n"
    )
    scenario = curve_scenario(str(path))
    for name, once in {
        "all numbers": lambda: curve(scenario, optimal=False),
        "all numbers, and the optimum": lambda: curve(scenario),
        "32 keyslots": lambda: curve_at(scenario, 32),
        "a sample of 10 %": lambda: sampled_curve(scenario, 0.1),
    }.items():
        print(f"\n{name}, rows generated: {best_rate(once, rows):.2f} M rows/s")
