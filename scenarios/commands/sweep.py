"""``blkcrypto sweep``: parse, call, print."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from blkcrypto.base.errors import BadInput
from scenarios.commands.options import (
    check_option,
    compiled_option,
    scenario_argument,
    set_option,
    vary_option,
)
from scenarios.commands.status import CHECK_FAILED, DONE, INVARIANT_BROKEN, POINTS_FAILED

if TYPE_CHECKING:
    from scenarios.sweeps.knee import Knee
    from scenarios.sweeps.sweep import Ended


@click.command("sweep", short_help="Run every combination of what is varied, on all CPUs.")
@scenario_argument
@vary_option
@click.option(
    "--repeat",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Seeds per point.",
)
@click.option(
    "--on", "where", default="local", show_default=True, metavar="local[:N]|dask://HOST:PORT", help="Where."
)
@click.option(
    "--out", "folder", required=True, metavar="DIR", help="Folder of results; a sweep resumes in it."
)
@click.option(
    "--loss", default="5%", show_default=True, metavar="P%", help="What fewer keyslots may cost at the knee."
)
@click.option(
    "--pool",
    multiple=True,
    metavar="KEY",
    help="Pool over KEY too; repeats, traces and volumes always are.",
)
@set_option
@check_option
@compiled_option
@click.option("--html", "html_file", metavar="FILE|-", help="Write a page with figures.")
@click.option("--quiet", "-q", is_flag=True, help="No table and no progress.")
def sweep_command(
    scenario: str,
    vary: tuple[str, ...],
    repeat: int,
    where: str,
    folder: str,
    loss: str,
    pool: tuple[str, ...],
    sets: tuple[str, ...],
    check: bool,
    compiled: bool,
    html_file: str | None,
    quiet: bool,
) -> int:
    """Run SCENARIO at every combination of what is varied, with REPEAT seeds each.

    Writes DIR/results.json and DIR/results.csv, and DIR/merged.csv where several points answer one question.
    Interrupt it at any time: the same command goes on where it stopped.
    """
    from pathlib import Path

    from scenarios.compare import parse_vary
    from scenarios.report.console import new_console
    from scenarios.report.files import STDOUT, check_targets, write_text
    from scenarios.report.progress import progress
    from scenarios.report.sweep import merged_csv, print_sweep, results_csv, results_json
    from scenarios.sweeps.merged import merged, pooled_keys
    from scenarios.sweeps.sweep import plan, run_points

    allowed = _share(loss)
    over = pooled_keys(pool)
    check_targets(html_file)
    points = plan(scenario, parse_vary(vary), sets=sets, repeat=repeat, check=check)
    with progress("points", len(points), quiet=quiet) as bar:
        ended = run_points(
            points,
            Path(folder),
            on=where,
            progress=lambda done, _: bar.reach(done),
            compiled=compiled,
        )
    found, together = _knees(ended, allowed), merged(ended, Path(folder), over)
    write_text(str(Path(folder) / "results.json"), results_json(ended, found, together))
    write_text(str(Path(folder) / "results.csv"), results_csv(ended))
    if together:
        write_text(str(Path(folder) / "merged.csv"), merged_csv(together))
    if html_file is not None:
        from scenarios.report.html_sweep import sweep_page

        write_text(html_file, sweep_page(ended, found))
    if not quiet and html_file != STDOUT:
        print_sweep(new_console(), ended, found, together)
    return _status(ended)


def _knees(ended: "Sequence[Ended]", loss: float) -> "list[Knee]":
    from scenarios.sweeps.knee import Measured, knees, varies_keyslots
    from scenarios.sweeps.store import metrics

    if not varies_keyslots(ended[0].point.labels):
        return []
    measured = [(one.point.labels, metrics(one.result)) for one in ended if one.result is not None]
    return knees(
        [
            Measured(
                labels=labels,
                keyslots=int(figures["keyslot_count"] or 0),
                iops=figures["iops"] or 0.0,
                latency_ns=figures["lat_mean_ns"] or 0.0,
            )
            for labels, figures in measured
        ],
        loss,
    )


def _share(text: str) -> float:
    """A share from ``5%`` or ``0.05``.

    Raises:
        BadInput: it is neither, or not from 0 to 1.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*", text)
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share <= 1:
        raise BadInput(f"write a share like 5% or 0.05, not {text!r}", where="--loss")
    return share


def _status(ended: "Sequence[Ended]") -> int:
    failures = [one.error for one in ended if one.status == "failed"]
    if any(error.startswith("InvariantBroken") for error in failures):
        return INVARIANT_BROKEN
    if failures:
        return POINTS_FAILED
    return DONE if all(_held(one.result) for one in ended if one.result is not None) else CHECK_FAILED


def _held(result: dict[str, object]) -> bool:
    """Whether a run's checks held and its data read back as written."""
    checks, data = result.get("checks"), result.get("data")
    mismatches = data.get("mismatches") if isinstance(data, dict) else 0
    return not mismatches and (not isinstance(checks, dict) or all(checks.values()))
