"""Runs side by side: figures, differences from the first run, and which stages they come from."""

import math
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from blkcrypto.base.units import format_duration
from scenarios.compare import Point
from scenarios.report.compare_rows import print_rows, short_name
from scenarios.report.console import new_table, print_table, trimmed
from scenarios.report.designs import print_designs
from scenarios.results.result import STAGES, RunResult

# With the column of labels, as many as fit 80 columns.
_COLUMNS = 4
# More than this many side by side is for no eye to follow.
_MOST_COLUMNS = 12
_PERCENTILES = (50.0, 99.0, 99.9)
# Up to so many runs have a sentence each.
_ANSWERED = 4
# From this much more on, nobody thinks in percent.
_MANY_TIMES = 9


def print_compare(console: Console, points: Sequence[Point]) -> None:
    """Tables of all points that ran; then those Linux refuses, and why."""
    with trimmed(console):
        _print_compare(console, points)


def _print_compare(console: Console, points: Sequence[Point]) -> None:
    ran = [(point, point.result) for point in points if point.result is not None]
    base = ran[0]
    console.print(Text(base[1].question, style="bold"))
    few = len(points) <= _MOST_COLUMNS
    for sentence in answers(ran):
        console.print(Text(sentence))
    designs = all(result.figures is not None for _, result in ran)
    if designs:
        print_designs(console, points, lambda point: ", ".join(point.labels.values()))
    if not few:
        print_rows(console, points)
        return
    # The first run heads every table, so that each shows what its differences are from.
    for start in range(1, max(2, len(ran)), _COLUMNS - 1):
        shown = [base, *ran[start : start + _COLUMNS - 1]]
        if not designs:
            _print_figures(console, shown)
        _print_stages(console, shown)
    for point in points:
        if point.refused:
            console.print(Text(f"{label(point, ', ')}: {point.refused}"))


def difference(result: RunResult, base: RunResult) -> tuple[float, float]:
    """Difference of the mean latencies in ns, and half its 95 % interval.

    The runs are taken as independent; with a common seed they vary together, so the interval is rather wide.
    """
    ours, theirs = result.directions["all"].lat_ns, base.directions["all"].lat_ns
    return ours.mean - theirs.mean, math.hypot(ours.mean_halfwidth95, theirs.mean_halfwidth95)


def stage_differences(result: RunResult, base: RunResult) -> dict[str, float]:
    """By stage, the difference of the mean per bio in ns; they sum to the difference of the means."""
    return {stage: stage_mean(result, stage) - stage_mean(base, stage) for stage in STAGES}


def each_is_answered(ran: Sequence[tuple[Point, RunResult]]) -> bool:
    """Whether the runs are so few that a sentence each is an answer."""
    return len(ran) <= _ANSWERED


def answers(ran: Sequence[tuple[Point, RunResult]]) -> Iterator[str]:
    """The answer in a sentence: of few runs one for each but the first, of more one for all."""
    if each_is_answered(ran):
        yield from differences(ran)
    else:
        yield _extremes(ran)


def _extremes(ran: Sequence[tuple[Point, RunResult]]) -> str:
    """The quickest and the slowest of many runs, and the stage behind most of the difference."""
    # Of equal ones the first.
    quick, slow = (choose(ran, key=lambda one: _mean(one[1])) for choose in (min, max))
    delta, halfwidth = difference(slow[1], quick[1])
    least, most = (format_duration(_mean(result)) for _, result in (quick, slow))
    if abs(delta) <= halfwidth or not delta:
        return f"{len(ran)} runs do not differ beyond the uncertainty: {least} to {most} a bio."
    return (
        f"Of {len(ran)} runs the quickest is {label(quick[0], ', ')} with {least} a bio, and the slowest "
        f"{label(slow[0], ', ')} with {most}: {_difference_words(slow[1], quick[1])}"
    )


def _mean(result: RunResult) -> float:
    return result.directions["all"].lat_ns.mean


def differences(ran: Sequence[tuple[Point, RunResult]]) -> Iterator[str]:
    """A sentence for each run but the first: its difference from it, and the stage behind most of that."""
    (first, base), *others = ran
    for point, result in others:
        delta, halfwidth = difference(result, base)
        name = f"{label(point, ', ')} against {label(first, ', ')}"
        if abs(delta) <= halfwidth or not delta:
            within = f"{signed(delta)} ± {format_duration(halfwidth)}"
            yield f"{name}: no difference beyond the uncertainty ({within})."
        else:
            yield f"{name}: {_difference_words(result, base)}"


def _difference_words(result: RunResult, base: RunResult) -> str:
    delta, halfwidth = difference(result, base)
    stages = stage_differences(result, base)
    main = max(stages, key=lambda stage: stages[stage] * math.copysign(1, delta))
    change = delta / _mean(base) if _mean(base) else 0.0
    relative = f"{change:+.0%}" if change < _MANY_TIMES else f"{change + 1:,.0f} times as long"
    return (
        f"{signed(delta)} ± {format_duration(halfwidth)} a bio ({relative}), mostly {main.replace('_', ' ')}."
    )


def _print_figures(console: Console, shown: Sequence[tuple[Point, RunResult]]) -> None:
    results = [result for _, result in shown]
    table = new_table(console, "Side by side", "", *(label(point, "\n") for point, _ in shown))
    base = results[0]
    every = [result.directions["all"] for result in results]
    table.add_row("mean latency", *(format_duration(one.lat_ns.mean) for one in every))
    table.add_row("  95 % interval", *(f"± {format_duration(one.lat_ns.mean_halfwidth95)}" for one in every))
    deltas = [difference(result, base) for result in results[1:]]
    table.add_row("  difference", "", *(signed(delta) for delta, _ in deltas))
    table.add_row("  its interval", "", *(f"± {format_duration(halfwidth)}" for _, halfwidth in deltas))
    for percentage in _PERCENTILES:
        table.add_row(f"{percentage:g} %", *(_percentile(one.lat_ns.percentile, percentage) for one in every))
    table.add_row("I/O per s", *(f"{one.iops:,.0f}" for one in every))
    table.add_row("MB/s", *(f"{one.bw_bytes / 1e6:,.1f}" for one in every))
    table.add_row("keyslot hits", *(_hits(result) for result in results))
    table.add_row("programs", *(f"{result.keyslots.programs:,}" for result in results))
    table.add_row("waits: idle slot", *(f"{result.keyslots.waits:,}" for result in results))
    table.add_row("waits: lock", *(f"{result.keyslots.lock_waits:,}" for result in results))
    table.add_row(
        "CPU time a bio", *(format_duration(cpu_ns(result) / max(1, result.bios)) for result in results)
    )
    if any(result.payload == "verify" for result in results):
        table.add_row("mismatches", *(f"{result.mismatches:,}" for result in results))
    print_table(console, table)


def _print_stages(console: Console, shown: Sequence[tuple[Point, RunResult]]) -> None:
    """The first run's stages, and how the others differ."""
    (first, base), *others = shown
    if not others:
        return
    columns = (label(first, "\n"), *(label(point, "\n") for point, _ in others))
    table = new_table(console, "Where the difference of the mean comes from", "stage", *columns)
    changes = [stage_differences(result, base) for _, result in others]
    for stage in STAGES:
        mean = stage_mean(base, stage)
        if mean or any(change[stage] for change in changes):
            cells = (signed(change[stage]) for change in changes)
            table.add_row(stage.replace("_", " "), format_duration(mean), *cells)
    total = (signed(difference(result, base)[0]) for _, result in others)
    table.add_section()
    table.add_row("total", format_duration(base.directions["all"].lat_ns.mean), *total)
    print_table(console, table)


def label(point: Point, separator: str) -> str:
    """``keyslots 8, engine inline``: a key's short form, or its last part."""
    return separator.join(f"{short_name(key)} {value}" for key, value in point.labels.items())


def short_label(point: Point) -> str:
    """``keyslots 8, inline``: values, with their keys where they are numbers."""
    return ", ".join(
        value if value[:1].isalpha() and value not in ("true", "false") else f"{short_name(key)} {value}"
        for key, value in point.labels.items()
    )


def stage_mean(result: RunResult, stage: str) -> float:
    """Mean time of a bio in ``stage``, in ns."""
    every = result.directions["all"]
    return every.stage_ns.get(stage, 0) / max(1, every.total_ios)


def signed(ns: float) -> str:
    """A difference of times."""
    return f"{'-' if ns < 0 else '+'}{format_duration(abs(ns))}" if round(ns) else "0"


def _percentile(percentiles: dict[float, int], percentage: float) -> str:
    value = percentiles.get(percentage)
    return "" if value is None else format_duration(value)


def _hits(result: RunResult) -> str:
    slots = result.keyslots
    return f"{100 * slots.hits / slots.acquires:.1f} %" if slots.acquires else ""


def cpu_ns(result: RunResult) -> int:
    """CPU time of all causes."""
    return result.cpu.total_ns
