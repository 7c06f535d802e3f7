"""A sweep of 64 points on one worker and on two."""

import os
import resource
import time
from pathlib import Path

import pytest

from scenarios.sweeps.sweep import plan, run_points

pytestmark = pytest.mark.bench

SLOTS = tuple(str(count) for count in range(1, 65))


def test_two_workers_against_one(tmp_path: Path) -> None:
    path = tmp_path / "made.toml"
    path.write_text(
        'question = "bench"\ndevice = "ufs31-ice-raw"\nworkload = { ios = 20000, zipf = 1.0 }\n'
        "layout = { files = 200 }\nrun = { queue_depth = 8 }\n"
    )
    points = plan(str(path), {"keyslots": SLOTS})
    seconds, cpu = {}, {}
    for workers in (1, 2):
        begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        ended = run_points(points, tmp_path / str(workers), on=f"local:{workers}")
        seconds[workers] = time.perf_counter() - begun
        cpu[workers] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used
        assert {one.error for one in ended} == {""}
    load = os.getloadavg()[0]
    times = seconds[1] / seconds[2]
    print(f"\n64 points: {seconds[1]:.1f} s on 1 worker, {seconds[2]:.1f} s on 2: {times:.2f} times as fast")
    # Equal CPU times on a busy machine: nothing but the machine keeps two workers from being twice as fast.
    print(f"CPU time of the workers: {cpu[1]:.1f} s and {cpu[2]:.1f} s; ", end="")
    print(f"load {load:.1f} on {os.cpu_count()} CPUs")
