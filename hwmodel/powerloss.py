"""What a power cut takes: data the device acknowledged and had not yet made durable.

Two views are kept apart, and compared after every cut.  The device knows which writes it has finished and
when it began each FLUSH; a FLUSH it has finished made every write durable that it had finished before it
began that FLUSH.  The host knows which bios were complete before it submitted a FLUSH; when that FLUSH is
complete, they were promised to survive.  A FUA write is promised to by its own completion.

Of each data unit that is not durable the cut keeps any content it had since, or a piece of one and the rest
of another, cut where the medium writes as a whole.  Nothing is promised of a write in flight either way.

Source: Documentation/block/writeback_cache_control.rst.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT

Data = npt.NDArray[np.uint8]

# What a device's cache holds at most; what does not fit becomes durable by itself.
_CACHED_UNITS: Final = 1 << 14
_CACHED_VERSIONS: Final = 4
_TORN_SHARE: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class Content:
    """Ciphertext of one data unit, and its version: of each 512-byte sector, where it is torn.

    Attributes:
        image: ``uint8[unit_bytes]``, or None for a unit that holds nothing.
    """

    image: Data | None
    version: int
    done_ns: int = 0
    torn: tuple[int, ...] = ()

    @property
    def versions(self) -> tuple[int, ...]:
        """Version of each sector."""
        if self.torn or self.image is None:
            return self.torn or (self.version,)
        return (self.version,) * max(1, len(self.image) >> SECTOR_SHIFT)


@dataclass(frozen=True, slots=True)
class Survivor:
    """What a data unit holds after a cut: versions by 512-byte sector, all the same unless it is torn."""

    unit: int
    image: Data | None
    versions: tuple[int, ...]

    @property
    def is_torn(self) -> bool:
        """Whether two versions meet in it."""
        return len(set(self.versions)) > 1


@dataclass(slots=True)
class _Cached:
    durable: Content
    later: list[Content] = field(default_factory=list)


class VolatileWrites:
    """Data units between acknowledgement and durability.

    Attributes:
        broken_promises: units whose surviving content is older than what a completed FLUSH promised.
    """

    def __init__(self) -> None:
        self.broken_promises = 0
        self._cached: dict[int, _Cached] = {}
        self._acknowledged: dict[int, list[tuple[int, int]]] = {}  # unit -> (done ns, version), in order
        self._promised: dict[int, int] = {}

    def written(self, unit: int, before: Content, after: Content) -> None:
        """A write is done; ``before`` is what the unit held."""
        cached = self._cached.get(unit)
        if cached is None:
            if len(self._cached) >= _CACHED_UNITS:
                del self._cached[next(iter(self._cached))]
            cached = self._cached[unit] = _Cached(before)
        cached.later.append(after)
        if len(cached.later) > _CACHED_VERSIONS:
            cached.durable = cached.later.pop(0)
        self._acknowledged.setdefault(unit, []).append((after.done_ns, after.version))

    def discarded(self, unit: int) -> None:
        """The unit was discarded, at once and for good."""
        self._cached.pop(unit, None)
        self._acknowledged.pop(unit, None)
        self._promised.pop(unit, None)

    def forced(self, unit: int) -> None:
        """The unit's newest write was FUA: it is durable, and promised to be, now that it is done."""
        self._cached.pop(unit, None)
        writes = self._acknowledged.pop(unit, None)
        if writes:
            self._promised[unit] = writes[-1][1]

    def flushed(self, *, submitted_ns: int, began_ns: int) -> None:
        """A FLUSH is done that the host submitted and the device began at these times."""
        for unit in list(self._cached):
            cached = self._cached[unit]
            while cached.later and cached.later[0].done_ns <= began_ns:
                cached.durable = cached.later.pop(0)
            if not cached.later:
                del self._cached[unit]
        for unit in list(self._acknowledged):
            writes = self._acknowledged[unit]
            while writes and writes[0][0] <= submitted_ns:
                self._promised[unit] = writes.pop(0)[1]
            if not writes:
                del self._acknowledged[unit]

    def cut(
        self, in_flight: list[tuple[int, Content, Content]], rng: np.random.Generator, tear_bytes: int
    ) -> Iterator[Survivor]:
        """Power failed with the writes (unit, content before, content) ``in_flight``; every unit in doubt."""
        for unit, before, content in in_flight:
            self._cached.setdefault(unit, _Cached(before)).later.append(content)
        for unit in sorted(self._cached):
            cached = self._cached[unit]
            survivor = _survivor(unit, [cached.durable, *cached.later], rng, tear_bytes)
            self.broken_promises += min(survivor.versions) < self._promised.get(unit, 0)
            yield survivor
        self._cached.clear()
        self._acknowledged.clear()


def _survivor(unit: int, contents: list[Content], rng: np.random.Generator, tear_bytes: int) -> Survivor:
    stored = [content for content in contents if content.image is not None]
    if len(stored) > 1 and rng.random() < _TORN_SHARE:
        old, new = sorted(rng.choice(len(stored), size=2, replace=False).tolist())
        return _torn(unit, stored[old], stored[new], rng, tear_bytes)
    chosen = contents[int(rng.integers(len(contents)))]
    return Survivor(unit, chosen.image, chosen.versions)


def _torn(unit: int, old: Content, new: Content, rng: np.random.Generator, tear_bytes: int) -> Survivor:
    """The beginning of ``new``, then what ``old`` had; all of it, where units are written as a whole."""
    assert old.image is not None
    assert new.image is not None
    pieces = len(old.image) // tear_bytes
    written = int(rng.integers(1, pieces)) * tear_bytes if pieces > 1 else len(old.image)
    image = old.image.copy()
    image[:written] = new.image[:written]
    sectors = written >> SECTOR_SHIFT
    return Survivor(unit, image, new.versions[:sectors] + old.versions[sectors:])


def summary(survivors: list[Survivor], newest: dict[int, int]) -> Counter[str]:
    """What became of the units in doubt, by name; ``newest`` has the last version written of each."""
    counts: Counter[str] = Counter()
    for survivor in survivors:
        if survivor.is_torn:
            counts["data units torn"] += 1
        elif survivor.versions[0] == newest[survivor.unit]:
            counts["data units kept"] += 1
        else:
            counts["data units rolled back"] += 1
    return counts
