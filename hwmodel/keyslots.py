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
_MAX_READERS_WOKEN = 256

Control = Generator[simpy.Event, object, None]
_Waiter = tuple[Request | simpy.Event, bool]  # who, and whether for writing


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
        self._cpus = cpus
        self._quiesce = quiesce
        self._evicted = evicted
        self._program_ns = program_ns
        self._granted = granted
        self._ended = ended
        self._failed = failed
        self._power = power
        self._then: Then = self._programmed if ended is None else self._programmed_or_failed
        self._forgotten = False
        self._locked = False
        self._locked_at = 0
        self._lock_queue: deque[_Waiter] = deque()
        self._sleepers: list[Request] = []

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds or waits for a slot or the lock."""
        table = self.table
        waiting = self._locked or self._lock_queue or self._sleepers
        return not waiting and len(table.idle_order) == table.num_slots

    def acquire(self, request: Request, now: int) -> None:
        """Get a slot that holds ``request.key``; ``granted`` is called when it has one, perhaps at once."""
        self.acquires += 1
        if self._locked:
            request.mark = now
            self.lock_waits += 1
            self._lock_queue.append((request, False))
            return
        slot = self.table.get(request.key)  # type: ignore[arg-type]  # only encrypted requests come here
        if slot < 0:
            request.mark = now
            self._program(request, now)
            return
        self.hits += 1
        request.slot = slot
        self._granted(request, now)

    def release(self, slot: int, now: int) -> None:
        """Drop a reference, waking every sleeper when the slot becomes idle."""
        if self.table.put(slot) and self._sleepers:
            self._wake_sleepers(now)

    def _wake_sleepers(self, now: int) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for request in sleepers:
            request.keyslot_idle += now - request.mark
            request.mark = now
            self._lock_queue.append((request, True))
        if not self._locked:
            self._serve_queue(now)

    def _program(self, request: Request, now: int) -> None:
        """A miss that holds the lock for writing: program the victim, or sleep until a slot is idle."""
        if self._power is not None and not self._power.is_awake(now):
            self._power.wait(request, now, self._awake)
            return
        slot = self.table.victim()
        if slot < 0:
            self.waits += not request.keyslot_idle
            self._sleepers.append(request)
            return
        self._locked = True
        self._locked_at = now
        request.slot = slot
        if self._quiesce is None:
            self._start_programming(request, now)
        else:
            self._quiesce.drain(request, now, self._start_programming)

    def _awake(self, request: Request, now: int) -> None:
        """The device runs; the slots may look different now."""
        request.keyslot_program += now - request.mark
        request.mark = now
        if self._locked:
            self._lock_queue.append((request, True))
        elif not self._hit(request, now):
            self._program(request, now)

    def _start_programming(self, request: Request, now: int) -> None:
        cost_ns = self._program_ns(request.key)  # type: ignore[arg-type]  # as above
        if self._cpus is None:
            self._clock.call_at(now + cost_ns, request, self._then)
        else:
            self.program_cpu_ns += cost_ns
            self._cpus.run(request, now, cost_ns, self._then)

    def _programmed(self, request: Request, now: int) -> None:
        key = request.key
        assert key is not None
        request.keyslot_program += now - request.mark
        self.hardware[request.slot] = key
        self.table.install(request.slot, key)
        self.programs += 1
        if self._power is not None:
            self._power.used(now)
        if self._quiesce is not None:
            self._quiesce.resume(now)
        self._granted(request, now)
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
        self._wake_sleepers(now)
        self._failed(request, now, status)
        self._drop_lock(now)

    def _drop_lock(self, now: int) -> None:
        self._locked = False
        self.lock_held_ns += now - self._locked_at
        if self._lock_queue:
            self._serve_queue(now)

    def _serve_queue(self, now: int) -> None:
        queue = self._lock_queue
        while queue and not self._locked:
            who, for_writing = queue.popleft()
            if not for_writing:
                self._serve_readers(who, now)
            elif isinstance(who, Request):
                request = who
                request.keyslot_lock += now - request.mark
                request.mark = now
                # Someone may have programmed the key while this request waited.
                if not self._hit(request, now):
                    self._program(request, now)
            else:
                self._locked = True
                self._locked_at = now
                who.succeed()

    def _serve_readers(self, first: Request | simpy.Event, now: int) -> None:
        queue = self._lock_queue
        readers = [first]
        left: list[_Waiter] = []
        while queue:
            who, for_writing = queue.popleft()
            if for_writing or len(readers) >= _MAX_READERS_WOKEN:
                left.append((who, for_writing))
            else:
                readers.append(who)
        queue.extend(left)
        hits: list[Request] = []
        for request in readers:
            assert isinstance(request, Request)
            request.keyslot_lock += now - request.mark
            request.mark = now
            request.slot = self.table.get(request.key)  # type: ignore[arg-type]  # as above
            if request.slot < 0:
                queue.append((request, True))
            else:
                hits.append(request)
        # They all look before any goes on: a request that goes on may free a tag for another, whose miss
        # takes the lock at once.
        self.hits += len(hits)
        for request in hits:
            self._granted(request, now)

    def _hit(self, request: Request, now: int) -> bool:
        slot = self.table.get(request.key)  # type: ignore[arg-type]  # only encrypted requests come here
        if slot < 0:
            return False
        self.hits += 1
        request.slot = slot
        self._granted(request, now)
        return True

    def _lock(self) -> Control:
        """A process: take the lock for writing, behind whoever waits for it."""
        if self._locked or self._lock_queue:
            turn = self._clock.event()
            self._lock_queue.append((turn, True))
            yield turn
        else:
            self._locked = True
            self._locked_at = self._clock.now

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
            yield self._clock.timeout(self._program_ns(key))
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
        fresh._locked = False
        fresh._lock_queue = deque()
        fresh._sleepers = []
        fresh.abandoned = self.acquires - self.hits - self.programs - self.failures
        self._lock_queue.clear()
        self._sleepers.clear()
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
