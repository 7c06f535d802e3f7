"""Faults in time: what happens to requests, keys and data when something breaks.

The injector stands between the machine and its device: every request passes it on the way to the device and
every bio on its way to completion, and every program of a keyslot asks it how it ends.  A machine without
faults has none and pays nothing.

- Reset: the hardware forgets its keys; requests in flight are requeued and keep their keyslots; after the
  reset all keys are programmed again, lock held, in index order; only then does I/O go on.
- A failed program leaves the mapping as it was.  When the slot's old key was lost on the way, I/O that finds
  it mapped fails: a disabled slot never passes data.
- Power cut: whatever is in memory or in flight is gone; see ``hwmodel.powerloss`` for the data.
- Removal: what is in flight, and every request and program from then on, fails.  The host's keyslots stay.

A fault is a process of its own and never runs inside a request's continuation.

Source: reference block-layer.md sections 3.11 to 3.15, 6.1 and 7.1.
"""

import enum
import errno
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from functools import singledispatchmethod
from typing import Final, Protocol

import numpy as np
import simpy

from blkcrypto.base.status import BlkStatus, errno_to_blk_status
from blkcrypto.base.units import NS_PER_SECOND
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.keyslots import KeyslotBusy
from hwmodel.clock import Clock
from hwmodel.device import Figure, KeyWrap
from hwmodel.faultplan import (
    Eviction,
    Fault,
    FaultPlan,
    Hang,
    KeyOperation,
    MediaError,
    PowerCut,
    ProgramFailure,
    Removal,
    Reset,
    Slowdown,
)
from hwmodel.keyslots import Keyslots
from hwmodel.plane import DataPlane, Outage
from hwmodel.request import READ, WRITE, Request

Control = Generator[simpy.Event, object, None]
_NEVER: Final = 1 << 62
_NORMAL_PERCENT: Final = 100


class Machine(Protocol):
    """What faults do to a machine."""

    clock: Clock

    @property
    def device_keyslots(self) -> Keyslots | None:
        """The device's own."""

    def dispatch(self, request: Request, now: int) -> None:
        """Let the device serve ``request``."""

    def resend(self, request: Request, now: int) -> None:
        """Send a request again that was withdrawn or held back."""

    def left_device(self) -> None:
        """A request is not at the device, though it was sent."""

    def withdraw(self) -> list[Request]:
        """Take every request back from the device."""

    def refuse(self, request: Request, now: int, status: BlkStatus) -> None:
        """Complete a request that the device does not serve."""

    def power_off(self) -> int:
        """Lose all state; the number of bios that were in flight."""

    def slow_down(self, percent: int) -> None:
        """Let the device take ``percent`` of its time."""

    def key_inside(self, request: Request) -> BlkCryptoKey | None:
        """The key that ``request``'s data is really encrypted with."""


class _State(enum.Enum):
    UP = enum.auto()
    DOWN = enum.auto()
    REMOVED = enum.auto()


class Injector:
    """Makes a plan's faults happen to one machine.

    Args:
        rng: of faults at random and of what a power cut takes.
        down_ns: from the beginning of a reset, or the return of power, until keys can be programmed.
        evict_ns: one eviction.
        program_ns: what programming a key takes.
        keywrap: the key-wrapping unit's costs; None for a device without one.
        keys: key objects by number; grows while the run goes on.
        plane: what moves the bytes; None for timing only.

    Attributes:
        counts: what happened, by name.
        violations: what must never happen, by name.
        evicted: keys that were evicted and not programmed since: in no keyslot.
    """

    def __init__(
        self,
        plan: FaultPlan,
        rng: np.random.Generator,
        machine: Machine,
        *,
        down_ns: int,
        evict_ns: int,
        program_ns: Callable[[BlkCryptoKey], int],
        keywrap: KeyWrap | None = None,
        keys: Sequence[BlkCryptoKey],
        plane: DataPlane | None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self._rates = plan.rates
        self._rng = rng
        self._machine = machine
        self._clock = machine.clock
        self._down_ns = down_ns
        self._evict_ns = evict_ns
        self._normal_program_ns = program_ns
        self._keywrap = keywrap
        self._keys = keys
        self._plane = plane
        self._state = _State.UP
        self._outage = 0  # number of the newest outage: an older one that still runs has nothing to say
        self._held: deque[Request] = deque()
        self._failing: deque[ProgramFailure] = deque()
        self._hangs: list[tuple[int, ProgramFailure]] = []  # until when
        self._failure: ProgramFailure | None = None  # of the program that runs
        self._bad_reads = 0
        self._next_reset = self._draw_reset(0)
        self.evicted: set[BlkCryptoKey] = set()
        # Evicted while in use: unlinked, but the hardware keeps such a key until its slot is overwritten.
        self._left_behind: set[BlkCryptoKey] = set()
        self._done = 0
        self._waiting: list[Fault] = []
        if plane is not None and plan.power_cuts:
            plane.keep_unflushed(lambda: self._clock.now)
        self._schedule(plan.scheduled())

    def _schedule(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if fault.after_bios:
                self._waiting.append(fault)
            else:
                self._clock.process(self._begin(fault))
        self._waiting.sort(key=lambda fault: -fault.after_bios)

    def _begin(self, fault: Fault) -> Control:
        yield self._clock.timeout(fault.at_ns)
        yield from self._happen(fault)

    def _draw_reset(self, now: int) -> int:
        if not self._rates.resets_per_s:
            return _NEVER
        return now + round(self._rng.exponential(NS_PER_SECOND / self._rates.resets_per_s))

    # --- what passes ----------------------------------------------------------------------------------

    def dispatch(self, request: Request, now: int) -> None:
        """A request on its way to the device."""
        machine = self._machine
        if self._state is not _State.UP:
            machine.left_device()
            if self._state is _State.REMOVED:
                machine.refuse(request, now, BlkStatus.IOERR)
            else:
                self._held.append(request)
            return
        if request.slot >= 0 and machine.key_inside(request) is None:
            self.counts["requests refused by an empty keyslot"] += 1
            machine.left_device()
            machine.refuse(request, now, BlkStatus.IOERR)
            return
        request.mark = now
        request.status = BlkStatus.MEDIUM if request.op == READ and self._read_fails() else BlkStatus.OK
        machine.dispatch(request, now)
        if now >= self._next_reset:
            self._next_reset = self._draw_reset(now)
            self._clock.process(self._happen(Reset()))

    def _read_fails(self) -> bool:
        if self._bad_reads:
            self._bad_reads -= 1
        elif not (self._rates.media_error and self._rng.random() < self._rates.media_error):
            return False
        self.counts["media errors"] += 1
        return True

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """A bio on its way to its completion."""
        self._done += 1
        waiting = self._waiting
        while waiting and waiting[-1].after_bios <= self._done:
            self._clock.process(self._begin(waiting.pop()))
        if not request.status and key in self.evicted:
            self.violations["bios served with an evicted key"] += 1
        if self._plane is not None:
            self._plane.complete(request, key)

    # --- programming ----------------------------------------------------------------------------------

    def program_ns(self, key: BlkCryptoKey) -> int:
        """What the program that begins now takes; settles how it will end."""
        self._failure = failure = self._next_failure()
        return failure.takes_ns if failure and failure.takes_ns else self._normal_program_ns(key)

    def _next_failure(self) -> ProgramFailure | None:
        if self._state is _State.REMOVED:
            return ProgramFailure()
        now = self._clock.now
        for until, failure in self._hangs:
            if now < until:
                return failure
        if self._failing:
            return self._failing.popleft()
        rates = self._rates
        if rates.program_failure and self._rng.random() < rates.program_failure:
            return ProgramFailure(clobbers=bool(self._rng.random() < rates.clobber))
        return None

    def program_ended(self, key: BlkCryptoKey) -> tuple[BlkStatus, bool]:
        """How the program of ``key`` ended, and whether the slot lost what it held."""
        failure, self._failure = self._failure, None
        if failure is None:
            self.evicted.discard(key)
            return BlkStatus.OK, False
        self.counts["failed programs"] += 1
        self.counts["clobbered keyslots"] += failure.clobbers
        return errno_to_blk_status(getattr(errno, failure.error)), failure.clobbers

    def forget(self, key: BlkCryptoKey) -> None:
        """``key`` was evicted, and no keyslot may hold it any more, unless it was left there before."""
        if key not in self._left_behind:
            self.evicted.add(key)
        if self._plane is not None:
            self._plane.forget(key)

    def keep_unflushed(self, now: Callable[[], int]) -> None:
        """The plane behind knows already."""

    def power_cut(self, outage: Outage) -> Counter[str]:
        """Passed on to the plane behind."""
        return Counter() if self._plane is None else self._plane.power_cut(outage)

    # --- what happens ---------------------------------------------------------------------------------

    @singledispatchmethod
    def _happen(self, fault: Fault) -> Control:
        raise AssertionError(f"{fault!r} is no fault")

    @_happen.register
    def _(self, _fault: Reset) -> Control:
        if self._state is _State.REMOVED:
            return
        self.counts["controller resets"] += 1
        outage = self._go_down()
        requeued = self._machine.withdraw()
        self.counts["requests requeued"] += len(requeued)
        # In front of what waits already: these were sent first.
        self._held.extendleft(reversed(requeued))
        slots = self._machine.device_keyslots
        if slots is not None:
            slots.lose_keys()
        yield self._clock.timeout(self._down_ns)
        if slots is not None and outage == self._outage:
            before = slots.reprograms
            yield from slots.reprogram_all()
            self.counts["keys programmed again"] += slots.reprograms - before
            if outage == self._outage and not self.evicted.isdisjoint(slots.hardware):
                self.violations["evicted keys programmed again after a reset"] += 1
        self._go_up(outage)

    def _go_down(self) -> int:
        """Stop I/O for an outage in which the hardware forgets every key; its number."""
        self._left_behind.clear()
        self._state = _State.DOWN
        self._outage += 1
        return self._outage

    def _go_up(self, outage: int) -> None:
        """Let I/O go on, unless something else stopped it meanwhile."""
        if outage != self._outage:
            return
        self._state = _State.UP
        held, self._held = self._held, deque()
        for request in held:
            self._machine.resend(request, self._clock.now)

    @_happen.register
    def _(self, fault: PowerCut) -> Control:
        if self._state is _State.REMOVED:
            return
        machine = self._machine
        self.counts["power cuts"] += 1
        outage = self._go_down()
        writes = [
            (bio, machine.key_inside(request) if request.slot >= 0 else bio.key)
            for request in machine.withdraw()
            for bio in (request.members or [request])
            if bio.op == WRITE
        ]
        self.counts += self.power_cut(Outage(writes, self._rng, fault.tear_bytes))
        self._held.clear()
        self.counts["bios interrupted"] += machine.power_off()
        slots = machine.device_keyslots
        down_ns = fault.outage_ns or self._down_ns
        if slots is not None:
            yield from slots.hold_lock(down_ns)
        else:
            yield self._clock.timeout(down_ns)
        self._go_up(outage)

    @_happen.register
    def _(self, _fault: Removal) -> Control:
        if self._state is _State.REMOVED:
            return
        self.counts["removals"] += 1
        self._state = _State.REMOVED
        self._outage += 1
        requests = [*self._machine.withdraw(), *self._held]
        self._held.clear()
        for request in requests:
            self._machine.refuse(request, self._clock.now, BlkStatus.IOERR)
        yield from ()

    @_happen.register
    def _(self, fault: ProgramFailure) -> Control:
        self._failing.extend([fault] * fault.count)
        yield from ()

    @_happen.register
    def _(self, fault: Hang) -> Control:
        self.counts["hangs"] += 1
        failure = ProgramFailure(takes_ns=fault.timeout_ns, error=fault.error)
        self._hangs.append((self._clock.now + fault.duration_ns, failure))
        yield from ()

    @_happen.register
    def _(self, fault: MediaError) -> Control:
        self._bad_reads += fault.count
        yield from ()

    @_happen.register
    def _(self, fault: Slowdown) -> Control:
        self.counts["slow-downs"] += 1
        self._machine.slow_down(fault.percent)
        yield self._clock.timeout(fault.duration_ns)
        self._machine.slow_down(_NORMAL_PERCENT)

    @_happen.register
    def _(self, fault: Eviction) -> Control:
        slots = self._machine.device_keyslots
        if slots is None or fault.key >= len(self._keys):
            return
        key = self._keys[fault.key]
        try:
            yield from slots.evict(key, self._evict_ns)
        except KeyslotBusy:
            self._left_behind.add(key)
            self.counts["evictions of keys in use"] += 1
            return
        self.counts["evictions"] += 1
        if key in self.evicted and key in slots.hardware:
            self.violations["evicted keys left in a keyslot"] += 1

    @_happen.register
    def _(self, fault: KeyOperation) -> Control:
        slots = self._machine.device_keyslots
        if slots is None or self._keywrap is None:
            return
        cost: Figure = getattr(self._keywrap, f"{fault.op}_ns")
        for _ in range(fault.count):
            self.counts["key operations"] += 1
            yield from slots.hold_lock(cost.value)
