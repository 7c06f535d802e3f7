"""Figures as SVG text, drawn by hand: small, sharp, in the page's own colours, equal for equal values.

Text and axes take the page's text colour; everything is scaled to the width there is.  A title says what the
figure shows to those who do not see it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from scenarios.report.axes import Axis

_WIDTH: Final = 480
_HEIGHT: Final = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 14, 10, 44
_ROW: Final = 38
_BAR: Final = 15
_LETTER: Final = 9.0  # at most so wide, on phones
_NARROW: Final = ".,: "
_ROW_LETTERS: Final = 52  # both words of a row, in the larger letters of phones
_MAP: Final = 260
_STRIP: Final = 16
_SHADES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart; a point that is not a number leaves a gap.

    Attributes:
        halfwidths: half of each point's interval, drawn as a whisker.
        marks: points that stand out.
    """

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    dashes: str = ""
    halfwidths: Sequence[float] = ()
    marks: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a bar."""

    name: str
    colour: str
    value: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One horizontal bar: its label above it, its pieces end to end.

    ``halfwidth``: half of an interval around the end, drawn as a whisker; 0 for none.
    """

    label: str
    words: str
    parts: Sequence[Part]
    halfwidth: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with half of its interval, in a row of its own."""

    label: str
    words: str
    value: float
    halfwidth: float


def line_chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """Lines over two axes."""
    body = [*_x_axis(x, _HEIGHT), *_y_axis(y)]
    for line in lines:
        path = _path([(_x(x, at), _y(y, value)) for at, value in line.points])
        dashes = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
        body.append(
            f'<path class="line" d="{path}" style="stroke:{line.colour}"{dashes}>'
            f"<title>{escape(line.name)}</title></path>"
        )
        if line.halfwidths:
            body.append(_upright_whiskers(x, y, line))
        for at, value in line.marks:
            place = f'cx="{_x(x, at):.1f}" cy="{_y(y, value):.1f}"'
            body.append(f'<circle {place} r="5" style="fill:{line.colour}"/>')
    return _svg(title, _HEIGHT, body)


def _upright_whiskers(x: Axis, y: Axis, line: Line) -> str:
    path = "".join(
        f"M{_x(x, at) - 3:.1f} {_y(y, value + half):.1f}h6m-3 0V{_y(y, value - half):.1f}m-3 0h6"
        for (at, value), half in zip(line.points, line.halfwidths, strict=True)
        if half
    )
    return f'<path class="line" d="{path}" style="stroke:{line.colour}"/>'


def bar_chart(title: str, axis: Axis, bars: Sequence[Bar]) -> str:
    """Stacked horizontal bars, one below the other."""
    height = _BOTTOM + _TOP + _ROW * len(bars)
    body = list(_x_axis(axis, height, left=_RIGHT))
    for number, bar in enumerate(bars):
        top = _TOP + _ROW * number
        body += _row_words(bar.label, bar.words, top)
        at = 0.0
        for part in bar.parts:
            begin, end = (_inside(axis, value) for value in (at, at + part.value))
            at += part.value
            body.append(
                f'<rect x="{begin:.1f}" y="{top + 16}" width="{end - begin:.1f}" height="{_BAR}" '
                f'style="fill:{part.colour}"><title>{escape(f"{part.name}: {part.words}")}</title></rect>'
            )
        body += _outside(axis, at, top + 16 + _BAR / 2)
        if bar.halfwidth and axis.place(at) <= 1:
            body.append(_whisker(axis, at, bar.halfwidth, top + 16 + _BAR / 2))
    return _svg(title, height, body)


def interval_chart(title: str, axis: Axis, rows: Sequence[Interval]) -> str:
    """Values with their intervals against a line at 0."""
    height = _BOTTOM + _TOP + _ROW * len(rows)
    zero = _x(axis, 0.0, left=_RIGHT)
    body = list(_x_axis(axis, height, left=_RIGHT))
    body.append(f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
    for number, row in enumerate(rows):
        top = _TOP + _ROW * number
        middle = top + 16 + _BAR / 2
        body += _row_words(row.label, row.words, top)
        body.append(_whisker(axis, row.value, row.halfwidth, middle))
        at = _inside(axis, row.value)
        body.append(f'<circle class="mark" cx="{at:.1f}" cy="{middle}" r="4"/>')
        body += _outside(axis, row.value, middle)
    return _svg(title, height, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Cells of one colour in a map: (row, first column, column behind the last)."""

    name: str
    colour: str
    runs: Sequence[tuple[int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A value per column below a map: the stronger its colour, the more."""

    name: str
    colour: str
    values: Sequence[float]
    words: str


def map_chart(
    title: str,
    x: Axis,
    columns: Sequence[float],
    rows: Sequence[tuple[int, str]],
    count: int,
    areas: Sequence[Area],
    marks: Sequence[tuple[int, int]],
    strips: Sequence[Strip],
) -> str:
    """Rows over an axis, in cells of any colour.

    Args:
        columns: where each column begins, and the last one ends, in values of ``x``.
        rows: the words beside some rows.
        count: of rows.
        marks: cells (row, column) with a mark at their begin.
    """
    step = min(max(_MAP / count, 2.0), 16.0)
    bottom = _TOP + step * count
    height = bottom + _STRIP * len(strips) + 4 + _BOTTOM
    at = [_x(x, value) for value in columns]
    body = list(_x_axis(x, height))
    for row, words in rows:
        y = _TOP + step * (row + 0.5) + 4
        body.append(f'<text x="{_LEFT - 6}" y="{y:.1f}" text-anchor="end">{escape(words)}</text>')
    for area in areas:
        path = "".join(
            _cell(at[first], at[behind], _TOP + step * row, step) for row, first, behind in area.runs
        )
        body.append(f'<path d="{path}" style="fill:{area.colour}"><title>{escape(area.name)}</title></path>')
    ticks = "".join(
        f"M{at[column]:.1f} {_TOP + step * (row + 0.5):.1f}v{step / 2:.1f}" for row, column in marks
    )
    body.append(f'<path class="program" d="{ticks}"/>')
    for number, strip in enumerate(strips):
        body += _strip(strip, at, bottom + 4 + _STRIP * number)
    return _svg(title, height, body)


def _cell(left: float, right: float, top: float, height: float) -> str:
    return f"M{left:.1f} {top:.1f}H{right:.1f}v{height:.1f}H{left:.1f}z"


def _strip(strip: Strip, at: Sequence[float], top: float) -> Iterator[str]:
    yield (f'<text x="{_LEFT - 6}" y="{top + 11:.1f}" text-anchor="end">{escape(strip.name)}</text>')
    most = max(strip.values, default=0.0)
    shades: dict[int, list[str]] = {}
    for column, value in enumerate(strip.values):
        shade = math.ceil(_SHADES * value / most) if most else 0
        if shade:
            shades.setdefault(shade, []).append(_cell(at[column], at[column + 1], top, _STRIP - 2))
    cells = "".join(
        f'<path d="{"".join(paths)}" opacity="{shade / _SHADES:g}"/>'
        for shade, paths in sorted(shades.items())
    )
    words = escape(f"{strip.name}: {strip.words}")
    yield f'<g style="fill:{strip.colour}"><title>{words}</title>{cells}</g>'


def _svg(title: str, height: float, body: Sequence[str]) -> str:
    inside = "\n".join(body)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>\n{inside}\n</svg>"
    )


def _x(axis: Axis, value: float, left: float = _LEFT) -> float:
    return left + axis.place(value) * (_WIDTH - left - _RIGHT)


def _inside(axis: Axis, value: float) -> float:
    """A place along a bar; at the end of the axis for what lies behind it."""
    return _RIGHT + min(max(axis.place(value), 0.0), 1.0) * (_WIDTH - 2 * _RIGHT)


def _outside(axis: Axis, value: float, y: float) -> Iterator[str]:
    """A mark at the end of an axis that ``value`` lies behind."""
    if 0 <= axis.place(value) <= 1:
        return
    at, way = _inside(axis, value), 1 if axis.place(value) > 1 else -1
    yield f'<path class="beyond" d="M{at + 3 * way:.1f} {y - 6:.1f}l{8 * way} 6l{-8 * way} 6z"/>'


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.place(value) * (_HEIGHT - _BOTTOM - _TOP)


def _x_axis(axis: Axis, height: float, left: float = _LEFT) -> Iterator[str]:
    bottom = height - _BOTTOM
    last = len(axis.ticks) - 1
    apart = 1 + _too_near(axis, left)
    for number, (value, words) in enumerate(axis.ticks):
        at = _x(axis, value, left)
        # Words at the ends would leave the figure.
        anchor = "start" if at < left + 12 and left < _LEFT else "end" if number == last else "middle"
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        if number % apart == 0:
            yield f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{escape(words)}</text>'
    middle = (left + _WIDTH - _RIGHT) / 2
    title = escape(axis.title)
    yield f'<text class="axis" x="{middle:.1f}" y="{height - 8}" text-anchor="middle">{title}</text>'


def _too_near(axis: Axis, left: float) -> bool:
    """Whether words of neighbouring ticks would touch; those at the end are inside of their tick."""
    places = [_x(axis, value, left) for value, _ in axis.ticks]
    widths = [sum(_LETTER / (1 + (letter in _NARROW)) for letter in words) for _, words in axis.ticks]
    half = [*(width / 2 for width in widths[:-1]), widths[-1]]
    return any(
        behind - before < half[number] + half[number + 1] + _LETTER / 4
        for number, (before, behind) in enumerate(pairwise(places))
    )


def _y_axis(axis: Axis) -> Iterator[str]:
    for value, words in axis.ticks:
        at = _y(axis, value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(words)}</text>'
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text class="axis" x="15" y="{middle:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 15 {middle:.1f})">{escape(axis.title)}</text>'
    )


def _row_words(label: str, words: str, top: float) -> tuple[str, str]:
    room = _ROW_LETTERS - len(words)
    short = label if len(label) <= room else f"{label[: room - 1].rstrip()}…"
    whole = "" if short == label else f"<title>{escape(label)}</title>"
    return (
        f'<text x="{_RIGHT}" y="{top + 11}">{escape(short)}{whole}</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{top + 11}" text-anchor="end">{escape(words)}</text>',
    )


def _whisker(axis: Axis, value: float, halfwidth: float, y: float) -> str:
    low, high = (_inside(axis, end) for end in (value - halfwidth, value + halfwidth))
    ends = "".join(f"M{at:.1f} {y - 5}v10" for at in (low, high))
    return f'<path class="whisker" d="M{low:.1f} {y}H{high:.1f}{ends}"/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    words, pen_is_down = [], False
    for x, y in points:
        if math.isnan(y):
            pen_is_down = False
            continue
        # A line of no length has round ends: a point without neighbours is a dot.
        words.append(f"L{x:.1f} {y:.1f}" if pen_is_down else f"M{x:.1f} {y:.1f}h0")
        pen_is_down = True
    return "".join(words)
