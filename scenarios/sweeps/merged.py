"""Points of a sweep that answer one question together: repeats, and the shards of a workload.

Rules:

- Repeats of a combination are pooled, and so are points that differ only in the trace or volume they replay:
  a fleet's volumes share no keyslots, so each is a run of its own and all of them are the fleet.
- Counts add up; distributions come from all bios of all points (``scenarios.sweeps.pool``).
- Rates and shares of one run's time do not add up and are left out.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scenarios.files.overrides import dotted_key
from scenarios.results.result import Distribution
from scenarios.sweeps.pool import DIRECTIONS, Pool
from scenarios.sweeps.store import kept_point
from scenarios.sweeps.sweep import Ended

SHARDS: Final = ("workload.trace", "workload.volume", "run.seed")
_KEYSLOT_COUNTS: Final = ("acquires", "hits", "programs", "evicts", "waits", "lock_waits", "lock_held_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Several points as one.

    Attributes:
        labels: what else was varied, at these values.
        points: how many are in it.
        missing: how many are not, having failed or been refused.
        ios, bytes: by direction, summed.
        stage_ns: by direction and stage, summed over all bios.
        keyslots: counts of the keyslots, summed.
        distributions: by direction and quantity.
    """

    labels: Mapping[str, str]
    points: int
    missing: int
    ios: Mapping[str, int]
    bytes: Mapping[str, int]
    stage_ns: Mapping[str, Mapping[str, int]]
    keyslots: Mapping[str, int]
    distributions: Mapping[str, Mapping[str, Distribution]]


def pooled_keys(more: Iterable[str] = ()) -> frozenset[str]:
    """Dotted keys to pool over: ``SHARDS``, and ``more``.

    Raises:
        BadInput: ``more`` has a key that no section has.
    """
    return frozenset({*SHARDS, *(dotted_key(key, f"--pool {key}") for key in more)})


def merged(ended: Sequence[Ended], folder: Path, over: Collection[str] = SHARDS) -> list[Merged]:
    """Groups of points pooled, in the order of their first points; none when every group is one point.

    Args:
        folder: of the sweep; the points' files are read one after the other.
        over: dotted keys to pool over.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Ended]] = {}
    for one in ended:
        others = tuple((key, text) for key, text in one.point.labels.items() if dotted_key(key) not in over)
        groups.setdefault(others, []).append(one)
    if len(groups) == len(ended):
        return []
    return [_merged(dict(others), group, folder) for others, group in groups.items()]


def _merged(labels: Mapping[str, str], group: Sequence[Ended], folder: Path) -> Merged:
    whole = Pool()
    ios: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    keyslots: Counter[str] = Counter(dict.fromkeys(_KEYSLOT_COUNTS, 0))
    stages = {direction: Counter[str]() for direction in DIRECTIONS}
    done = [one for one in group if one.status == "done"]
    for one in done:
        kept = kept_point(folder, one.point.digest)
        assert kept is not None, "it was read when it ended"
        whole.merge(kept.pool)
        keyslots.update(dict(_counts(kept.result["keyslots"], _KEYSLOT_COUNTS)))
        for direction, summed in stages.items():
            found = kept.result[direction]
            assert isinstance(found, dict)
            ios[direction] += found["total_ios"]
            moved[direction] += found["io_bytes"]
            summed.update(found["stage_ns"])
    return Merged(
        labels=labels,
        points=len(done),
        missing=len(group) - len(done),
        ios=ios,
        bytes=moved,
        stage_ns=stages,
        keyslots=keyslots,
        distributions=whole.distributions(),
    )


def _counts(found: object, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    assert isinstance(found, dict)
    for name in names:
        yield name, found[name]
