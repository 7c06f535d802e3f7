"""Command lines as bytes: arguments are separated by newlines.

Everything up to the run itself really happens: parsing, look-up, loading, opening of outputs.  What would
take long once the request is accepted is replaced by an error of ours.
"""

import contextlib
import importlib
import io
import os
import pkgutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from unittest import mock

import scenarios
from blkcrypto.base.errors import BadInput
from scenarios import cli

STATUSES: Final = {0, 1, 2, 3, 130}
#: What is replaced: where a request has been understood and the work begins.
WORK: Final = (
    "scenarios.run.run",
    "scenarios.compare.run_grid",
    "scenarios.campaign.run_campaign",
    "scenarios.calibration.calibrate.calibrate",
    "scenarios.curves.curve.curve",
    "scenarios.curves.curve.curve_at",
    "scenarios.curves.curve.sampled_curve",
    "scenarios.sweeps.sweep.run_points",
    "scenarios.report.threat.threat_report",
    "scenarios.traces.parquet.write_parquet",
    "blkcrypto.fs.selftest.run_golden",
)
LINES: Final = (
    "run keyslot-contention --set keyslots=8 --seed 3 --json -",
    "run trace-replay --quiet --html out.html --parquet out.parquet",
    "replay builtin:ftrace --device ufs-mcq --design fscrypt-per-file --keys raw --engine inline",
    "replay trace.csv --format csv --columns time=1:s,op=2,size=3,offset=4 --limit 10 --pace asap",
    "compare wrapped-versus-raw --vary keys.type=raw,hw-wrapped --plot out.svg",
    "curve builtin:ftrace --max-keyslots 8 --json -",
    "sweep keyslot-contention --vary keyslots=1,2 --repeat 2 --out sweep --on local:1",
    "list devices --json",
    "explain out.parquet --bio 3",
    "init --help",
    "key generate --unit unit.json --out key",
    "image ls disk.img --key 00112233",
    "threat wrapped-versus-raw",
    "faults --runs 2 --seed 1",
    "calibrate builtin:ftrace --out device.toml",
    "convert builtin:ftrace out.parquet",
    "selftest --golden .",
)


def _import_everything() -> None:
    """Import what commands import when they need it: first imported below, it would keep what is replaced."""
    for module in pkgutil.walk_packages(scenarios.__path__, "scenarios."):
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(module.name)


_import_everything()


def command_lines() -> list[bytes]:
    """Seeds: a line of each command."""
    return [line.replace(" ", "\n").encode() for line in LINES]


def not_here(*_args: object, **_options: object) -> object:
    """Stands for the work."""
    raise BadInput("not run while fuzzing")


def run_command_line(data: bytes) -> None:
    """Run one command line in an empty folder; any exit status of ours will do, a traceback never."""
    args = [os.fsdecode(word) for word in data.replace(b"\0", b"").split(b"\n") if word]
    if any(word == "serve" for word in args):
        raise BadInput("a server ends when it is told to: it has tests of its own")
    home = Path.cwd()
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape"), io.StringIO()
    with contextlib.ExitStack() as stack:
        os.chdir(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        stack.callback(os.chdir, home)
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        for name in WORK:
            stack.enter_context(mock.patch(name, not_here))
        status = _status(lambda: cli.main(args))
    assert status in STATUSES, f"exit status {status} of {args}"
    assert "Traceback" not in err.getvalue(), err.getvalue()
    # A group without a command prints its help.
    told = err.getvalue().startswith(("blkcrypto: ", "Usage: blkcrypto"))
    assert status != 2 or told, f"status 2 without a line: {args}"


def _status(call: Callable[[], int]) -> int:
    try:
        return call()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0
