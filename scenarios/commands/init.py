"""``blkcrypto init``: parse, call, write."""

from pathlib import Path

import click

from blkcrypto.base.errors import BadInput


@click.command("init")
@click.argument("file", default="scenario.toml", metavar="[FILE|-]")
@click.option("--trace", metavar="TRACE", help="Replay this trace instead of generating I/O.")
@click.option(
    "--device", metavar="D", default="ufs31-ice-raw", show_default=True, help="Device name or file."
)
@click.option("--force", is_flag=True, help="Replace FILE when it exists.")
def init(file: str, trace: str | None, device: str, force: bool) -> None:
    """Write a scenario that runs as it is, with every key explained.

    FILE is scenario.toml when left out.
    """
    from scenarios.report.files import STDOUT, check_target, write_text
    from scenarios.template import scenario_template

    check_target(file)
    if file != STDOUT and Path(file).exists() and not force:
        raise BadInput("exists already: choose another name, or say --force", where=file)
    write_text(file, scenario_template(device, trace=trace))
    if file != STDOUT:
        click.echo(f"{file} is written: try `blkcrypto run {file}`, then `blkcrypto compare {file}`")
