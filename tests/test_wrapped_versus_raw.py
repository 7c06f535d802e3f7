"""Hardware-wrapped against raw keys: the difference is what programming costs, and nothing else."""

from collections.abc import Iterator

import pytest

from scenarios.load import load_scenario
from scenarios.results.result import KEYSLOT_STAGES, RunResult
from scenarios.run import run

SMALL = ("workload.ios=20000",)
FREE = (
    "device.keyslots.program_raw_ns=0ns",
    "device.keyslots.program_hw_wrapped_ns=0ns",
)


def result(*sets: str) -> RunResult:
    return run(load_scenario("wrapped-versus-raw", sets=(*SMALL, *sets)))


def paths(*sets: str) -> Iterator[RunResult]:
    yield result("keys.type=raw", "keys.engine=inline", *sets)
    yield result("keys.type=hw-wrapped", "keys.engine=inline", *sets)


def test_wrapped_keys_cost_more_where_keyslots_are_programmed_or_waited_for() -> None:
    raw, wrapped = paths()
    worse = wrapped.directions["all"].lat_ns.mean - raw.directions["all"].lat_ns.mean
    assert worse > raw.directions["all"].lat_ns.mean_halfwidth95
    for stage in ("keyslot_program", "keyslot_lock"):
        assert wrapped.directions["all"].stage_ns[stage] > raw.directions["all"].stage_ns[stage]


def test_the_difference_vanishes_when_programming_costs_nothing() -> None:
    raw, wrapped = paths(*FREE)
    assert wrapped.directions == raw.directions
    assert all(raw.directions["all"].stage_ns[stage] == 0 for stage in KEYSLOT_STAGES)


def test_the_fallback_pays_in_cpu_time_and_not_in_the_device_s_keyslots() -> None:
    inline = result("keys.type=raw", "keys.engine=inline")
    fallback = result("keys.type=raw", "keys.engine=fallback")
    assert inline.cpu.crypto_ns == 0
    assert fallback.cpu.crypto_ns > 0
    assert fallback.cpu.program_ns == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_raw_inline_and_fallback_leave_the_same_bytes_on_the_medium(seed: int) -> None:
    # A closed loop of depth 1 completes in one order on every path.
    common = (
        "keys.type=raw",
        "run.payload=verify",
        f"run.seed={seed}",
        "run.queue_depth=1",
        "workload.ios=2000",
        "workload.rate_per_s=0",
        "workload.jobs=1",
        "workload.read_share=0.3",
    )
    inline = run(load_scenario("wrapped-versus-raw", sets=(*common, "keys.engine=inline")))
    fallback = run(load_scenario("wrapped-versus-raw", sets=(*common, "keys.engine=fallback")))
    assert inline.medium_sha256 == fallback.medium_sha256
    assert inline.mismatches == fallback.mismatches == 0
    assert inline.verified_bytes > 0


def test_wrapped_keys_encrypt_with_another_key_than_the_same_seed_s_raw_keys() -> None:
    common = ("run.payload=verify", "workload.ios=500", "keys.engine=inline")
    raw = run(load_scenario("wrapped-versus-raw", sets=(*common, "keys.type=raw")))
    wrapped = run(load_scenario("wrapped-versus-raw", sets=(*common, "keys.type=hw-wrapped")))
    assert wrapped.mismatches == 0
    assert wrapped.verified_bytes == raw.verified_bytes > 0
    assert wrapped.medium_sha256 != raw.medium_sha256


def test_preparing_wrapped_keys_is_counted_once_per_master_key() -> None:
    wrapped = result("keys.type=hw-wrapped", "keys.engine=inline")
    masters = load_scenario("wrapped-versus-raw").keys.master_keys
    assert {name: count for name, (count, _) in wrapped.key_ops.items()} == {
        "generate": masters,
        "prepare": masters,
        "derive_sw_secret": masters,
    }
