"""Plays the scenarios of the golden errno files on the small filesystem."""

from collections import Counter
from typing import Any

from tests.golden_ops import OPS
from tests.golden_player import NotExpressed, Outcome, Player, Step

# Values of ``out`` that depend on chance, or on what this filesystem does not model.
_NOT_COMPARED = {"nonzero", "STATX_DIOALIGN in mask", "flags_before", "names"}


def differences(step: Step, got: Outcome) -> list[str]:
    """What of a step is not as recorded."""
    if step["op"].startswith("readdir") and {got["result"], step["result"]} == {"OK", "EIO"}:
        raise NotExpressed("whether a wrong key gives possible names is chance")
    wrong = [] if got["result"] == step["result"] else [f"result {got['result']}"]
    if got["result"] == "OK" == step["result"]:
        for name, value in step.get("out", {}).items():
            if name in got and name not in _NOT_COMPARED and got[name] != value:
                wrong.append(f"{name} {got[name]!r}")
    return wrong


def play_scenario(
    data: dict[str, Any], scenario: dict[str, Any], skipped: Counter[str]
) -> tuple[int, list[str]]:
    """Steps that agree, and what differs; ``skipped`` counts steps not expressed, by reason."""
    version = ".".join(data["kernel"].split(".")[:2])
    facts = data["filesystems"][scenario["fs"]]
    player = Player(facts, version, data["keys"], scenario["id"], OPS)
    agreed, wrong = 0, list[str]()
    for number, step in enumerate(scenario["steps"]):
        try:
            found = differences(step, player.play(step))
        except NotExpressed as error:
            skipped[str(error)] += 1
            continue
        if found:
            wrong.append(f"{scenario['fs']} {scenario['id']} step {number} {step}: {', '.join(found)}")
        else:
            agreed += 1
    return agreed, wrong
