"""Options that several commands have: their types, their completion in a shell, and what they are called."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from blkcrypto.base.units import UnitError, parse_duration_ns, parse_size

if TYPE_CHECKING:
    _IntType = click.ParamType[int]
    _RangeType = click.ParamType[tuple[int, int]]
else:
    _IntType = _RangeType = click.ParamType  # generic only in newer clicks

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


def complete(names: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Shell completion from a function of ``scenarios.load``."""

    def completed(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        from scenarios import load

        found: tuple[str, ...] = getattr(load, names)()
        return [name for name in found if name.startswith(incomplete)]

    return completed


def complete_designs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Key designs."""
    from scenarios.designs import DESIGNS

    return [name for name in DESIGNS if name.startswith(incomplete)]


def complete_formats(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Trace formats."""
    from scenarios.traces.formats import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


def complete_keys(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Keys of a scenario."""
    from scenarios.files.overrides import written_keys

    return [f"{name}=" for name in written_keys() if name.startswith(incomplete)]


scenario_argument = click.argument("scenario", shell_complete=complete("shipped_scenarios"))
set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_keys,
    help="Change a key of the scenario, e.g. keyslots=8.",
)
vary_option = click.option(
    "--vary",
    multiple=True,
    metavar="KEY=V1,V2,...",
    shell_complete=complete_keys,
    help="What to vary; several make a grid.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), help="Seed of every random stream.")

check_option = click.option(
    "--check", is_flag=True, help="Check every invariant as the run goes on; it takes several times as long."
)

compiled_option = click.option(
    "--compiled", is_flag=True, help="Lead plain machines by compiled code: the same result, sooner."
)


def output_options(command: _Command) -> _Command:
    """Options of every command that prints a report."""
    command = click.option("--quiet", "-q", is_flag=True, help="No report and no progress.")(command)
    command = click.option("--html", "html_file", metavar="FILE|-", help="Write a page with figures.")(
        command
    )
    return click.option("--json", "json_file", metavar="FILE|-", help="Write the result as JSON.")(command)


def file_options(command: _Command) -> _Command:
    """Options of commands that make one run."""
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


def with_seed(sets: tuple[str, ...], seed: int | None) -> tuple[str, ...]:
    """``--set`` options, and ``--seed`` as one of them."""
    return sets if seed is None else (*sets, f"run.seed={seed}")
