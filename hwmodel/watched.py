"""A machine that tells what it does, while it does exactly what ``Machine`` does.

Every hook is an override that tells an ``Observer`` and goes on, so a machine nobody watches pays nothing,
and a watched one takes the same simulated time.
"""

from typing import ClassVar, Final

import numpy as np

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.clock import Row
from hwmodel.companions import DesignMachine
from hwmodel.controller import Machine
from hwmodel.holding import Holding
from hwmodel.host import Cpus
from hwmodel.keyslots import Control, Keyslots
from hwmodel.observer import Observer
from hwmodel.recordbuffer import RecordBuffer
from hwmodel.request import RECORD_WIDTH, Request, Then
from hwmodel.watchedstorage import WatchedStorage

# Far earlier than records are handed on: whoever joins them with what was told should hold few bios.
_TELL_AFTER_BYTES: Final = 1024 * RECORD_WIDTH * 8


class WatchedCpus(Cpus):
    """CPUs that tell what they run."""

    __slots__ = ("_observer",)

    def watch(self, observer: Observer) -> None:
        """Tell ``observer`` from here on."""
        self._observer = observer

    def _start(self, request: Request, now: int, cost_ns: int, then: Then) -> None:
        self._observer.ran(request.cpu, request.row, now, now + cost_ns, getattr(then, "__name__", ""))
        super()._start(request, now, cost_ns, then)


class WatchedKeyslots(Keyslots):
    """Keyslots that tell what is programmed into them, who uses them and who holds the lock."""

    def watch(self, observer: Observer) -> None:
        """Tell ``observer`` from here on."""
        self._observer = observer
        self._start_anew()
        self._go_on_granted, self.granted = self.granted, self._tell_granted

    def _start_anew(self) -> None:
        self._used_since = [-1] * self.table.num_slots
        self._begun, self._holder = -1, -1

    def _tell_granted(self, request: Request, now: int) -> None:
        self._observer.reached(request)
        if self._used_since[request.slot] < 0:
            self._used_since[request.slot] = now
        self._go_on_granted(request, now)

    def release(self, slot: int, now: int) -> None:
        """As ``Keyslots.release``."""
        if self.table.refs(slot) == 1:
            self._observer.used(slot, self._used_since[slot], now)
            self._used_since[slot] = -1
        super().release(slot, now)

    def wake_sleepers(self, now: int) -> None:
        """As ``Keyslots.wake_sleepers``."""
        sleepers = self.sleepers
        super().wake_sleepers(now)
        for request in sleepers:
            self._observer.reached(request)

    def _start_programming(self, request: Request, now: int) -> None:
        self._begun, self._holder = now, request.row
        self._observer.reached(request)
        super()._start_programming(request, now)

    def _programmed(self, request: Request, now: int) -> None:
        assert request.key is not None
        self._observer.programmed(request.slot, request.key, request.row, self._begun, now)
        super()._programmed(request, now)

    def _drop_lock(self, now: int) -> None:
        self._observer.locked(self.locked_at, max(self._begun, self.locked_at), now, self._holder)
        self._begun, self._holder = -1, -1
        super()._drop_lock(now)

    def evict(self, key: BlkCryptoKey, evict_ns: int) -> Control:
        """As ``Keyslots.evict``."""
        slot = self.table.find(key)
        try:
            yield from super().evict(key, evict_ns)
        finally:
            if slot >= 0 and self.table.key_in(slot) is None:
                self._observer.emptied(slot, self._clock.now)

    def anew(self) -> Keyslots:
        """As ``Keyslots.anew``."""
        fresh = super().anew()
        assert isinstance(fresh, WatchedKeyslots)
        for slot, since in enumerate(self._used_since):
            if since >= 0:
                self._observer.used(slot, since, self._clock.now)
            self._observer.emptied(slot, self._clock.now)
        fresh._start_anew()
        fresh.granted = fresh._tell_granted
        return fresh


class WatchedHolding(Holding):
    """A scheduler that tells which requests give their tag up because they merged."""

    def watch(self, observer: Observer) -> None:
        """Tell ``observer`` from here on."""
        self._observer = observer

    def merged_away(self, holder: Request) -> None:
        """As ``Holding.merged_away``."""
        self._observer.untagged(holder, self._now())
        super().merged_away(holder)


class WatchedRecords(RecordBuffer):
    """Records that are told early."""

    __slots__ = ("_observer", "_told")

    def watch(self, observer: Observer) -> None:
        """Tell ``observer`` from here on."""
        self._observer = observer
        self._told = 0

    def take(self, request: Request, now: int) -> None:
        """As ``RecordBuffer.take``."""
        super().take(request, now)
        request.transfer = request.media = 0  # or the next bio would seem to begin with them
        if len(self.packed) - self._told >= _TELL_AFTER_BYTES:
            self._tell()

    def flush(self) -> None:
        """As ``RecordBuffer.flush``."""
        self._tell()
        self._told = 0
        super().flush()

    def _tell(self) -> None:
        fresh = np.frombuffer(bytes(self.packed[self._told :]), dtype=np.int64).reshape(-1, RECORD_WIDTH)
        self._told = len(self.packed)
        bios = fresh[fresh[:, 0] >= 0]  # the others are I/O that a key design makes for itself
        if len(bios):
            self._observer.completed(bios)


_Telling = WatchedCpus | WatchedStorage | WatchedKeyslots | WatchedHolding | WatchedRecords


class WatchedMachine(Machine):
    """A ``Machine``; call ``watch`` before it runs."""

    _cpus_type: ClassVar = WatchedCpus
    _keyslots_type: ClassVar = WatchedKeyslots
    _holding_type: ClassVar = WatchedHolding
    _records_type: ClassVar = WatchedRecords

    def watch(self, observer: Observer) -> None:
        """Tell ``observer`` everything from here on."""
        self._observer = observer
        self._go_on_submitted, self._enter = self._enter, self._tell_submitted
        self._go_on_tagged, self.tags.granted = self.tags.granted, self._tell_tagged
        for part in (self.cpus, self.storage, self.keyslots, self._holding, self.recorded):
            if isinstance(part, _Telling):
                part.watch(observer)

    def arrive(self, row: Row) -> None:
        """A bio is submitted now."""
        self._observer.arrived(row)
        super().arrive(row)

    def _tell_submitted(self, request: Request, now: int) -> None:
        self._observer.reached(request)
        self._go_on_submitted(request, now)

    def _tell_tagged(self, request: Request, now: int) -> None:
        self._observer.reached(request)
        self._observer.tagged(request, now)
        self._go_on_tagged(request, now)

    def dispatch(self, request: Request, now: int) -> None:
        """Let the device serve ``request``."""
        self._observer.reached(request)
        super().dispatch(request, now)

    def _write_media(self, request: Request, now: int) -> None:
        self._observer.reached(request)
        super()._write_media(request, now)

    def _read_path(self, request: Request, now: int) -> None:
        self._observer.reached(request)
        super()._read_path(request, now)

    def _device_done(self, request: Request, now: int) -> None:
        self._observer.reached(request)
        self._observer.untagged(request, now)
        super()._device_done(request, now)

    def _never_sent(self, request: Request, now: int) -> None:
        self._observer.untagged(request, now)
        super()._never_sent(request, now)


class WatchedDesignMachine(WatchedMachine, DesignMachine):
    """The same of a machine whose key design costs more than encryption."""
