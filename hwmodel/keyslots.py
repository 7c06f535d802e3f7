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

import simpy

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


class Keyslots:
    """One crypto profile's keyslots: a device's, or the fallback's.

    Args:
        program_ns: what programming a key takes, lock held.
        granted: called with a request that has its slot.
        cpus: where programming runs, when it keeps the submitter's CPU busy.
        quiesce: empties the device first, where the hardware needs that.
        evicted: told of a key that is in no slot any more, because it was evicted.
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
    ) -> None:
        self.table: KeyslotTable[BlkCryptoKey] = KeyslotTable(num_slots)
        # What the hardware holds, which is what data is encrypted with.
        self.hardware: list[BlkCryptoKey | None] = [None] * num_slots
        self.acquires = self.hits = self.programs = self.evicts = self.waits = self.lock_waits = 0
        self.lock_held_ns = self.program_cpu_ns = 0
        self._clock = clock
        self._cpus = cpus
        self._quiesce = quiesce
        self._evicted = evicted
        self._program_ns = program_ns
        self._granted = granted
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

    def _start_programming(self, request: Request, now: int) -> None:
        cost_ns = self._program_ns(request.key)  # type: ignore[arg-type]  # as above
        if self._cpus is None:
            self._clock.call_at(now + cost_ns, request, self._programmed)
        else:
            self.program_cpu_ns += cost_ns
            self._cpus.run(request, now, cost_ns, self._programmed)

    def _programmed(self, request: Request, now: int) -> None:
        key = request.key
        assert key is not None
        request.keyslot_program += now - request.mark
        self.hardware[request.slot] = key
        self.table.install(request.slot, key)
        self.programs += 1
        if self._quiesce is not None:
            self._quiesce.resume(now)
        self._granted(request, now)
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
        for request in readers:
            assert isinstance(request, Request)
            request.keyslot_lock += now - request.mark
            request.mark = now
            if not self._hit(request, now):
                queue.append((request, True))

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
