"""Keyslots in time: the profile lock, programming, and who waits for what.

The rules are ``blkcrypto.block.keyslots``; here requests wait and time is charged.  The lock is the
kernel's rw-semaphore: a hit needs it for reading, a miss holds it for writing while it programs, so
programming holds up hits as well.  A request that waits for an idle slot sleeps without the lock; every
slot that becomes idle wakes all sleepers, who take the lock one after another and look again.

When the lock is released and a reader is first in its queue, all queued readers go together
(``rwsem_mark_wake()``); a reader that arrives behind a queued writer waits.
"""

from collections import deque
from collections.abc import Callable, Generator
from copy import copy
from typing import Protocol

import simpy

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.keyslots import KeyslotBusy, KeyslotTable
from hwmodel.clock import Clock
from hwmodel.host import Cpus
from hwmodel.quiesce import Quiesce
from hwmodel.request import Request, Then

# rwsem_mark_wake() wakes at most this many readers at once (MAX_READERS_WAKEUP, kernel/locking/rwsem.c).
MAX_READERS_WOKEN = 256

Control = Generator[simpy.Event, object, None]
_Reader = tuple[int, Request]  # when it came, as a number, and who it is
_Writer = tuple[int, Request | simpy.Event]


class Waking(Protocol):
    """A device that may sleep."""

    def is_awake(self, now: int) -> bool:
        """Whether it takes commands."""

    def wait(self, request: Request, now: int, then: Then) -> None:
        """Go on with ``then`` when it does."""

    def used(self, now: int) -> None:
        """It took one."""


class Keyslots:
    """One crypto profile's keyslots: a device's, or the fallback's.

    Args:
        program_ns: what programming a key takes, lock held.
        granted: called with a request that has its slot.
        cpus: where programming runs, when it keeps the submitter's CPU busy.
        quiesce: empties the device first, where the hardware needs that.
        evicted: told of a key that is in no slot any more, because it was evicted.
        ended: how the program of a key that was just made ended, and whether the hardware lost what the slot
            held; None when programs never fail.
        failed: called with a request whose key could not be programmed, and why.
        power: wakes the device before a program, where it ever sleeps.
    """

    # More than 30 attributes: without slots each would be looked up in a dictionary of its own.
    __slots__ = (
        "_clock",
        "_ended",
        "_evicted",
        "_failed",
        "_forgotten",
        "_power",
        "_quiesce",
        "_readers",
        "_then",
        "_turn",
        "_writers",
        "abandoned",
        "acquires",
        "evicts",
        "failures",
        "granted",
        "hardware",
        "hits",
        "lock_held_ns",
        "lock_waits",
        "locked",
        "locked_at",
        "on_cpu",
        "program_cpu_ns",
        "program_ns",
        "programs",
        "reprograms",
        "sleepers",
        "table",
        "waits",
    )

    def __init__(
        self,
        clock: Clock,
        num_slots: int,
        *,
        program_ns: Callable[[BlkCryptoKey], int],
        granted: Then,
        cpus: Cpus | None = None,
        quiesce: Quiesce | None = None,
        evicted: Callable[[BlkCryptoKey], None] | None = None,
        ended: Callable[[BlkCryptoKey], tuple[BlkStatus, bool]] | None = None,
        failed: Callable[[Request, int, BlkStatus], None] | None = None,
        power: Waking | None = None,
    ) -> None:
        self.table: KeyslotTable[BlkCryptoKey] = KeyslotTable(num_slots)
        # What the hardware holds, which is what data is encrypted with.
        self.hardware: list[BlkCryptoKey | None] = [None] * num_slots
        self.acquires = self.hits = self.programs = self.evicts = self.waits = self.lock_waits = 0
        self.failures = self.reprograms = self.abandoned = 0
        self.lock_held_ns = self.program_cpu_ns = 0
        self._clock = clock
        self.on_cpu = cpus
        self._quiesce = quiesce
        self._evicted = evicted
        self.program_ns = program_ns
        self.granted = granted
        self._ended = ended
        self._failed = failed
        self._power = power
        self._then: Then = self._programmed if ended is None else self._programmed_or_failed
        self._forgotten = False
        self.locked = False
        self.locked_at = 0
        self._turn = 0
        self._readers: deque[_Reader] = deque()
        self._writers: deque[_Writer] = deque()
        self.sleepers: list[Request] = []

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds or waits for a slot or the lock."""
        table = self.table
        waiting = self.locked or self._readers or self._writers or self.sleepers
        return not waiting and len(table.idle_order) == table.num_slots

    def acquire(self, request: Request, now: int) -> None:
        """Get a slot that holds ``request.key``; ``granted`` is called when it has one, perhaps at once."""
        self.acquires += 1
        if self.locked:
            request.mark = now
            self.lock_waits += 1
            self._turn += 1
            self._readers.append((self._turn, request))
            return
        slot = self.table.get(request.key)  # type: ignore[arg-type]  # only encrypted requests come here
        if slot < 0:
            request.mark = now
            self.program(request, now)
            return
        self.hits += 1
        request.slot = slot
        self.granted(request, now)

    def release(self, slot: int, now: int) -> None:
        """Drop a reference, waking every sleeper when the slot becomes idle."""
        if self.table.put(slot) and self.sleepers:
            self.wake_sleepers(now)

    def wake_sleepers(self, now: int) -> None:
        """A slot is idle: all who sleep go for the lock."""
        sleepers, self.sleepers = self.sleepers, []
        for request in sleepers:
            request.keyslot_idle += now - request.mark
            request.mark = now
            self._queue_writer(request)
        if not self.locked:
            self._serve_queue(now)

    def _queue_writer(self, who: Request | simpy.Event) -> None:
        self._turn += 1
        self._writers.append((self._turn, who))

    def program(self, request: Request, now: int) -> None:
        """A miss that holds the lock for writing: program the victim, or sleep until a slot is idle."""
        if self._power is not None and not self._power.is_awake(now):
            self._power.wait(request, now, self._awake)
            return
        slot = request.slot = self.table.victim()
        if slot < 0:
            self.waits += not request.keyslot_idle
            self.sleepers.append(request)
            return
        self.locked = True
        self.locked_at = now
        if self._quiesce is None:
            self._start_programming(request, now)
        else:
            self._quiesce.drain(request, now, self._start_programming)

    def _awake(self, request: Request, now: int) -> None:
        """The device runs; the slots may look different now."""
        request.keyslot_program += now - request.mark
        request.mark = now
        if self.locked:
            self._queue_writer(request)
        elif not self._hit(request, now):
            self.program(request, now)

    def _start_programming(self, request: Request, now: int) -> None:
        cost_ns = self.program_ns(request.key)  # type: ignore[arg-type]  # as above
        if self.on_cpu is None:
            self._clock.call_at(now + cost_ns, request, self._then)
        else:
            self.program_cpu_ns += cost_ns
            self.on_cpu.run(request, now, cost_ns, self._then)

    def _programmed(self, request: Request, now: int) -> None:
        key, slot = request.key, request.slot
        assert key is not None
        request.keyslot_program += now - request.mark
        self.hardware[slot] = key
        self.table.install(slot, key)
        self.programs += 1
        if self._power is not None:
            self._power.used(now)
        if self._quiesce is not None:
            self._quiesce.resume(now)
        self.granted(request, now)
        self._drop_lock(now)

    def _programmed_or_failed(self, request: Request, now: int) -> None:
        """A failure leaves the table as it was, and lets every sleeper try the slot that is still idle."""
        assert self._ended is not None
        assert self._failed is not None
        assert request.key is not None
        status, lost = self._ended(request.key)
        if lost:
            self.hardware[request.slot] = None
        if not status:
            self._programmed(request, now)
            return
        request.keyslot_program += now - request.mark
        request.slot = -1
        self.failures += 1
        if self._quiesce is not None:
            self._quiesce.resume(now)
        self.wake_sleepers(now)
        self._failed(request, now, status)
        self._drop_lock(now)

    def _drop_lock(self, now: int) -> None:
        self.locked = False
        self.lock_held_ns += now - self.locked_at
        if self._readers or self._writers:
            self._serve_queue(now)

    def _serve_queue(self, now: int) -> None:
        """The lock is free: whoever came first goes on, until one takes it for writing."""
        readers, writers = self._readers, self._writers
        while not self.locked:
            if readers and not (writers and writers[0][0] < readers[0][0]):
                self._serve_readers(now)
            elif not writers:
                return
            else:
                _, who = writers.popleft()
                if isinstance(who, simpy.Event):
                    self.locked = True
                    self.locked_at = now
                    who.succeed()
                    return
                who.keyslot_lock += now - who.mark
                who.mark = now
                # Someone may have programmed the key while this request waited.
                if not self._hit(who, now):
                    self.program(who, now)

    def _serve_readers(self, now: int) -> None:
        readers = self._readers
        get = self.table.get
        hits: list[Request] = []
        for _ in range(min(len(readers), MAX_READERS_WOKEN)):
            _, request = readers.popleft()
            request.keyslot_lock += now - request.mark
            request.mark = now
            slot = request.slot = get(request.key)  # type: ignore[arg-type]  # as above
            if slot < 0:
                self._queue_writer(request)
            else:
                hits.append(request)
        # They all look before any goes on: a request that goes on may free a tag for another, whose miss
        # takes the lock at once.
        self.hits += len(hits)
        for request in hits:
            self.granted(request, now)

    def _hit(self, request: Request, now: int) -> bool:
        slot = self.table.get(request.key)  # type: ignore[arg-type]  # only encrypted requests come here
        if slot < 0:
            return False
        self.hits += 1
        request.slot = slot
        self.granted(request, now)
        return True

    def _lock(self) -> Control:
        """A process: take the lock for writing, behind whoever waits for it."""
        if self.locked or self._readers or self._writers:
            turn = self._clock.event()
            self._queue_writer(turn)
            yield turn
        else:
            self.locked = True
            self.locked_at = self._clock.now

    def hold_lock(self, duration_ns: int) -> Control:
        """A process: hold the profile lock for writing, as every key operation of a device does.

        Waits for the lock behind whoever is queued; charges ``duration_ns`` while holding it.
        """
        yield from self._lock()
        yield self._clock.timeout(duration_ns)
        self._drop_lock(self._clock.now)

    def lose_keys(self) -> None:
        """The hardware forgot every key; the table did not."""
        self.hardware = [None] * self.table.num_slots

    def reprogram_all(self) -> Control:
        """A process: ``blk_crypto_reprogram_all_keys()``, after a reset.

        Waits for the lock and holds it for the programs, one per slot with a key, in index order, whether in
        use or not.  A failed one is counted, and its slot stays empty.  The device is not resumed first: this
        is part of resuming it.
        """
        yield from self._lock()
        for slot, key in self.table.programmed():
            yield self._clock.timeout(self.program_ns(key))
            if self._forgotten:
                return
            status, _ = self._ended(key) if self._ended is not None else (BlkStatus.OK, False)
            if not status:
                self.hardware[slot] = key
                self.reprograms += 1
        self._drop_lock(self._clock.now)

    def anew(self) -> "Keyslots":
        """The same slots after a boot: no keys, nobody waiting; counters go on.

        What still waits here, or holds the lock, is forgotten.
        """
        fresh = copy(self)
        fresh.table = KeyslotTable(self.table.num_slots)
        fresh.lose_keys()
        fresh._then = fresh._programmed if fresh._ended is None else fresh._programmed_or_failed
        fresh.locked = False
        fresh._readers, fresh._writers = deque(), deque()
        fresh.sleepers = []
        fresh.abandoned = self.acquires - self.hits - self.programs - self.failures
        self._readers.clear()
        self._writers.clear()
        self.sleepers.clear()
        self._forgotten = True
        return fresh

    def evict(self, key: BlkCryptoKey, evict_ns: int) -> Control:
        """A process: ``blk_crypto_evict_key()``.  An absent key costs the lock and nothing else.

        Raises:
            KeyslotBusy: requests still use the key; it is unlinked, the hardware keeps it.
        """
        yield from self._lock()
        slot = self.table.find(key)
        busy = slot >= 0 and self.table.refs(slot) > 0
        if slot >= 0:
            if not busy:
                yield self._clock.timeout(evict_ns)
                self.hardware[slot] = None
                self.evicts += 1
            self.table.unlink(slot)
        if self._evicted is not None and not busy:
            self._evicted(key)
        self._drop_lock(self._clock.now)
        if busy:
            raise KeyslotBusy(f"{key!r} was evicted from slot {slot} while in use")
