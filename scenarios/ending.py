"""How a command ends before its work does: told to by a signal, or because the machine has no more.

SIGTERM and SIGHUP are what SIGINT is: the work is undone step by step, so that no half of a result and no
temporary file stays.  The exit status is 128 and the signal's number, as a shell says it: 143, 129, and 130
for SIGINT.  A signal that is ignored on entry stays so (``nohup``).
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """A signal ended the work.  No ``Exception``: nothing on the way may take it for an answer.

    Attributes:
        status: exit status.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextmanager
def terminated_by_signals() -> Iterator[None]:
    """Raise ``Terminated`` in the block when a signal asks the process to end."""

    def end(number: int, _frame: FrameType | None) -> None:
        for each in taken:  # asking twice does not end it sooner, but could disturb what is being undone
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    taken = [number for number in _SIGNALS if in_main_thread and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def flush_output() -> None:
    """Write out what standard output holds back; OSError when that fails."""
    if sys.stdout is not None:
        sys.stdout.flush()


def drop_output() -> None:
    """Forget what standard output holds back: Python writes it out when it ends, which must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def what_failed(error: OSError) -> str:
    """One line for an error of the operating system that nothing nearer has explained."""
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    try:
        flush_output()
    except OSError:
        where = "standard output"
        with suppress(OSError):
            drop_output()
    return f"{where}: {error.strerror or error}" if where else str(error.strerror or error)
