"""Tracks of a timeline: slices put in lanes, and counters, as simulated time becomes certain.

What a bio did is known when it is complete, which is later than others that came after it.  So slices and
changes wait here until everything before them is known (``settle``), and are written in the order of time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from heapq import heappop, heappush
from itertools import count
from typing import Final, NamedTuple

from scenarios.timeline.tracefile import Arguments, FlowPhase, TraceFile


class Group(IntEnum):
    """Kinds of tracks, in the order in which a bio passes them and in which they are shown."""

    BIO = 1
    CPU = 2
    TAG = 3
    LOCK = 4
    LOCK_WAIT = 5
    SLOT_WAIT = 6
    SLOT = 7
    ENGINE_READ = 8
    ENGINE_WRITE = 9
    MEDIA = 10
    MEDIA_LANE = 11  # where nobody says which unit it is


class _Look(NamedTuple):
    process: int
    process_name: str
    thread_name: str


_LOOKS: Final = {
    Group.BIO: _Look(1, "bios in flight", "bio lane {}"),
    Group.CPU: _Look(2, "CPUs", "CPU {}"),
    Group.TAG: _Look(3, "tags", "tag {}"),
    Group.LOCK: _Look(4, "profile lock", "holder"),
    Group.LOCK_WAIT: _Look(4, "profile lock", "waiter {}"),
    Group.SLOT: _Look(5, "keyslots", "keyslot {}"),
    Group.SLOT_WAIT: _Look(5, "keyslots", "waits for an idle one {}"),
    Group.ENGINE_READ: _Look(6, "link and engine", "reads {}"),
    Group.ENGINE_WRITE: _Look(6, "link and engine", "writes {}"),
    Group.MEDIA: _Look(7, "media", "unit {}"),
    Group.MEDIA_LANE: _Look(7, "media", "request {}"),
}
_COUNTERS: Final = 8
# Threads of one group; no two groups share one, also not of two processes.
_THREADS: Final = 100_000

Flow = tuple[FlowPhase, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Something on a track.

    Attributes:
        lane: which of the group's tracks; None for the first that is free.
        inside: slices inside it, one after another: name, begin, end.
        shown: False for one that only keeps its lane busy.
    """

    group: Group
    begin: int
    end: int
    name: str
    lane: int | None = None
    kind: str = "bio"
    arguments: Arguments = field(default_factory=dict)
    inside: Sequence[tuple[str, int, int]] = ()
    shown: bool = True


class _Lanes:
    """Gives each slice the lowest lane that is free; slices come in the order of their begin."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._busy: list[tuple[int, int]] = []
        self._count = 0

    def lane(self, begin: int, end: int) -> int:
        while self._busy and self._busy[0][0] <= begin:
            heappush(self._free, heappop(self._busy)[1])
        if self._free:
            lane = heappop(self._free)
        else:
            lane = self._count
            self._count += 1
        heappush(self._busy, (end, lane))
        return lane


class Tracks:
    """Writes slices in their lanes, and counters."""

    def __init__(self, file: TraceFile) -> None:
        self._file = file
        self._order = count()
        self._slices: list[tuple[int, Group, int, Slice, Flow | None]] = []
        self._lanes = {group: _Lanes() for group in Group}
        self._named: set[tuple[int, int]] = set()
        self._changes: list[tuple[int, str, int]] = []
        self._values: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        self.counted_from: int | None = None
        self.counted_to: int | None = None

    def add(self, one: Slice, flow: Flow | None = None) -> None:
        """A slice, touched by an arrow of ``flow``."""
        heappush(self._slices, (one.begin, one.group, next(self._order), one, flow))

    def count(self, name: str, begin: int, end: int) -> None:
        """A counter is one higher between two times."""
        if begin < end:
            heappush(self._changes, (begin, name, 1))
            heappush(self._changes, (end, name, -1))

    def settle(self, upto: int) -> None:
        """Nothing will be added any more that begins before ``upto``."""
        slices = self._slices
        while slices and slices[0][0] < upto:
            *_, one, flow = heappop(slices)
            self._write(one, flow)
        changes = self._changes
        while changes and changes[0][0] < upto:
            at = changes[0][0]
            changed = set()
            while changes and changes[0][0] == at:
                _, name, by = heappop(changes)
                self._values[name] = self._values.get(name, 0) + by
                changed.add(name)
            self._write_counters(at, sorted(changed))

    def _write_counters(self, at: int, names: Iterable[str]) -> None:
        if self.counted_from is None or at < self.counted_from:
            return
        if self.counted_to is not None and at >= self.counted_to:
            return
        for name in names:
            value = self._values[name]
            if self._shown.get(name) != value:
                self._name(_COUNTERS, _COUNTERS, "counters")
                self._file.counter(_COUNTERS, name, at, value)
                self._shown[name] = value

    def _write(self, one: Slice, flow: Flow | None) -> None:
        lane = self._lanes[one.group].lane(one.begin, one.end) if one.lane is None else one.lane
        if not one.shown:
            return
        look = _LOOKS[one.group]
        process, thread = look.process, one.group * _THREADS + lane
        self._name(process, thread, look.process_name)
        if (process, thread) not in self._named:
            self._named.add((process, thread))
            self._file.name_thread(process, thread, look.thread_name.format(lane))
        self._file.slice(process, thread, one.name, one.begin, one.end, one.kind, one.arguments)
        if flow is not None:
            self._file.flow(*flow, process, thread, one.begin)
        for name, begin, end in one.inside:
            self._file.slice(process, thread, name, begin, end, "stage", {})

    def _name(self, process: int, thread: int, name: str) -> None:
        if (process, -1) not in self._named:
            self._named.add((process, -1))
            self._file.name_process(process, thread, name)
