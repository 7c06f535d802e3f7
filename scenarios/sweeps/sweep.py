"""Many runs: every combination of what is varied, several times each, here or on a cluster.

Rules:

- A repeat is the same scenario with the next seed, so a combination's repeats differ in chance only, and
  combinations are compared under the same chances.
- A finished point is kept at once and never run again: a sweep that was interrupted or killed goes on where
  it stopped.  What identifies a point is all that its result depends on (``scenarios.sweeps.point.digest``).
- A point that fails is tried once more, after all others and alone, so that one that brings its worker down
  takes no other with it.
- What the results say does not depend on the number of workers or on the order in which points end.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import blkcrypto
from scenarios.compiled import need_numba
from scenarios.files.check import Refused
from scenarios.load import load_scenario
from scenarios.schema import Scenario
from scenarios.source import check_read_again
from scenarios.sweeps.executor import Workers
from scenarios.sweeps.kept import Json
from scenarios.sweeps.point import Outcome, Point, digest, run_point
from scenarios.sweeps.shards import expanded
from scenarios.sweeps.store import Store

ATTEMPTS: Final = 2
# Handed out per point that can run: no worker waits for its next, and a cluster's queue stays short.
_AHEAD: Final = 2
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A point and how it ended.

    Attributes:
        status: ``done``, ``refused`` or ``failed``.
        result: the run's JSON object when it is done.
        error: what went wrong, or why Linux refuses it; else empty.
    """

    point: Point
    status: str
    result: Json | None = None
    error: str = ""


def plan(
    name_or_path: str,
    vary: Mapping[str, Sequence[str]] | None = None,
    *,
    sets: Sequence[str] = (),
    repeat: int = 1,
    check: bool = False,
) -> list[Point]:
    """All points of the grid; the last key varies fastest, and repeats faster still.

    Args:
        vary: key -> values; the scenario's own ``vary`` when empty.  Patterns of traces and volumes are
            replaced by what they stand for (``scenarios.sweeps.shards``).
        check: every invariant, as each point's run goes on.

    Raises:
        BadInput: the scenario, a key or a value is wrong, or Linux refuses every combination.
    """
    base = None if vary else load_scenario(name_or_path, sets=sets)
    vary = expanded(vary or (base.vary if base is not None else {}), name_or_path, sets)
    points: list[Point] = []
    refusals: list[Refused] = []
    for values in itertools.product(*vary.values()):
        labels = dict(zip(vary, values, strict=True))
        changes = [*sets, *(f"{key}={value}" for key, value in labels.items())]
        try:
            scenario = load_scenario(name_or_path, sets=changes)
        except Refused as refused:
            refusals.append(refused)
            points.append(
                Point(
                    number=len(points), labels=labels, repeat=0, seed=0, scenario=None, refused=refused.what
                )
            )
            continue
        points.extend(_repeats(name_or_path, labels, scenario, changes, repeat, len(points), check))
    if len(refusals) == len(points):
        raise refusals[0]
    check_read_again(point.scenario for point in points if point.scenario is not None)
    return points


def _repeats(
    name_or_path: str,
    labels: Mapping[str, str],
    scenario: Scenario,
    changes: Sequence[str],
    repeat: int,
    first: int,
    check: bool,
) -> Iterator[Point]:
    for number in range(repeat):
        seed = scenario.run.seed + number
        if number:
            scenario = load_scenario(name_or_path, sets=[*changes, f"run.seed={seed}"])
        yield Point(
            number=first + number,
            labels=labels,
            repeat=number,
            seed=seed,
            scenario=scenario,
            digest=digest(scenario, check=check),
            check=check,
        )


@dataclass(slots=True)
class _Task:
    """A point to run, and all others that would give the same result."""

    scenario: Scenario
    check: bool
    compiled: bool
    points: list[Point]
    attempts: int = 0


def run_points(
    points: Sequence[Point],
    folder: Path,
    *,
    on: str = "local",
    progress: Progress | None = None,
    compiled: bool = False,
) -> list[Ended]:
    """Run what is not finished yet in ``folder``, and say how every point ended, in their order.

    Args:
        on: ``local``, ``local:N`` or ``dask://HOST:PORT``.
        progress: told how many points have ended, and how many there are.
        compiled: as for ``scenarios.run.run``.

    Raises:
        BadInput: no such workers, or the folder cannot be written; or numba is not installed.
    """
    if compiled:
        need_numba()
    with Store(folder) as store:
        ended: dict[int, Ended] = {}
        tasks: dict[str, _Task] = {}
        for point in points:
            found = _known(store, point)
            if found is not None:
                ended[point.number] = found
            elif point.scenario is not None:
                task = _Task(point.scenario, point.check, compiled, [])
                tasks.setdefault(point.digest, task).points.append(point)
        _tell(progress, ended, points)
        if tasks:
            with Workers(on) as workers:
                for task, outcome in _run(deque(tasks.values()), workers):
                    ended.update(_keep(store, task, outcome))
                    _tell(progress, ended, points)
        return [ended[point.number] for point in points]


def _tell(progress: Progress | None, ended: Mapping[int, Ended], points: Sequence[Point]) -> None:
    if progress is not None:
        progress(len(ended), len(points))


def _known(store: Store, point: Point) -> Ended | None:
    """How ``point`` ended, if that is known without running it."""
    if point.scenario is None:
        store.note(point, "refused", error=point.refused)
        return Ended(point=point, status="refused", error=point.refused)
    result = store.result(point.digest)
    if result is None:
        return None
    store.note(point, "done", result=result)
    return Ended(point=point, status="done", result=result)


def _keep(store: Store, task: _Task, outcome: Outcome) -> Iterator[tuple[int, Ended]]:
    result = None
    if outcome.status == "done":
        store.save(task.points[0].digest, outcome.result)
        result = store.result(task.points[0].digest)
    error = "" if outcome.status == "done" else outcome.result
    for point in task.points:
        store.note(
            point,
            outcome.status,
            attempts=task.attempts,
            error=error,
            wall_s=outcome.wall_s,
            result=result,
        )
        yield point.number, Ended(point=point, status=outcome.status, result=result, error=error)


def _run(fresh: deque[_Task], workers: Workers) -> Iterator[tuple[_Task, Outcome]]:
    """Tasks as they end, well or for good."""
    failed: deque[_Task] = deque()
    running: dict[Future[Outcome], _Task] = {}
    broken = False
    while fresh or failed or running:
        if broken and not running:
            workers.restart()
            broken = False
        while fresh and not broken and len(running) < _AHEAD * workers.width:
            broken = not _submitted(fresh, running, workers)
        if not running and not broken:
            broken = not _submitted(failed, running, workers)
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            outcome, broke = _outcome(future)
            broken |= broke
            if outcome.status == "failed" and task.attempts < ATTEMPTS:
                failed.append(task)
            else:
                yield task, outcome


def _submitted(tasks: deque[_Task], running: dict[Future[Outcome], _Task], workers: Workers) -> bool:
    """Hand out the first of ``tasks``; False when the executor is broken."""
    try:
        first = tasks[0]
        future = workers.executor.submit(
            run_point, first.scenario, blkcrypto.__version__, first.check, first.compiled
        )
    except BrokenExecutor:
        return False
    task = tasks.popleft()
    task.attempts += 1
    running[future] = task
    return True


def _outcome(future: Future[Outcome]) -> tuple[Outcome, bool]:
    """How a task ended, and whether its worker process went with it."""
    try:
        return future.result(), False
    except BrokenExecutor:
        return Outcome(status="failed", result="the worker process died"), True
    except Exception as error:
        return Outcome(status="failed", result=f"{type(error).__name__}: {error}"), False
