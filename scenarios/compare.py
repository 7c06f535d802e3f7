"""Many runs of one scenario: the grid of what is varied."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from blkcrypto.base.errors import BadInput
from hwmodel.invariants import InvariantBroken
from scenarios.files.check import Refused
from scenarios.load import load_scenario
from scenarios.results.result import RunResult
from scenarios.run import run
from scenarios.schema import Scenario
from scenarios.source import check_read_again


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of the grid.

    Attributes:
        labels: key as it was varied -> its value here.
        result: the run; None where Linux refuses the combination.
        refused: why, then; else empty.
        scenario: what was run.
    """

    labels: Mapping[str, str]
    result: RunResult | None
    refused: str = ""
    scenario: Scenario | None = None


def parse_vary(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``KEY=V1,V2,...`` texts as key -> values.

    Raises:
        BadInput: no key, no values, or a key given twice.
    """
    vary: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        items = tuple(value.strip() for value in values.split(","))
        if not equals or not key.strip() or not all(items):
            raise BadInput(f"write KEY=V1,V2,..., as in keyslots=8,32, not {text!r}", where="--vary")
        if key.strip() in vary:
            raise BadInput(f"{key.strip()} is varied twice", where="--vary")
        vary[key.strip()] = items
    return vary


def run_grid(
    name_or_path: str,
    vary: Mapping[str, Sequence[str]] | None = None,
    *,
    sets: Sequence[str] = (),
    started: Callable[[int, int, Mapping[str, str]], None] | None = None,
    check: bool = False,
    compiled: bool = False,
) -> list[Point]:
    """Run a scenario at every combination of ``vary``, or of its own ``vary``; the last key varies fastest.

    Args:
        started: told the point's number, how many there are, and its labels.
        check: every invariant, as the runs go on.
        compiled: as for ``scenarios.run.run``.

    Raises:
        BadInput: the scenario, a key or a value is wrong, or Linux refuses every combination.
        InvariantBroken: with ``check``, one does not hold.
    """
    vary = vary or load_scenario(name_or_path, sets=sets).vary
    if not vary:
        raise BadInput(
            "nothing to compare: say --vary KEY=V1,V2 or give the scenario a [vary] table", where=name_or_path
        )
    grid = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    # All of it is read before anything runs, so that a mistake in the last value costs no time.
    scenarios = [
        _scenario(name_or_path, (*sets, *(f"{key}={value}" for key, value in labels.items())))
        for labels in grid
    ]
    refusals = [each for each in scenarios if isinstance(each, Refused)]
    if len(refusals) == len(grid):
        raise refusals[0]
    check_read_again(each for each in scenarios if isinstance(each, Scenario))
    # Designs are compared by more than time; a plain run has that left out.
    figures = any(key in ("design", "keys.design") for key in vary)
    points: list[Point] = []
    for number, (labels, scenario) in enumerate(zip(grid, scenarios, strict=True)):
        if started is not None:
            started(number, len(grid), labels)
        if isinstance(scenario, Refused):
            points.append(Point(labels=labels, result=None, refused=scenario.what))
        else:
            result = _checked(scenario, labels, figures, check, compiled)
            points.append(Point(labels=labels, result=result, scenario=scenario))
    return points


def _checked(
    scenario: Scenario, labels: Mapping[str, str], figures: bool, check: bool, compiled: bool
) -> RunResult:
    try:
        return run(scenario, figures=figures, check=check, compiled=compiled)
    except InvariantBroken as broken:
        where = ", ".join(f"{key}={value}" for key, value in labels.items())
        raise InvariantBroken(broken.invariant, f"with {where}: {broken.what}", broken.history) from None


def _scenario(name_or_path: str, sets: Sequence[str]) -> Scenario | Refused:
    try:
        return load_scenario(name_or_path, sets=sets)
    except Refused as refused:
        return refused
