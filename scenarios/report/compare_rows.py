"""Many runs, one row each: what side by side no longer fits a screen."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from blkcrypto.base.units import format_duration
from scenarios.compare import Point
from scenarios.files.overrides import SHORTCUTS
from scenarios.report.console import new_table, print_table

_FIGURES = ("mean latency", "99 %", "I/O/s", "CPU/bio")


def print_rows(console: Console, points: Sequence[Point]) -> None:
    """A row for each point in the order of the grid; under the table, why some are refused."""
    keys = list(points[0].labels)
    table = new_table(console, "Every run, means with their 95 % interval", *map(short_name, keys), *_FIGURES)
    table.padding = (0, 1, 0, 0)
    reasons: list[str] = []
    for number, point in enumerate(points):
        if number and _group(point) != _group(points[number - 1]):
            table.add_section()
        table.add_row(*point.labels.values(), *_cells(point, reasons))
    print_table(console, table)
    for number, reason in enumerate(reasons, 1):
        console.print(Text(f"refused ({number}): {reason}"))


def short_name(key: str) -> str:
    """A key's short form, or its last part."""
    names = {full: short for short, full in SHORTCUTS.items()}
    return names.get(key, key.rpartition(".")[2])


def _group(point: Point) -> str:
    """What varies slowest."""
    return next(iter(point.labels.values()))


def _cells(point: Point, reasons: list[str]) -> tuple[str, ...]:
    if point.result is None:
        # Two devices refuse for the same reason, whatever they are called.
        reason = point.refused.replace(f"device {point.labels.get('device')}", "the device")
        if reason not in reasons:
            reasons.append(reason)
        return (f"refused ({reasons.index(reason) + 1})", "", "", "")
    every = point.result.directions["all"]
    mean, halfwidth = every.lat_ns.mean, every.lat_ns.mean_halfwidth95
    percentile = every.lat_ns.percentile.get(99.0)
    return (
        f"{format_duration(mean)} ± {format_duration(halfwidth)}",
        "" if percentile is None else format_duration(percentile),
        f"{every.iops:,.0f}",
        format_duration(point.result.cpu.total_ns / max(1, point.result.bios)),
    )
