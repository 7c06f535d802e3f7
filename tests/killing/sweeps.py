"""Sweeps that are killed.

What has to hold after every kill: each point's file that is there is whole, and the same as before; nothing
else is left but hidden ``.part`` files, which the next sweep removes.  When the sweep has ended its results
are, byte for byte, those of a sweep that nobody disturbed.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

POINTS: Final = 6
RESULTS: Final = ("results.json", "results.csv", "merged.csv")
_SCENARIO: Final = """\
question = "what does a kill cost?"
device = "ufs31-ice-raw"
workload = { ios = 3000, zipf = 1.0 }
layout = { files = 40 }
run = { queue_depth = 4 }
"""
_MAIN: Final = "import sys; from scenarios.cli import main; sys.exit(main())"


def killed_sweeps(folder: Path, kills: int, rng: random.Random) -> str:
    """Kill sweeps ``kills`` times; what was seen.

    Raises:
        AssertionError: something was lost, damaged or done twice.
    """
    (folder / "made.toml").write_text(_SCENARIO)
    begun = time.monotonic()
    _swept(folder / "whole").wait()
    whole_s = time.monotonic() - begun
    expected = _hashes(folder / "whole")
    assert len(expected) == POINTS + len(RESULTS), sorted(expected)
    done = sweeps = parts = 0
    while done < kills:
        sweeps += 1
        out = folder / f"sweep-{sweeps}"
        kept: dict[str, tuple[str, int]] = {}
        while True:
            process = _swept(out)
            if done < kills and _killed(process, whole_s, rng):
                done += 1
                parts += len(list(out.rglob(".*.part")))
                kept = _checked(out, kept, expected)
                continue
            status = process.wait()
            assert status == 0, f"{out} ended with {status}"
            break
        again = _checked(out, kept, expected)
        assert _hashes(out) == expected, f"{out} differs from the undisturbed sweep"
        assert len(again) == POINTS
        assert not list(out.rglob(".*.part")), "temporaries are left"
    return (
        f"sweeps: {done} kills, {sweeps} sweeps of {POINTS} points: none lost, changed or run twice; "
        f"{parts} temporaries seen, none left"
    )


def _swept(out: Path) -> "subprocess.Popen[bytes]":
    words = ["sweep", "made.toml", "--vary", "keyslots=1,2,8", "--repeat", "2", "--on", "local:2"]
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, *words, "--out", out.name, "--quiet"],
        cwd=out.parent,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )


def _killed(process: "subprocess.Popen[bytes]", whole_s: float, rng: random.Random) -> bool:
    """Kill the sweep or its whole session at a random moment; False when it had ended by itself."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, 1.1 * whole_s))
        return False
    if rng.random() < 0.5:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    while _lives(process.pid):  # its workers notice
        time.sleep(0.01)
    return True


def _lives(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def _checked(
    out: Path, kept: dict[str, tuple[str, int]], expected: dict[str, str]
) -> dict[str, tuple[str, int]]:
    """Hash and time of every point that is there: no fewer than before, none written again."""
    found = {}
    for path in out.glob("points/*.json"):
        data = path.read_bytes()
        json.loads(data)
        found[path.name] = (hashlib.sha256(data).hexdigest(), path.stat().st_mtime_ns)
        assert found[path.name][0] == expected[path.name], f"{path} is not the undisturbed sweep's"
    assert found.items() >= kept.items(), f"points of {out} were lost or run again"
    for name in RESULTS:
        if (out / name).exists():
            assert _hash(out / name) == expected[name], f"{out / name} is not complete"
    return found


def _hashes(out: Path) -> dict[str, str]:
    files = [*out.glob("points/*.json"), *(out / name for name in RESULTS)]
    return {path.name: _hash(path) for path in files if path.exists()}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
