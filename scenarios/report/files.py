"""Result files, written whole or not at all."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from blkcrypto.base.errors import BadInput

STDOUT: Final = "-"


def check_target(target: str) -> None:
    """Refuse a file that cannot be written, before a long run rather than after it.

    Raises:
        BadInput: its folder does not exist or is not writable, or it is a folder itself.
    """
    if target == STDOUT:
        return
    path = Path(target)
    if path.is_dir():
        raise BadInput("is a folder: name a file in it", where=target)
    if not path.parent.is_dir():
        raise BadInput(f"the folder {path.parent} does not exist", where=target)
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"the folder {path.parent} is not writable", where=target)


def check_targets(*targets: str | None) -> None:
    """``check_target`` for each that is given.

    Raises:
        BadInput: as ``check_target`` says, or two go to standard output.
    """
    given = [target for target in targets if target is not None]
    for target in given:
        check_target(target)
    if given.count(STDOUT) > 1:
        raise BadInput("only one result can go to standard output: give the others files", where=STDOUT)


def write_text(target: str, text: str) -> None:
    """Write ``text`` to the file ``target``, or to standard output for ``-``.

    A file appears complete under its name or not at all, also when the run is interrupted.

    Raises:
        BadInput: the file cannot be written.
    """
    if target == STDOUT:
        sys.stdout.write(text)
        return
    with whole_file(target) as file:
        file.write(text.encode())


@contextmanager
def whole_file(target: str) -> Iterator[BinaryIO]:
    """A file to write bytes to, which appears under its name when the context ends well.

    Raises:
        BadInput: it cannot be written.
    """
    path = Path(target)
    try:
        # In the same directory: os.replace() cannot cross filesystems.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(f"cannot write it: {error.strerror}", where=target) from None


def _umask() -> int:
    # There is no call that only reads it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
