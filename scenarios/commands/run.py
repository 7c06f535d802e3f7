"""``blkcrypto run`` and ``blkcrypto replay``: parse, call, print."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, NamedTuple

import click

from scenarios.commands.options import (
    Duration,
    Size,
    TimeRange,
    check_option,
    compiled_option,
    complete,
    complete_designs,
    complete_formats,
    file_options,
    output_options,
    scenario_argument,
    seed_option,
    set_option,
    with_seed,
)
from scenarios.commands.status import status_of

if TYPE_CHECKING:
    from typing import Unpack

    from scenarios.load import ReplayOptions
    from scenarios.schema import Scenario


class _Chosen(NamedTuple):
    """How one run goes, and where its results go."""

    check: bool
    compiled: bool
    parquet_file: str | None
    timeline_file: str | None
    timeline_bios: str | None
    json_file: str | None
    html_file: str | None
    quiet: bool


def _one_run(command: Callable[..., int]) -> Callable[..., int]:
    """The options of commands that make one run, which gets them as one argument ``chosen``."""

    @wraps(command)
    def chosen_together(**values: object) -> int:
        chosen = _Chosen._make(values.pop(name) for name in _Chosen._fields)
        return command(chosen=chosen, **values)

    return check_option(compiled_option(file_options(output_options(chosen_together))))


@click.command("run")
@scenario_argument
@set_option
@seed_option
@_one_run
def run_command(scenario: str, sets: tuple[str, ...], seed: int | None, chosen: _Chosen) -> int:
    """Run a scenario.

    SCENARIO is the name of a shipped one, or a TOML file.
    """
    from scenarios.load import load_scenario

    return _run(load_scenario(scenario, sets=with_seed(sets, seed)), chosen)


@click.command("replay")
@click.argument("trace")
@click.option(
    "--format",
    metavar="F",
    shell_complete=complete_formats,
    help="Format of the trace; detected when left out.",
)
@click.option("--columns", metavar="MAP", help="Column map of a CSV trace.")
@click.option("--volume", metavar="V", help="Keep one device or volume of the trace.")
@click.option("--skip-bad-lines", is_flag=True, help="Count damaged lines and go on.")
@click.option(
    "--device", metavar="D", shell_complete=complete("shipped_devices"), help="Device name or file."
)
@click.option("--design", metavar="X", shell_complete=complete_designs, help="Key design.")
@click.option("--keys", type=click.Choice(["raw", "hw-wrapped"]), help="Type of the master keys.")
@click.option(
    "--engine", type=click.Choice(["inline", "fallback", "fs-layer"]), help="Where data is encrypted."
)
@click.option("--keyslots", type=click.IntRange(min=0), metavar="N", help="Keyslots of the device.")
@click.option("--program-time", type=Duration(), help="Time of programming a keyslot, e.g. 80us.")
@click.option("--data-unit-size", type=Size(), help="Data unit size, e.g. 4k.")
@click.option("--file-size", type=Size(), help="Size of the files that addresses are taken to belong to.")
@click.option("--queue-depth", type=click.IntRange(min=1), metavar="N", help="Bios outstanding at once.")
@click.option("--payload", type=click.Choice(["none", "verify"]), help="Really encrypt and compare.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N rows.")
@click.option(
    "--time-range", type=TimeRange(), metavar="A..B", help="Only this part of the trace, e.g. 10s..60s."
)
@click.option(
    "--sort-window", type=click.IntRange(min=0), metavar="N", help="Sort by time within N rows; 0 for none."
)
@click.option(
    "--sample-files",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Only this share of the files.",
)
@click.option(
    "--pace", type=click.Choice(["recorded", "asap"]), help="Recorded times, or as fast as it goes."
)
@click.option(
    "--media",
    type=click.Choice(["model", "recorded"]),
    help="Times at the device: its model's, or the recorded ones with crypto on top.",
)
@click.option("--time-scale", type=float, metavar="X", help="Multiply recorded gaps by X.")
@click.option("--warmup", type=click.IntRange(min=0), metavar="N", help="Leave the first N bios out.")
@set_option
@seed_option
@_one_run
def replay_command(
    trace: str, sets: tuple[str, ...], chosen: _Chosen, **options: "Unpack[ReplayOptions]"
) -> int:
    """Replay a trace through the encrypted stack.

    TRACE is a file, - for standard input, or builtin:NAME for one shipped with the package.
    """
    from scenarios.load import replay_scenario

    return _run(replay_scenario(trace, sets=sets, **options), chosen)


def _run(scenario: "Scenario", chosen: _Chosen) -> int:
    """Run, report, and say whether all checks held."""
    from contextlib import ExitStack
    from dataclasses import replace

    from hwmodel.observer import Observer, Observers
    from scenarios.report.files import STDOUT, check_targets, write_text
    from scenarios.report.json import run_json
    from scenarios.report.progress import progress
    from scenarios.results.observed import Observed
    from scenarios.results.records import ParquetRecords
    from scenarios.run import run

    check_targets(chosen.json_file, chosen.html_file, chosen.parquet_file, chosen.timeline_file)
    observed = Observed.of(scenario)
    sinks = list(observed.sinks) if chosen.html_file is not None else []
    observers: list[Observer] = []
    if chosen.html_file is not None and observed.slot_use is not None:
        observers.append(observed.slot_use)
    with ExitStack() as stack:
        if chosen.parquet_file is not None:
            sinks.append(stack.enter_context(ParquetRecords(chosen.parquet_file)))
        timeline = None
        if chosen.timeline_file is not None or chosen.timeline_bios is not None:
            from scenarios.timeline.recorder import open_timeline

            timeline = open_timeline(stack, chosen.timeline_file, scenario, chosen.timeline_bios)
            observers.append(timeline)
        total = scenario.workload.limit or scenario.workload.ios or None
        bar = stack.enter_context(progress("rows", total, quiet=chosen.quiet))
        result = run(
            scenario,
            progress=bar.advance,
            sinks=sinks,
            observer=Observers(*observers) if len(observers) > 1 else next(iter(observers), None),
            check=chosen.check,
            compiled=chosen.compiled,
            digest=chosen.json_file is not None,  # which alone shows it
        )
        if timeline is not None:
            timeline.finish()
            result = replace(result, notes=(*result.notes, *timeline.notes))
    if chosen.json_file is not None:
        write_text(chosen.json_file, run_json(result))
    if chosen.html_file is not None:
        from scenarios.report.html import run_page

        write_text(chosen.html_file, run_page(scenario, result, observed))
    if not chosen.quiet and STDOUT not in (chosen.json_file, chosen.html_file):
        from scenarios.report.console import new_console, print_run

        print_run(new_console(), result)
    return status_of([result])
