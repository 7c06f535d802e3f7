"""Pieces of a page: tables that sort, figures with their numbers, and the page around them.

Everything that comes from outside is escaped here; a page loads nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Final

from blkcrypto.base.units import format_duration

_LANGUAGE: Final = "en"


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell: what is shown, and what it is sorted by (the text itself when None)."""

    text: str
    value: float | None = None


Cells = Sequence[Cell | str]


def text(words: str) -> str:
    """Plain text, safe inside an element."""
    return escape(words)


def count(value: float) -> Cell:
    """A whole number."""
    return Cell(f"{value:,.0f}", value)


def duration(ns: float) -> Cell:
    """A time."""
    return Cell(format_duration(ns), ns)


def share(part: float, whole: float) -> Cell:
    """A part of a whole, in percent; empty without a whole."""
    return Cell(f"{100 * part / whole:.1f} %", part / whole) if whole else Cell("")


def table(columns: Sequence[str], rows: Iterable[Cells], *, words: bool = False) -> str:
    """A table that sorts by the column whose head is pressed; the first column names its row.

    Without any name of a column there is no head.  ``words``: cells are sentences, which may break, rather
    than numbers.
    """
    kind = "sorts words" if words else "sorts"
    names = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    head = f"<thead><tr>{names}</tr></thead>\n" if any(columns) else ""
    body = "\n".join(f"<tr>{_row(cells)}</tr>" for cells in rows)
    return f'<div class="wide" tabindex="0"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'


def _row(cells: Cells) -> str:
    first, *others = cells
    return _cell("th", first, ' scope="row"') + "".join(_cell("td", cell) for cell in others)


def _cell(tag: str, cell: Cell | str, attributes: str = "") -> str:
    cell = Cell(cell) if isinstance(cell, str) else cell
    if cell.value is not None:
        attributes += f' data-value="{cell.value:.12g}"'
    return f"<{tag}{attributes}>{escape(cell.text)}</{tag}>"


def figure(
    caption: str, svg: str, *, legend: Sequence[tuple[str, str]] = (), note: str = "", numbers: str = ""
) -> str:
    """A figure with its legend (name, colour) above, a note and its numbers, folded away, below."""
    items = "".join(
        f'<li><span class="swatch" style="background:{colour}"></span>{escape(name)}</li>'
        for name, colour in legend
    )
    key = f'<ul class="legend">{items}</ul>' if items else ""
    more = f"<details><summary>Numbers</summary>{numbers}</details>" if numbers else ""
    said = paragraph(note, "note") if note else ""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{key}{svg}{said}{more}</figure>"


def section(title: str, *parts: str) -> str:
    """A part of the page under a heading; empty when it has nothing to say."""
    inside = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{inside}\n</section>" if inside else ""


def figures(*parts: str) -> str:
    """Figures side by side where there is room."""
    inside = "\n".join(part for part in parts if part)
    return f'<div class="figures">{inside}</div>' if inside else ""


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph of plain text; ``kind`` is a class of the style sheet."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(words)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """A list of lines; empty without any."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def headline(facts: Iterable[tuple[str, str]]) -> str:
    """A few figures in large print."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="headline">{items}</dl>'


def folded(title: str, inside: str) -> str:
    """Something long behind its title."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>" if inside else ""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page, style and script inside."""
    body = "\n".join(part for part in parts if part)
    return (
        f'<!DOCTYPE html>\n<html lang="{_LANGUAGE}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_read('style.css')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n<script>\n{_read('script.js')}</script>\n</body>\n</html>\n"
    )


def _read(name: str) -> str:
    return resources.files("scenarios.report").joinpath("page", name).read_text(encoding="utf-8")
