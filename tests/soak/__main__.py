"""Run for hours: exit status 0 when nothing was violated and memory stayed flat, 1 else."""

import argparse
import ctypes
import gc
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from tests.soak.workload import Violated, run_next

MIB: Final = 1 << 20
#: Memory is compared with what it was after this many runs: by then every kind of run has been there.
WARM_RUNS: Final = 50
SHOWN: Final = ("runs", "replays", "bios", "controller resets", "power cuts", "failed programs", "evictions")


def resident() -> int:
    """Bytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def settle() -> None:
    """Collect garbage and have the C library give free memory back: what then stays resident is held."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def soak(
    seconds: float,
    *,
    seed: int,
    grow_bytes: int,
    every_s: float = 60,
    clock: Callable[[], float] = time.monotonic,
    memory: Callable[[], int] = resident,
    say: Callable[[str], None] = print,
) -> int:
    """Run until ``seconds`` are over; the exit status.

    Args:
        grow_bytes: by how much memory may grow once it is warm.
        every_s: how often counts are said.
    """
    rng, counts = np.random.default_rng(seed), Counter[str]()
    begun = said = clock()
    warm = number = 0
    while (now := clock()) < begun + seconds:
        try:
            counts += run_next(seed + number, rng)
        except Violated as error:
            say(f"VIOLATED after {counts['runs']:,} runs: {error}")
            return 1
        number += 1
        if number == WARM_RUNS:
            settle()
            warm = memory()
        if now >= said + every_s:
            said = now
            settle()
            say(_line(now - begun, counts, memory(), warm))
        if warm and memory() > warm + grow_bytes:
            settle()
            if (held := memory()) > warm + grow_bytes:
                say(f"GREW from {warm // MIB} to {held // MIB} MiB in {number - WARM_RUNS:,} runs")
                return 1
    settle()
    say(_line(clock() - begun, counts, memory(), warm))
    say("nothing violated" + (", memory flat" if warm else "; too short to say anything of memory"))
    return 0


def _line(seconds: float, counts: Counter[str], held: int, warm: int) -> str:
    shown = ", ".join(f"{counts[name]:,} {name}" for name in SHOWN)
    grown = f" ({(held - warm) / MIB:+.1f})" if warm else ""
    files = len(os.listdir("/proc/self/fd"))
    return f"{seconds:6.0f} s: {shown}; {held / MIB:.1f} MiB{grown}, {files} files open"


def main() -> int:
    """Run what the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grow-mib", type=int, default=128, help="by how much memory may grow once warm")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    return soak(options.seconds, seed=options.seed, grow_bytes=options.grow_mib * MIB, say=say)


if __name__ == "__main__":
    sys.exit(main())
