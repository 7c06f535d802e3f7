"""``make soak`` for a moment: it counts, and it fails for what it is there to find."""

import platform
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hwmodel.tags import Tags
from tests.soak import __main__ as soaking
from tests.soak import workload
from tests.soak.__main__ import MIB, WARM_RUNS, resident, settle, soak


def said_of(
    run: Callable[[int, np.random.Generator], Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
    memory: Iterator[int],
) -> tuple[int, list[str]]:
    """A soak of 290 seconds, one run in each."""
    times = iter(range(300))
    monkeypatch.setattr(soaking, "run_next", run)
    said: list[str] = []
    status = soak(
        290,
        seed=1,
        grow_bytes=MIB,
        every_s=60,
        clock=lambda: next(times),
        memory=lambda: next(memory),
        say=said.append,
    )
    return status, said


def one(_number: int, _rng: np.random.Generator) -> Counter[str]:
    return Counter({"runs": 1, "bios": 10})


def test_counts_are_said_every_minute_and_flat_memory_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = said_of(one, monkeypatch, iter(lambda: 100 * MIB, 0))
    assert status == 0
    assert [line.split(":")[0].strip() for line in said] == [
        "60 s",
        "120 s",
        "180 s",
        "240 s",
        "291 s",
        "nothing violated, memory flat",
    ]
    assert "60 runs" in said[0]


def test_memory_that_grows_once_warm_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    growing = iter(range(100 * MIB, 1000 * MIB, MIB // 10))
    status, said = said_of(one, monkeypatch, growing)
    assert status == 1
    assert said[-1].startswith("GREW from ")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library cannot give free memory back")
def test_memory_that_is_free_between_what_is_held_does_not_count() -> None:
    settle()
    before = resident()
    blocks = [bytearray(b"x") * 100_000 for _ in range(1000)]
    kept = blocks[99::100]
    held = resident() - before
    del blocks
    settle()
    assert held > 90 * MIB
    assert resident() - before < 10 * MIB
    assert len(kept) == 10


def test_what_a_run_violates_ends_it_with_the_run_s_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def violate(number: int, rng: np.random.Generator) -> Counter[str]:
        return one(number, rng) if number < 40 else workload._campaign(number)

    def put(self: Tags, now: int) -> None:
        whole(self, now)
        self.free += 1

    whole = Tags.put
    monkeypatch.setattr(Tags, "put", put)
    status, said = said_of(violate, monkeypatch, iter(lambda: 100 * MIB, 0))
    assert status == 1
    assert said[-1].startswith("VIOLATED after 39 runs: seed 40: broken invariant: tags are conserved")


@pytest.mark.parametrize("number", [0, 1])
def test_either_kind_of_run_violates_nothing(number: int) -> None:
    counts = workload.run_next(number, np.random.default_rng(1))
    assert counts["runs"] == 1
    assert counts["bios"] > 100
    assert WARM_RUNS > 2 * workload._CAMPAIGN
