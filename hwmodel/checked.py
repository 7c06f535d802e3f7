"""A machine that checks its own invariants (``hwmodel.invariants``) as it goes: ``--check``.

It does exactly what ``Machine`` does, the long way, and after each event looks at everything.  What is found
broken is told with the history of the bio that the event moved.
"""

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Final

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.keyslots import KeyslotTable
from hwmodel.checker import Checker
from hwmodel.clock import Clock, Row
from hwmodel.invariants import (
    BYTES,
    DUN_CONTINUITY,
    EXACTLY_ONCE,
    LRU_ORDER,
    NO_IDLE_WAIT,
    ONE_HOLDER,
    ONE_SLOT_PER_KEY,
    OWN_KEY,
    REFERENCES,
    TAGS,
    TIME_GOES_ON,
    Invariant,
    InvariantBroken,
)
from hwmodel.keyslots import Control, Keyslots
from hwmodel.observer import Observer, Observers
from hwmodel.request import Request, Then
from hwmodel.splitter import Splitter
from hwmodel.watched import WatchedDesignMachine, WatchedKeyslots, WatchedMachine, WatchedRecords

# Looking at everything takes as long as there are requests: so many are looked at per event on average.
_LOOKED_AT_PER_EVENT: Final = 64


def _require(holds: bool, invariant: Invariant, what: str) -> None:
    if not holds:
        raise InvariantBroken(invariant, what)


class CheckedClock(Clock):
    """Time that never goes back, and somebody who looks after each event.

    Attributes:
        machine: what is looked at.
    """

    machine: "CheckedMachine | None" = None

    def call_at(self, when: int, request: Request, then: Then) -> None:
        """As ``Clock.call_at``."""
        _require(when >= self.now, TIME_GOES_ON, f"{request!r} is to go on at {when} ns; it is {self.now} ns")
        super().call_at(when, request, then)

    def step(self) -> None:
        """As ``Clock.step``, and look."""
        before, moved = self.now, self.items[0][3] if self.items else None
        row = moved.row if isinstance(moved, Request) else -1
        assert self.machine is not None, "wired before it runs"
        try:
            super().step()
            _require(self.now >= before, TIME_GOES_ON, f"after {before} ns comes {self.now} ns")
            self.machine.look()
        except InvariantBroken as broken:
            raise self.machine.told(broken, row) from None

    def _run_until(self, when: int) -> None:
        while self.items and self.items[0][0] <= when:
            self.step()


class CheckedTable(KeyslotTable[BlkCryptoKey]):
    """The rules' table; who was released when is kept apart from its idle list."""

    def __init__(self, num_slots: int) -> None:
        super().__init__(num_slots)
        self._released = list(range(-num_slots, 0))  # when, as a number
        self._next = 0

    def put(self, slot: int) -> bool:
        """As ``KeyslotTable.put``."""
        _require(self.refs(slot) > 0, REFERENCES, f"a reference on keyslot {slot} is dropped; there is none")
        became_idle = super().put(slot)
        if became_idle:
            self._released[slot] = self._next
            self._next += 1
        return became_idle

    def victim(self) -> int:
        """As ``KeyslotTable.victim``."""
        found = super().victim()
        idle = [slot for slot in range(self.num_slots) if not self.refs(slot)]
        longest = min(idle, key=self._released.__getitem__, default=-1)
        _require(found == longest, LRU_ORDER, f"keyslot {found} is chosen, {longest} was idle longest")
        return found

    def install(self, slot: int, key: BlkCryptoKey) -> None:
        """As ``KeyslotTable.install``."""
        _require(
            not self.refs(slot), LRU_ORDER, f"keyslot {slot} is programmed while {self.refs(slot)} use it"
        )
        others = [other for other, held in self.programmed() if held is key]
        _require(not others, ONE_SLOT_PER_KEY, f"{key!r} goes to keyslot {slot} and is in {others}")
        super().install(slot, key)


class CheckedKeyslots(WatchedKeyslots):
    """Keyslots with a checked table and lock.

    Attributes:
        programming: who holds the lock and has been given a slot that is not programmed yet.
    """

    programming: Request | None = None

    def check(self, checker: Checker) -> None:
        """Tell ``checker``, and look, from here on."""
        self._checker = checker
        self.table = CheckedTable(self.table.num_slots)
        self._granted_checked, self.granted = self.granted, self._note_granted

    def _note_granted(self, request: Request, now: int) -> None:
        self._checker.note(request.row, now, f"holds keyslot {request.slot}")
        self._granted_checked(request, now)

    def program(self, request: Request, now: int) -> None:
        """As ``Keyslots.program``."""
        _require(not self.locked, ONE_HOLDER, f"{request!r} takes the lock, which is held")
        super().program(request, now)
        if self.locked:
            self.programming = request

    def _lock(self) -> Control:
        yield from super()._lock()
        _require(
            self.programming is None, ONE_HOLDER, f"a key operation and {self.programming!r} hold the lock"
        )

    def _drop_lock(self, now: int) -> None:
        _require(self.locked, ONE_HOLDER, "the lock is dropped, and nobody holds it")
        self.programming = None
        super()._drop_lock(now)

    def anew(self) -> Keyslots:
        """As ``Keyslots.anew``."""
        fresh = super().anew()
        assert isinstance(fresh, CheckedKeyslots)
        fresh.table = CheckedTable(self.table.num_slots)
        fresh.programming = None
        fresh._granted_checked, fresh.granted = fresh.granted, fresh._note_granted
        return fresh

    def look(self, requests: list[Request]) -> None:
        """Compare references, idle list and queues with who is under way."""
        table = self.table
        held = Counter(one.slot for one in requests if one.slot >= 0 and one is not self.programming)
        for slot in range(table.num_slots):
            refs = table.refs(slot)
            _require(
                refs == held[slot], REFERENCES, f"keyslot {slot}: {refs} references, {held[slot]} holders"
            )
        idle = table.idle_order
        free = sum(not table.refs(slot) for slot in range(table.num_slots))
        _require(
            len(idle) == free, LRU_ORDER, f"{len(idle)} slots on the idle list, {free} without references"
        )
        waits = bool(idle and self.sleepers)
        _require(not waits, NO_IDLE_WAIT, f"{len(self.sleepers)} bios sleep while keyslot {idle[:1]} is idle")
        queued = len(self._readers) + len(self._writers)
        _require(self.locked or not queued, NO_IDLE_WAIT, f"{queued} wait for the lock, which is free")


class CheckedSplitter(Splitter):
    """Parts of a bio that are the whole bio, and nothing else."""

    __slots__ = ()

    def parts(self, bio: Request) -> list[Request]:
        """As ``Splitter.parts``."""
        parts = super().parts(bio)
        nbytes = sum(part.nbytes for part in parts)
        _require(nbytes == bio.nbytes, BYTES, f"{bio!r} is split into {nbytes} bytes")
        begins = parts[0].dun == bio.dun
        _require(begins, DUN_CONTINUITY, f"{bio!r} has DUN {bio.dun}, its first part {parts[0].dun}")
        _follow_each_other(bio, parts, self._unit_bytes if bio.key is not None else 0)
        return parts


def _follow_each_other(whole: Request, parts: list[Request], unit_bytes: int) -> None:
    """Parts lie end to end from the beginning of ``whole``; with ``unit_bytes`` their DUNs do, too."""
    passed = 0
    for part in parts:
        expected = whole.sector + (passed >> SECTOR_SHIFT)
        _require(part.sector == expected, BYTES, f"{part!r} follows {whole!r} at sector {expected}")
        if unit_bytes:
            _require(part.key is whole.key, DUN_CONTINUITY, f"{part!r} has another key than {whole!r}")
            units, rest = divmod(passed, unit_bytes)
            dun = parts[0].dun + units
            _require(not rest, DUN_CONTINUITY, f"{part!r} begins within a data unit")
            _require(part.dun == dun, DUN_CONTINUITY, f"{part!r} has DUN {part.dun}, {dun} follows")
        passed += part.nbytes


class CheckedRecords(WatchedRecords):
    """Records that somebody looks at before they are made."""

    __slots__ = ("_checker",)

    def check(self, checker: Checker) -> None:
        """Ask ``checker`` from here on."""
        self._checker = checker

    def take(self, request: Request, now: int) -> None:
        """As ``RecordBuffer.take``."""
        self._checker.completed_one(request, now)
        super().take(request, now)


class CheckedMachine(WatchedMachine):
    """A ``Machine``; call ``check`` before it runs."""

    _clock_type: ClassVar = CheckedClock
    _keyslots_type: ClassVar = CheckedKeyslots
    _splitter_type: ClassVar = CheckedSplitter
    _records_type: ClassVar = CheckedRecords

    def check(self, checker: Checker, observer: Observer | None = None) -> None:
        """Tell ``checker`` everything from here on, and ``observer``, too."""
        self._checker = checker
        self._wait = 0
        assert isinstance(self.clock, CheckedClock)
        assert isinstance(self.recorded, CheckedRecords)
        self.clock.machine = self
        self.recorded.check(checker)
        if isinstance(self.keyslots, CheckedKeyslots):
            self.keyslots.check(checker)
        self.watch(checker if observer is None else Observers(checker, observer))

    @property
    def checked(self) -> tuple[Invariant, ...]:
        """What is checked here, beyond what every run checks."""
        slots = (REFERENCES, LRU_ORDER, ONE_SLOT_PER_KEY, ONE_HOLDER) if self.keyslots is not None else ()
        device = (OWN_KEY,) if self.device_keyslots is not None else ()
        return (TIME_GOES_ON, EXACTLY_ONCE, TAGS, NO_IDLE_WAIT, BYTES, DUN_CONTINUITY, *slots, *device)

    def run(self, rows: Iterator[Row], *, queue_depth: int = 0) -> None:
        """As ``Machine.run``."""
        super().run(rows, queue_depth=queue_depth)
        self._checker.check_end(lambda: self.is_idle)

    def arrive(self, row: Row) -> None:
        """As ``Machine.arrive``, and look."""
        try:
            super().arrive(row)
            self.look()
        except InvariantBroken as broken:
            raise self.told(broken, row[1]) from None

    def told(self, broken: InvariantBroken, row: int) -> InvariantBroken:
        """``broken`` with the history of the bio that was moved, unless it tells of one already."""
        history = broken.history or self._checker.history(row)
        return InvariantBroken(broken.invariant, broken.what, history)

    def look(self) -> None:
        """Look at everything, or seldom where that is much."""
        tags = self.tags
        given = tags.count - tags.free
        out = self._checker.tags_out
        _require(given == out, TAGS, f"{given} of {tags.count} tags are taken, {out} were given out")
        _require(not (tags.free and tags.waiting), NO_IDLE_WAIT, f"{tags.free} tags are free, and bios wait")
        slots = self.keyslots
        if self._wait:
            self._wait -= 1
        elif isinstance(slots, CheckedKeyslots):
            slots.look(self.pool.every)
            self._wait = (len(self.pool.every) + slots.table.num_slots) // _LOOKED_AT_PER_EVENT

    def dispatch(self, request: Request, now: int) -> None:
        """As ``Machine.dispatch``."""
        self._checker.note(request.row, now, "goes to the device")
        self._check_key(request)
        if request.members:
            nbytes = sum(bio.nbytes for bio in request.members)
            _require(nbytes == request.nbytes, BYTES, f"{request!r} carries bios of {nbytes} bytes")
            seen = self.software is None and request.key is not None
            _follow_each_other(request, request.members, self.unit_bytes if seen else 0)
        super().dispatch(request, now)

    def _device_done(self, request: Request, now: int) -> None:
        self._checker.note(request.row, now, "is done at the device")
        if not request.status:
            self._check_key(request)
        super()._device_done(request, now)

    def _check_key(self, request: Request) -> None:
        slots = self.device_keyslots
        if slots is not None and request.slot >= 0:
            inside = slots.hardware[request.slot]
            _require(
                inside is request.key,
                OWN_KEY,
                f"{request!r} is for {request.key!r}, in its slot is {inside!r}",
            )

    def power_off(self, now: int) -> None:
        """As ``Machine.power_off``."""
        self._checker.power_off()
        super().power_off(now)


class CheckedDesignMachine(CheckedMachine, WatchedDesignMachine):
    """The same of a machine whose key design costs more than encryption."""
