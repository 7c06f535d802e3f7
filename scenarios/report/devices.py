"""Devices for people: the main figures of all, or every figure of one with its source."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from blkcrypto.base.units import format_duration
from hwmodel.device import Device
from scenarios.files.figures import shown, sizes
from scenarios.listing import is_plain
from scenarios.report.console import new_table, print_table, trimmed


def print_devices(console: Console, devices: Sequence[Device]) -> None:
    """A line about each, then what differs most between them."""
    width = max(len(device.name) for device in devices)
    with trimmed(console):
        for device in devices:
            console.print(Text(f"{device.name:{width}}  {device.summary}"), soft_wrap=True)
        columns = ("tags", "keyslots", "DUN bits", "units", "program raw", "wrapped")
        table = new_table(console, "Main figures; `list devices NAME` has all, with sources", "", *columns)
        table.columns[0].no_wrap = True
        for device in devices:
            table.add_row(device.name, str(device.controller.tags.value), *_keyslots(device))
        print_table(console, table)


def _keyslots(device: Device) -> Iterator[str]:
    slots = device.keyslots
    if slots is None:
        yield from ("", "", "", "-", "-")
        return
    yield str(slots.count.value) if slots.count.value else "none"
    yield str(8 * slots.dun_bytes.value)
    yield sizes(slots.data_unit_sizes.value)
    times = {"raw": slots.program_raw_ns.value, "hw-wrapped": slots.program_hw_wrapped_ns.value}
    for kind, ns in times.items():
        drains = " + drain" if slots.drains_io else ""
        yield f"{format_duration(ns)}{drains}" if kind in slots.key_types else "-"


def print_device(console: Console, device: Device) -> None:
    """Every figure with its unit and its source, by section; the assumptions are counted."""
    figures = list(device.figures())
    assumed = sum(figure.is_assumption for _, figure in figures)
    with trimmed(console):
        console.print(Text(device.summary, style="bold"))
        console.print(Text(f"{len(figures)} figures, {assumed} of them assumptions"))
        choices = [(name, choice) for name, choice in device.choices() if is_plain(choice)]
        console.print(Text(", ".join(f"{name} = {_word(choice)}" for name, choice in choices)))
        section = ""
        for name, figure in figures:
            part, _, field = name.partition(".")
            if part != section:
                console.print(Text(f"\n[{part}]", style="bold"))
                section = part
            console.print(Text(f"{field} = {shown(name, figure.value)}"))
            console.print(Text(f"    {figure.source}", style="dim"), soft_wrap=True)


def _word(choice: object) -> str:
    if isinstance(choice, tuple):
        return " or ".join(map(str, choice))
    return str(choice).lower() if isinstance(choice, bool) else str(choice)
