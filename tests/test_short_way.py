"""The short way through a plain machine leads to the same records as the long one, bio by bio."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.block.limits import QueueLimits
from hwmodel.clock import Row
from hwmodel.controller import Machine
from hwmodel.device import Device
from scenarios import build
from scenarios.load import load_scenario, shipped_scenarios
from scenarios.run import run
from tests.machines import US, device, keys

KEYS = 12


class LongWay(Machine):
    """A machine of a kind of its own is led the long way."""


class Bytes:
    """Every record, as bytes."""

    def __init__(self) -> None:
        self.seen = bytearray()

    def add(self, records: npt.NDArray[np.int64]) -> None:
        self.seen += records.tobytes()


def rows(seed: int, gap_ns: int) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    count = 400
    return zip(
        np.cumsum(rng.integers(0, 2 * gap_ns, count)).tolist(),
        range(count),
        rng.choice([0, 1, 2, 3], count, p=[0.5, 0.4, 0.05, 0.05]).tolist(),
        (rng.integers(0, 1 << 12, count) * 8).tolist(),
        (rng.choice([1, 2, 16, 64], count) * 4096).tolist(),
        rng.integers(-1, KEYS, count).tolist(),
        rng.integers(0, 1 << 32, count).tolist(),
        rng.integers(0, 5, count).tolist(),
        strict=True,
    )


def records_of(kind: type[Machine], facts: Device, seed: int, gap_ns: int, depth: int, most: int) -> bytes:
    records = Bytes()
    machine = kind(
        facts,
        where="inline",
        rng=np.random.default_rng(seed),
        keys=keys(KEYS),
        records=records.add,
        limits=QueueLimits(max_sectors=128),
        max_in_flight=most,
    )
    machine.run(rows(seed, gap_ns), queue_depth=depth)
    return bytes(records.seen)


@settings(deadline=None, max_examples=60)
@given(
    facts=st.builds(
        device,
        tags=st.sampled_from([1, 3, 32]),
        slots=st.sampled_from([0, 1, 4, 16]),
        program_ns=st.sampled_from([0, 10 * US, 80 * US]),
        program_on_cpu=st.booleans(),
        units=st.sampled_from([1, 8]),
        shape=st.sampled_from(["deterministic", "exponential"]),
        placement=st.sampled_from(["any", "striped"]),
        link_per_s=st.sampled_from([0, 10**9]),
        engine_per_s=st.sampled_from([0, 5 * 10**8]),
        engine_latency_ns=st.sampled_from([0, 700]),
        cpus=st.sampled_from([1, 4]),
        submit_ns=st.sampled_from([0, 900]),
        per_data_unit_ns=st.sampled_from([0, 50]),
    ),
    seed=st.integers(0, 1000),
    gap_ns=st.sampled_from([2 * US, 30 * US, 200 * US]),
    depth=st.sampled_from([0, 0, 1, 8]),
    most=st.sampled_from([5, 1 << 16]),
)
def test_every_bio_takes_the_same_times_either_way(
    facts: Device, seed: int, gap_ns: int, depth: int, most: int
) -> None:
    assert records_of(Machine, facts, seed, gap_ns, depth, most) == records_of(
        LongWay, facts, seed, gap_ns, depth, most
    )


@pytest.mark.parametrize("name", shipped_scenarios())
def test_every_scenario_of_the_catalog_has_the_same_records_and_result_either_way(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = load_scenario(name, sets=[] if name == "trace-replay" else ["ios=5000"])
    short, long = Bytes(), Bytes()
    result = run(chosen, sinks=[short])
    monkeypatch.setattr(build, "Machine", LongWay)
    assert run(chosen, sinks=[long]) == result
    assert short.seen == long.seen


def test_the_short_way_is_taken_where_nothing_holds_bios_back_and_only_there() -> None:
    plain = {"where": "inline", "rng": np.random.default_rng(1), "keys": keys(1), "records": lambda _: None}
    assert Machine(device(), **plain).is_plain  # type: ignore[arg-type]  # of several types
    assert not LongWay(device(), **plain).is_plain  # type: ignore[arg-type]
    assert not Machine(device(drains_io=True), **plain).is_plain  # type: ignore[arg-type]
    assert not Machine(device(), **plain, scheduler="mq-deadline").is_plain  # type: ignore[arg-type]
    assert not Machine(device(), **plain | {"where": "fallback"}).is_plain  # type: ignore[arg-type]
