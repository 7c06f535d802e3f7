"""``--compiled`` from outside: the same bytes, or one line that says why not."""

import importlib.util
from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput
from scenarios import cli, compiled
from scenarios.sweeps import sweep

SMALL = ("--set", "ios=2000", "--quiet")

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba, of the extra fast, is not installed"
)


def result_of(folder: Path, *args: str) -> bytes:
    """What the command writes as JSON."""
    target = folder / f"{len(list(folder.iterdir()))}.json"
    assert cli.main([*args, *SMALL, "--json", str(target)]) == 0
    return target.read_bytes()


@needs_numba
@pytest.mark.parametrize(
    "args",
    [
        ("run", "keyslot-contention"),
        ("run", "merging", "--set", "block.scheduler=mq-deadline"),
        ("compare", "lock-convoy", "--vary", "keyslots=4,32"),
    ],
    ids=" ".join,
)
def test_a_compiled_run_writes_the_same_bytes(args: tuple[str, ...], tmp_path: Path) -> None:
    assert result_of(tmp_path, *args, "--compiled") == result_of(tmp_path, *args)


@needs_numba
def test_a_compiled_sweep_writes_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for out, more in ((tmp_path / "compiled", ["--compiled"]), (tmp_path / "usual", [])):
        command = ["sweep", "keyslot-contention", "--vary", "keyslots=4,32", "--on", "local:1"]
        assert cli.main([*command, "--out", str(out), *SMALL, *more]) == 0
        written.append((out / "results.json").read_bytes())
    assert written[0] == written[1]


@needs_numba
@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["merging", "--set", "block.scheduler=mq-deadline"], "a scheduler holds requests back"),
        (["keyslot-contention", "--set", "engine=fallback"], "CPUs encrypt"),
        (["kdn-drain"], "the device is drained or sleeps"),
        (["controller-reset"], "faults happen"),
        (["keyslot-contention", "--check"], "a design, an observer or a check takes part in every bio"),
    ],
)
def test_a_run_that_cannot_be_compiled_says_why_in_one_line(
    args: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled._say.cache_clear()
    assert cli.main(["run", *args, *SMALL, "--compiled"]) == 0
    assert capsys.readouterr().err == f"blkcrypto: {args[0]} is not run compiled: {why}\n"


def test_without_numba_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(compiled, "find_spec", lambda _name: None)
    assert cli.main(["run", "mm1", *SMALL, "--compiled"]) == 2
    assert capsys.readouterr().err == (
        "blkcrypto: --compiled: compiled runs need numba: pip install 'blkcrypto[fast]'\n"
    )
    with pytest.raises(BadInput, match="need numba"):
        sweep.run_points([], tmp_path, compiled=True)
