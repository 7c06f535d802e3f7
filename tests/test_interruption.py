"""Interrupted commands: results complete or absent, and nothing else left.

``python -m tests.killing`` does the same at random moments for as long as one likes.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.killing.serves import killed_servers
from tests.killing.sweeps import killed_sweeps

ROWS = b"".join(
    b"%d,W,%d,4096,%d\n" % (n % 3, n * n % 1000 << 12, 1577808144360767 + n) for n in range(40_000)
)
COMMANDS = {
    "run": "replay - --json r.json --html r.html --parquet r.parquet --timeline r.timeline",
    "convert": "convert - r.parquet",
    "convert per stream": "convert - streams --per-stream",
}
MAIN = "import sys; from scenarios.cli import main; sys.exit(main())"


def _heed_signals() -> None:
    """A shell's background processes ignore SIGINT, those under nohup SIGHUP, and so would theirs."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def started(command: str, folder: Path) -> "subprocess.Popen[bytes]":
    """``command``, in the middle of a trace that does not end."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *command.split(), "--quiet"],
        cwd=folder,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heed_signals,
    )
    assert process.stdin is not None
    process.stdin.write(ROWS)
    process.stdin.flush()  # returns once nearly all of it has been read
    return process


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_and_leaves_nothing(
    name: str, number: signal.Signals, tmp_path: Path
) -> None:
    process = started(COMMANDS[name], tmp_path)
    process.send_signal(number)
    _, errors = process.communicate()
    assert (process.returncode, b"Traceback" in errors) == (128 + number, False), errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_killed_command_leaves_is_hidden_and_the_next_one_takes_it_over(
    name: str, tmp_path: Path
) -> None:
    process = started(COMMANDS[name], tmp_path)
    process.kill()
    process.communicate()
    left = [path.name for path in tmp_path.iterdir()]

    again = started(COMMANDS[name], tmp_path)
    again.communicate()

    assert all(entry.startswith(".") and entry.endswith(".part") for entry in left)
    assert again.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        word for word in COMMANDS[name].split() if word.startswith(("r.", "streams"))
    )


def test_of_two_writers_of_one_file_the_second_is_refused(tmp_path: Path) -> None:
    first = started(COMMANDS["run"], tmp_path)
    second = subprocess.run(
        [sys.executable, "-c", MAIN, *COMMANDS["run"].split()],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    first.kill()
    first.communicate()
    assert (second.returncode, b"another process is writing it" in second.stderr) == (2, True)


def test_killed_sweeps_lose_nothing(tmp_path: Path) -> None:
    assert killed_sweeps(tmp_path, 3, random.Random(5)).startswith("sweeps: 3 kills")


def test_killed_servers_lose_nothing(tmp_path: Path) -> None:
    assert killed_servers(tmp_path, 2, random.Random(5)).startswith("serves: 2 kills")
