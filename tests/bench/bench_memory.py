"""Peak memory of long runs: it must not grow with their length.

``BENCH_ROWS=100000000`` makes them as long as the largest that was measured; the default is short.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench

ROWS = int(os.environ.get("BENCH_ROWS", "5000000"))
REPLAYED = min(ROWS, int(os.environ.get("BENCH_REPLAYED_ROWS", "1000000")))


# A process begins with its parent's peak in getrusage(); VmHWM is its own.
_SCRIPT = """
import re, sys
from pathlib import Path
from scenarios.cli import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


def measured(name: str, rows: int, *command: str) -> None:
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    begun = time.perf_counter()
    arguments = [sys.executable, "-c", _SCRIPT, *command, "--quiet"]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used
    rate, peak = rows / cpu / 1e6, int(done.stdout.split()[-1]) / 1024
    print(f"\n{name}, {rows:,} generated rows: {seconds:.0f} s, {rate:.2f} M rows/s of CPU time, ", end="")
    print(f"peak {peak:.0f} MiB")


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "made.toml"
    path.write_text(
        'question = "bench"\ndevice = "ufs31-ice-raw"\nworkload = { ios = 1, zipf = 1.0 }\n'
        "layout = { files = 1000 }\nrun = { queue_depth = 1 }\n"
    )
    return str(path)


def test_a_curve_of_all_numbers_of_keyslots(scenario: str) -> None:
    measured("curve", ROWS, "curve", scenario, "--set", f"ios={ROWS}", "--no-optimal")


def test_a_curve_of_one_number_of_keyslots(scenario: str) -> None:
    measured(
        "curve --keyslots 32", ROWS, "curve", scenario, "--set", f"ios={ROWS}", "--keyslots", "32", "--quiet"
    )


def test_a_replay(scenario: str) -> None:
    measured("run", REPLAYED, "run", scenario, "--set", f"ios={REPLAYED}")
