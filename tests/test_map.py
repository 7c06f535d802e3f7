"""The map in the head of ``scenarios`` names what there is and nothing else."""

import re
from pathlib import Path

import scenarios

HERE = Path(scenarios.__file__).parent


def test_the_map_of_scenarios_has_every_module_and_room() -> None:
    assert scenarios.__doc__ is not None
    modules = [path.stem for path in HERE.glob("*.py") if path.stem != "__init__"]
    rooms = [path.parent.name + "/" for path in HERE.glob("*/__init__.py")]
    words = re.findall(r"[a-z]+/?", scenarios.__doc__)
    assert not {*modules, *rooms} - set(words)


def test_the_map_of_scenarios_names_no_module_that_is_gone() -> None:
    assert scenarios.__doc__ is not None
    drawn = scenarios.__doc__.partition("::\n")[2].partition("\n\nMany")[0]
    named = [word for line in drawn.splitlines() for word in line[17 + 4 :].split()]
    named += re.findall(r"``([a-z/]+)``", scenarios.__doc__)
    gone = [name for name in named if not (HERE / f"{name}.py").exists() and not (HERE / name).is_dir()]
    assert not gone
    assert len(named) > 20
