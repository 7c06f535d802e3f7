"""Scripted I/O on the files of a layout, under any key design."""

from collections.abc import Sequence

import numpy as np

from blkcrypto.block.op import ReqOp
from scenarios.keying.figures import DesignFigures
from scenarios.load import load_scenario
from scenarios.results.result import RunResult
from scenarios.run import run
from scenarios.schema import Scenario
from scenarios.traces.batch import TraceBatch

READ, WRITE = int(ReqOp.READ), int(ReqOp.WRITE)
KIB = 1024
MIB = 1024 * KIB

Io = tuple[int, int, int, int]
"""Operation, file, offset in the file, bytes."""


def scenario(design: str, *sets: str) -> Scenario:
    """Four files of 1 MiB side by side, one bio in flight; nothing generated is used."""
    base = (
        "layout.files=4", "layout.file_size=1M", "layout.extent=1M", "queue_depth=1", "workload.jobs=1",
        f"keys.design={design}",
    )  # fmt: skip
    return load_scenario("keyslot-contention", sets=(*base, *sets))


def batch(ios: Sequence[Io]) -> TraceBatch:
    """``ios`` as rows that name files."""
    return TraceBatch(
        time_ns=np.zeros(len(ios), np.int64),
        op=np.array([op for op, *_ in ios], np.uint8),
        sector=np.array([offset // 512 for _, _, offset, _ in ios], np.int64),
        nbytes=np.array([nbytes for *_, nbytes in ios], np.int64),
        stream=np.zeros(len(ios), np.int32),
        file=np.array([file for _, file, _, _ in ios], np.int32),
    )


def ran(design: str, ios: Sequence[Io], *sets: str) -> RunResult:
    """``ios`` one after another."""
    return run(scenario(design, *sets), source=[batch(ios)], figures=True)


def whole_file(op: int, file: int = 0, *, size: int = 4 * KIB) -> list[Io]:
    """One pass over a file."""
    return [(op, file, offset, size) for offset in range(0, MIB, size)]


def costs(design: str, ios: Sequence[Io], *sets: str) -> DesignFigures:
    """What the design cost ``ios``, beside time."""
    figures = ran(design, ios, *sets).figures
    assert figures is not None
    return figures
