"""From starting the program to its first I/O."""

import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.bench

STARTS = 5
# The clock is the system's, so what the child reads can be compared here.
_SCRIPT = """
import sys, time
from scenarios.cli import main
from scenarios.model import Model
rows = Model.rows
def told(*arguments):
    made = rows(*arguments)
    first = next(made)
    print(time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)
    yield first
    yield from made
Model.rows = told
sys.exit(main(sys.argv[1:]))
"""


def test_from_start_to_first_io() -> None:
    seconds = []
    for _ in range(STARTS):
        command = [sys.executable, "-c", _SCRIPT, "run", "keyslot-contention", "--set", "ios=1000", "--quiet"]
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds.append(float(done.stdout.split()[0]) - began)
    numpy = []
    for _ in range(STARTS):
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)
        numpy.append(time.clock_gettime(time.CLOCK_MONOTONIC) - began)
    print(
        f"\nstart to first I/O: {min(seconds):.2f} s (all: {sorted(round(one, 2) for one in seconds)}), ",
        end="",
    )
    print(f"of which Python and numpy take {min(numpy):.2f} s")
