"""What is installed behaves as the checkout does."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = [
    sys.executable,
    "-m",
    "scenarios.cli",
    "run",
    "trace-replay",
    "--set",
    "workload.limit=500",
    "--json",
    "-",
    "--quiet",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network and unpacked where nothing else is."""
    pytest.importorskip("hatchling", reason="building the wheel offline needs hatchling")
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    target = place / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
    ]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return target


def result(path: Path) -> bytes:
    """The JSON of a run by the package under ``path``."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(RUN, check=True, capture_output=True, cwd=path, env=environment).stdout


def test_the_installed_wheel_gives_the_checkout_s_bytes(installed: Path) -> None:
    assert result(installed) == result(ROOT)


def test_the_same_seed_gives_the_same_bytes_again() -> None:
    assert result(ROOT) == result(ROOT)


def test_the_wheel_is_the_same_bytes_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    """Folders, dates of files, time zone and rights differ; the archive must not."""
    pytest.importorskip("hatchling", reason="building the wheel offline needs hatchling")
    wheels = []
    for folder, date, zone, umask in (
        ("here", 1_000_000_000, "UTC", 0o022),
        ("deep/er", 1_700_000_000, "Asia/Tokyo", 0o077),
    ):
        tree = tmp_path / folder
        for name in ("blkcrypto", "hwmodel", "scenarios"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, tree)
        for path in tree.rglob("*"):
            os.utime(path, (date, date))
        environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        subprocess.run(
            [
                sys.executable,
                "-m",
                "hatchling",
                "build",
                "--target",
                "wheel",
                "--directory",
                str(tree / "out"),
            ],
            cwd=tree,
            env=environment | {"TZ": zone},
            umask=umask,
            check=True,
            capture_output=True,
        )
        (wheel,) = (tree / "out").glob("*.whl")
        wheels.append((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    assert wheels[0] == wheels[1]
