"""Keyslots over simulated time, and how soon keys come again, in bounded memory.

Intervals double in length whenever there would be too many, as in ``scenarios.results.overtime``.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.clock import Row
from hwmodel.observer import Observer
from scenarios.curves.reuse import LruCurve
from scenarios.results.closeup import CloseUp, SlotEvent, Stretch
from scenarios.results.records import COLUMN, Records

MOST_SLOTS: Final = 128  # more rows than that are no picture
_MOST: Final = 256
_SHORTEST_NS: Final = 1024
_FEWEST_DISTANCES: Final = 64
_BATCH: Final = 1 << 14

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMap:
    """Slots in intervals of ``interval_ns`` from 0 on.

    Attributes:
        end_ns: when the last bio was complete.
        keys: per slot the key it held when each interval began, None for none.
        programs: ``int64[slots, n]``, programs that ended in the interval.
        lock_waiting, idle_waiting: ``float64[n]``, bios waiting for the profile lock, and for an idle slot,
            on average; a bio counts where it completes.
    """

    interval_ns: int
    end_ns: int
    keys: list[list[BlkCryptoKey | None]]
    programs: npt.NDArray[np.int64]
    lock_waiting: Floats
    idle_waiting: Floats


class SlotUse(Observer):
    """Watches the keyslots of a run; of more than ``MOST_SLOTS`` the first ones.

    Args:
        slots: how many there are; reuse is counted up to twice as many.
        engine: who encrypts, as ``[keys] engine`` says it.
    """

    def __init__(self, slots: int, engine: str = "inline") -> None:
        self.slots = slots
        shown = min(slots, MOST_SLOTS)
        self._close_up = CloseUp(shown, engine)
        self._interval_ns = _SHORTEST_NS
        self._end_ns = 0
        self._keys: list[list[BlkCryptoKey | None]] = [[None] * _MOST for _ in range(shown)]
        self._programs = np.zeros((shown, _MOST), dtype=np.int64)
        self._waiting_ns = np.zeros((2, _MOST), dtype=np.int64)
        # What each slot holds now, and since when.
        self._held: list[tuple[BlkCryptoKey | None, int]] = [(None, 0)] * shown
        self._used: list[int] = []
        self._distances = LruCurve(max(2 * slots, _FEWEST_DISTANCES))

    def arrived(self, row: Row) -> None:
        """Count a use of a key."""
        if row[5] >= 0:
            self._used.append(row[5])
            if len(self._used) >= _BATCH:
                self._count_uses()

    def _count_uses(self) -> None:
        self._distances.add(np.array(self._used, dtype=np.int64))
        self._used = []

    def programmed(self, slot: int, key: BlkCryptoKey, row: int, begin: int, end: int) -> None:
        """A slot has another key from ``end`` on."""
        if slot < len(self._held):
            self._change(slot, key, end)
            self._programs[slot, max(end - 1, 0) // self._interval_ns] += 1
            self._close_up.changed(SlotEvent(slot=slot, key=key, begin=begin, end=end))

    def emptied(self, slot: int, now: int) -> None:
        """A slot holds nothing any more."""
        if slot < len(self._held):
            self._change(slot, None, now)
            self._close_up.changed(SlotEvent(slot=slot, key=None, begin=now, end=now))

    def _change(self, slot: int, key: BlkCryptoKey | None, now: int) -> None:
        self._reach(now)
        self._fill(slot, now)
        self._held[slot] = (key, now)

    def _fill(self, slot: int, until: int) -> None:
        """The slot's key, in all intervals that began since it came and before ``until``."""
        key, since = self._held[slot]
        first, last = -(-since // self._interval_ns), -(-until // self._interval_ns)
        if key is not None and first < last:
            self._keys[slot][first:last] = [key] * (last - first)

    def completed(self, records: Records) -> None:
        """Count who waited."""
        self._close_up.completed(records)
        done = records[:, COLUMN["done_ns"]]
        self._reach(int(done.max()))
        interval = np.maximum(done - 1, 0) // self._interval_ns
        for at, stage in enumerate(("keyslot_lock", "keyslot_idle")):
            # float64 weights are exact here: one batch's sums stay far below 2**53.
            sums = np.bincount(interval, weights=records[:, COLUMN[stage]], minlength=_MOST)
            self._waiting_ns[at] += sums.astype(np.int64)

    def _reach(self, now: int) -> None:
        self._end_ns = max(self._end_ns, now)
        while self._end_ns >= _MOST * self._interval_ns:
            self._interval_ns *= 2
            for row in self._keys:
                row[:] = [*row[::2], *([None] * (_MOST // 2))]
            self._programs = _halved(self._programs)
            self._waiting_ns = _halved(self._waiting_ns)

    def slot_map(self) -> SlotMap:
        """What was seen."""
        for slot in range(len(self._held)):
            self._fill(slot, self._end_ns)
        count = -(-self._end_ns // self._interval_ns)
        lengths = np.full(count, self._interval_ns, dtype=np.float64)
        lengths[count - 1 :] = self._end_ns - (count - 1) * self._interval_ns
        waiting = self._waiting_ns[:, :count] / lengths
        return SlotMap(
            interval_ns=self._interval_ns,
            end_ns=self._end_ns,
            keys=[row[:count] for row in self._keys],
            programs=self._programs[:, :count],
            lock_waiting=waiting[0],
            idle_waiting=waiting[1],
        )

    def last_programs(self) -> Stretch | None:
        """The end of the run, one program after another; None when nothing was programmed."""
        return self._close_up.stretch()

    def reuse(self) -> Floats:
        """``float64[n]``: share of the bios whose key was among the last 1, 2, ... keys used.

        It is the share that an LRU table of 1, 2, ... slots would have hit, one bio at a time.
        Empty without a bio.
        """
        self._count_uses()
        uses = self._distances.accesses
        return self._distances.hits() / uses if uses else np.zeros(0)


def _halved(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    halved = np.zeros_like(sums)
    halved[:, : _MOST // 2] = sums[:, 0::2] + sums[:, 1::2]
    return halved
