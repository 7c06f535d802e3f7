"""Every command and example of README.md and docs/ runs, and every link leads somewhere.

A fenced block says in its first line what happens to it:

- ```` ```sh run ```` and ```` ```console run ````: every ``blkcrypto`` line has to end with 0.  ``KEY=VALUE``
  after ``run`` is given to each as ``--set KEY=VALUE``, to keep long ones short.  Of ``make X`` only the
  target is looked for.
- ```` ```sh elsewhere REASON ````: needs what is not here, one of ``REASONS``.  All other commands run; of
  these, ``blkcrypto`` ones have to be understood.
- ```` ```text synopsis ````: shows how commands are written.
- ```` ```python run ````: is executed; the blocks of one page share their names.
- ```` ```text output ```` after one of these: what it prints.  ``...`` stands for any text, on a line of its
  own for any lines.
- ```` ```toml file=NAME ````: is saved as ``NAME`` for what comes later on the page.

Pages run in a folder of their own, which holds what a reader would bring: a recorded trace.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scenarios import cli
from scenarios.source import trace_path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TAKES_SETS = {"run", "replay", "compare", "curve", "sweep", "threat"}
REASONS = {
    "cluster",
    "root",
    "fio",
    "disk",
    "shell",
    "server",
}  # machines, rights, programs and data that a test has not
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?blkcrypto [a-z]", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Columns as libCacheSim's block traces have them: what the column map of a page is for.
TABLE = "time,op,size,lbn\n" + "".join(f"{n},{'28' if n % 3 else '2A'},4096,{8 * n}\n" for n in range(50))
# Three volumes, as Alibaba's traces have them: device, operation, offset, length, time in us.
FLEET = "".join(f"{n % 3},{'WR'[n % 2]},{n * n % 20 << 26},4096,{1000 * n}\n" for n in range(300))


@dataclass
class Block:
    """A fenced block: its words after the language, its text, the line it begins in."""

    language: str
    words: list[str]
    line: int
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def runs(self) -> bool:
        return bool(self.words) and self.words[0] == "run"


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        opened = re.match(r"(`{3,})(.*)", line)
        if fence and line.strip() == fence:
            fence = ""
        elif fence:
            found[-1].lines.append(line)
        elif opened:
            fence = opened[1]
            language, *words = opened[2].split() or [""]
            found.append(Block(language, words, number))
    return found


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block; in a console block those after a ``$``."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        words = shlex.split(line, comments=True)
        if words:
            yield words


def run_command(words: list[str], sets: list[str]) -> None:
    program, *rest = words
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (
            f"no target {rest[0]}"
        )
        return
    assert Path(program).name == "blkcrypto", f"cannot run {program!r} here: write a block without `run`"
    changes = [text for change in sets for text in ("--set", change)] if rest[0] in TAKES_SETS else []
    assert cli.main([*rest, *changes]) == 0, shlex.join(words)


def run_block(block: Block, names: dict[str, object]) -> None:
    if block.language == "python":
        exec(compile("\n" * block.line + block.text, "<page>", "exec"), names)
        return
    for words in commands(block):
        run_command(words, block.words[1:])


def as_printed(shown: str, printed: str) -> bool:
    """Whether ``printed`` is ``shown``, in which ``...`` stands for any text, or for any lines."""
    parts = []
    for line in shown.splitlines():
        if line.strip() == "...":
            parts.append("(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(text) for text in line.rstrip().split("...")) + r" *\n")
    return re.fullmatch("".join(parts), printed.rstrip("\n") + "\n") is not None


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader works: with a trace, tables of I/Os, and a folder for figures."""
    shutil.copy(trace_path("builtin:ext4-db-log-scan.ftrace.txt.xz"), tmp_path / "trace.txt.xz")
    (tmp_path / "trace.csv").write_text(TABLE)
    (tmp_path / "fleet.csv").write_text(FLEET)
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.runs for b in blocks(page))], ids=name)
def test_every_example_runs_and_prints_what_the_page_says(
    page: Path, reader: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        where = f"{name(page)}:{block.line}"
        if block.runs:
            run_block(block, names)
            printed = capsys.readouterr().out
        elif block.words == ["output"]:
            assert as_printed(block.text, printed), f"{where} shows something else than\n{printed}"
        elif block.words and block.words[0].startswith("file="):
            (reader / block.words[0].removeprefix("file=")).write_text(block.text + "\n")
    for drawn in reader.rglob("*.svg"):
        shown = page.parent / drawn.relative_to(reader)
        if shown.exists():
            assert words_in(shown) == words_in(drawn), f"{name(page)} shows an old {drawn.name}"


def words_in(figure: Path) -> list[str]:
    """The texts of a figure: axes, legend and the values written at bars."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", figure.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_commands_runs_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        where = f"{name(page)}:{block.line}"
        if block.language not in ("sh", "console"):
            assert not COMMAND.search(block.text) or block.words in (["output"], ["synopsis"]), (
                f"{where}: write `sh run`"
            )
        elif not block.runs:
            assert block.words[:1] == ["elsewhere"], f"{where}: write `sh run` or `sh elsewhere REASON`"
            assert set(block.words[1:2]) <= REASONS, f"{where}: why not here?"
            assert len(block.words) > 1, f"{where}: why not here?"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    assert not re.search(r"\n\n    blkcrypto ", page.read_text(encoding="utf-8")), "write `sh run`"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_for_elsewhere_are_understood(page: Path) -> None:
    for block in blocks(page):
        for words in commands(block) if block.words[:1] == ["elsewhere"] else ():
            if Path(words[0]).name == "blkcrypto":
                command = cli.cli.commands[words[1]]
                with command.make_context(words[1], words[2:]):
                    pass


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{name(page)} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{name(page)} links to {target}"


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="building the documentation needs the extra docs")
    # A copy: the build makes the references anew, which is not for a test to do in the checkout.
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("_build"))
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    done = subprocess.run(
        [*build, str(tmp_path / "docs"), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
