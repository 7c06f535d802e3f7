"""Mutants that nobody chose: drawn by a seed from all that can be made (``tests.mutants.sites``).

Tests are chosen by recorded coverage (``make coverage``): those that reach the changed statement, quick and
different ones first.  A mutant is found by the first test that fails, or does not end; one that passes them
all, by ``mypy --strict``, which is as much a part of what each change goes through as the tests are.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Final
from xml.etree import ElementTree

from coverage import CoverageData

from tests.mutants.sites import Site, mutated, sites

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("blkcrypto/block", "blkcrypto/fs")
RECORDED: Final = ROOT / "build" / "coverage"  # what `make coverage` leaves: data, tests.xml
_NOT_COPIED: Final = shutil.ignore_patterns(
    ".git", ".venv", "build", "__pycache__", ".*_cache", ".hypothesis"
)
# Tests, of one function at most, recorded seconds together, and seconds of CPU time that they may take.
_ROUNDS: Final = ((60, 2, 10.0, 90), (600, 100, 60.0, 400), (1 << 20, 1 << 20, 1e9, 3000))
_WALL: Final = 10  # times that, on a machine that others use
_UNKNOWN_S: Final = 0.3
# A process of its own, so that a test that never ends is ended by the kernel, however busy the machine is.
_LIMITED: Final = (
    "import resource, sys, pytest; limit = int(sys.argv.pop(1));"
    "resource.setrlimit(resource.RLIMIT_CPU, (limit, limit)); sys.exit(pytest.main(sys.argv[1:]))"
)
_NOT_ALONE: Final = re.compile(r"test_(docs|installed_wheel|map|interruption|hostile_input)")
_FAILED, _PASSED, _NOTHING = 1, 0, 5
_BY_MYPY: Final = "found: by mypy"


class Recorded:
    """Which tests reach which lines, and how long they take, as ``make coverage`` recorded it."""

    def __init__(self, folder: Path) -> None:
        self._data = CoverageData(str(folder / "data"))
        self._data.read()
        self._lines: dict[str, dict[int, list[str]]] = {}
        self._seconds = {
            f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}": float(
                case.get("time", 0)
            )
            for case in ElementTree.parse(folder / "tests.xml").iter("testcase")
        }

    def tests(self, site: Site) -> list[tuple[float, str]]:
        """Seconds and node ids of what reaches the statement.

        What runs on import is reached by whatever reaches its file, or else its folder, and by all tests
        of the modules that import it: comparing a constant reaches no line.
        """
        lines = self._reached(site.path)
        reached = {test for line in range(site.first, site.last + 1) for test in lines.get(line, ())}
        imported: set[str] = set()
        if "" in reached:
            reached = {test for tests in lines.values() for test in tests}
            imported = self._importing(site.path)
        if reached == {""}:
            beside = [self._reached(path) for path in site.path.parent.glob("*.py")]
            reached = {test for lines in beside for tests in lines.values() for test in tests}
        reached = imported | {test.partition("|")[0] for test in reached if test}
        tests = {test for test in reached if not _NOT_ALONE.search(test)}
        return sorted((self._seconds.get(test, _UNKNOWN_S), test) for test in tests)

    def _importing(self, path: Path) -> set[str]:
        """Tests of the modules that import the file by its name."""
        *parents, name = path.relative_to(ROOT).with_suffix("").parts
        package = ".".join(parents)
        files = {
            f"tests/{module.name}"
            for module in (ROOT / "tests").glob("test_*.py")
            if re.search(rf"from {package}(\.{name} import|  *import .*\b{name}\b)", module.read_text())
        }
        return {test for test in self._seconds if test.partition("::")[0] in files}

    def _reached(self, path: Path) -> dict[int, list[str]]:
        name = str(path.relative_to(ROOT))
        if name not in self._lines:
            self._lines[name] = self._data.contexts_by_lineno(name)
        return self._lines[name]


def drawn(count: int, seed: int) -> list[Site]:
    """``count`` mutants, all equally likely."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    every = [site for path in paths for site in sites(path)]
    print(
        f"{len(every)} mutants can be made of {len(paths)} files; {count} drawn with seed {seed}", flush=True
    )
    return random.Random(seed).sample(every, min(count, len(every)))


def rounds(tests: Sequence[tuple[float, str]], rng: random.Random) -> Iterator[tuple[list[str], int]]:
    """Tests to run one after the other, few, quick and different ones first; seconds that they may take."""
    done: set[str] = set()
    shuffled = sorted(rng.sample(tests, len(tests)), key=lambda test: test[0])
    for most, most_of_one, most_s, limit_s in _ROUNDS:
        chosen: list[str] = []
        of_one: Counter[str] = Counter()
        total_s = 0.0
        for seconds, test in shuffled:
            function = test.partition("[")[0]
            if test in done or of_one[function] >= most_of_one or len(chosen) >= most:
                continue
            if chosen and total_s + seconds > most_s:
                break
            chosen.append(test)
            of_one[function] += 1
            total_s += seconds
        done.update(chosen)
        if chosen:
            yield chosen, limit_s


def verdict(site: Site, tests: Sequence[tuple[float, str]], tree: Path) -> str:
    """``found``, how if not by a failure, or ``SURVIVED``, why if no test comes there."""
    path = tree / site.path.relative_to(ROOT)
    text = path.read_text()
    path.write_text(mutated(site, text))
    _touch(path)
    try:
        for chosen, seconds in rounds(tests, random.Random(site.number)):
            status = _run(tree, chosen, seconds)
            if status is None:
                return "found: does not end"
            if status == _FAILED:
                return "found"
            if status not in (_PASSED, _NOTHING):
                return "found: not even imported"
        if not _typed(tree):
            return _BY_MYPY
        return "SURVIVED" if tests else "SURVIVED: no test comes there"
    finally:
        path.write_text(text)
        _touch(path)


_clock = iter(range(1_000_000_000, 2_000_000_000))


def _touch(path: Path) -> None:
    """A time that no other version of the file had: compiled files are told apart by it."""
    when = next(_clock)
    os.utime(path, (when, when))


def _run(tree: Path, tests: Sequence[str], limit_s: int) -> int | None:
    """Exit status of pytest; None when it took too long."""
    listed = tree / "chosen-tests"
    listed.write_text("\n".join(tests))
    words = [sys.executable, "-c", _LIMITED, str(limit_s), "-x", "-q", "-p", "no:xdist", "-p", "no:cov"]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": str(tree / "pycache")}
    try:
        done = subprocess.run(
            [*words, f"@{listed}"],
            cwd=tree,
            env=environment | {"OPENBLAS_NUM_THREADS": "1"},
            timeout=_WALL * limit_s,
            check=False,
            capture_output=True,
        )
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode < 0 else done.returncode


def _typed(tree: Path) -> bool:
    """Whether the type checker has nothing to say."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *PACKAGES]
    return subprocess.run(command, cwd=tree, check=False, capture_output=True).returncode == 0


def run_sampled(count: int, seed: int, *, jobs: int, recorded: Path) -> int:
    """Draw, run and report; 1 when more than a tenth survived."""
    known = Recorded(recorded)
    chosen = [(site, known.tests(site)) for site in drawn(count, seed)]
    verdicts: Counter[str] = Counter()
    trees: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory(prefix="sampled-") as scratch, ThreadPoolExecutor(jobs) as pool:
        for job in range(jobs):
            trees.put(_copy(Path(scratch) / str(job)))

        def one(site: Site, tests: list[tuple[float, str]]) -> tuple[Site, str, float]:
            tree, begun = trees.get(), time.monotonic()
            try:
                return site, verdict(site, tests, tree), time.monotonic() - begun
            finally:
                trees.put(tree)

        for site, said, seconds in pool.map(lambda each: one(*each), chosen):
            line = f"{site.path.relative_to(ROOT)}:{site.first}: {site.text}"
            print(f"{said:30} {seconds:6.1f} s  {line}", flush=True)
            verdicts[said] += 1
    survived = sum(number for said, number in verdicts.items() if said.startswith("SURVIVED"))
    found = len(chosen) - survived
    share = found / max(1, len(chosen))
    print(f"{found} of {len(chosen)} found, {share:.1%}; {verdicts[_BY_MYPY]} by mypy alone", flush=True)
    return int(survived * 10 > len(chosen))


def _copy(where: Path) -> Path:
    """A copy of the repository beside the shared data, if that is there."""
    tree = where / "tree"
    shutil.copytree(ROOT, tree, ignore=_NOT_COPIED)
    shared = ROOT.parent / "shared"
    if shared.exists():
        (where / "shared").symlink_to(shared.resolve())
    return tree
