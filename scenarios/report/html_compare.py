"""Runs side by side as a page: the same file rules as ``scenarios.report.html``."""

from collections.abc import Iterator, Sequence
from typing import Final

from blkcrypto.base.units import format_duration
from scenarios.compare import Point
from scenarios.report import axes, markup
from scenarios.report.compare import (
    answers,
    cpu_ns,
    difference,
    differences,
    each_is_answered,
    short_label,
    signed,
    stage_differences,
    stage_mean,
)
from scenarios.report.html import footer, halfwidth
from scenarios.report.html_configuration import assumptions, configuration, device_figures
from scenarios.report.markup import Cell
from scenarios.report.stages import STAGE_LOOKS, stage_words
from scenarios.report.svg import Bar, Interval, Line, Part, bar_chart, interval_chart, line_chart
from scenarios.results.result import STAGES, RunResult

Ran = tuple[str, RunResult]

# Colours that stay apart for colour-blind readers and in print (Okabe and Ito); then the same again, dashed.
COLOURS: Final = ("var(--read)", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "var(--other)")
DASHES: Final = ("", "6 3", "2 3", "8 3 2 3")
_MOST_LINES: Final = 12  # more are no figure; the table has their percentiles
_PERCENTAGES: Final = (50.0, 99.0, 99.9, 99.99)


def compare_page(points: Sequence[Point]) -> str:
    """The page of ``blkcrypto compare``; at least one point ran."""
    first = next(point.result for point in points if point.result is not None)
    return markup.page(f"{first.scenario}, compared: {first.question}", _parts(points))


def _parts(points: Sequence[Point]) -> Iterator[str]:
    pairs = [(point, point.result) for point in points if point.result is not None]
    ran = [(short_label(point), result) for point, result in pairs]
    base = ran[0][1]
    yield f"<h1>{markup.text(base.question)}</h1>"
    yield from (markup.paragraph(sentence, "answer") for sentence in answers(pairs))
    if not each_is_answered(pairs):
        yield markup.folded("Each run against the first", markup.bullets(differences(pairs)))
    yield markup.paragraph(f"{base.scenario}: {len(ran)} runs, seed {base.seed}", "setting")
    for name, result in ran:
        failed = [check for check, held in result.checks.items() if not held]
        yield from (markup.paragraph(f"{name}: CHECK FAILED: {check}", "alarm") for check in failed)
    yield markup.section("Side by side", markup.figures(*_figures(ran)), _table(ran), _uncertainty(base))
    yield markup.section("Where the differences come from", _stage_table(ran))
    refused = [f"{short_label(point)}: {point.refused}" for point in points if point.refused]
    yield markup.section("What Linux refuses", markup.bullets(refused))
    yield markup.section("Configuration", _settings(ran), *_configuration(points), *_assumptions(ran))
    yield footer(base.version)


def _figures(ran: Sequence[Ran]) -> Iterator[str]:
    yield _stage_figure(ran)
    yield _difference_figure(ran)
    yield _latency_figure(ran)
    yield _throughput_figure(ran)


def _stage_figure(ran: Sequence[Ran]) -> str:
    used = [stage for stage in STAGES if any(stage_mean(result, stage) for _, result in ran)]
    bars = []
    for name, result in ran:
        latency = result.directions["all"].lat_ns
        bars.append(
            Bar(
                label=name,
                words=_with_interval(latency.mean, latency.mean_halfwidth95),
                halfwidth=latency.mean_halfwidth95,
                parts=[_stage_part(result, stage) for stage in used if stage_mean(result, stage)],
            )
        )
    latencies = [result.directions["all"].lat_ns for _, result in ran]
    longest = axes.readable_most([latency.mean + latency.mean_halfwidth95 for latency in latencies])
    svg = bar_chart("Mean latency by stage, run by run", axes.duration_axis("mean latency", longest), bars)
    legend = [(stage_words(stage), STAGE_LOOKS[stage].colour) for stage in used]
    return markup.figure("Mean latency by stage, with its 95 % interval", svg, legend=legend)


def _stage_part(result: RunResult, stage: str) -> Part:
    mean = stage_mean(result, stage)
    return Part(
        name=stage_words(stage), colour=STAGE_LOOKS[stage].colour, value=mean, words=format_duration(mean)
    )


def _difference_figure(ran: Sequence[Ran]) -> str:
    (base_name, base), *others = ran
    if not others:
        return ""
    rows = []
    for name, result in others:
        delta, half = difference(result, base)
        words = f"{signed(delta)} ± {format_duration(half)}"
        rows.append(Interval(label=name, words=words, value=delta, halfwidth=half))
    most = axes.readable_most([abs(row.value) + row.halfwidth for row in rows])
    low = max(-most, min(0.0, *(row.value - row.halfwidth for row in rows)))
    high = min(most, max(0.0, *(row.value + row.halfwidth for row in rows)))
    axis = axes.linear_axis("difference of the mean latency", high, low=low, words=signed)
    svg = interval_chart(f"Difference of the mean latency from {base_name}", axis, rows)
    return markup.figure(f"Difference from {base_name}, with its 95 % interval", svg)


def _latency_figure(ran: Sequence[Ran]) -> str:
    lines = []
    for number, (name, result) in enumerate(ran):
        percentiles = sorted(result.directions["all"].lat_ns.percentile.items())
        points = [(percentage, float(ns)) for percentage, ns in percentiles]
        dashes = DASHES[number // len(COLOURS) % len(DASHES)]
        lines.append(Line(name=name, colour=COLOURS[number % len(COLOURS)], points=points, dashes=dashes))
    times = [ns for line in lines for _, ns in line.points]
    if not times or len(lines) > _MOST_LINES:
        return ""
    x = axes.nines_axis(
        "% of the bios took at most", max(line.points[-1][0] for line in lines if line.points)
    )
    y = axes.log_duration_axis("latency", *axes.spread(times))
    svg = line_chart("Latency that a share of the bios stayed within, run by run", x, y, lines)
    return markup.figure("Latency distribution", svg, legend=[(line.name, line.colour) for line in lines])


def _throughput_figure(ran: Sequence[Ran]) -> str:
    bars = []
    for name, result in ran:
        iops = result.directions["all"].iops
        part = Part(name="I/O per s", colour="var(--read)", value=iops, words=f"{iops:,.0f}")
        bars.append(Bar(label=name, words=part.words, parts=[part]))
    axis = axes.count_axis("I/O per s", axes.readable_most([bar.parts[0].value for bar in bars]))
    return markup.figure("Throughput", bar_chart("I/O per s, run by run", axis, bars))


def _table(ran: Sequence[Ran]) -> str:
    base = ran[0][1]
    columns = ["run", "mean", "95 % interval", "difference", "its interval"]
    columns += [f"{percentage:g} %" for percentage in _PERCENTAGES]
    columns += ["I/O per s", "MB/s", "keyslot hits", "programs", "waits: idle slot", "waits: lock"]
    columns += ["CPU time a bio", "mismatches"]
    return markup.table(columns, [_cells(name, result, base) for name, result in ran])


def _cells(name: str, result: RunResult, base: RunResult) -> list[Cell | str]:
    every, slots = result.directions["all"], result.keyslots
    delta, half = difference(result, base)
    percentiles = [every.lat_ns.percentile.get(percentage) for percentage in _PERCENTAGES]
    return [
        name,
        markup.duration(every.lat_ns.mean),
        halfwidth(every.lat_ns.mean_halfwidth95),
        "" if result is base else Cell(signed(delta), delta),
        "" if result is base else halfwidth(half),
        *("" if ns is None else markup.duration(ns) for ns in percentiles),
        markup.count(every.iops),
        Cell(f"{every.bw_bytes / 1e6:,.1f}", every.bw_bytes),
        markup.share(slots.hits, slots.acquires),
        markup.count(slots.programs),
        markup.count(slots.waits),
        markup.count(slots.lock_waits),
        markup.duration(cpu_ns(result) / max(1, result.bios)),
        markup.count(result.mismatches) if result.payload == "verify" else "",
    ]


def _stage_table(ran: Sequence[Ran]) -> str:
    """The first run's stages, and how the others differ."""
    (base_name, base), *others = ran
    if not others:
        return ""
    changes = [stage_differences(result, base) for _, result in others]
    rows: list[list[Cell | str]] = [
        [
            stage_words(stage),
            markup.duration(stage_mean(base, stage)),
            *(Cell(signed(change[stage]), change[stage]) for change in changes),
        ]
        for stage in STAGES
        if stage_mean(base, stage) or any(change[stage] for change in changes)
    ]
    return markup.table(["stage", base_name, *(name for name, _ in others)], rows)


def _uncertainty(base: RunResult) -> str:
    return markup.paragraph(
        "Intervals are 95 %, by means of long batches of bios; differences take runs as independent, which "
        f"with the common seed {base.seed} makes their intervals rather wide.",
        "setting",
    )


def _settings(ran: Sequence[Ran]) -> str:
    rows = [
        [
            name,
            result.device,
            result.design,
            result.key_type,
            result.engine,
            result.payload,
            f"{result.bios:,}",
        ]
        for name, result in ran
    ]
    return markup.table(["run", "device", "design", "keys", "engine", "payload", "bios"], rows, words=True)


def _configuration(points: Sequence[Point]) -> Iterator[str]:
    """What all runs have in common."""
    scenarios = [point.scenario for point in points if point.scenario is not None]
    if scenarios:
        varied = list(points[0].labels)
        yield from configuration(scenarios[0], varied=varied)
        yield from device_figures((one.device for one in scenarios), varied=varied)


def _assumptions(ran: Sequence[Ran]) -> Iterator[str]:
    """Those of all runs; a figure that is varied is in it once per value."""
    yield assumptions(tuple(dict.fromkeys(line for _, result in ran for line in result.assumptions)))


def _with_interval(mean: float, half: float) -> str:
    return f"{format_duration(mean)} ± {format_duration(half)}" if half else format_duration(mean)
