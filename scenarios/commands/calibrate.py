"""``blkcrypto calibrate``: parse, call, print."""

from typing import TYPE_CHECKING

import click

from scenarios.commands.status import CHECK_FAILED, DONE

if TYPE_CHECKING:
    from scenarios.calibration.recording import HoldBack


def _complete_devices(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from scenarios.load import shipped_devices

    return [name for name in shipped_devices() if name.startswith(incomplete)]


@click.command("calibrate", short_help="Fit a device to the completion times of a trace.")
@click.argument("trace")
@click.option("--out", metavar="DEVICE.toml", required=True, help="The device file to write; - for stdout.")
@click.option(
    "--base",
    metavar="D",
    default="ufs31-ice-raw",
    show_default=True,
    shell_complete=_complete_devices,
    help="Device whose crypto hardware, tags and host the fitted one has.",
)
@click.option("--format", "format_", metavar="F", help="Format of the trace; detected when left out.")
@click.option("--columns", metavar="MAP", help="Column map of a CSV trace; it needs a latency.")
@click.option("--volume", metavar="NAME", help="Of a trace of several devices, the one to fit.")
@click.option("--skip-bad-lines", is_flag=True, help="Count damaged lines and go on.")
@click.option(
    "--limit",
    type=click.IntRange(min=100),
    default=1_000_000,
    show_default=True,
    metavar="N",
    help="Use the first N I/Os.",
)
@click.option(
    "--hold-back",
    type=click.Choice(["alternate", "last"]),
    default="alternate",
    show_default=True,
    help="What the fit does not see: every second block, or the second half.",
)
@click.option(
    "--within",
    type=click.FloatRange(min=0, min_open=True),
    default=20,
    show_default=True,
    metavar="PERCENT",
    help="How far median and 99th percentile may be off.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the replays' draws."
)
@click.option("--json", "json_file", metavar="FILE|-", help="Write the fit and its check as JSON.")
@click.option("--plot", "plot_file", metavar="FILE", help="Draw recorded against replayed as SVG.")
@click.option("--quiet", "-q", is_flag=True, help="No report and no progress.")
def calibrate(
    trace: str,
    out: str,
    base: str,
    format_: str | None,
    columns: str | None,
    volume: str | None,
    skip_bad_lines: bool,
    limit: int,
    hold_back: "HoldBack",
    within: float,
    seed: int,
    json_file: str | None,
    plot_file: str | None,
    quiet: bool,
) -> int:
    """Fit a device to the completion times of TRACE, and check the fit on what was held back.

    TRACE is a file, - for standard input or builtin:NAME.  Ends with 1 when the check misses --within.
    """
    from pathlib import Path

    from scenarios.calibration.calibrate import calibrate as fit
    from scenarios.calibration.recording import read_recording
    from scenarios.load import load_device
    from scenarios.report.calibrate import (
        calibration_json,
        calibration_toml,
        plot_calibration,
        print_calibration,
    )
    from scenarios.report.console import new_console
    from scenarios.report.files import STDOUT, check_target, write_text
    from scenarios.report.progress import progress

    for target in (out, json_file, plot_file):
        if target is not None:
            check_target(target)
    base_device = load_device(base)
    with progress("I/Os", quiet=quiet) as bar:
        recording = read_recording(
            trace,
            format=format_,
            columns=columns,
            volume=volume,
            skip_bad_lines=skip_bad_lines,
            limit=limit,
            hold_back=hold_back,
            progress=bar.advance,
        )
        name = Path(out).stem if out != STDOUT else "fitted"
        calibration = fit(recording, base_device, name=name, seed=seed)
    share = within / 100
    write_text(out, calibration_toml(calibration, share))
    if json_file is not None:
        write_text(json_file, calibration_json(calibration, share))
    if plot_file is not None:
        plot_calibration(calibration, plot_file)
    if not quiet and STDOUT not in (out, json_file):
        print_calibration(new_console(), calibration, share)
    return DONE if calibration.is_within(share) else CHECK_FAILED
