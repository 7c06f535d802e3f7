"""Hostile input ends in one line that says what to do, in bounded memory and time, and leaves nothing behind.

The inputs are rows of ``tests/hostile_inputs.py``; docs/robustness.md shows them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios.source import trace_path
from tests.hostile_inputs import HOSTILE, RUN, SHIPPED, full_device
from tests.hostile_world import Command, Forks

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux sets them")
PAGE = Path(__file__).parents[1] / "docs" / "robustness.md"
# An idle command has 60 MB; polars brings 60 more.
MOST_BYTES = 256 << 20


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as server:
        yield server


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, forks: Forks, tmp_path: Path) -> None:
    row = HOSTILE[name]
    row.make(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())

    outcome = forks.run(
        Command(
            args=row.command.split(),
            folder=str(tmp_path),
            stdin=row.stdin,
            stdout=row.stdout,
            file_bytes=row.file_bytes,
            bounded=row.bounded,
        )
    )

    lines = outcome.errors.splitlines()
    assert (outcome.status, len(lines)) == (row.status, bool(row.says)), outcome.errors
    assert not row.says or (lines[0].startswith("blkcrypto: ") and row.says in lines[0]), lines[0]
    assert outcome.peak_bytes < MOST_BYTES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, *row.leaves])


def test_the_page_shows_every_hostile_input_and_its_test() -> None:
    assert _table() in PAGE.read_text(encoding="utf-8"), f"docs/robustness.md should have\n{_table()}"


def _table() -> str:
    lines = ["| input | what is said | status | `test_hostile[...]` |", "|---|---|---|---|"]
    for row in HOSTILE.values():
        said = f"`{row.says.strip()}`" if row.says else "nothing"
        lines.append(f"| {row.given} | {said} | {row.status} | {row.name} |")
    return "\n".join(lines) + "\n"


def test_a_symbolic_link_stays_one_and_the_file_it_leads_to_is_replaced(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "result").write_text("old")
    for name in ("json", "parquet"):
        (tmp_path / name).symlink_to(f"folder/{name}")

    done = forks.run(
        Command(
            args=[*RUN.split(), "--json", "json", "--parquet", "parquet"], folder=str(tmp_path), bounded=False
        )
    )

    assert (done.status, done.errors) == (0, "")
    assert (tmp_path / "json").is_symlink()
    assert (tmp_path / "folder" / "json").read_bytes().startswith(b"{")
    assert (tmp_path / "folder" / "parquet").read_bytes().startswith(b"PAR1")
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["json", "parquet", "result"]


@pytest.mark.parametrize("option", ["--json", "--html", "--timeline", "--parquet"])
def test_a_device_is_never_replaced(option: str, forks: Forks, tmp_path: Path) -> None:
    full_device(tmp_path)
    before = (tmp_path / "full").lstat()

    forks.run(Command(args=[*RUN.split(), option, "full"], folder=str(tmp_path), bounded=False))

    assert ((tmp_path / "full").lstat().st_ino, list(tmp_path.iterdir())) == (
        before.st_ino,
        [tmp_path / "full"],
    )


def test_a_shipped_trace_comes_through_a_pipe(forks: Forks, tmp_path: Path) -> None:
    command = ["replay", "-", "--quiet", "--limit", "50"]

    done = forks.run(Command(args=command, folder=str(tmp_path), stdin=trace_path(SHIPPED)))
    assert (done.status, done.errors) == (0, "")


def main() -> None:
    """Print the page's table."""
    print(_table(), end="")


if __name__ == "__main__":
    main()
