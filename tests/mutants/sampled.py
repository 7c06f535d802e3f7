"""Mutants that nobody chose: drawn by a seed from all that can be made (``tests.mutants.sites``).

Tests are chosen by recorded coverage (``make coverage``): those that reach the changed statement, quick and
different ones first.  A mutant is found by the first test that fails, or does not end.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Final

from coverage import CoverageData

from tests.mutants.sites import Site, mutated, sites

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("blkcrypto/block", "blkcrypto/fs")
COVERAGE: Final = ROOT / "build" / "coverage" / "data"
_NOT_COPIED: Final = shutil.ignore_patterns(
    ".git", ".venv", "build", "__pycache__", ".*_cache", ".hypothesis"
)
# The first round is a few tests of each kind; only what survives those meets all others.
_ROUNDS: Final = ((60, 2, 120), (600, 1000, 420))  # tests, of one function at most, seconds
_NOT_ALONE: Final = re.compile(r"test_(docs|installed_wheel|map|interruption|hostile_input)")
_FAILED, _PASSED, _NOTHING = 1, 0, 5


@dataclass(slots=True)
class Reach:
    """Which tests reach which lines, as recorded."""

    data: CoverageData
    _files: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    def tests(self, site: Site) -> list[str]:
        """Node ids that reach the statement; of the whole file where it runs on import."""
        name = str(site.path.relative_to(ROOT))
        if name not in self._files:
            self._files[name] = self.data.contexts_by_lineno(name)
        lines = self._files[name]
        reached = {test for line in range(site.first, site.last + 1) for test in lines.get(line, ())}
        if "" in reached:
            reached |= {test for tests in lines.values() for test in tests}
        return sorted({test.partition("|")[0] for test in reached if test and not _NOT_ALONE.search(test)})


def drawn(count: int, seed: int) -> list[Site]:
    """``count`` mutants, all equally likely."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    every = [site for path in paths for site in sites(path)]
    print(
        f"{len(every)} mutants can be made of {len(paths)} files; {count} drawn with seed {seed}", flush=True
    )
    return random.Random(seed).sample(every, min(count, len(every)))


def rounds(tests: Sequence[str], rng: random.Random) -> Iterator[tuple[list[str], int]]:
    """Tests to run one after the other, and how many seconds they may take."""
    done: set[str] = set()
    for most, of_one, seconds in _ROUNDS:
        by_function: dict[str, list[str]] = defaultdict(list)
        for test in rng.sample(tests, len(tests)):
            by_function[test.partition("[")[0]].append(test)
        chosen = [test for group in by_function.values() for test in group[:of_one] if test not in done][
            :most
        ]
        done.update(chosen)
        if chosen:
            yield chosen, seconds


def verdict(site: Site, tests: Sequence[str], tree: Path) -> str:
    """``found``, ``found: does not end``, ``SURVIVED`` or ``SURVIVED: no test comes there``."""
    if not tests:
        return "SURVIVED: no test comes there"
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
                return "found: not even collected"
        return "SURVIVED"
    finally:
        path.write_text(text)
        _touch(path)


_clock = iter(range(1_000_000_000, 2_000_000_000))


def _touch(path: Path) -> None:
    """A time that no other version of the file had: compiled files are told apart by it."""
    when = next(_clock)
    os.utime(path, (when, when))


def _run(tree: Path, tests: Sequence[str], seconds: int) -> int | None:
    """Exit status of pytest; None when it took too long."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:xdist", "-p", "no:cov"]
    listed = tree / "chosen-tests"
    listed.write_text("\n".join(tests))
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": str(tree / "pycache")}
    try:
        done = subprocess.run(
            [*words, f"@{listed}"],
            cwd=tree,
            env=environment | {"OPENBLAS_NUM_THREADS": "1"},
            timeout=seconds,
            check=False,
            capture_output=True,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode


def run_sampled(count: int, seed: int, *, jobs: int, coverage: Path) -> int:
    """Draw, run and report; 1 when more than a tenth survived."""
    reach = Reach(CoverageData(str(coverage)))
    reach.data.read()
    chosen = [(site, reach.tests(site)) for site in drawn(count, seed)]
    survived: list[tuple[Site, str]] = []
    trees: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory(prefix="sampled-") as scratch, ThreadPoolExecutor(jobs) as pool:
        for job in range(jobs):
            trees.put(_copy(Path(scratch) / str(job)))

        def one(site: Site, tests: list[str]) -> tuple[Site, str, float]:
            tree, begun = trees.get(), time.monotonic()
            try:
                return site, verdict(site, tests, tree), time.monotonic() - begun
            finally:
                trees.put(tree)

        for site, said, seconds in pool.map(lambda each: one(*each), chosen):
            line = f"{site.path.relative_to(ROOT)}:{site.first}: {site.text}"
            print(f"{said:30} {seconds:6.1f} s  {line}", flush=True)
            if said.startswith("SURVIVED"):
                survived.append((site, said))
    found = len(chosen) - len(survived)
    print(f"{found} of {len(chosen)} found, {found / max(1, len(chosen)):.1%}", flush=True)
    return int(len(survived) * 10 > len(chosen))


def _copy(where: Path) -> Path:
    """A copy of the repository beside the shared data, if that is there."""
    tree = where / "tree"
    shutil.copytree(ROOT, tree, ignore=_NOT_COPIED)
    shared = ROOT.parent / "shared"
    if shared.exists():
        (where / "shared").symlink_to(shared.resolve())
    return tree
