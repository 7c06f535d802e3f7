"""A run for people: tables of at most 80 columns, plain text when nobody's terminal shows them."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blkcrypto.base.units import format_duration
from scenarios.report.answer import answer
from scenarios.results.result import STAGES, DirectionResult, Distribution, RunResult

WIDTH = 80
_SHOWN_PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)
_DIRECTIONS = ("read", "write", "all")


def new_console(*, stderr: bool = False) -> Console:
    """Console of at most ``WIDTH`` columns; colour and progress only on a terminal."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    console.width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    return console


@contextmanager
def trimmed(console: Console) -> Iterator[None]:
    """Print what is printed inside, without the spaces rich fills lines with."""
    with console.capture() as capture:
        yield
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def print_run(console: Console, result: RunResult) -> None:
    """Question, answer, latency, stages, keyslots, CPU, data, what was assumed."""
    with trimmed(console):
        _print_run(console, result)


def _print_run(console: Console, result: RunResult) -> None:
    console.print(Text(result.question, style="bold"))
    console.print(Text(answer(result)))
    setting = f"{result.device}, {result.design}, {result.key_type} keys, {result.engine}, seed {result.seed}"
    console.print(Text(f"[{result.scenario}: {setting}]", style="dim"))
    shown = [name for name in _DIRECTIONS if result.directions[name].total_ios]
    if shown:
        print_table(console, _latency_table(console, result, shown))
        print_table(console, _stage_table(console, result, shown))
    print_table(console, _facts_table(console, result))
    for name, held in result.checks.items():
        if not held:
            console.print(Text(f"CHECK FAILED: {name}", style="bold red"))
    for note in result.notes:
        console.print(Text(f"note: {note}"))
    if result.assumptions:
        title = (
            f"{len(result.assumptions)} figures are assumptions (in full in the device file and in --json)"
        )
        console.print()
        console.print(Text(title, style="bold"))
        for line in result.assumptions:
            # "name = value (assumption: why)"
            short = line.replace(" (assumption: ", ": ", 1).removesuffix(")")
            console.print(Text(f"  {short}", style="dim"), no_wrap=True, overflow="ellipsis")


def new_table(console: Console, title: str, *columns: str) -> Table:
    """Table whose first column is text and the others numbers."""
    frame = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(box=frame, title=title, pad_edge=False, padding=(0, 1))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def print_table(console: Console, table: Table) -> None:
    """``table`` after an empty line, its title as a line of its own: rich would wrap it to a narrow table."""
    title, table.title = table.title, None
    console.print()
    console.print(Text(str(title), style="bold"))
    console.print(table)


def _latency_table(console: Console, result: RunResult, shown: list[str]) -> Table:
    table = new_table(console, "Latency", "", *shown)
    directions = [result.directions[name] for name in shown]

    def row(label: str, values: list[str]) -> None:
        table.add_row(label, *values)

    row("bios", [f"{direction.total_ios:,}" for direction in directions])
    row("I/O per s", [f"{direction.iops:,.0f}" for direction in directions])
    row("MB/s", [f"{direction.bw_bytes / 1e6:,.1f}" for direction in directions])
    row("mean", [_mean(direction.lat_ns) for direction in directions])
    for percentage in _SHOWN_PERCENTILES:
        values = [direction.lat_ns.percentile.get(percentage) for direction in directions]
        row(f"{percentage:g} %", [format_duration(value) if value is not None else "" for value in values])
    row("max", [format_duration(direction.lat_ns.max) for direction in directions])
    return table


def _mean(values: Distribution) -> str:
    if not values.mean_halfwidth95:
        return format_duration(values.mean)
    return f"{format_duration(values.mean)} ± {format_duration(values.mean_halfwidth95)}"


def _stage_table(console: Console, result: RunResult, shown: list[str]) -> Table:
    """Mean time of each stage per bio, and its share of the total; stages nobody entered are left out."""
    columns = [column for name in shown for column in (name, "share")]
    table = new_table(console, "Where the time goes, per bio", "stage", *columns)
    for stage in STAGES:
        if not result.directions["all"].stage_ns.get(stage, 0):
            continue
        cells: list[str] = []
        for name in shown:
            cells += _stage_cells(result.directions[name], stage)
        table.add_row(stage.replace("_", " "), *cells)
    return table


def _stage_cells(direction: DirectionResult, stage: str) -> tuple[str, str]:
    spent, total = direction.stage_ns.get(stage, 0), sum(direction.stage_ns.values())
    share = f"{100 * spent / total:.1f} %" if total else ""
    return format_duration(spent / direction.total_ios), share


def _facts_table(console: Console, result: RunResult) -> Table:
    table = new_table(console, "Counts", "")
    table.show_header = False
    table.add_column("", overflow="fold")
    for label, text in _facts(result):
        table.add_row(label, text)
    return table


def _facts(result: RunResult) -> Iterator[tuple[str, str]]:
    slots, cpu = result.keyslots, result.cpu
    yield "simulated time", format_duration(result.sim_time_ns)
    yield "in flight", f"{result.inflight_mean:.2f} bios on average"
    if slots.count:
        hits = f"{100 * slots.hits / slots.acquires:.1f} % hits" if slots.acquires else "not used"
        yield "keyslots", f"{slots.count} for {slots.distinct_keys} keys: {slots.acquires:,} acquires, {hits}"
        yield (
            "",
            f"{slots.programs:,} programs, {slots.evicts:,} evicts, {slots.waits:,} waits for an idle slot",
        )
        held = 100 * slots.lock_held_ns / result.sim_time_ns if result.sim_time_ns else 0.0
        yield "", f"{slots.lock_waits:,} waits for the lock, which was held {held:.1f} % of the time"
    causes = {
        "submission": cpu.submit_ns,
        "crypto": cpu.crypto_ns,
        "setkey": cpu.setkey_ns,
        "programs": cpu.program_ns,
    }
    used = [f"{cause} {format_duration(ns)}" for cause, ns in causes.items() if ns]
    yield "CPU time", f"{', '.join(used) or 'none'} ({cpu.cpus} CPUs)"
    if result.payload == "verify":
        verdict = f"{result.mismatches} mismatches"
        yield "data", f"{result.verified_bytes:,} bytes read back and compared, {verdict}"
    if result.design != "none":
        overhead = (
            f"{result.design_on_disk_bytes:,} bytes on disk, {result.design_in_memory_bytes:,} in memory"
        )
        yield "key design", f"{result.files} files, {result.design_derivations:,} derivations, {overhead}"
    for name, (count, ns) in sorted(result.key_ops.items()):
        yield name, f"{count:,} times, {format_duration(ns)} in all"
    rows = [f"{count:,} {rule}" for rule, count in sorted(result.skipped.items()) if count]
    yield "rows", f"{result.rows:,}{' (' + ', '.join(rows) + ')' if rows else ''}"
    if result.splits or result.merges:
        yield "requests", f"{result.splits:,} splits, {result.merges:,} merges"
    for status, count in sorted(result.errors.items()):
        yield status, f"{count:,} bios"
