"""The last programs of a run, one by one: what intervals of a whole run are too long to show."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey
from scenarios.results.records import COLUMN, Records
from scenarios.timeline.stages import intervals

_PROGRAMS: Final = 96
_RECORDS: Final = 4096
_FIRST_STAGE: Final = COLUMN["queued"]
_STAGES_END: Final = COLUMN["media"] + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEvent:
    """A slot held ``key`` from ``end`` on (None: nothing), after it was programmed since ``begin``."""

    slot: int
    key: BlkCryptoKey | None
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Part of a run, between the events that changed something.

    Attributes:
        times: ``n + 1`` moments in ns, rising: where each of ``n`` intervals begins, and the last one ends.
        keys: per slot and interval the key that the slot held, None for none or while it was programmed.
        programming: per slot and interval, whether it was.
        lock_waiting, idle_waiting: ``float64[n]``, bios that waited, on average over the interval.
    """

    times: list[int]
    keys: list[list[BlkCryptoKey | None]]
    programming: list[list[bool]]
    lock_waiting: npt.NDArray[np.float64]
    idle_waiting: npt.NDArray[np.float64]


class CloseUp:
    """Keeps the last programs, and the waits of the last bios.

    Args:
        slots: the first so many are kept.
        engine: who encrypts, as ``[keys] engine`` says it.
    """

    def __init__(self, slots: int, engine: str) -> None:
        self._engine = engine
        self._before: list[BlkCryptoKey | None] = [None] * slots
        self._events: deque[SlotEvent] = deque()
        self._records: deque[list[int]] = deque(maxlen=_RECORDS)
        self._end_ns = 0

    def changed(self, event: SlotEvent) -> None:
        """A slot was programmed or emptied."""
        self._events.append(event)
        if len(self._events) > _PROGRAMS:
            oldest = self._events.popleft()
            self._before[oldest.slot] = oldest.key

    def completed(self, records: Records) -> None:
        """Bios are complete."""
        self._records.extend(records[-_RECORDS:].tolist())
        self._end_ns = max(self._end_ns, int(records[:, COLUMN["done_ns"]].max()))

    def stretch(self) -> Stretch | None:
        """From the first of the kept programs to the end of the last; None without any."""
        if not self._events:
            return None
        times = sorted({at for event in self._events for at in (event.begin, event.end)})
        at = {when: column for column, when in enumerate(times)}
        columns = len(times) - 1
        keys = [[key] * columns for key in self._before]
        programming = [[False] * columns for _ in self._before]
        for event in self._events:
            begin, end = at[event.begin], at[event.end]
            keys[event.slot][begin:end] = [None] * (end - begin)
            programming[event.slot][begin:end] = [True] * (end - begin)
            keys[event.slot][end:] = [event.key] * (columns - end)
        lock, idle = (self._waiting(times, stage) for stage in ("keyslot_lock", "keyslot_idle"))
        return Stretch(times=times, keys=keys, programming=programming, lock_waiting=lock, idle_waiting=idle)

    def _waiting(self, times: list[int], wanted: str) -> npt.NDArray[np.float64]:
        waits = np.array([(begin, end) for begin, end in self._waits(wanted)], dtype=np.int64).reshape(-1, 2)
        found = np.zeros(len(times) - 1)
        for column, (begin, end) in enumerate(pairwise(times)):
            inside = np.minimum(waits[:, 1], end) - np.maximum(waits[:, 0], begin)
            found[column] = np.maximum(inside, 0).sum() / (end - begin)
        return found

    def _waits(self, wanted: str) -> Iterator[tuple[int, int]]:
        for record in self._records:
            if record[COLUMN[wanted]]:
                arrived = record[COLUMN["done_ns"]] - record[COLUMN["total"]]
                whole = tuple(record[_FIRST_STAGE:_STAGES_END])
                for stage, begin, end in intervals(self._engine, record[COLUMN["op"]], arrived, [], whole):
                    if stage == wanted:
                        yield begin, end
