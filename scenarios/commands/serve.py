"""``blkcrypto serve``: parse, call, print."""

from pathlib import Path

import click

from blkcrypto.base.units import UnitError, parse_size
from scenarios.commands.options import set_option

_DEFAULT_ADDRESS = "127.0.0.1:10809"


def _size(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_size(value)
    except UnitError as error:
        raise click.BadParameter(str(error), param=param) from None


@click.command("serve", short_help="Offer the emulated encrypted device to real clients.")
@click.argument("scenario", required=False)
@click.option(
    "--image",
    "image_file",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The medium; made when it is not there.",
)
@click.option("--size", metavar="N", callback=_size, help="Size of a new image, e.g. 1G.")
@click.option(
    "--nbd",
    "address",
    default=_DEFAULT_ADDRESS,
    show_default=True,
    metavar="HOST:PORT|unix:PATH",
    help="Where to listen; port 0 takes a free one.",
)
@click.option("--device", metavar="D", help="Device name or file.")
@click.option("--design", metavar="X", help="Key design.")
@click.option("--keys", type=click.Choice(["raw", "hw-wrapped"]), help="Type of the master keys.")
@click.option(
    "--engine", type=click.Choice(["inline", "fallback", "fs-layer"]), help="Where data is encrypted."
)
@click.option("--keyslots", type=click.IntRange(min=0), metavar="N", help="Keyslots of the device.")
@click.option(
    "--capture",
    metavar="TRACE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Record the requests: blkparse text, or Parquet for FILE.parquet.",
)
@click.option("--no-verify", is_flag=True, help="Do not compare what is read with what was written.")
@click.option("--allow-remote", is_flag=True, help="Listen on addresses that other machines reach.")
@set_option
@click.option("--seed", type=click.IntRange(min=0), help="Stands for the master key; 1 when left out.")
@click.option("--json", "json_file", metavar="FILE|-", help="Write the summary as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No address, no messages and no summary.")
def serve(
    scenario: str | None,
    image_file: Path,
    size: int | None,
    address: str,
    device: str | None,
    design: str | None,
    keys: str | None,
    engine: str | None,
    keyslots: int | None,
    capture: Path | None,
    no_verify: bool,
    allow_remote: bool,
    sets: tuple[str, ...],
    seed: int | None,
    json_file: str | None,
    quiet: bool,
) -> int:
    """Offer the emulated encrypted device to real clients, as an NBD export.

    SCENARIO is the name of a shipped one, or a TOML file; without it the options say it all.  fio, qemu-io,
    nbdcopy and the like read and write plaintext; the image holds only ciphertext.  Ends with Ctrl-C.
    """
    from scenarios.collector import collecting_seldom
    from scenarios.report.files import STDOUT, check_targets, write_text
    from scenarios.serve.session import Choices, choose, session

    check_targets(json_file)
    chosen = choose(
        scenario,
        sets,
        Choices(device=device, design=design, keys=keys, engine=engine, keyslots=keyslots, seed=seed),
    )

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=json_file == STDOUT)

    with collecting_seldom():
        summary = session(
            chosen,
            image_file,
            size,
            address,
            allow_remote=allow_remote,
            verify=not no_verify,
            capture=capture,
            sets=sets,
            say=say,
        )
    if json_file is not None:
        write_text(json_file, summary.json())
    return 1 if summary.mismatches else 0
