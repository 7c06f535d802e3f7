"""The ``blkcrypto`` command: parse, call, print; no logic.

Exit status: 0 done; 1 a check failed (data mismatch, invariant, self-test); 2 the request is wrong; 3 points
of a sweep failed; 4 ``--check`` ended a run whose invariant broke; 130 interrupted; 143 and 129 ended by
SIGTERM and SIGHUP.  Only click is imported here: everything else is imported by the command that needs it, so
that ``--help`` and shell completion are quick.
"""

import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

import blkcrypto
from blkcrypto.base.errors import BadInput, BlkCryptoError
from blkcrypto.base.units import UnitError, parse_duration_ns, parse_size
from hwmodel.invariants import InvariantBroken
from scenarios.commands.calibrate import calibrate
from scenarios.commands.convert import convert
from scenarios.commands.curve import curve_command
from scenarios.commands.explain import explain
from scenarios.commands.faults import faults_command
from scenarios.commands.image import image
from scenarios.commands.init import init
from scenarios.commands.key import key
from scenarios.commands.list import list_command
from scenarios.commands.serve import serve
from scenarios.commands.sweep import sweep_command
from scenarios.commands.threat import threat
from scenarios.ending import Terminated, drop_output, flush_output, terminated_by_signals, what_failed

if TYPE_CHECKING:
    from typing import Unpack

    from scenarios.load import ReplayOptions
    from scenarios.results.result import RunResult
    from scenarios.schema import Scenario

    _IntType = click.ParamType[int]
    _RangeType = click.ParamType[tuple[int, int]]
else:
    _IntType = _RangeType = click.ParamType  # generic only in newer clicks

# Figures of ``scenarios.report.design_plot``, which is imported by who draws only.
PLOTTED = (
    "stages", "latency", "throughput", "cpu", "programs", "disk", "memory", "own-ios", "written",
)  # fmt: skip
DONE, CHECK_FAILED, BAD_REQUEST, INVARIANT_BROKEN, INTERRUPTED = 0, 1, 2, 4, 130
# Newer clicks raise it for a group without a command, older ones print the help themselves.
_NO_ARGUMENTS: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
_TOO_MANY = re.compile(r"(Got unexpected extra arguments?) \(.*\)")
_Command = TypeVar("_Command", bound=Callable[..., object])


class Size(_IntType):
    """Bytes, as fio writes them: ``4096``, ``4k``, ``1M``."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes of the option's text."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except UnitError as error:
            self.fail(str(error), param, ctx)


class Duration(_IntType):
    """Nanoseconds, written with a unit: ``80us``, ``1.5ms``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Nanoseconds of the option's text."""
        if isinstance(value, int):
            return value
        try:
            return parse_duration_ns(str(value))
        except UnitError as error:
            self.fail(str(error), param, ctx)


class TimeRange(_RangeType):
    """Begin and end in ns: ``10s..60s``, ``10s..`` or ``..60s``; an end of 0 is the trace's."""

    name = "range"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Nanoseconds of the option's text."""
        begin, dots, end = str(value).partition("..")
        if not dots:
            self.fail(f"write BEGIN..END, as in 10s..60s, not {value!r}", param, ctx)
        times = (Duration().convert(text, param, ctx) if text else 0 for text in (begin, end))
        return next(times), next(times)


class _NobodyReads(Exception):
    """A broken pipe, in a form that click does not turn into an exit status of its own."""


class _Group(click.Group):
    """A group that names the nearest command when there is none of the given name."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _NobodyReads from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it is one of {', '.join(known)}"
            ctx.fail(f"no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the console script; the exit status."""
    try:
        with terminated_by_signals():
            status = cli.main(args=args, prog_name="blkcrypto", standalone_mode=False)
            flush_output()
    except _NO_ARGUMENTS as error:
        click.echo(error.format_message(), err=True)  # the help of a group that was given no command
        return BAD_REQUEST
    except click.NoSuchOption as error:
        return _failed(" ".join(error.format_message().split()) + _options_hint(error.ctx))
    except click.UsageError as error:
        return _failed(_without_words(" ".join(error.format_message().split())) + _usage_hint(error))
    except click.ClickException as error:
        return _failed(" ".join(error.format_message().split()))
    except (BadInput, BlkCryptoError) as error:
        return _failed(str(error))
    except InvariantBroken as broken:
        _failed(str(broken))
        return INVARIANT_BROKEN
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except (BrokenPipeError, _NobodyReads):
        drop_output()
        return DONE
    except Terminated as ended:
        return ended.status
    except MemoryError:
        return _failed("not enough memory: fewer I/Os, files or keys need less")
    except OSError as error:
        return _failed(what_failed(error))
    return status if isinstance(status, int) else DONE


def _without_words(message: str) -> str:
    """``message`` without the words that were too many: one of them may be a key, and errors get logged."""
    return _TOO_MANY.sub(r"\1", message).replace("a valid integer range", "a whole number")


def _usage_hint(error: click.UsageError) -> str:
    """How the command is called, where arguments are missing or too many."""
    ctx = error.ctx
    too_many = _TOO_MANY.match(error.message)
    if ctx is None or not (too_many or isinstance(error, click.MissingParameter)):
        return ""
    return f" Write `{' '.join(ctx.get_usage().removeprefix('Usage: ').split())}`"


def _options_hint(ctx: click.Context | None) -> str:
    """Where to look instead of guessing options, and that a scenario's keys are not options."""
    if ctx is None:
        return ""
    takes_keys = any(parameter.name == "sets" for parameter in ctx.command.params)
    keys = "; keys of the scenario are changed with --set KEY=VALUE" if takes_keys else ""
    return f" `{ctx.command_path} --help` lists the options{keys}"


def _failed(message: str) -> int:
    with suppress(OSError):
        click.echo(f"blkcrypto: {message}", err=True)
    return BAD_REQUEST


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(blkcrypto.__version__, prog_name="blkcrypto")
def cli() -> None:
    """Emulate Linux's blk-crypto inline encryption: what keys, keyslots and engines cost."""


def _complete(names: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Shell completion from a function of ``scenarios.load``."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        from scenarios import load

        found: tuple[str, ...] = getattr(load, names)()
        return [name for name in found if name.startswith(incomplete)]

    return complete


def _complete_designs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from scenarios.designs import DESIGNS

    return [name for name in DESIGNS if name.startswith(incomplete)]


def _complete_formats(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from scenarios.traces.formats import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


def _complete_keys(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from scenarios.files.overrides import written_keys

    return [f"{name}=" for name in written_keys() if name.startswith(incomplete)]


_scenario_argument = click.argument("scenario", shell_complete=_complete("shipped_scenarios"))
_set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=_complete_keys,
    help="Change a key of the scenario, e.g. keyslots=8.",
)
_seed_option = click.option("--seed", type=click.IntRange(min=0), help="Seed of every random stream.")

_check_option = click.option(
    "--check", is_flag=True, help="Check every invariant as the run goes on; it takes several times as long."
)


def _output_options(command: _Command) -> _Command:
    command = click.option("--quiet", "-q", is_flag=True, help="No report and no progress.")(command)
    command = click.option("--html", "html_file", metavar="FILE|-", help="Write a page with figures.")(
        command
    )
    return click.option("--json", "json_file", metavar="FILE|-", help="Write the result as JSON.")(command)


def _file_options(command: _Command) -> _Command:
    command = click.option(
        "--timeline-bios",
        metavar="N|FIRST:LAST",
        help="Bios in the timeline, numbered from 0.  [default: the first 20000]",
    )(command)
    command = click.option(
        "--timeline",
        "timeline_file",
        metavar="FILE",
        help="Write a timeline for ui.perfetto.dev; .gz is packed.",
    )(command)
    return click.option(
        "--parquet", "parquet_file", metavar="FILE", help="Keep every bio's record, for `blkcrypto explain`."
    )(command)


@cli.command("run")
@_scenario_argument
@_set_option
@_seed_option
@_check_option
@_file_options
@_output_options
def run_command(
    scenario: str,
    sets: tuple[str, ...],
    seed: int | None,
    check: bool,
    json_file: str | None,
    html_file: str | None,
    parquet_file: str | None,
    timeline_file: str | None,
    timeline_bios: str | None,
    quiet: bool,
) -> int:
    """Run a scenario.

    SCENARIO is the name of a shipped one, or a TOML file.
    """
    from scenarios.load import load_scenario

    chosen = load_scenario(scenario, sets=_with_seed(sets, seed))
    files = _Files(json_file, html_file, parquet_file, timeline_file, timeline_bios)
    return _run(chosen, files, quiet=quiet, check=check)


@cli.command("replay")
@click.argument("trace")
@click.option(
    "--format",
    metavar="F",
    shell_complete=_complete_formats,
    help="Format of the trace; detected when left out.",
)
@click.option("--columns", metavar="MAP", help="Column map of a CSV trace.")
@click.option("--volume", metavar="V", help="Keep one device or volume of the trace.")
@click.option("--skip-bad-lines", is_flag=True, help="Count damaged lines and go on.")
@click.option(
    "--device", metavar="D", shell_complete=_complete("shipped_devices"), help="Device name or file."
)
@click.option("--design", metavar="X", shell_complete=_complete_designs, help="Key design.")
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
@_set_option
@_seed_option
@_check_option
@_file_options
@_output_options
def replay_command(
    trace: str,
    sets: tuple[str, ...],
    check: bool,
    json_file: str | None,
    html_file: str | None,
    parquet_file: str | None,
    timeline_file: str | None,
    timeline_bios: str | None,
    quiet: bool,
    **options: "Unpack[ReplayOptions]",
) -> int:
    """Replay a trace through the encrypted stack.

    TRACE is a file, - for standard input, or builtin:NAME for one shipped with the package.
    """
    from scenarios.load import replay_scenario

    chosen = replay_scenario(trace, sets=sets, **options)
    files = _Files(json_file, html_file, parquet_file, timeline_file, timeline_bios)
    return _run(chosen, files, quiet=quiet, check=check)


@cli.command("compare")
@_scenario_argument
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=V1,V2,...",
    shell_complete=_complete_keys,
    help="What to vary; several make a grid.",
)
@click.option("--plot", metavar="FILE", help="Draw a figure of every run as SVG: where the time goes.")
@click.option("--plot-of", type=click.Choice(PLOTTED), default="stages", help="What to draw instead.")
@_set_option
@_seed_option
@_check_option
@_output_options
def compare_command(
    scenario: str,
    vary: tuple[str, ...],
    plot: str | None,
    plot_of: str,
    sets: tuple[str, ...],
    seed: int | None,
    check: bool,
    json_file: str | None,
    html_file: str | None,
    quiet: bool,
) -> int:
    """Run a scenario with varied keys, side by side.

    SCENARIO is the name of a shipped one, or a TOML file.  Without --vary its own [vary] table counts.
    """
    from scenarios.compare import parse_vary, run_grid
    from scenarios.report.compare import print_compare
    from scenarios.report.console import new_console
    from scenarios.report.files import STDOUT, check_targets, write_text
    from scenarios.report.json import compare_json
    from scenarios.report.progress import new_progress

    check_targets(json_file, html_file)

    with new_progress(quiet=quiet) as progress:
        task = progress.add_task("", total=None)

        def started(number: int, count: int, labels: Mapping[str, str]) -> None:
            setting = ", ".join(f"{key}={value}" for key, value in labels.items())
            progress.update(task, completed=number, total=count, description=setting)

        points = run_grid(
            scenario, parse_vary(vary), sets=_with_seed(sets, seed), started=started, check=check
        )
    if json_file is not None:
        write_text(json_file, compare_json(points))
    if html_file is not None:
        from scenarios.report.html_compare import compare_page

        write_text(html_file, compare_page(points))
    if plot is not None:
        from scenarios.report.design_plot import plot_points

        plot_points(points, plot_of, plot)
    if not quiet and STDOUT not in (json_file, html_file):
        print_compare(new_console(), points)
    return _status([point.result for point in points if point.result is not None])


@cli.command("selftest")
@click.option("--golden", metavar="DIR", required=True, help="Directory of golden data.")
@click.option("--quiet", "-q", is_flag=True, help="Only the counts.")
def selftest_command(golden: str, quiet: bool) -> int:
    """Recompute what real kernels wrote, and compare byte for byte."""
    from pathlib import Path

    from blkcrypto.fs.selftest import run_golden

    report = run_golden(Path(golden))
    if not quiet:
        for mismatch in report.mismatches:
            click.echo(f"MISMATCH {mismatch}")
        for reason, count in sorted(report.skipped.items()):
            click.echo(f"skipped {count}: {reason}")
    click.echo(report.summary())
    return DONE if report.passed else CHECK_FAILED


cli.add_command(calibrate)
cli.add_command(convert)
cli.add_command(explain)
cli.add_command(init)
cli.add_command(curve_command)
cli.add_command(faults_command)
cli.add_command(image)
cli.add_command(key)
cli.add_command(list_command)
cli.add_command(serve)
cli.add_command(sweep_command)
cli.add_command(threat)


def _with_seed(sets: tuple[str, ...], seed: int | None) -> tuple[str, ...]:
    return sets if seed is None else (*sets, f"run.seed={seed}")


class _Files(NamedTuple):
    """Where a run's results go."""

    json: str | None
    html: str | None
    parquet: str | None
    timeline: str | None
    timeline_bios: str | None


def _run(scenario: "Scenario", files: _Files, *, quiet: bool, check: bool) -> int:
    """Run, report, and say whether all checks held."""
    from contextlib import ExitStack
    from dataclasses import replace

    from hwmodel.observer import Observer, Observers
    from scenarios.report.console import new_console, print_run
    from scenarios.report.files import STDOUT, check_targets, write_text
    from scenarios.report.html import run_page
    from scenarios.report.json import run_json
    from scenarios.report.progress import new_progress
    from scenarios.results.observed import Observed
    from scenarios.results.records import ParquetRecords
    from scenarios.run import run
    from scenarios.timeline.recorder import open_timeline

    check_targets(files.json, files.html, files.parquet, files.timeline)
    observed = Observed.of(scenario)
    sinks = list(observed.sinks) if files.html is not None else []
    observers: list[Observer] = []
    if files.html is not None and observed.slot_use is not None:
        observers.append(observed.slot_use)
    with ExitStack() as stack:
        if files.parquet is not None:
            sinks.append(stack.enter_context(ParquetRecords(files.parquet)))
        timeline = open_timeline(stack, files.timeline, scenario, files.timeline_bios)
        if timeline is not None:
            observers.append(timeline)
        progress = stack.enter_context(new_progress(quiet=quiet))
        task = progress.add_task("rows", total=scenario.workload.limit or scenario.workload.ios or None)
        result = run(
            scenario,
            progress=lambda rows: progress.advance(task, rows),
            sinks=sinks,
            observer=Observers(*observers) if len(observers) > 1 else next(iter(observers), None),
            check=check,
        )
        if timeline is not None:
            timeline.finish()
            result = replace(result, notes=(*result.notes, *timeline.notes))
    if files.json is not None:
        write_text(files.json, run_json(result))
    if files.html is not None:
        write_text(files.html, run_page(scenario, result, observed))
    if not quiet and STDOUT not in (files.json, files.html):
        print_run(new_console(), result)
    return _status([result])


def _status(results: "Sequence[RunResult]") -> int:
    failed = any(result.mismatches or not all(result.checks.values()) for result in results)
    return CHECK_FAILED if failed else DONE


if __name__ == "__main__":
    sys.exit(main())
