"""A sweep as a page: the same file rules as ``scenarios.report.html``."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

import blkcrypto
from blkcrypto.base.units import format_duration
from scenarios.report import axes, markup
from scenarios.report.axes import Axis
from scenarios.report.html import footer, halfwidth
from scenarios.report.html_compare import COLOURS, DASHES
from scenarios.report.html_configuration import assumptions, configuration, device_figures
from scenarios.report.markup import Cell
from scenarios.report.svg import Bar, Line, Part, bar_chart, line_chart
from scenarios.report.sweep import MOST_KNEES, knee_answers, knee_sentence, reasons, setting
from scenarios.results.distribution import student_t975
from scenarios.sweeps.kept import Json
from scenarios.sweeps.knee import Knee, is_keyslots, varies_keyslots
from scenarios.sweeps.store import metrics
from scenarios.sweeps.sweep import Ended

_MOST_BARS: Final = 40


@dataclass(frozen=True, slots=True)
class _Value:
    """A mean over seeds, with half of its 95 % interval; 0 when nothing is known of it."""

    mean: float
    half: float


@dataclass(frozen=True, slots=True)
class _Combination:
    """What the seeds of one place in the grid measured together."""

    labels: Mapping[str, str]
    results: Sequence[Json]

    @property
    def latency(self) -> _Value:
        """Mean latency in ns; of a single seed with the interval that its run has."""
        values = self._values("lat_mean_ns")
        if len(values) > 1:
            return _over_seeds(values)
        return _Value(values[0], _number(self.results[0], "all", "lat_ns", "mean_halfwidth95"))

    @property
    def throughput(self) -> _Value:
        """I/O per s."""
        return _over_seeds(self._values("iops"))

    @property
    def keyslots(self) -> int:
        """How many there were."""
        return int(self._values("keyslot_count")[0])

    @property
    def others(self) -> dict[str, str]:
        """What was varied besides the number of keyslots."""
        return {key: value for key, value in self.labels.items() if not is_keyslots(key)}

    def mean(self, name: str) -> float:
        """Of a metric of the sweep's index."""
        return fmean(self._values(name))

    def _values(self, name: str) -> list[float]:
        return [metrics(result)[name] or 0.0 for result in self.results]


def _over_seeds(values: Sequence[float]) -> _Value:
    if len(values) < 2:
        return _Value(values[0], 0.0)
    return _Value(fmean(values), student_t975(len(values) - 1) * stdev(values) / math.sqrt(len(values)))


def _number(result: Json, *keys: str) -> float:
    value: object = result
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else 0.0


def sweep_page(ended: Sequence[Ended], knees: Sequence[Knee]) -> str:
    """The page of ``blkcrypto sweep``."""
    scenario = next(one.point.scenario for one in ended if one.point.scenario is not None)
    return markup.page(f"{scenario.name}, swept: {scenario.question}", _parts(ended, knees))


def _parts(ended: Sequence[Ended], knees: Sequence[Knee]) -> Iterator[str]:
    scenario = next(one.point.scenario for one in ended if one.point.scenario is not None)
    combinations = _combinations(ended)
    done = sum(len(one.results) for one in combinations)
    yield f"<h1>{markup.text(scenario.question)}</h1>"
    yield from (markup.paragraph(sentence, "answer") for sentence in knee_answers(knees))
    if len(knees) > MOST_KNEES:
        yield markup.folded("Each knee", markup.bullets(map(knee_sentence, knees)))
    said = f"{scenario.name} on {scenario.device.name}: {done} of {len(ended)} points are done"
    yield markup.paragraph(f"{said}, from seed {scenario.run.seed} on", "setting")
    yield from (markup.paragraph(line, "alarm") for line in reasons(ended) if "FAILED" in line)
    if combinations:
        yield markup.section(
            "Figures", markup.figures(*_figures(combinations, knees)), _intervals(combinations)
        )
        yield markup.section("Every combination", _table(combinations))
    yield markup.section("What Linux refuses", markup.bullets(_refused(ended)))
    yield markup.section("Configuration", *_configuration(ended), assumptions(_assumptions(combinations)))
    yield footer(blkcrypto.__version__)


def _combinations(ended: Sequence[Ended]) -> list[_Combination]:
    found: dict[tuple[str, ...], tuple[Mapping[str, str], list[Json]]] = {}
    for one in ended:
        if one.result is not None:
            labels = one.point.labels
            found.setdefault(tuple(labels.values()), (labels, []))[1].append(one.result)
    return [_Combination(labels, results) for labels, results in found.values()]


def _figures(combinations: Sequence[_Combination], knees: Sequence[Knee]) -> Iterator[str]:
    latency = {id(one): one.latency for one in combinations}
    throughput = {id(one): one.throughput for one in combinations}
    draw = _over_keyslots if varies_keyslots(combinations[0].labels) else _as_bars
    for metric, caption, values in (
        ("latency", "Mean latency", latency),
        ("throughput", "I/O per s", throughput),
    ):
        most = max(value.mean + value.half for value in values.values())
        axis = (
            axes.duration_axis(caption.lower(), most)
            if metric == "latency"
            else axes.count_axis(caption, most)
        )
        yield draw(caption, axis, combinations, values, [knee for knee in knees if knee.metric == metric])


def _over_keyslots(
    caption: str,
    y: Axis,
    combinations: Sequence[_Combination],
    values: Mapping[int, _Value],
    knees: Sequence[Knee],
) -> str:
    """A line per combination of what else is varied; its knee stands out."""
    groups: dict[tuple[str, ...], list[_Combination]] = {}
    for one in combinations:
        groups.setdefault(tuple(one.others.values()), []).append(one)
    lines = []
    for number, group in enumerate(groups.values()):
        group.sort(key=lambda one: one.keyslots)
        others = group[0].others
        found = [values[id(one)] for one in group]
        marks = [(float(knee.keyslots), knee.value) for knee in knees if dict(knee.labels) == others]
        lines.append(
            Line(
                name=setting(others) if others else "mean",
                colour=COLOURS[number % len(COLOURS)],
                dashes=DASHES[number // len(COLOURS) % len(DASHES)],
                points=[(float(one.keyslots), value.mean) for one, value in zip(group, found, strict=True)],
                halfwidths=[value.half for value in found],
                marks=marks,
            )
        )
    most = float(max(one.keyslots for one in combinations))
    x = axes.linear_axis("keyslots", most, words="{:,.0f}".format, snug=True)
    legend = [(line.name, line.colour) for line in lines] if len(lines) > 1 else []
    note = (
        "Dots are knees: with fewer keyslots too much is lost." if any(line.marks for line in lines) else ""
    )
    svg = line_chart(f"{caption} by number of keyslots", x, y, lines)
    return markup.figure(f"{caption} by number of keyslots", svg, legend=legend, note=note)


def _as_bars(
    caption: str,
    axis: Axis,
    combinations: Sequence[_Combination],
    values: Mapping[int, _Value],
    _knees: Sequence[Knee],
) -> str:
    bars = []
    for one in combinations[:_MOST_BARS]:
        value = values[id(one)]
        words = _words(caption, value)
        part = Part(name=caption, colour="var(--read)", value=value.mean, words=words)
        bars.append(Bar(label=setting(one.labels), words=words, parts=[part], halfwidth=value.half))
    left_out = len(combinations) - len(bars)
    note = f"{left_out} combinations more are in the table." if left_out else ""
    return markup.figure(caption, bar_chart(f"{caption} by combination", axis, bars), note=note)


def _words(caption: str, value: _Value) -> str:
    show = format_duration if caption == "Mean latency" else "{:,.0f}".format
    return f"{show(value.mean)} ± {show(value.half)}" if value.half else show(value.mean)


def _intervals(combinations: Sequence[_Combination]) -> str:
    seeds = max(len(one.results) for one in combinations)
    if seeds > 1:
        said = f"Means over {seeds} seeds. Whiskers are 95 % intervals by Student's t over the seeds."
    else:
        said = "One seed each: the interval of a latency is 95 % by batches of bios, of a throughput unknown."
    return markup.paragraph(said, "setting")


def _table(combinations: Sequence[_Combination]) -> str:
    keys = [key.rpartition(".")[2] for key in combinations[0].labels]
    columns = [*(keys or ["run"]), "seeds", "mean", "95 % interval", "99 %", "I/O per s", "its interval"]
    return markup.table(
        [*columns, "MB/s", "keyslot hits", "programs", "waits: idle slot"], map(_row, combinations)
    )


def _row(one: _Combination) -> list[Cell | str]:
    latency, throughput = one.latency, one.throughput
    hits, programs = one.mean("keyslot_hits"), one.mean("keyslot_programs")
    return [
        *(_label(value) for value in one.labels.values() or ("as it is",)),
        markup.count(len(one.results)),
        markup.duration(latency.mean),
        halfwidth(latency.half),
        markup.duration(one.mean("lat_p99_ns")),
        markup.count(throughput.mean),
        Cell(f"± {throughput.half:,.0f}", throughput.half) if throughput.half else "",
        Cell(f"{one.mean('bw_bytes') / 1e6:,.1f}", one.mean("bw_bytes")),
        markup.share(hits, hits + programs),
        markup.count(programs),
        markup.count(one.mean("keyslot_waits")),
    ]


def _label(value: str) -> Cell:
    """Numbers sort as numbers."""
    return Cell(value, float(value)) if value.isdecimal() else Cell(value)


def _configuration(ended: Sequence[Ended]) -> Iterator[str]:
    """What all points have in common."""
    points = [one.point for one in ended if one.point.scenario is not None]
    scenarios = [point.scenario for point in points if point.scenario is not None]
    varied = list(points[0].labels)
    yield from configuration(scenarios[0], varied=varied)
    yield from device_figures((one.device for one in scenarios), varied=varied)


def _refused(ended: Sequence[Ended]) -> Iterator[str]:
    yield from (line for line in reasons(ended) if "FAILED" not in line)


def _assumptions(combinations: Sequence[_Combination]) -> list[str]:
    """Those of all runs, once each."""
    found: dict[str, None] = {}
    for one in combinations:
        for result in one.results:
            about = result.get("blkcrypto")
            lines = about.get("assumptions") if isinstance(about, dict) else None
            found |= dict.fromkeys(map(str, lines if isinstance(lines, list) else []))
    return list(found)
