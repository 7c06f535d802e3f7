"""Whether the cost of a bio depends on how many there are, on the keys, or on the keyslots.

    python -m tests.bench.linear measure docs/linear.json [--most 10000000]
    python -m tests.bench.linear draw docs/linear.json docs/linear.svg

Bios arrive one at a time and use the keys in turn.  So with more keys than slots every one programs a slot,
with fewer every one hits, and what is left to vary is the size of the tables.  CPU time counts from when each
key has been set up once: that is a cost per key and not per bio, and printed too.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scenarios.load import load_scenario
from scenarios.report.plot import new_figure, save
from scenarios.run import run
from scenarios.traces.batch import BATCH_ROWS, TraceBatch

ROUNDS = 3
FILE_BYTES = 1 << 16
GAP_NS = 1_000_000
# Bios, keys, slots.
Point = tuple[int, int, int]


def points(most: int) -> dict[str, list[Point]]:
    """What is measured: one of the three varies, the other two stay."""
    bios = [count for count in (10**4, 10**5, 10**6, 10**7) if count <= most]
    return {
        "bios": [(count, 1000, 32) for count in bios],
        "keys": [(max(200_000, 2 * keys), keys, 4) for keys in (10, 10**3, 10**6) if 2 * keys <= most],
        "keyslots": [(200_000, 10_000, slots) for slots in (1, 32, 4096)],
    }


def batches(bios: int, keys: int) -> Iterator[TraceBatch]:
    """Reads of 4 KiB, one per ms, of the first unit of each file in turn, in at least ten batches."""
    rows = min(BATCH_ROWS, max(1000, bios // 20))
    for start in range(0, bios, rows):
        number = np.arange(start, min(bios, start + rows))
        count = len(number)
        yield TraceBatch(
            time_ns=number * GAP_NS,
            op=np.zeros(count, np.uint8),
            sector=np.zeros(count, np.int64),
            nbytes=np.full(count, 4096, np.int64),
            stream=np.zeros(count, np.int32),
            file=(number % keys).astype(np.int32),
        )


def cost(bios: int, keys: int, slots: int) -> tuple[float, float]:
    """ns of CPU time per bio once all keys are set up, and per bio before that."""
    sets = [
        f"layout.files={keys}",
        f"layout.file_size={FILE_BYTES}B",
        f"layout.extent_bytes={FILE_BYTES}",
        f"keyslots={slots}",
        "workload.ios=1",
        "run.queue_depth=0",
        "workload.rate_per_s=1",
    ]
    scenario = load_scenario("keyslot-contention", sets=sets)
    times = [(0, time.process_time())]
    run(
        scenario,
        source=batches(bios, keys),
        progress=lambda rows: times.append((times[-1][0] + rows, time.process_time())),
    )
    ready = next(at for at, (rows, _) in enumerate(times) if rows >= max(keys, bios // 20))
    (first, begun), (last, ended) = times[ready], times[-1]
    early = (begun - times[0][1]) / first
    return 1e9 * (ended - begun) / (last - first), 1e9 * early


def measure(target: Path, most: int) -> None:
    """Every point, in turn, ``ROUNDS`` times; the least counts.  The longest point once."""
    series = points(most)
    best: dict[tuple[str, Point], float] = {}
    for turn in range(ROUNDS):
        for name, point in itertools.chain(*([(name, one) for one in row] for name, row in series.items())):
            if turn and point[0] > 10**6:
                continue
            each, early = cost(*point)
            best[name, point] = min(each, best.get((name, point), each))
            print(f"{name} {point}: {each:.0f} ns a bio, {early:.0f} ns while keys are set up", flush=True)
    found = {
        name: [{"bios": p[0], "keys": p[1], "keyslots": p[2], "ns": round(best[name, p])} for p in row]
        for name, row in series.items()
    }
    target.write_text(json.dumps(found, indent=1) + "\n")
    for name, rows in found.items():
        costs = [row["ns"] for row in rows]
        print(f"{name}: {min(costs)} to {max(costs)} ns a bio, {max(costs) / min(costs) - 1:.0%} apart")


def draw(source: Path, target: str) -> None:
    """The measured figures as SVG."""
    found = json.loads(source.read_text())
    figure = new_figure(7.5, 2.8)
    for number, (name, rows) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), number + 1)
        axes.plot(
            [row[name] for row in rows], [row["ns"] / 1000 for row in rows], marker="o", color="#0072b2"
        )
        axes.set_xscale("log")
        axes.set_ylim(0, 1.25 * max(row["ns"] for each in found.values() for row in each) / 1000)
        axes.set_xlabel(name)
        axes.set_ylabel("" if number else "us of CPU time a bio")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, target)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["measure", "draw"])
    parser.add_argument("figures", type=Path)
    parser.add_argument("svg", nargs="?")
    parser.add_argument("--most", type=int, default=10**7)
    arguments = parser.parse_args()
    if arguments.what == "measure":
        measure(arguments.figures, arguments.most)
    else:
        draw(arguments.figures, arguments.svg)


if __name__ == "__main__":
    main()
