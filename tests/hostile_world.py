"""Commands as processes of their own with bounded memory and time, at the price of a fork each.

A server imports the product once and forks for every command: what is limited, changed or killed is the fork.
Started by ``Forks``; it is told a ``Command`` and answers an ``Outcome``, one JSON object a line.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

ROOT: Final = Path(__file__).parents[1]
#: Address space that a command may add to what the imports took, and seconds of CPU it may spend.
ADDED_BYTES: Final = 768 << 20
CPU_S: Final = 20
WALL_S: Final = 60
_IMPORTED: Final = (
    "scenarios.cli",
    "scenarios.compare",
    "scenarios.curves.curve",
    "scenarios.report.console",
    "scenarios.report.html",
    "scenarios.run",
    "scenarios.serve.session",
    "scenarios.sweeps.sweep",
    "scenarios.timeline.recorder",
)
_CAPABILITY_VERSION_3: Final = 0x20080522


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command.

    Attributes:
        args: after ``blkcrypto``.
        folder: where it runs.
        stdin, stdout: files; ``closed`` for none; standard output is a pipe that nobody reads for ``pipe``.
        file_bytes: largest file it may write, as on a disk that is nearly full; 0 for no limit.
        bounded: its address space is; polars reserves more than it uses.
    """

    args: list[str]
    folder: str
    stdin: str = "/dev/null"
    stdout: str = "/dev/null"
    file_bytes: int = 0
    bounded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended.

    Attributes:
        status: exit status, negative for a signal.
        errors: what it wrote to standard error.
        peak_bytes: most memory it had in use.
    """

    status: int
    errors: str
    peak_bytes: int


class Forks:
    """The server, as a context."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile_world"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
            text=True,
        )

    def run(self, command: Command) -> Outcome:
        """Run one command to its end."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(asdict(command)), file=self._server.stdin, flush=True)
        return Outcome(**json.loads(self._server.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._server:
            pass  # the end of its standard input ends it


def without_privileges() -> None:
    """Make root obey the modes of files and folders, too."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


def _serve() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for line in sys.stdin:
        command = Command(**json.loads(line))
        errors, errors_in = os.pipe()
        child = os.fork()
        if not child:
            os.close(errors)
            os._exit(_obey(command, errors_in))
        os.close(errors_in)
        signal.signal(signal.SIGALRM, lambda *_, pid=child: os.kill(pid, signal.SIGKILL))
        signal.alarm(WALL_S)
        with os.fdopen(errors, errors="replace") as reader:
            text = reader.read()
        _, status, used = os.wait4(child, 0)
        signal.alarm(0)
        outcome = Outcome(
            status=os.waitstatus_to_exitcode(status), errors=text, peak_bytes=used.ru_maxrss << 10
        )
        print(json.dumps(asdict(outcome)), flush=True)


def _obey(command: Command, errors_in: int) -> int:
    """In the fork: become the command; its exit status."""
    from scenarios.cli import main

    os.dup2(errors_in, 2)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    os.chdir(command.folder)
    sys.stdin = os.fdopen(os.open(command.stdin, os.O_RDONLY), encoding="utf-8")
    output = _output(command.stdout)
    sys.stdout = output
    _limit(command)
    without_privileges()
    status = 99
    try:
        status = main(command.args)
        if output is not None:
            output.flush()  # as Python does when it ends
    except BaseException:
        import traceback

        traceback.print_exc()
    with suppress(OSError):
        sys.stderr.flush()
    return status


def _output(name: str) -> TextIO | None:
    if name == "closed":
        os.close(1)
        return None
    if name == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(name, os.O_WRONLY)
    os.dup2(writer, 1)
    return os.fdopen(1, "w", closefd=False)


def _limit(command: Command) -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    if command.bounded:
        most = pages * resource.getpagesize() + ADDED_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if command.file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (command.file_bytes, command.file_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _serve()
