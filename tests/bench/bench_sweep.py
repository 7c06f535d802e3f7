"""A sweep of 64 points on one worker and on two."""

import os
import resource
import time
from pathlib import Path

import pytest

from scenarios.sweeps.sweep import plan, run_points

pytestmark = pytest.mark.bench

SLOTS = tuple(str(count) for count in range(1, 65))
ROUNDS = 2


def test_two_workers_against_one(tmp_path: Path) -> None:
    path = tmp_path / "made.toml"
    # Points of a quarter of a second: starting a worker takes as long as two or three of them.
    path.write_text(
        'question = "bench"\ndevice = "ufs31-ice-raw"\nworkload = { ios = 40000, zipf = 1.0 }\n'
        "layout = { files = 200 }\nrun = { queue_depth = 8 }\n"
    )
    points = plan(str(path), {"keyslots": SLOTS})
    seconds: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(ROUNDS):
        for workers in (1, 2):
            begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            ended = run_points(points, tmp_path / f"{workers}.{turn}", on=f"local:{workers}")
            seconds[workers].append(time.perf_counter() - begun)
            cpu[workers].append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used)
            assert {one.error for one in ended} == {""}
    one, two = min(seconds[1]), min(seconds[2])
    print(f"\n64 points: {one:.1f} s on 1 worker, {two:.1f} s on 2: {one / two:.2f} times as fast")
    # Where CPU times differ, the machine's two CPUs share more than the sweep does.
    print(f"CPU time of the workers: {min(cpu[1]):.1f} s and {min(cpu[2]):.1f} s; ", end="")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
