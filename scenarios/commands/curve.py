"""``blkcrypto curve``: parse, call, print."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from blkcrypto.base.errors import BadInput
from scenarios.commands.options import complete_designs, set_option

if TYPE_CHECKING:
    from scenarios.curves.curve import Curve
    from scenarios.schema import Scenario


@click.command("curve", short_help="How often a keyslot is programmed, for each number of them.")
@click.argument("trace_or_scenario", metavar="TRACE|SCENARIO")
@click.option(
    "--design",
    "designs",
    multiple=True,
    metavar="X",
    shell_complete=complete_designs,
    help="Key design; several give a curve each.",
)
@click.option(
    "--max-keyslots", type=int, default=64, show_default=True, metavar="N", help="All numbers from 1 to N."
)
@click.option("--keyslots", type=int, metavar="N", help="Only this number, which is quicker.")
@click.option(
    "--sample",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Count only this share of a huge trace, and state the error.",
)
@click.option("--no-optimal", is_flag=True, help="Leave out what the best choice of victims would reach.")
@set_option
@click.option("--json", "json_file", metavar="FILE|-", help="Write the curves as JSON.")
@click.option("--html", "html_file", metavar="FILE|-", help="Write a page with figures.")
@click.option("--plot", "plot_file", metavar="FILE|-", help="Draw the curves as SVG.")
@click.option("--quiet", "-q", is_flag=True, help="No table and no progress.")
def curve_command(
    trace_or_scenario: str,
    designs: tuple[str, ...],
    max_keyslots: int,
    keyslots: int | None,
    sample: float | None,
    no_optimal: bool,
    sets: tuple[str, ...],
    json_file: str | None,
    html_file: str | None,
    plot_file: str | None,
    quiet: bool,
) -> None:
    """How often a keyslot is programmed, for every number of keyslots at once.

    TRACE is a file, - for standard input or builtin:NAME; SCENARIO the name of a shipped one or a TOML file.
    """
    from scenarios.curves.curve import curve_scenario
    from scenarios.report.console import new_console
    from scenarios.report.curve import curve_json, plot_curves, print_curves
    from scenarios.report.files import STDOUT, check_targets, write_text
    from scenarios.report.progress import progress

    if trace_or_scenario == STDOUT and len(designs) > 1:
        raise BadInput("standard input is read once: name one design, or a file", where="--design")
    check_targets(json_file, html_file, plot_file)
    chosen = [curve_scenario(trace_or_scenario, design=name, sets=sets) for name in designs or (None,)]
    with progress("rows", quiet=quiet) as bar:
        curves = [_curve(one, max_keyslots, keyslots, sample, not no_optimal, bar.advance) for one in chosen]
    if json_file is not None:
        write_text(json_file, curve_json(curves))
    if html_file is not None:
        from scenarios.report.html_curve import curve_page

        write_text(html_file, curve_page(curves, chosen))
    if plot_file is not None:
        plot_curves(curves, plot_file)
    if not quiet and STDOUT not in (json_file, html_file, plot_file):
        print_curves(new_console(), curves)


def _curve(
    scenario: "Scenario",
    max_keyslots: int,
    keyslots: int | None,
    sample: float | None,
    optimal: bool,
    progress: Callable[[int], None],
) -> "Curve":
    from scenarios.curves.curve import curve, curve_at, sampled_curve

    if keyslots is not None:
        if sample is not None:
            raise BadInput("a sample is counted for all numbers at once: drop --keyslots", where="--sample")
        return curve_at(scenario, keyslots, progress=progress)
    if sample is not None:
        return sampled_curve(scenario, sample, max_keyslots=max_keyslots, progress=progress)
    return curve(scenario, max_keyslots=max_keyslots, optimal=optimal, progress=progress)
