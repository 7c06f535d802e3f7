"""Fuzz every target, each in a process of its own: ``python -m tests.fuzz [TARGET ...] --seconds 600``."""

import argparse
import math
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.fuzz.engine import fuzz_by_coverage, fuzz_by_mutation, has_atheris

FINDINGS: Final = Path("build") / "fuzz"
# The instrumented process keeps some kilobytes for each input: a new one goes on from time to time.
ROUND_S: Final = 100
TRIED: Final = re.compile(r"(\d+) inputs|number_of_executed_units:\s*(\d+)")


def main() -> int:
    """Run what the command line asks; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="all when left out")
    parser.add_argument("--seconds", type=float, default=600, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["atheris", "mutation"], default=None)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    engine = options.engine or ("atheris" if has_atheris() else "mutation")
    if options.one:
        return _one(options.targets[0], options.seconds, options.seed, engine)
    from tests.fuzz.targets import TARGETS

    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {sorted(unknown)[0]!r}: there are {', '.join(TARGETS)}")
    with ThreadPoolExecutor(options.workers) as pool:
        jobs = [pool.submit(_run, name, options.seconds, options.seed, engine) for name in names]
        return max(job.result() for job in jobs)


def _one(name: str, seconds: float, seed: int, engine: str) -> int:
    if engine == "mutation":
        return fuzz_by_mutation(name, seconds, seed, FINDINGS)
    fuzz_by_coverage(name, seconds, seed, FINDINGS)
    return 0


def _run(name: str, seconds: float, seed: int, engine: str) -> int:
    tried = 0
    status = 0
    rounds = max(1, math.ceil(seconds / ROUND_S))
    for number in range(rounds):
        done = _round(name, seconds / rounds, seed + number, engine)
        output = done.stdout + done.stderr
        counts = [int(one or other) for one, other in TRIED.findall(output)]
        tried += counts[-1] if counts else 0
        if done.returncode:
            status = 1
            print(f"{name:14} FOUND\n{output[-3000:]}", flush=True)
            break
    print(f"{name:14} {engine:9} {tried:>10} inputs  {'FOUND' if status else 'nothing found'}", flush=True)
    return status


def _round(name: str, seconds: float, seed: int, engine: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.fuzz", name, "--one", "--seconds", str(seconds)]
    words += ["--seed", str(seed), "--engine", engine]
    return subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)


if __name__ == "__main__":
    sys.exit(main())
