"""Run the mutants: exit status 0 when every one was found, 1 when one survived, 2 when one cannot be made."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.compiled import COMPILED
from tests.mutants.data import DATA
from tests.mutants.files import FILES
from tests.mutants.io import IO
from tests.mutants.keyslots import KEYSLOTS
from tests.mutants.rest import REST
from tests.mutants.row import Mutant

ROOT = Path(__file__).parents[2]
COPIED = ("blkcrypto", "hwmodel", "scenarios", "tests", "pyproject.toml")
FAILED, PASSED = 1, 0
SLIPS = ("NameError", "SyntaxError", "IndentationError", "ImportError")
ALL = (*KEYSLOTS, *IO, *REST, *FILES, *COMPILED, *DATA)


def run_tests(tree: Path, tests: str) -> tuple[int, str]:
    """Exit status and output of pytest in ``tree``."""
    file, _, expression = tests.partition(" ")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{file}"]
    if expression:
        command += ["-k", expression]
    # The copy comes first on the path, so that it hides the installed package.
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout


def copy_tree(where: Path) -> Path:
    """A copy of what the tests need, beside the shared data if that is there."""
    tree = where / "tree"
    tree.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    shared = ROOT.parent / "shared"
    if shared.exists():
        (where / "shared").symlink_to(shared)
    return tree


def verdict(mutant: Mutant) -> str:
    """``found``, ``SURVIVED`` or what is wrong with the mutant."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = copy_tree(Path(scratch))
        path = tree / mutant.path
        text = path.read_text()
        if text.count(mutant.right) != 1:
            return f"CANNOT BE MADE: the text is there {text.count(mutant.right)} times"
        path.write_text(text.replace(mutant.right, mutant.wrong))
        status, output = run_tests(tree, mutant.tests)
    slip = next((error for error in SLIPS if f"E   {error}" in output), None)
    if slip is not None:
        return f"CANNOT BE MADE: it is no wrong rule but a {slip}"
    return {FAILED: "found", PASSED: "SURVIVED"}.get(status, f"CANNOT BE MADE: pytest exits with {status}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen mutants and print what became of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("only", nargs="*", help="run mutants whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--sampled", type=int, metavar="N", help="run N mutants that nobody chose instead")
    parser.add_argument("--seed", type=int, default=1, help="that draws them")
    parser.add_argument("--recorded", type=Path, help="what `make coverage` left; build/coverage")
    options = parser.parse_args(arguments)
    if options.sampled is not None:
        from tests.mutants.sampled import RECORDED, run_sampled

        recorded = options.recorded or RECORDED
        return run_sampled(options.sampled, options.seed, jobs=options.jobs, recorded=recorded)
    mutants = [m for m in ALL if not options.only or any(word in m.name for word in options.only)]
    if options.list:
        print("\n".join(mutant.name for mutant in mutants))
        return 0
    for tests in sorted({mutant.tests for mutant in mutants}):
        if run_tests(ROOT, tests)[0] != PASSED:
            print(f"without any mutant these tests do not pass: {tests}")
            return 2
    bad = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, said in zip(mutants, pool.map(verdict, mutants), strict=True):
            bad = max(bad, {"found": 0, "SURVIVED": 1}.get(said, 2))
            print(f"{said:>8}  {mutant.name}", flush=True)
    print(f"{len(mutants)} mutants")
    return bad


if __name__ == "__main__":
    sys.exit(main())
