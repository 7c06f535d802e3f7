"""Figures of one run: latency, stages, time, keyslots, CPU.  Each comes with its numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from blkcrypto.base.units import format_duration
from scenarios.report import axes, markup
from scenarios.report.markup import Cell
from scenarios.report.stages import STAGE_LOOKS, line_colour, stage_words
from scenarios.report.svg import Bar, Line, Part, bar_chart, line_chart
from scenarios.results.latencies import Band, LatencyProfile
from scenarios.results.overtime import Series
from scenarios.results.result import STAGES, CpuResult, KeyslotResult, RunResult

# Colours of the style sheet, which has others for dark pages.
COLOURS: Final = {"read": "var(--read)", "write": "var(--write)", "all": "var(--other)"}
_SHOWN: Final = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_NUMBERED_INTERVALS: Final = 32


def directions(result: RunResult) -> list[str]:
    """Directions worth showing: ``all`` only where it is not the same as another."""
    present = [name for name in ("read", "write") if result.directions[name].total_ios]
    every = result.directions["all"].total_ios
    return (
        present
        if len(present) == 1 and result.directions[present[0]].total_ios == every
        else [*present, "all"]
    )


def latency_figure(result: RunResult, profile: LatencyProfile) -> str:
    """Latency against percentage, tail included."""
    shown = directions(result)
    curves = {name: profile.cdf(name) for name in shown}
    times = [float(ns) for points in curves.values() for _, ns in points]
    if not times:
        return ""
    highest = max(points[-1][0] for points in curves.values())
    x = axes.nines_axis("% of the bios took at most", max(highest, 50.0))
    y = axes.log_duration_axis("latency", *axes.spread(times))
    lines = [
        Line(name=name, colour=COLOURS[name], points=[(at, float(ns)) for at, ns in points])
        for name, points in curves.items()
    ]
    svg = line_chart("Latency that a share of the bios stayed within, by direction", x, y, lines)
    legend = [(name, COLOURS[name]) for name in shown]
    return markup.figure(
        "Latency distribution", svg, legend=legend, numbers=_percentiles(result, profile, shown)
    )


def stage_distributions(profile: LatencyProfile) -> Iterator[str]:
    """A figure per direction: how long its bios were in each stage, and in all of them."""
    for name in ("read", "write"):
        whole = profile.cdf(name)
        curves = {stage: profile.stage_cdf(name, stage) for stage in STAGES}
        used = {stage: points for stage, points in curves.items() if any(ns for _, ns in points)}
        if not used:
            continue
        least = min(ns for points in used.values() for _, ns in points if ns)
        x = axes.nines_axis("% of the bios spent at most", max(whole[-1][0], 50.0))
        y = axes.log_duration_axis("time in the stage", float(least), float(whole[-1][1]))
        lines = [
            Line(name=stage_words(stage), colour=line_colour(stage), points=_above_zero(points))
            for stage, points in used.items()
        ]
        lines.append(Line(name="whole latency", colour="var(--ink)", points=_above_zero(whole), dashes="4 3"))
        yield markup.figure(
            f"Stages of a {name}",
            line_chart(f"Time that a share of the {name}s stayed within, by stage", x, y, lines),
            legend=[(line.name, line.colour) for line in lines],
            note="A line begins where bios begin to spend time in its stage.",
            numbers=_stage_percentiles(used, whole),
        )


def _above_zero(points: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    return [(at, float(ns) if ns else math.nan) for at, ns in points]


def _stage_percentiles(
    used: Mapping[str, Sequence[tuple[float, int]]], whole: Sequence[tuple[float, int]]
) -> str:
    shown = [percentage for percentage in _SHOWN if percentage <= whole[-1][0] + 1e-9]
    rows: list[list[Cell | str]] = []
    named = {stage_words(stage): points for stage, points in used.items()}
    for name, points in {**named, "whole latency": whole}.items():
        values = [next(ns for at, ns in points if at >= percentage - 1e-9) for percentage in shown]
        rows.append([name, *(markup.duration(ns) for ns in values)])
    return markup.table(["stage", *(f"{percentage:g} %" for percentage in shown)], rows)


def _percentiles(result: RunResult, profile: LatencyProfile, shown: Sequence[str]) -> str:
    rows = []
    for percentage in _SHOWN:
        cells: list[Cell | str] = [Cell(f"{percentage:g} %", percentage)]
        for name in shown:
            # The result's own where it has it: it is exact for up to a million bios.
            ns = result.directions[name].lat_ns.percentile.get(percentage)
            ns = profile.percentile(name, percentage) if ns is None else ns
            cells.append(Cell("") if ns is None else markup.duration(ns))
        rows.append(cells)
    return markup.table(["at most", *shown], rows)


def stage_figure(result: RunResult) -> str:
    """Mean time of a bio by stage, per direction."""
    shown = directions(result)
    rows = {}
    for name in shown:
        one = result.directions[name]
        rows[name] = {stage: one.stage_ns.get(stage, 0) / max(1, one.total_ios) for stage in STAGES}
    return _stacked("Where the time goes, per bio", "Mean time of a bio by stage and direction", rows)


def band_figure(bands: Sequence[Band]) -> str:
    """What the fast and the slow bios are made of."""
    rows = {_band_name(band): band.stage_ns for band in bands if band.bios >= 1}
    return _stacked(
        "What slow bios wait for", "Mean time by stage of fast bios, of slow ones, of the slowest", rows
    )


def _band_name(band: Band) -> str:
    if not band.low:
        return "fast half"
    if band.high == 100:
        return f"slowest {100 - band.low:.3g} %"
    return f"{band.low:g} to {band.high:g} %"


def _stacked(caption: str, title: str, rows: dict[str, dict[str, float]]) -> str:
    used = [stage for stage in STAGES if any(row[stage] for row in rows.values())]
    if not used:
        return ""
    bars = [
        Bar(
            label=label,
            words=format_duration(sum(row.values())),
            parts=[
                Part(
                    name=stage_words(stage),
                    colour=STAGE_LOOKS[stage].colour,
                    value=row[stage],
                    words=format_duration(row[stage]),
                )
                for stage in used
                if row[stage]
            ],
        )
        for label, row in rows.items()
    ]
    axis = axes.duration_axis("mean time of a bio", max(sum(row.values()) for row in rows.values()))
    cells: list[list[Cell | str]] = [
        [
            stage_words(stage),
            *(markup.duration(row[stage]) for row in rows.values()),
            STAGE_LOOKS[stage].meaning,
        ]
        for stage in used
    ]
    return markup.figure(
        caption,
        bar_chart(title, axis, bars),
        legend=[(stage_words(stage), STAGE_LOOKS[stage].colour) for stage in used],
        numbers=markup.table(["stage", *rows, "which is"], cells),
    )


def time_figures(series: Series) -> Iterator[str]:
    """Throughput, bios in the system and latency over simulated time."""
    middles = (series.begin_ns + series.length_ns / 2).tolist()
    x = axes.duration_axis("simulated time", float(series.begin_ns[-1] + series.length_ns[-1]), snug=True)
    for caption, words, columns in (
        (
            "Throughput",
            "MB/s",
            {"read": series.read_bytes_per_s / 1e6, "write": series.write_bytes_per_s / 1e6},
        ),
        ("In flight", "bios in the system", {"all": series.inflight}),
        ("Latency over time", "", {"latency": series.latency_ns, "of it keyslots": series.keyslot_ns}),
    ):
        used = {name: values.tolist() for name, values in columns.items() if values.any()}
        most = axes.spread([value for values in used.values() for value in values])[1]
        y = axes.linear_axis(words, most) if words else axes.duration_axis("mean latency", most)
        colours = {**COLOURS, "latency": COLOURS["all"], "of it keyslots": STAGE_LOOKS["keyslot_lock"].colour}
        lines = [
            Line(name=name, colour=colours[name], points=list(zip(middles, values, strict=True)))
            for name, values in used.items()
        ]
        legend = [(name, colours[name]) for name in used] if len(used) > 1 else []
        svg = line_chart(f"{caption} over simulated time", x, y, lines)
        yield markup.figure(caption, svg, legend=legend)


def time_table(series: Series) -> str:
    """The same as numbers, some intervals together where they are many."""
    step = -(-len(series.begin_ns) // _NUMBERED_INTERVALS)
    rows = []
    for first in range(0, len(series.begin_ns), step):
        part = slice(first, first + step)
        weights = series.length_ns[part] / series.length_ns[part].sum()
        read, write, inflight = (
            float((values[part] * weights).sum())
            for values in (series.read_bytes_per_s, series.write_bytes_per_s, series.inflight)
        )
        rows.append(
            [
                markup.duration(float(series.begin_ns[first])),
                Cell(f"{read / 1e6:,.1f}", read),
                Cell(f"{write / 1e6:,.1f}", write),
                Cell(f"{inflight:,.2f}", inflight),
            ]
        )
    return markup.table(["from", "read MB/s", "write MB/s", "in flight"], rows)


def keyslot_figure(slots: KeyslotResult) -> str:
    """How often a bio's key was in a slot."""
    if not slots.acquires:
        return ""
    outcomes = (
        ("hits", "var(--good)", slots.hits),
        ("programs", STAGE_LOOKS["keyslot_lock"].colour, slots.programs),
    )
    parts = [
        Part(name=name, colour=colour, value=value, words=f"{value:,}") for name, colour, value in outcomes
    ]
    words = f"{100 * slots.hits / slots.acquires:.1f} % hits"
    bar = Bar(label=f"{slots.count} keyslots, {slots.distinct_keys} keys", words=words, parts=parts)
    svg = bar_chart(
        "Acquired keyslots: hits and programs", axes.count_axis("acquires", slots.acquires), [bar]
    )
    legend = [(name, colour) for name, colour, _ in outcomes]
    return markup.figure("Was the key in a keyslot?", svg, legend=legend)


def cpu_figure(cpu: CpuResult) -> str:
    """CPU time by cause."""
    causes = {name: ns for name, ns in cpu_causes(cpu).items() if ns}
    if not causes:
        return ""
    bars = [
        Bar(
            label=name,
            words=format_duration(ns),
            parts=[Part(name=name, colour="var(--read)", value=ns, words=format_duration(ns))],
        )
        for name, ns in causes.items()
    ]
    axis = axes.duration_axis(f"time on {cpu.cpus} CPUs", max(causes.values()))
    return markup.figure("CPU time by cause", bar_chart("CPU time by cause", axis, bars))


def cpu_causes(cpu: CpuResult) -> dict[str, int]:
    """Cause -> ns."""
    return {
        "submission": cpu.submit_ns,
        "crypto": cpu.crypto_ns,
        "setkey": cpu.setkey_ns,
        "keyslot programs": cpu.program_ns,
    }
