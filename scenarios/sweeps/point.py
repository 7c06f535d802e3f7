"""One point of a sweep: what identifies it, and running it, here or on another machine."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

import blkcrypto
from scenarios.report.json import run_object
from scenarios.run import run
from scenarios.schema import Scenario
from scenarios.source import trace_path
from scenarios.sweeps.kept import sealed
from scenarios.sweeps.pool import Pool

_HEAD_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place in the grid.

    Attributes:
        number: place in the order of the grid, repeats within, from 0 on.
        labels: key as it was varied -> its value here.
        repeat: from 0 on.
        seed: the scenario's, plus ``repeat``.
        scenario: None where Linux refuses the combination.
        digest: of all that the result depends on; empty without a scenario.
        refused: why there is no scenario.
        check: check every invariant.
    """

    number: int
    labels: Mapping[str, str]
    repeat: int
    seed: int
    scenario: Scenario | None
    digest: str = ""
    refused: str = ""
    check: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How running a point ended.

    Attributes:
        status: ``done`` or ``failed``.
        result: a ``scenarios.sweeps.kept.KeptPoint``, sealed, or what went wrong.
        wall_s: how long it took, for people to plan with; never part of a result.
    """

    status: Literal["done", "failed"]
    result: str
    wall_s: float = 0.0


def digest(scenario: Scenario, *, check: bool = False) -> str:
    """What a result depends on, as 32 hex digits: the whole scenario, the trace's size and its first MiB, the
    program's version, and whether invariants were checked.

    A trace that is not here (it may be where the workers are) counts by its name only.
    """
    found = hashlib.sha256(blkcrypto.__version__.encode() + b"\0")
    found.update(msgspec.json.encode(scenario, order="sorted"))
    if check:
        found.update(b"\0check\0")
    trace = scenario.workload.trace
    path = Path(trace_path(trace)) if trace is not None else None
    if path is not None and path.is_file():
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        found.update(f"\0{path.stat().st_size}\0".encode() + head)
    return found.hexdigest()[:32]


def run_point(scenario: Scenario, version: str, check: bool, compiled: bool = False) -> Outcome:
    """Run ``scenario``.  Called in a worker: whatever goes wrong becomes an ``Outcome``, for not every
    exception survives the way back.

    Args:
        version: of the caller; a worker of another one would give results that do not belong together.
        check: every invariant, as the run goes on.
        compiled: as for ``scenarios.run.run``; the result is the same, so a kept one serves either way.
    """
    begun = time.perf_counter()
    if version != blkcrypto.__version__:
        what = f"the worker has blkcrypto {blkcrypto.__version__}, the sweep {version}"
        return Outcome(status="failed", result=what)
    try:
        pool = Pool(warmup=scenario.run.warmup)
        result = run_object(run(scenario, sinks=[pool], check=check, compiled=compiled))
        text = sealed(result, msgspec.to_builtins(pool.packed()))
    except Exception as error:
        return Outcome(status="failed", result=f"{type(error).__name__}: {error}")
    return Outcome(status="done", result=text, wall_s=time.perf_counter() - begun)
