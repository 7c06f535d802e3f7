"""``blkcrypto compare``: parse, call, print."""

from collections.abc import Mapping

import click

from scenarios.commands.options import (
    check_option,
    compiled_option,
    output_options,
    scenario_argument,
    seed_option,
    set_option,
    vary_option,
    with_seed,
)
from scenarios.commands.status import status_of

# Figures of ``scenarios.report.design_plot``, which is imported by who draws only.
PLOTTED = (
    "stages", "latency", "throughput", "cpu", "programs", "disk", "memory", "own-ios", "written",
)  # fmt: skip


@click.command("compare")
@scenario_argument
@vary_option
@click.option("--plot", metavar="FILE", help="Draw a figure of every run as SVG: where the time goes.")
@click.option("--plot-of", type=click.Choice(PLOTTED), default="stages", help="What to draw instead.")
@set_option
@seed_option
@check_option
@compiled_option
@output_options
def compare_command(
    scenario: str,
    vary: tuple[str, ...],
    plot: str | None,
    plot_of: str,
    sets: tuple[str, ...],
    seed: int | None,
    check: bool,
    compiled: bool,
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
    from scenarios.report.progress import progress

    check_targets(json_file, html_file)

    with progress("", quiet=quiet) as bar:

        def started(number: int, count: int, labels: Mapping[str, str]) -> None:
            setting = ", ".join(f"{key}={value}" for key, value in labels.items())
            bar.reach(number, count, setting)

        points = run_grid(
            scenario,
            parse_vary(vary),
            sets=with_seed(sets, seed),
            started=started,
            check=check,
            compiled=compiled,
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
    return status_of([point.result for point in points if point.result is not None])
