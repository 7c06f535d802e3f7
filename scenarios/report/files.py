"""Result files, written whole or not at all.

Rules:

- A file is written beside its place, as ``.NAME.part``, and renamed when it is complete: whoever looks sees
  the old file or the new one.  What fails or is interrupted removes it.  A killed process cannot, so the
  name is always the same and the next writer of that file takes it over.
- While it is written it is locked: of two processes with the same target the second is refused.
- A symbolic link stays one: the file it leads to is replaced.
- Devices and pipes (``/dev/stdout``, ``/dev/null``) are written to, never replaced.
"""

import fcntl
import os
import stat
import sys
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
    path = real_path(target)
    if path.is_dir():
        raise BadInput("is a folder: name a file in it", where=target)
    if is_special(path):
        if not os.access(path, os.W_OK):
            raise BadInput("cannot write to it: permission denied", where=target)
        return
    if not path.parent.is_dir():
        raise BadInput(f"the folder {path.parent} does not exist", where=target)
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"the folder {path.parent} is not writable", where=target)


def check_targets(*targets: str | None) -> None:
    """``check_target`` for each that is given.

    Raises:
        BadInput: as ``check_target`` says, or two results go to the same place.
    """
    given = [target for target in targets if target is not None]
    for target in given:
        check_target(target)
    if given.count(STDOUT) > 1:
        raise BadInput("only one result can go to standard output: give the others files", where=STDOUT)
    places: dict[Path, str] = {}
    for target in given:
        path = real_path(target).absolute()
        if target != STDOUT and path in places and not is_special(path):
            raise BadInput("two results cannot go to one file: name another", where=target)
        places[path] = target


def check_no_special(target: str, what: str) -> None:
    """Refuse a device or pipe for ``what`` can only be a file.

    Raises:
        BadInput: ``target`` is one.
    """
    if is_special(Path(target)):
        raise BadInput(f"{what} goes to a file, and this is a device or a pipe: name a file", where=target)


def is_special(path: Path) -> bool:
    """Whether ``path`` leads to something that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def real_path(target: str | Path) -> Path:
    """The file that ``target`` means: where its symbolic links lead, or itself.

    Raises:
        BadInput: they lead in a circle.
    """
    path = Path(target)
    # /dev/stdout leads to what has no name: a pipe, a terminal.
    if not path.is_symlink() or is_special(path):
        return path
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        raise BadInput("its symbolic links lead in a circle", where=str(target)) from None


def part_path(path: Path) -> Path:
    """Where ``path`` is written until it is complete."""
    return path.with_name(f".{path.name}.part")


def write_text(target: str, text: str) -> None:
    """Write ``text`` to the file ``target``, or to standard output for ``-``.

    A file appears complete under its name or not at all, also when the run is interrupted.

    Raises:
        BadInput: the file cannot be written.
    """
    if target == STDOUT:
        if sys.stdout is None:
            raise BadInput("standard output is closed: name a file", where=target)
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise BadInput(f"cannot write it: {error.strerror}", where="standard output") from None
        return
    with whole_file(target) as file:
        file.write(text.encode())


@contextmanager
def whole_file(target: str, *, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write bytes to, which appears under its name when the context ends well.

    Args:
        private: readable by its owner only (mode 0600), from the first moment on.

    Raises:
        BadInput: it cannot be written, or another process is writing it.
    """
    try:
        path = real_path(target)
        if is_special(path):
            with path.open("wb") as special:
                yield special
            return
        part = part_path(path)
        with _locked(part, target) as file:
            try:
                yield file
                file.flush()
                os.fchmod(file.fileno(), 0o600 if private else 0o666 & ~_umask())
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise BadInput(f"cannot write it: {error.strerror}", where=target) from None


def _locked(part: Path, target: str) -> BinaryIO:
    """``part``, empty and open for one writer.  Its lock ends with the process, however that ends."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        handle = os.open(part, flags, 0o600)
        file = os.fdopen(handle, "wb")
        try:
            lock(handle, target)
            opened = os.fstat(handle)
            # The name can be guessed, and in a folder like /tmp others may have made it to read along.
            if opened.st_uid != os.geteuid() or opened.st_nlink > 1 or not stat.S_ISREG(opened.st_mode):
                raise BadInput(f"{part} is in the way and somebody else's: remove it", where=target)
            # Another writer may have renamed or removed it between the two calls.
            if part.exists() and os.path.samestat(opened, part.stat()):
                os.ftruncate(handle, 0)
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def lock(handle: int, target: str) -> None:
    """Lock an open file or folder in which ``target`` is made.

    Raises:
        BadInput: another process has locked it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadInput("another process is writing it: wait for it, or name another", where=target) from None


def _umask() -> int:
    # There is no call that only reads it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
