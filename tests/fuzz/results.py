"""Targets that feed what a sweep keeps: points and the index."""

import functools
from pathlib import Path
from typing import Final

import blkcrypto
from blkcrypto.base.errors import BadInput
from scenarios.load import load_scenario
from scenarios.sweeps.point import Point, run_point
from scenarios.sweeps.store import Store, kept_point
from tests.fuzz.folder import folder

_DIGEST: Final = "0" * 32


@functools.cache
def _sealed_point() -> bytes:
    scenario = load_scenario("md1", sets=["ios=200", "run.warmup=0"])
    return run_point(scenario, blkcrypto.__version__, check=False).result.encode()


def point_seeds() -> list[bytes]:
    """A point that a sweep kept."""
    return [_sealed_point()]


def feed_point(data: bytes) -> None:
    """A kept point, or no point any more: a hash that fits, which guided fuzzing finds, is believed."""
    sweep = folder() / "sweep"
    (sweep / "points").mkdir(parents=True, exist_ok=True)
    (sweep / "points" / f"{_DIGEST}.json").write_bytes(data)
    if kept_point(sweep, _DIGEST) is None:
        raise BadInput("damaged: the point is run again")


def _indexed() -> Path:
    sweep = folder() / "indexed"
    sweep.mkdir(exist_ok=True)
    return sweep


def _point(number: int) -> Point:
    return Point(
        number=number, labels={"keyslots": "8"}, repeat=0, seed=number, scenario=None, digest=_DIGEST
    )


def index_seeds() -> list[bytes]:
    """An index of three points."""
    with Store(_indexed()) as store:
        for number in range(3):
            store.note(_point(number), "done", attempts=1, wall_s=0.5)
    return [(_indexed() / "index.sqlite").read_bytes()]


def feed_index(data: bytes) -> None:
    """An index that an earlier sweep left: read for what points cost, then replaced."""
    (_indexed() / "index.sqlite").write_bytes(data)
    with Store(_indexed()) as store:
        store.note(_point(0), "done")
