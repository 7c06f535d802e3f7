"""``blkcrypto image``: parse, call, print."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypedDict, TypeVar

import click

from blkcrypto.base.errors import BadInput
from scenarios.commands.group import Group
from scenarios.commands.status import CHECK_FAILED, DONE

if TYPE_CHECKING:
    from typing import Unpack

    from blkcrypto.fs.ext4 import Ext4Volume
    from blkcrypto.fs.image import EncryptedImage, Node

_STDIN = "-"
_SPOOL_BYTES = 1 << 24
_Command = TypeVar("_Command", bound=Callable[..., object])


class _ImageOptions(TypedDict):
    """Options of every subcommand."""

    keys: tuple[str, ...]
    key_files: tuple[Path, ...]
    descriptors: tuple[str, ...]
    no_checksums: bool


@click.group("image", short_help="Encrypted files of a real ext4 image.", cls=Group)
def image() -> None:
    """List, read, verify and overwrite encrypted files in a real ext4 image.

    IMAGE is an ext4 filesystem in a file or block device that is not mounted.  PATH is spelt as ls prints it
    with the same keys.
    """


def _image_options(command: _Command) -> _Command:
    for option in (
        click.option(
            "--no-checksums", is_flag=True, help="Read metadata whose checksum is wrong: for damaged images."
        ),
        click.option(
            "--descriptor",
            "descriptors",
            multiple=True,
            metavar="HEX=KEYHEX",
            help="Master key of v1 policies with this descriptor, when it is not the conventional one.",
        ),
        click.option(
            "--key-file",
            "key_files",
            multiple=True,
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Master keys: raw bytes, or lines of HEX and HEX=KEYHEX.",
        ),
        click.option(
            "--key",
            "keys",
            multiple=True,
            metavar="HEX",
            help="Master key; others see it in the process list.",
        ),
    ):
        command = option(command)
    return command


@image.command("ls", short_help="List a directory.")
@click.argument("image_file", metavar="IMAGE", type=click.Path(path_type=Path))
@click.argument("path", default="/")
@click.option("--long", "-l", "as_long", is_flag=True, help="Mode, inode, size, policy and key of each.")
@click.option("--recursive", "-R", is_flag=True, help="Everything below PATH.")
@click.option("--json", "json_file", metavar="FILE|-", help="Write all that is known as JSON.")
@_image_options
def ls_command(
    image_file: Path,
    path: str,
    as_long: bool,
    recursive: bool,
    json_file: str | None,
    **options: "Unpack[_ImageOptions]",
) -> None:
    """List a directory: plaintext names given the key, else the no-key names Linux shows."""
    from scenarios.report.files import write_text
    from scenarios.report.image import long_line, node_row, rows_json, shown

    with _opened(image_file, options) as opened:
        nodes = _nodes(opened, path, recursive=recursive)
        if json_file is not None:
            write_text(json_file, rows_json(node_row(opened, node) for node in nodes))
            return
        for node in nodes:
            if as_long:
                click.echo(long_line(node_row(opened, node)))
            else:
                click.echo(shown(os.fsdecode(node.path)))


@image.command("cat")
@click.argument("image_file", metavar="IMAGE", type=click.Path(path_type=Path))
@click.argument("path")
@_image_options
def cat_command(
    image_file: Path,
    path: str,
    **options: "Unpack[_ImageOptions]",
) -> None:
    """Write a file's plaintext to standard output; holes are zeroes."""
    with _opened(image_file, options) as opened:
        for chunk in opened.contents(opened.find(os.fsencode(path))).chunks():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


@image.command("verify", short_help="Check that everything decrypts.")
@click.argument("image_file", metavar="IMAGE", type=click.Path(path_type=Path))
@click.argument("path", default="/")
@click.option(
    "--golden",
    multiple=True,
    metavar="CASE.json",
    type=click.Path(path_type=Path),
    help="Compare with the record of what was written, which holds its key.",
)
@_image_options
def verify_command(
    image_file: Path,
    path: str,
    golden: tuple[Path, ...],
    **options: "Unpack[_ImageOptions]",
) -> int:
    """Check that everything below PATH decrypts: names, symlinks, contents.

    Exit status 1 when something does not, or its key is missing.
    """
    from blkcrypto.fs.image.verify import verify
    from scenarios.report.image import verify_lines

    with _opened(image_file, options) as opened:
        if golden:
            return _verify_golden(opened.volume, golden)
        report = verify(opened, opened.find(os.fsencode(path)))
    for line in verify_lines(report):
        click.echo(line)
    return DONE if report.passed else CHECK_FAILED


@image.command("write", short_help="Overwrite a file's data in place.")
@click.argument("image_file", metavar="IMAGE", type=click.Path(path_type=Path))
@click.argument("path")
@click.argument("file")
@click.option("--offset", default="0", metavar="SIZE", help="First byte to overwrite, e.g. 4k.")
@_image_options
def write_command(
    image_file: Path,
    path: str,
    file: str,
    offset: str,
    **options: "Unpack[_ImageOptions]",
) -> None:
    """Overwrite a file's existing data in place with FILE, or - for standard input.

    Only blocks that hold data already; size and metadata stay.  Work on a copy: an interrupted write leaves
    old and new data units.
    """
    from blkcrypto.base.units import UnitError, parse_size
    from blkcrypto.fs.image.overwrite import overwrite
    from scenarios.report.image import shown

    try:
        pos = parse_size(offset)
    except UnitError as error:
        raise BadInput(str(error), where="--offset") from None
    with _new_data(file) as (source, nbytes), _opened(image_file, options, writable=True) as opened:
        node = opened.find(os.fsencode(path))
        units = overwrite(opened, node, pos, source, nbytes)
        click.echo(f"{nbytes} bytes of {shown(os.fsdecode(node.path))} overwritten, in {units} data units")


@contextmanager
def _opened(path: Path, options: "_ImageOptions", *, writable: bool = False) -> "Iterator[EncryptedImage]":
    from blkcrypto.fs.ext4 import Ext4Volume
    from blkcrypto.fs.ext4.store import ImageFile
    from blkcrypto.fs.image import EncryptedImage, ImageKeys

    keys = ImageKeys.parse(options["keys"], options["key_files"], options["descriptors"])
    with ImageFile(path, writable=writable) as store:
        volume = Ext4Volume(store, check_checksums=not options["no_checksums"])
        if volume.superblock.needs_recovery:
            click.echo(f"{path}: its journal is not replayed: what is read may be out of date", err=True)
        yield EncryptedImage(volume, keys)


def _nodes(opened: "EncryptedImage", path: str, *, recursive: bool) -> "Iterator[Node]":
    from blkcrypto.fs.fscrypt.inherit import InodeKind

    top = opened.find(os.fsencode(path))
    if top.inode.kind is not InodeKind.DIRECTORY:
        return iter((top,))
    if not recursive:
        return opened.children(top)
    return (node for node in opened.walk(top) if node is not top)


def _verify_golden(volume: "Ext4Volume", cases: tuple[Path, ...]) -> int:
    from blkcrypto.fs.image.golden import compare

    failed = False
    for case in cases:
        report = compare(volume, case)
        for mismatch in report.mismatches:
            click.echo(f"MISMATCH {mismatch}")
        click.echo(f"{case}: {report.summary()}")
        failed = failed or not report.passed
    return CHECK_FAILED if failed else DONE


@contextmanager
def _new_data(file: str) -> Iterator[tuple[IO[bytes], int]]:
    """The bytes to write, and how many: a pipe is read to its end first, as all is checked before writing."""
    import shutil
    import tempfile

    with ExitStack() as closing:
        try:
            source: IO[bytes] = sys.stdin.buffer
            if file != _STDIN:
                source = closing.enter_context(open(file, "rb"))
            if not source.seekable():
                spool = closing.enter_context(tempfile.SpooledTemporaryFile(_SPOOL_BYTES))
                shutil.copyfileobj(source, spool)
                spool.seek(0)
                source = spool
            start = source.tell()
            nbytes = source.seek(0, os.SEEK_END) - start
            source.seek(start)
        except OSError as error:
            raise BadInput(f"cannot read it: {error.strerror}", where=file) from None
        yield source, nbytes
