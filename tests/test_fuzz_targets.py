"""Whatever comes from outside is refused with an error of ours: a short, seeded share of ``make fuzz``.

``tests/fuzz/found/TARGET/`` holds every input that once did worse.
"""

import random
import sys
from pathlib import Path

import pytest

from tests.fuzz.commands import command_lines, not_here
from tests.fuzz.engine import mutated, no_hang
from tests.fuzz.targets import TARGETS

FOUND = sorted((Path(__file__).parent / "fuzz" / "found").glob("*/*"))
MUTATIONS = 150


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_end_in_an_answer_or_an_error_of_ours(name: str) -> None:
    target, rng = TARGETS[name], random.Random(name)
    seeds = target.seeds()

    for _ in range(MUTATIONS):
        with no_hang():
            target.run(mutated(rng.choice(seeds), rng.choice(seeds), rng))


@pytest.mark.parametrize("name", TARGETS)
def test_some_seed_of_each_target_is_accepted(name: str) -> None:
    target = TARGETS[name]

    assert any(target.run(seed) for seed in target.seeds())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_fuzzing_once_found_stays_mended(path: Path) -> None:
    with no_hang():
        TARGETS[path.parent.name].run(path.read_bytes())


def test_command_lines_leave_nothing_replaced_behind() -> None:
    """A module that is first imported meanwhile would take its names from those that are replaced."""
    for line in command_lines():
        TARGETS["command-lines"].run(line)

    ours = [vars(module) for name, module in sys.modules.items() if name.startswith("scenarios")]
    assert not [names["__name__"] for names in ours if any(value is not_here for value in names.values())]
