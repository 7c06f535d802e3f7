"""One figure of every run of a comparison, drawn: a bar each, or lines over what varies fastest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import UnitError, parse_size
from scenarios.compare import Point
from scenarios.keying.figures import DesignFigures
from scenarios.report.plot import new_figure, save, stages_by_point
from scenarios.results.result import RunResult

STAGES: Final = "stages"
_COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure that can be drawn.

    Attributes:
        axis: what it is, with its unit.
        value: of a run.
    """

    axis: str
    value: Callable[[RunResult], float]


def _of(read: Callable[[DesignFigures], float]) -> Callable[[RunResult], float]:
    def value(result: RunResult) -> float:
        if result.figures is None:
            raise BadInput("only a comparison that varies keys.design has this figure", where="--plot-of")
        return read(result.figures)

    return value


def _per_bio(read: Callable[[DesignFigures], float]) -> Callable[[RunResult], float]:
    value = _of(read)
    return lambda result: value(result) / max(1, result.bios)


FIGURES: Final[Mapping[str, Drawn]] = {
    "latency": Drawn("mean latency (us)", lambda result: result.directions["all"].lat_ns.mean / 1000),
    "throughput": Drawn("MB/s", lambda result: result.directions["all"].bw_bytes / 1e6),
    "cpu": Drawn("CPU time of a bio (us)", lambda result: result.cpu.total_ns / max(1, result.bios) / 1000),
    "programs": Drawn(
        "keyslot programs per I/O", lambda result: result.keyslots.programs / max(1, result.bios)
    ),
    "disk": Drawn("bytes on disk per file", _of(lambda figures: figures.on_disk_per_file)),
    "memory": Drawn("bytes in memory per GiB of files", _of(lambda figures: figures.in_memory_per_gib)),
    "own-ios": Drawn(
        "I/Os of the design's own per bio",
        _per_bio(lambda figures: figures.metadata_reads + figures.metadata_writes),
    ),
    "written": Drawn("bytes written per byte", _of(lambda figures: figures.write_amplification)),
}


def plot_points(points: Sequence[Point], of: str, target: str) -> None:
    """Draw figure ``of`` of all points that ran as SVG; equal results give equal bytes.

    Raises:
        BadInput: matplotlib is not installed, or the comparison has no such figure.
    """
    if of == STAGES:
        stages_by_point(points, target)
        return
    drawn = FIGURES[of]
    values = [(point, drawn.value(point.result)) for point in points if point.result is not None]
    fastest = list(points[0].labels)[-1]
    numbers = [_number(point.labels[fastest]) for point, _ in values]
    if len(set(numbers)) > 1 and None not in numbers:
        _lines(values, fastest, drawn, target)
    else:
        _bars(values, drawn, target)


def _number(text: str) -> float | None:
    try:
        return float(parse_size(text))
    except UnitError:
        return None


def _short(key: str) -> str:
    """A key as people read it."""
    return key.rpartition(".")[2].replace("_", " ")


def _title(values: Sequence[tuple[Point, float]]) -> str:
    first = values[0][0].result
    assert first is not None
    return f"{first.scenario} ({first.device})"


def _lines(values: Sequence[tuple[Point, float]], fastest: str, drawn: Drawn, target: str) -> None:
    figure = new_figure(7.5, 3.6)
    axes = figure.add_subplot()
    series: dict[str, list[tuple[str, float]]] = {}
    for point, value in values:
        name = ", ".join(f"{_short(key)} {text}" for key, text in point.labels.items() if key != fastest)
        series.setdefault(name, []).append((point.labels[fastest], value))
    for number, (name, pairs) in enumerate(series.items()):
        x = [_number(text) or 0.0 for text, _ in pairs]
        y = [value for _, value in pairs]
        axes.plot(x, y, marker="o", label=name, color=_COLOURS[number % len(_COLOURS)])
    ticks = {text: _number(text) or 0.0 for pairs in series.values() for text, _ in pairs}
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks.values()), list(ticks))
    axes.set_xlabel(_short(fastest))
    axes.set_ylim(bottom=0)
    axes.set_ylabel(drawn.axis)
    axes.set_title(_title(values), loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    save(figure, target)


def _bars(values: Sequence[tuple[Point, float]], drawn: Drawn, target: str) -> None:
    figure = new_figure(7.5, 0.9 + 0.32 * len(values))
    axes = figure.add_subplot()
    labels = [", ".join(point.labels.values()) for point, _ in values]
    heights = [value for _, value in values]
    bars = axes.barh(labels, heights, color=_COLOURS[0])
    axes.bar_label(
        bars, [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in heights], padding=3
    )
    axes.invert_yaxis()
    axes.set_xlabel(drawn.axis)
    axes.set_xlim(0, 1.15 * max(heights, default=1.0) or 1.0)
    axes.set_title(_title(values), loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, target)
