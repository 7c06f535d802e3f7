"""Key designs side by side, one row each: time, keys, bytes, I/O of their own, rules, attacker's view."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

from blkcrypto.base.units import format_duration
from scenarios.compare import Point
from scenarios.keying.figures import DesignFigures
from scenarios.report.console import new_table, print_table
from scenarios.results.result import RunResult

_LONGEST_NAME: Final = 26

Shown = tuple[str, RunResult, DesignFigures]


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    cell: Callable[[RunResult, DesignFigures], str]


def _bytes(value: float) -> str:
    """A figure of bytes in few characters."""
    for unit in ("", "k", "M"):
        if value < 9_999.5:
            return f"{value:,.0f}{unit}" if value >= 100 or not unit else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:,.1f}G"


def _count(value: float) -> str:
    """A count, in thousands or millions where it is large."""
    if value < 99_999.5:
        return f"{value:,.0f}"
    return f"{value / 1e3:,.0f} k" if value < 9.9995e6 else f"{value / 1e6:,.1f} M"


def _hits(result: RunResult) -> str:
    slots = result.keyslots
    return f"{100 * slots.hits / slots.acquires:.1f} %" if slots.acquires else "-"


def _cpu(result: RunResult) -> str:
    cpu = result.cpu
    total = cpu.crypto_ns + cpu.setkey_ns + cpu.submit_ns + cpu.program_ns
    return format_duration(total / max(1, result.bios))


TABLES: Final[tuple[tuple[str, tuple[_Column, ...]], ...]] = (
    (
        "Time",
        (
            _Column("path", lambda result, _: result.engine),
            _Column("mean", lambda result, _: format_duration(result.directions["all"].lat_ns.mean)),
            _Column("99 %", lambda result, _: _percentile(result, 99.0)),
            _Column("MB/s", lambda result, _: f"{result.directions['all'].bw_bytes / 1e6:,.0f}"),
            _Column("CPU/bio", lambda result, _: _cpu(result)),
            _Column("slot hits", lambda result, _: _hits(result)),
        ),
    ),
    (
        "Keys: derived, set up when files are opened and in I/O, in memory; rules of allocation broken",
        (
            _Column("prog./I/O", lambda _, figures: f"{figures.programs_per_io:.3f}"),
            _Column("derived", lambda _, figures: _count(figures.derivations)),
            _Column("at open", lambda _, figures: _count(figures.setups_at_open)),
            _Column("in I/O", lambda _, figures: _count(figures.setups_in_io)),
            _Column("live", lambda _, figures: _count(figures.keys_live)),
            _Column("broken", lambda _, figures: _count(sum(figures.violations.values()))),
        ),
    ),
    (
        "Bytes that the design adds",
        (
            _Column("disk/file", lambda _, figures: _bytes(figures.on_disk_per_file)),
            _Column("disk/GiB", lambda _, figures: _bytes(figures.on_disk_per_gib)),
            _Column("mem/file", lambda _, figures: _bytes(figures.in_memory_per_file)),
            _Column("mem/GiB", lambda _, figures: _bytes(figures.in_memory_per_gib)),
            _Column("own I/Os", lambda _, figures: _count(figures.metadata_reads + figures.metadata_writes)),
            _Column("written", lambda _, figures: _times(figures.write_amplification)),
        ),
    ),
    (
        "What two images show: eight units of one content, then two rewrites",
        (
            _Column("equal units", lambda _, figures: _seen(figures, "equal_units")),
            _Column("same again", lambda _, figures: _again(figures)),
            _Column("parts kept", lambda _, figures: _seen(figures, "parts_kept")),
            _Column("IVs reused", lambda _, figures: _seen(figures, "reused_ivs")),
        ),
    ),
)


def print_designs(console: Console, points: Sequence[Point], label: Callable[[Point], str]) -> None:
    """Tables with a row for each of ``points``; then which rules were broken, by whom."""
    shown = [
        (label(point), point.result, point.result.figures)
        for point in points
        if point.result is not None and point.result.figures is not None
    ]
    for title, columns in TABLES:
        table = new_table(console, title, "", *(column.head for column in columns))
        table.padding = (0, 1, 0, 0)
        table.columns[0].max_width = _LONGEST_NAME
        table.columns[0].min_width = min(_LONGEST_NAME, max(len(name) for name, _, _ in shown))
        for name, result, figures in shown:
            table.add_row(name, *(column.cell(result, figures) for column in columns))
        print_table(console, table)
    _print_rules(console, shown)


def _print_rules(console: Console, shown: Sequence[Shown]) -> None:
    """Each rule once, with the designs that break it."""
    broken: dict[str, list[str]] = {}
    for name, _, figures in shown:
        for text, count in figures.violations.items():
            broken.setdefault(text, []).append(f"{name} {_count(count)}")
    if not broken:
        return
    console.print()
    console.print(Text("Rules broken", style="bold"))
    for text, names in broken.items():
        console.print(Text(f"{text}: {', '.join(names)}"))


def _percentile(result: RunResult, percentage: float) -> str:
    value = result.directions["all"].lat_ns.percentile.get(percentage)
    return "" if value is None else format_duration(value)


def _times(value: float) -> str:
    return f"{value:.2f}x" if value else "-"


def _seen(figures: DesignFigures, name: str) -> str:
    return str(figures.seen[name]) if figures.seen else "-"


def _again(figures: DesignFigures) -> str:
    if not figures.seen:
        return "-"
    return "shows" if figures.seen["equal_rewrites"] else "hidden"
