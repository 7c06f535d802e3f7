"""Keyslot curves as a page: the same file rules as ``scenarios.report.html``."""

from collections.abc import Iterator, Sequence

from scenarios.curves.curve import Curve
from scenarios.report import axes, markup
from scenarios.report.curve import curve_answer
from scenarios.report.html import footer
from scenarios.report.html_compare import COLOURS, DASHES
from scenarios.report.html_configuration import configuration
from scenarios.report.markup import Cell
from scenarios.report.svg import Line, line_chart
from scenarios.schema import Scenario


def curve_page(curves: Sequence[Curve], scenarios: Sequence[Scenario]) -> str:
    """The page of ``blkcrypto curve``: a curve for each scenario."""
    return markup.page(f"keyslot curve of {curves[0].source}", _parts(curves, scenarios))


def _parts(curves: Sequence[Curve], scenarios: Sequence[Scenario]) -> Iterator[str]:
    yield "<h1>How often does a bio program a keyslot, for every number of keyslots?</h1>"
    for curve in curves:
        name = f"{curve.design}: " if len(curves) > 1 else ""
        yield markup.paragraph(name + " ".join(curve_answer(curve)), "answer")
    designs = ", ".join(dict.fromkeys(curve.design for curve in curves))
    yield markup.paragraph(f"{designs} on {curves[0].source}, {curves[0].rows:,} rows", "setting")
    yield markup.section("Curve", markup.figures(_figure(curves)), _note(curves))
    for curve in curves:
        yield markup.section(f"Every number of keyslots, {curve.design}", _table(curve))
    varied = ("keys.design",) if len(curves) > 1 else ()
    yield markup.section("Configuration", *configuration(scenarios[0], varied=varied))
    yield footer(curves[0].version)


def _figure(curves: Sequence[Curve]) -> str:
    lines = list(_lines(curves))
    most = float(max(curve.keyslots[-1] for curve in curves))
    x = axes.linear_axis("keyslots", most, words="{:,.0f}".format, snug=True)
    y = axes.linear_axis("% of encrypted bios", max(value for line in lines for _, value in line.points))
    return markup.figure(
        "Bios that program a keyslot",
        line_chart("Share of bios that program a keyslot, by number of keyslots", x, y, lines),
        legend=[(line.name, line.colour) for line in lines],
    )


def _lines(curves: Sequence[Curve]) -> Iterator[Line]:
    """A design's curve and its optimum have one colour; the optimum is dashed."""
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        yield Line(
            name=curve.design,
            colour=colour,
            points=_points(curve, curve.miss_ratios),
            halfwidths=[100 * half for half in curve.halfwidth95],
        )
        if curve.optimal_miss_ratios is not None:
            points = _points(curve, curve.optimal_miss_ratios)
            yield Line(
                name=f"{curve.design}, optimum (dashed)", colour=colour, points=points, dashes=DASHES[1]
            )


def _points(curve: Curve, ratios: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(count), 100 * ratio) for count, ratio in zip(curve.keyslots, ratios, strict=True)]


def _note(curves: Sequence[Curve]) -> str:
    said = "Exact for one bio in flight; with more, slots in use cannot be replaced."
    if any(curve.optimal_hits is not None for curve in curves):
        said += " The optimum is what the best choice of victims would reach, knowing the future."
    if any(curve.sampled_share < 1 for curve in curves):
        said += " Whiskers are 95 % intervals of the sample."
    return markup.paragraph(said, "setting")


def _table(curve: Curve) -> str:
    sampled, best = curve.sampled_share < 1, curve.optimal_miss_ratios
    columns = ["keyslots", "programs", "of bios"]
    columns += ["95 % interval"] if sampled else []
    columns += ["optimum", "of bios"] if best is not None else []
    rows = []
    for at, count in enumerate(curve.keyslots):
        cells: list[Cell | str] = [
            markup.count(count),
            markup.count(curve.accesses - curve.hits[at]),
            _percent(curve.miss_ratios[at]),
        ]
        cells += [Cell(f"± {100 * curve.halfwidth95[at]:.2f} %", curve.halfwidth95[at])] if sampled else []
        if best is not None and curve.optimal_hits is not None:
            cells += [markup.count(curve.accesses - curve.optimal_hits[at]), _percent(best[at])]
        rows.append(cells)
    return markup.table(columns, rows)


def _percent(ratio: float) -> Cell:
    return Cell(f"{100 * ratio:.2f} %", ratio)
