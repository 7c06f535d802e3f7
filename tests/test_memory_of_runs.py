"""What a run took it gives back when it ends, and does not leave to the garbage collector."""

import gc
from dataclasses import replace

import pytest

from hwmodel.medium import Medium
from scenarios.load import load_scenario
from scenarios.run import run

SETS = ("payload=verify", "ios=300", "jobs=1")


def media_with_data() -> int:
    return sum(1 for each in gc.get_objects() if isinstance(each, Medium) and len(each))


@pytest.mark.parametrize("check", [False, True])
def test_no_data_is_left_in_memory_when_a_run_has_ended(check: bool) -> None:
    before = media_with_data()
    gc.disable()
    try:
        result = run(load_scenario("keyslot-contention", sets=SETS), check=check)
        left = media_with_data()
    finally:
        gc.enable()
    assert result.verified_bytes
    assert left == before


def test_a_digest_of_the_medium_is_made_only_when_it_is_asked_for() -> None:
    scenario = load_scenario("keyslot-contention", sets=SETS)
    with_it, without = run(scenario), run(scenario, digest=False)
    assert len(bytes.fromhex(with_it.medium_sha256)) == 32
    assert without == replace(with_it, medium_sha256="")
