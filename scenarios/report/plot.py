"""Figures as SVG: small, offline, equal bytes for equal results.  Needs the extra ``plot``."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from blkcrypto.base.errors import BadInput
from scenarios.compare import Point
from scenarios.report.files import write_text
from scenarios.report.stages import STAGE_LOOKS, stage_words
from scenarios.results.result import STAGES, RunResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure whose SVG is reproducible.

    Raises:
        BadInput: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure as MatplotlibFigure
    except ImportError:
        raise BadInput("figures need matplotlib: pip install 'blkcrypto[plot]'", where="--plot") from None
    mpl.rcParams["svg.hashsalt"] = "blkcrypto"
    mpl.rcParams["svg.fonttype"] = "none"
    return MatplotlibFigure(figsize=(width, height), layout="constrained")


def save(figure: "Figure", target: str) -> None:
    """Write ``figure`` as SVG without dates."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": "blkcrypto"})
    write_text(target, text.getvalue())


def stages_by_point(points: Sequence[Point], target: str) -> None:
    """Mean time of a bio by stage, one bar per point, with the mean's 95 % interval."""
    results = {_label(point): point.result for point in points if point.result is not None}
    figure = new_figure(7.5, 3.6)
    axes = figure.add_subplot()
    labels = list(results)
    below = [0.0] * len(labels)
    for stage in STAGES:
        heights = [_mean_us(result, stage) for result in results.values()]
        if any(heights):
            axes.bar(labels, heights, bottom=below, label=stage_words(stage), color=STAGE_LOOKS[stage].colour)
            below = [low + high for low, high in zip(below, heights, strict=True)]
    errors = [result.directions["all"].lat_ns.mean_halfwidth95 / 1000 for result in results.values()]
    axes.errorbar(labels, below, yerr=errors, fmt="none", ecolor="black", capsize=3)
    first = next(iter(results.values()))
    axes.set_title(f"{first.scenario} ({first.device})", loc="left", fontsize=10)
    axes.set_xlabel(", ".join(key.rpartition(".")[2] for key in points[0].labels))
    axes.set_ylabel("mean latency (us)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=8, reverse=True)
    save(figure, target)


def _label(point: Point) -> str:
    return "\n".join(point.labels.values())


def _mean_us(result: RunResult, stage: str) -> float:
    both = result.directions["all"]
    return both.stage_ns[stage] / max(1, both.total_ios) / 1000
