"""The knee of a sweep: how few keyslots are nearly as good as the most."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from scenarios.files.overrides import SHORTCUTS

DEFAULT_LOSS: Final = 0.05
_KEYSLOTS: Final = "device.keyslots.count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one point of a sweep measured."""

    labels: Mapping[str, str]
    keyslots: int
    iops: float
    latency_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """The smallest number of keyslots that was measured to be good enough, as all larger ones were.

    Attributes:
        labels: what else was varied, at these values.
        metric: ``throughput`` or ``latency``, means over the repeats.
        loss: lost against the most keyslots; 0.05 is 5 % fewer I/Os per second, or 5 % more latency.
        keyslots: the number.
        too_few: the next smaller number measured; None when there is none.
        most: the largest number measured.
        value: of ``metric`` at ``keyslots``, in I/Os per second or ns.
        value_at_most: of ``metric`` at ``most``.
    """

    labels: Mapping[str, str]
    metric: str
    loss: float
    keyslots: int
    too_few: int | None
    most: int
    value: float
    value_at_most: float


def varies_keyslots(labels: Iterable[str]) -> bool:
    """Whether the number of keyslots is among the varied keys."""
    return any(is_keyslots(key) for key in labels)


def knees(points: Iterable[Measured], loss: float) -> list[Knee]:
    """Two knees, of throughput and of latency, for each combination of what else was varied."""
    groups: dict[tuple[tuple[str, str], ...], dict[int, list[Measured]]] = {}
    for point in points:
        others = tuple((key, value) for key, value in point.labels.items() if not is_keyslots(key))
        groups.setdefault(others, {}).setdefault(point.keyslots, []).append(point)
    return [
        knee
        for others, by_count in groups.items()
        if len(by_count) > 1
        for knee in (
            _knee(
                dict(others), "throughput", loss, {n: fmean(p.iops for p in by_count[n]) for n in by_count}
            ),
            _knee(
                dict(others), "latency", loss, {n: fmean(p.latency_ns for p in by_count[n]) for n in by_count}
            ),
        )
    ]


def _knee(labels: Mapping[str, str], metric: str, loss: float, values: Mapping[int, float]) -> Knee:
    counts = sorted(values)
    most = counts[-1]
    good = _good_from([_is_good(metric, values[count], values[most], loss) for count in counts])
    return Knee(
        labels=labels,
        metric=metric,
        loss=loss,
        keyslots=counts[good],
        too_few=counts[good - 1] if good else None,
        most=most,
        value=values[counts[good]],
        value_at_most=values[most],
    )


def _good_from(good: Sequence[bool]) -> int:
    """Index from which on all are good; the last one always is."""
    return next((at + 1 for at in reversed(range(len(good))) if not good[at]), 0)


def _is_good(metric: str, value: float, best: float, loss: float) -> bool:
    return value >= (1 - loss) * best if metric == "throughput" else value <= (1 + loss) * best


def is_keyslots(key: str) -> bool:
    """Whether a varied key is the number of keyslots."""
    return SHORTCUTS.get(key, key) == _KEYSLOTS
