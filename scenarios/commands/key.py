"""``blkcrypto key``: hardware-wrapped keys of an emulated device; parse, call, print.

The commands go where the ioctls on a block device go: through ``blkcrypto.block.ioctl`` and the device's
crypto profile to the unit.  So errors are Linux's, in Linux's order.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from blkcrypto.base.errors import BadInput
from scenarios.commands.group import Group

if TYPE_CHECKING:
    from blkcrypto.block.profile import CryptoProfile
    from hwmodel.keywrap import KeyWrapUnit
    from scenarios.keystore import UnitFile

_MOST_BYTES = 1 << 16  # many times any key or blob
_DEFAULT_DEVICE = "ufs40-ice-hwkm"
_DEFAULT_KDF = "kdf1"
_Command = TypeVar("_Command", bound=Callable[..., object])


def _complete_devices(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from scenarios.load import shipped_devices

    return [name for name in shipped_devices() if name.startswith(incomplete)]


_state_option = click.option(
    "--state",
    "state_file",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The unit's wrapping keys, in the clear: an emulation, never for real data.",
)
_out_option = click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it there as bytes, instead of hex to standard output.",
)


def _new_unit_options(command: _Command) -> _Command:
    command = click.option("--kdf", metavar="V", help="KDF of a new unit: kdf1 (default) to kdf5.")(command)
    return click.option(
        "--device",
        metavar="D",
        shell_complete=_complete_devices,
        help=f"Device of a new unit: name or file; {_DEFAULT_DEVICE} when left out.",
    )(command)


@click.group("key", cls=Group)
def key() -> None:
    """Hardware-wrapped keys of an emulated device.

    A BLOB or RAW key is hex, @FILE for a file of bytes, or - for hex on standard input.
    """


@key.command(short_help="Make a key that software never sees.")
@_state_option
@_new_unit_options
@_out_option
def generate(state_file: Path, device: str | None, kdf: str | None, out: Path | None) -> None:
    """Make a key that software never sees; gives a long-term blob (BLKCRYPTOGENERATEKEY)."""
    from blkcrypto.block.ioctl import KeyArgument, generate_key

    file, unit, profile = _open(state_file, device, kdf, may_be_new=True)
    blob = generate_key(profile, KeyArgument())
    _keep_new(file, unit)
    _put(out, blob)


@key.command("import", short_help="Wrap a raw key.")
@click.argument("raw", metavar="RAW")
@_state_option
@_new_unit_options
@_out_option
def import_(raw: str, state_file: Path, device: str | None, kdf: str | None, out: Path | None) -> None:
    """Wrap the RAW key of 32 bytes; gives a long-term blob (BLKCRYPTOIMPORTKEY)."""
    from blkcrypto.block.ioctl import KeyArgument, import_key

    data = _get(raw)
    file, unit, profile = _open(state_file, device, kdf, may_be_new=True)
    blob = import_key(profile, KeyArgument(key=data))
    _keep_new(file, unit)
    _put(out, blob)


@key.command(short_help="Make a long-term blob usable until the next boot.")
@click.argument("blob", metavar="LONG_TERM_BLOB")
@_state_option
@_out_option
def prepare(blob: str, state_file: Path, out: Path | None) -> None:
    """Turn a long-term blob into one for this boot, an ephemeral blob (BLKCRYPTOPREPAREKEY)."""
    from blkcrypto.block.ioctl import KeyArgument, prepare_key

    data = _get(blob)
    _, _, profile = _open(state_file)
    _put(out, prepare_key(profile, KeyArgument(key=data)))


@key.command(short_help="Derive the software secret of an ephemeral blob.")
@click.argument("blob", metavar="EPHEMERAL_BLOB")
@_state_option
@_out_option
@click.option("--inline-key", is_flag=True, help="Instead, the key that goes into a keyslot: for checking.")
def derive(blob: str, state_file: Path, out: Path | None, inline_key: bool) -> None:
    """Derive the software secret of an ephemeral blob (derive_sw_secret()).

    With --inline-key it is the AES-256-XTS key that encrypts contents, which hardware never tells.
    """
    data = _get(blob)
    _, unit, profile = _open(state_file)
    assert unit is not None, "a unit was there when its state was saved"
    assert profile is not None
    _put(out, unit.inline_key(data) if inline_key else profile.derive_sw_secret(data))


@key.command(short_help="Say whether a blob is intact, and whose it is.")
@click.argument("blob", metavar="[BLOB]", required=False)
@_state_option
def inspect(blob: str | None, state_file: Path) -> None:
    """Say whose unit it is, and whether a BLOB is intact and of this device and boot."""
    from hwmodel.keywrap import blob_kind

    data = _get(blob) if blob is not None else None
    file, unit, _ = _open(state_file)
    assert unit is not None, "a unit was there when its state was saved"
    if data is None:
        click.echo(f"unit of {file.device}, {file.kdf}, blobs of {unit.blob_bytes} bytes")
        return
    kind = blob_kind(data)
    unit.inspect(data)
    click.echo(f"{kind} key, {len(data)} bytes, intact")


@key.command(short_help="Begin a new boot: ephemeral blobs are worthless.")
@_state_option
def reboot(state_file: Path) -> None:
    """Begin a new boot: every ephemeral blob is worthless from here on."""
    file, unit, _ = _open(state_file)
    assert unit is not None, "a unit was there when its state was saved"
    unit.reboot()
    file.save(unit)


@key.command("factory-reset", short_help="Make a new device: every blob is worthless.")
@_state_option
def factory_reset(state_file: Path) -> None:
    """Make a new device of it: every blob is worthless from here on."""
    file, unit, _ = _open(state_file)
    assert unit is not None, "a unit was there when its state was saved"
    unit.factory_reset()
    file.save(unit)


def _open(
    path: Path, device: str | None = None, kdf: str | None = None, *, may_be_new: bool = False
) -> "tuple[UnitFile, KeyWrapUnit | None, CryptoProfile | None]":
    """The unit of a state file, or a new one; no unit and no profile where the device has none."""
    from hwmodel.cryptoprofile import crypto_profile
    from scenarios.keystore import new_unit_file, read_unit_file
    from scenarios.load import load_device

    if may_be_new and not path.exists():
        file = new_unit_file(path, device or _DEFAULT_DEVICE, kdf or _DEFAULT_KDF)
    else:
        file = read_unit_file(path)
        for option, given, stored in (("--device", device, file.device), ("--kdf", kdf, file.kdf)):
            if given not in (None, stored):
                what = f"the unit has {stored}: leave {option} out, or take another state file"
                raise BadInput(what, where=str(path))
    unit = file.unit()
    return file, unit, crypto_profile(load_device(file.device), unit)


def _keep_new(file: "UnitFile", unit: "KeyWrapUnit | None") -> None:
    """Before a blob is given away: without its unit it is worthless."""
    if file.state is None and unit is not None:
        file.save(unit)


def _get(text: str) -> bytes:
    """Bytes of an argument."""
    if text.startswith("@"):
        try:
            with Path(text[1:]).open("rb") as file:
                return file.read(_MOST_BYTES)
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            raise BadInput(f"cannot be read: {what}", where="the file after @") from None
    where = "standard input" if text == "-" else "argument"
    try:
        return bytes.fromhex(sys.stdin.read(_MOST_BYTES).strip() if text == "-" else text)
    except ValueError:
        raise BadInput("not hex: write hex digits, @FILE, or -", where=where) from None


def _put(out: Path | None, data: bytes) -> None:
    from scenarios.keystore import write_private

    if out is None:
        click.echo(data.hex())
    else:
        write_private(out, data)
