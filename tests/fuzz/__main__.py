"""Fuzz every target, each in a process of its own: ``python -m tests.fuzz [TARGET ...] --seconds 600``."""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.fuzz.engine import fuzz_by_coverage, fuzz_by_mutation, has_atheris

FINDINGS: Final = Path("build") / "fuzz"
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
    words = [sys.executable, "-m", "tests.fuzz", name, "--one", "--seconds", str(seconds)]
    words += ["--seed", str(seed), "--engine", engine]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    output = done.stdout + done.stderr
    tried = [int(one or other) for one, other in TRIED.findall(output)]
    print(f"{name:14} {engine:9} {tried[-1] if tried else 0:>10} inputs  ", end="")
    print("nothing found" if done.returncode == 0 else f"FOUND\n{output[-3000:]}", flush=True)
    return min(done.returncode, 1) if done.returncode >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
