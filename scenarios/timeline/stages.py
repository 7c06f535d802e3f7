"""When a bio was in which stage, from how long it was in each at some of its turns.

A bio is always in some stage, and its stage times sum to its total.  So stages follow one another without a
gap, and only their order has to be found: between two turns a bio passes few of them, in a known order.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from blkcrypto.block.op import ReqOp
from hwmodel.request import STAGE_FIELDS

StageTimes = tuple[int, ...]  # ns in each of STAGE_FIELDS
Interval = tuple[str, int, int]  # stage, begin, end

_BEFORE: Final = ("queued", "submit")
_KEYSLOT: Final = ("keyslot_lock", "keyslot_idle", "keyslot_program")
_INLINE: Final = (*_BEFORE, "tag_wait", *_KEYSLOT, "cpu_crypto", "scheduler", "device_queue")
_SOFTWARE: Final = (*_BEFORE, *_KEYSLOT, "cpu_crypto", "tag_wait", "scheduler", "device_queue")


def _order(engine: str, op: int) -> tuple[int, ...]:
    """Indices into ``STAGE_FIELDS`` in the order in which a bio passes the stages between two turns."""
    device = ("transfer", "media") if op == ReqOp.WRITE else ("media", "transfer")
    stages = (*(_INLINE if engine == "inline" else _SOFTWARE), *device)
    return tuple(STAGE_FIELDS.index(stage) for stage in stages)


_ORDERS: Final = {
    (engine, int(op)): _order(engine, op) for engine in ("inline", "fallback", "fs-layer") for op in ReqOp
}


def intervals(
    engine: str, op: int, arrived: int, turns: Sequence[StageTimes], whole: StageTimes
) -> list[Interval]:
    """Stages of a bio one after another, from its arrival to its completion.

    Args:
        engine: who encrypts, as ``[keys] engine`` says it.
        turns: times so far, at some turns, in order.
        whole: times at the end.
    """
    so_far = [(0,) * len(whole), *turns, whole]
    if any(later < earlier for old, new in pairwise(so_far) for earlier, later in zip(old, new, strict=True)):
        so_far = [so_far[0], whole]  # a device that was reset takes back what it had promised
    order = _ORDERS[engine, op]
    found: list[Interval] = []
    begin = arrived
    for old, new in pairwise(so_far):
        if old == new:
            continue
        for stage in order:
            took = new[stage] - old[stage]
            if not took:
                continue
            name = STAGE_FIELDS[stage]
            if found and found[-1][0] == name:
                found[-1] = (name, found[-1][1], begin + took)
            else:
                found.append((name, begin, begin + took))
            begin += took
    return found
