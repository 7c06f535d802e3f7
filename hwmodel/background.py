"""Programs that the write cache makes in the background, and how reads get past them.

- ``InOrder``: a die serves what it is given in order of arrival.  A read waits behind every program accepted
  before it.  ``apart``, programs have dies of their own: nothing waits for them but writes.
- ``Yielding``: a die reads first.  A read waits for the program in progress and for no other; where programs
  can be suspended, not even for that one.  Programs begin when their die has nothing to read.

Whoever waits for data to be on the flash (FLUSH, FUA, a write that finds the cache full) makes its programs
urgent: from then on they keep their place before later reads.  So reads cannot starve writes for ever, and
the moment an urgent program ends is known at once.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import ClassVar, Final, Protocol

import numpy as np

from blkcrypto.base.units import SECTOR_SHIFT
from hwmodel.channels import flash
from hwmodel.device import Media as MediaFacts
from hwmodel.media import service_times
from hwmodel.request import Request

OnFlash = Callable[[int, int], None]
"""Told when a write is on the flash, in ns, and its bytes: once that is certain."""


class Background(Protocol):
    """The flash behind a write cache.  Each method gets a request and the time."""

    def read(self, request: Request, now: int) -> int:
        """Serve anything but a write; when it is done.  Sets its ``device_queue`` and ``media``."""

    def program(self, request: Request, now: int) -> None:
        """Write in the background."""

    def program_now(self, request: Request, now: int) -> int:
        """Write while somebody waits; when it is on the flash."""

    def hurry(self) -> bool:
        """Make the oldest write urgent; False when all are."""

    def settle(self, now: int) -> None:
        """Let programs begin that had time to."""

    def reset(self, now: int) -> None:
        """Give up reads; programs go on."""

    def power_off(self, now: int) -> None:
        """Forget everything."""

    def slow_down(self, percent: int) -> None:
        """From here on let each piece take ``percent`` of its time."""


class InOrder:
    """Every unit serves in order of arrival."""

    _new_flash: ClassVar = staticmethod(flash)

    def __init__(self, facts: MediaFacts, rng: np.random.Generator, on_flash: OnFlash) -> None:
        self._units = self._new_flash(facts, rng)
        self._reading = self._new_flash(facts, rng) if facts.programs == "apart" else self._units
        self._on_flash = on_flash
        self.read = self._reading.serve

    def slow_down(self, percent: int) -> None:
        """From here on let each piece take ``percent`` of its time."""
        self._units.slow_down(percent)
        self._reading.slow_down(percent)

    def power_off(self, now: int) -> None:
        """Forget everything."""
        self._units.power_off(now)
        self._reading.power_off(now)

    def reset(self, now: int) -> None:
        """Give up what is served."""
        self._units.reset(now)
        self._reading.reset(now)

    def program(self, request: Request, now: int) -> None:
        """Write in the background."""
        self.program_now(request, now)

    def program_now(self, request: Request, now: int) -> int:
        """Write; when it is on the flash."""
        waited = request.device_queue
        done = self._units.serve(request, now)
        request.device_queue = waited  # the cache knows what its user waits for
        self._on_flash(done, request.nbytes)
        return done

    def hurry(self) -> bool:
        """Nothing to do: all are certain."""
        return False

    def settle(self, now: int) -> None:
        """Nothing to do: all have begun as soon as they could."""


class _Write:
    """A write on its way to the flash: pieces that are not certain to be there, and the latest end so far."""

    __slots__ = ("left", "nbytes", "on_flash_ns", "pieces", "row")

    def __init__(self, row: int, nbytes: int) -> None:
        self.row = row
        self.nbytes = nbytes
        self.left = 0
        self.on_flash_ns = 0
        self.pieces: list[tuple[Die, Program]] = []


class Program:
    """A piece of a write: from when on it may begin, what it still takes, and whether its end is certain."""

    __slots__ = ("certain", "ns", "ready_ns", "write")

    def __init__(self, write: _Write, ready_ns: int, ns: int) -> None:
        self.certain = False
        self.write = write
        self.ready_ns = ready_ns
        self.ns = ns


class Die:
    """When it is free, the program that keeps it busy until then, if one does, and those that wait."""

    __slots__ = ("free_ns", "number", "programming", "since_ns", "waiting")

    def __init__(self, number: int) -> None:
        self.number = number
        self.since_ns = 0  # when what it programs began, or went on
        self.free_ns = 0
        self.programming: Program | None = None
        self.waiting: deque[Program] = deque()


class Yielding:
    """Every die reads first."""

    def __init__(self, facts: MediaFacts, rng: np.random.Generator, on_flash: OnFlash) -> None:
        self._on_flash = on_flash
        self._stripe = facts.stripe_bytes.value
        self._suspend_ns: Final = facts.suspend_ns.value if facts.programs == "suspend" else None
        self._dies = [Die(number) for number in range(facts.units.value)]
        self._writes: deque[_Write] = deque()
        self._draw_ns = service_times(facts, rng)
        self._percent = 100

    def read(self, request: Request, now: int) -> int:
        """Serve anything but a write; when it is done.  Sets its ``device_queue`` and ``media``."""
        start, done = 1 << 62, now
        for die, nbytes in self._pieces(request):
            begins = self._read_piece(die, request, nbytes, now)
            start, done = min(start, begins), max(done, die.free_ns)
        request.device_queue += start - now
        request.media = done - start
        return done

    def _read_piece(self, die: Die, request: Request, nbytes: int, now: int) -> int:
        """Keep a die busy; from when on."""
        self._settle(die, now)
        begins = self._break_in(die, now) if die.programming is not None else max(die.free_ns, now)
        die.free_ns = begins + self._takes(request.op, nbytes)
        return begins

    def _break_in(self, die: Die, now: int) -> int:
        """When a read can begin on a die that is programming."""
        if self._suspend_ns is None:
            self._ends(self._leave(die, die.free_ns), die.free_ns)
            return die.free_ns
        program = self._leave(die, now)
        program.ns = die.free_ns - now
        die.waiting.appendleft(program)
        return now + self._suspend_ns

    def program(self, request: Request, now: int) -> None:
        """Write in the background."""
        self._writes.append(self._begun(request, now))

    def program_now(self, request: Request, now: int) -> int:
        """Write while somebody waits; when it is on the flash."""
        write = self._begun(request, now)
        self._finish(write)
        return write.on_flash_ns

    def _begun(self, request: Request, now: int) -> _Write:
        write = _Write(request.row, request.nbytes)
        for die, nbytes in self._pieces(request):
            program = Program(write, now, self._takes(request.op, nbytes))
            die.waiting.append(program)
            write.pieces.append((die, program))
        write.left = len(write.pieces)
        return write

    def hurry(self) -> bool:
        """Make the oldest write urgent; False when all are."""
        while self._writes:
            write = self._writes.popleft()
            if write.left:
                self._finish(write)
                return True
        return False

    def settle(self, now: int) -> None:
        """Let programs begin that had time to."""
        for die in self._dies:
            self._settle(die, now)
        while self._writes and not self._writes[0].left:
            self._writes.popleft()

    def _finish(self, write: _Write) -> None:
        """Fix when every piece of ``write`` ends, and all that its dies do before."""
        for die, program in write.pieces:
            if die.programming is not None:
                self._ends(self._leave(die, die.free_ns), die.free_ns)
            while not program.certain:
                self._begin(die)
                self._ends(self._leave(die, die.free_ns), die.free_ns)

    def _settle(self, die: Die, now: int) -> None:
        while die.free_ns <= now:
            if die.programming is not None:
                self._ends(self._leave(die, die.free_ns), die.free_ns)
            # What could begin only now has not begun: a read of this instant goes first.
            if not die.waiting or max(die.free_ns, die.waiting[0].ready_ns) >= now:
                return
            self._begin(die)

    def _begin(self, die: Die) -> None:
        """Program what has waited longest."""
        program = die.programming = die.waiting.popleft()
        die.since_ns = max(die.free_ns, program.ready_ns)
        die.free_ns = die.since_ns + program.ns

    def _leave(self, die: Die, now: int) -> Program:
        """Program no more, because it is done or suspended at ``now``; what it was."""
        program = die.programming
        assert program is not None
        die.programming = None
        return program

    def _ends(self, program: Program, when: int) -> None:
        program.certain = True
        write = program.write
        write.left -= 1
        write.on_flash_ns = max(write.on_flash_ns, when)
        if not write.left:
            self._on_flash(write.on_flash_ns, write.nbytes)

    def _pieces(self, request: Request) -> Iterator[tuple[Die, int]]:
        stripe, dies = self._stripe, self._dies
        at = request.sector << SECTOR_SHIFT
        end = at + request.nbytes
        first = at // stripe
        yield dies[first % len(dies)], min(end, (first + 1) * stripe) - at
        for index in range(first + 1, -(-end // stripe)):
            yield dies[index % len(dies)], min(stripe, end - index * stripe)

    def _takes(self, op: int, nbytes: int) -> int:
        return self._draw_ns(op, nbytes) * self._percent // 100

    def reset(self, now: int) -> None:
        """Give up reads; programs go on."""
        for die in self._dies:
            if die.programming is None:
                die.free_ns = min(die.free_ns, now)

    def power_off(self, now: int) -> None:
        """Forget everything."""
        self._writes.clear()
        for die in self._dies:
            die.free_ns, die.programming = now, None
            die.waiting.clear()

    def slow_down(self, percent: int) -> None:
        """From here on let each piece take ``percent`` of its time."""
        self._percent = percent
