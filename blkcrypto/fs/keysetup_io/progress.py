"""Forward progress: an analytic proof for a path of reserves, and what breaks it.

An I/O takes from reserves one after another, and gives all back when it ends, whatever else happens.  If
every reserve holds at least one element, every I/O takes from the stages in ascending order, and never two
from the same stage, then some I/O can always go on: the one that holds an element of the highest stage
waits for a higher one, whose elements are all free or held by I/Os that wait for nothing.  It follows
stage by stage, downwards, that every wait ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Take:
    """One blocking take of a path.

    Attributes:
        reserve: its name.
        stage: 1 and up.
        min_nr: elements set aside.
        count: how many are taken at once, all or none.
    """

    reserve: str
    stage: int
    min_nr: int
    count: int = 1


def obstacle(path: Sequence[Take]) -> str:
    """Why I/Os on ``path`` might wait for ever when memory is exhausted; empty when they cannot.

    All I/Os that share a reserve must use paths that pass.
    """
    held = 0
    for take in path:
        if take.min_nr < take.count:
            return f"{take.reserve} sets aside {take.min_nr}, but {take.count} are taken at once"
        if take.stage <= held:
            return f"{take.reserve} (stage {take.stage}) is waited for while stage {held} is held"
        held = take.stage
    return ""
