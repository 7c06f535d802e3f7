"""What ioctls and file operations returned on real kernels, scenario by scenario."""

import gzip
import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from tests.fscrypt_world import GOLDEN, needs_golden
from tests.golden_player import NOT_EXPRESSED
from tests.golden_scenarios import play_scenario

CHANCE = "whether a wrong key gives possible names is chance"


@cache
def load(version: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(
        gzip.decompress((GOLDEN / f"errno/errno-{version}.json.gz").read_bytes())
    )
    return data


def scenarios() -> list[Any]:
    if not GOLDEN.is_dir():
        return []
    return [
        pytest.param(version, number, id=f"{version}-{scenario['fs']}-{scenario['id']}")
        for version in ("6.18", "7.2")
        for number, scenario in enumerate(load(version)["scenarios"])
    ]


@needs_golden
@pytest.mark.parametrize(("version", "number"), scenarios())
def test_every_step_gives_the_errno_and_the_output_that_linux_gave(version: str, number: int) -> None:
    data = load(version)
    scenario = data["scenarios"][number]
    skipped: Counter[str] = Counter()
    agreed, wrong = play_scenario(data, scenario, skipped)
    assert wrong == []
    assert agreed + skipped.total() == len(scenario["steps"])
    # What is left out has a stated reason, and never grows by an operation that merely has no name here.
    assert set(skipped) <= {*NOT_EXPRESSED.values(), CHANCE}
