"""What a machine does -> a timeline file, in bounded memory.

A bio is written when it is complete, and joined then with what was told of it on its way.  Every bio before
the chosen ones is followed too, so that counters and lanes are right when the first chosen one arrives.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import format_size
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from hwmodel.clock import Row
from hwmodel.observer import Observer
from hwmodel.request import STAGE_FIELDS, Request
from scenarios.build import settled
from scenarios.results.records import COLUMN, Records
from scenarios.schema import Scenario
from scenarios.timeline.range import BioRange, parse_bios
from scenarios.timeline.stages import StageTimes, intervals
from scenarios.timeline.tracefile import FlowPhase, TraceFile
from scenarios.timeline.tracks import Group, Slice, Tracks

_stage_times: Final = attrgetter(*STAGE_FIELDS)
_FIRST_STAGE: Final = COLUMN[STAGE_FIELDS[0]]
_END_OF_TIME: Final = 1 << 62
# What a CPU does, by what comes next.
_CPU_WORK: Final = {
    "_submitted": "submit",
    "_ciphered": "crypto",
    "_worker_started": "start worker",
    "_programmed": "program",
    "_programmed_or_failed": "program",
}
_COUNTED: Final = {
    "tag_wait": "waiting for a tag",
    "keyslot_lock": "waiting for the profile lock",
    "keyslot_idle": "waiting for an idle keyslot",
}
_LANES_OF_STAGE: Final = {"keyslot_lock": Group.LOCK_WAIT, "keyslot_idle": Group.SLOT_WAIT}

_Span = tuple[Group, int | None, int, int, str, tuple[tuple[str, int, int], ...]]


@dataclass(slots=True)
class _Bio:
    """What is known of a bio on its way."""

    row: Row
    shown: bool
    turns: list[StageTimes] = field(default_factory=list)
    spans: list[_Span] = field(default_factory=list)
    key: BlkCryptoKey | None = None
    slot: int = -1


@dataclass(slots=True)
class _Held:
    """A keyslot's key, and since when nobody has used it."""

    key: str
    idle_since: int


class Timeline(Observer):
    """Writes ``file`` while a machine runs: as its observer.  ``finish`` it."""

    def __init__(self, file: TraceFile, scenario: Scenario, bios: BioRange) -> None:
        self._file = file
        self._tracks = Tracks(file)
        self._scenario = scenario
        self._engine = settled(scenario).keys.engine
        self._bios = bios
        self._open: dict[int, _Bio] = {}
        self._tags: dict[int, tuple[int, int]] = {}
        self._slots: dict[int, _Held] = {}
        self._now = 0
        self._seen = 0
        self._began = self._ended = False
        # Recorded times are of the whole device.
        self._knows_units = scenario.run.media == "model"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know: that bios were left out."""
        first, last = self._bios.first, min(self._bios.last, self._seen)
        if first == 0 and last == self._seen:
            return ()
        which = f"bios {first} to {last - 1}" if last > first else "no bio"
        return (f"the timeline shows {which} of {self._seen}: --timeline-bios FIRST:LAST chooses others",)

    # --- what a machine tells -------------------------------------------------------------------------

    def arrived(self, row: Row) -> None:
        """A bio is submitted."""
        when, number = row[0], row[1]
        self._now = when
        self._seen = max(self._seen, number + 1)
        if self._ended or number < 0:  # I/O that a key design makes for itself
            return
        if number >= self._bios.last:
            self._ended = True
            self._tracks.counted_to = when
            return
        if not self._began and number >= self._bios.first:
            self._began = True
            self._tracks.counted_from = when
        self._open[number] = _Bio(row, shown=self._began)

    def reached(self, request: Request) -> None:
        """A request has passed another stage."""
        bio = self._open.get(request.row)
        if bio is None or request.parent is not None or request.members:
            return  # times of a part or a carrier are not yet, or never, the bio's
        bio.turns.append(_stage_times(request))
        bio.key = request.key
        if request.slot >= 0:
            bio.slot = request.slot

    def tagged(self, request: Request, now: int) -> None:
        """A request got a tag."""
        if request.row in self._open:
            self._tags[id(request)] = (request.row, now)

    def untagged(self, request: Request, now: int) -> None:
        """A request gives its tag up: its own, or that of the bio it carries that had one."""
        for one in (request, *request.members):
            row, since = self._tags.pop(id(one), (-1, 0))
            self._span(row, Group.TAG, None, since, now, f"bio {row}")

    def ran(self, cpu: int, row: int, begin: int, end: int, then: str) -> None:
        """A CPU works for a bio."""
        self._span(row, Group.CPU, cpu, begin, end, _CPU_WORK.get(then, "work"))

    def served(self, unit: int, row: int, begin: int, end: int) -> None:
        """A media unit works for a bio."""
        lane = None if unit < 0 else unit
        if row in self._open:
            self._span(row, Group.MEDIA, lane, begin, end, f"bio {row}")
        elif row >= 0 and lane is not None:
            self._alone(Group.MEDIA, lane, begin, end, f"bio {row}, from the cache")

    def locked(self, begin: int, begun: int, end: int, row: int) -> None:
        """The profile lock was held."""
        if row < 0:
            self._alone(Group.LOCK, 0, begin, end, "key operation")
            return
        parts = (("drain", begin, begun), ("program", begun, end))
        inside = tuple(part for part in parts if part[1] < part[2])
        self._span(row, Group.LOCK, 0, begin, end, f"bio {row}", inside)

    def programmed(self, slot: int, key: BlkCryptoKey, row: int, begin: int, end: int) -> None:
        """A key is in a slot from ``end`` on."""
        self._idle(slot, begin)
        self._slots[slot] = _Held(key.label, end)
        self._span(row, Group.SLOT, slot, begin, end, f"program {key.label}")

    def used(self, slot: int, begin: int, end: int) -> None:
        """Somebody held a reference on a slot."""
        held = self._slots.get(slot)
        if held is None:
            return  # it was evicted while in use
        self._idle(slot, begin)
        self._alone(Group.SLOT, slot, begin, end, held.key)
        held.idle_since = end
        if not self._ended:
            self._tracks.count("keyslots in use", begin, end)

    def emptied(self, slot: int, now: int) -> None:
        """A slot holds no key any more."""
        self._idle(slot, now)
        self._slots.pop(slot, None)

    def _idle(self, slot: int, until: int) -> None:
        held = self._slots.get(slot)
        if held is not None:
            self._alone(Group.SLOT, slot, held.idle_since, until, f"{held.key}, idle")

    def _span(
        self,
        row: int,
        group: Group,
        lane: int | None,
        begin: int,
        end: int,
        name: str,
        inside: tuple[tuple[str, int, int], ...] = (),
    ) -> None:
        bio = self._open.get(row)
        if bio is not None and begin < end:
            bio.spans.append((group, lane, begin, end, name, inside))

    def _alone(self, group: Group, lane: int, begin: int, end: int, name: str) -> None:
        """A slice that belongs to no bio."""
        if self._began and not self._ended and begin < end:
            self._tracks.add(Slice(group=group, begin=begin, end=end, name=name, lane=lane, kind="key"))

    def completed(self, records: Records) -> None:
        """Bios are complete."""
        if self._ended and not self._open:
            return
        for record in records.tolist():
            bio = self._open.pop(record[COLUMN["row"]], None)
            if bio is not None:
                self._complete(bio, record)
        oldest = next(iter(self._open.values()), None)
        self._tracks.settle(self._now if oldest is None else oldest.row[0])

    def finish(self) -> None:
        """Write what is left, and what the whole is."""
        for slot, held in self._slots.items():
            self._idle(slot, max(self._now, held.idle_since))
        self._tracks.settle(_END_OF_TIME)
        scenario = self._scenario
        self._file.facts.update(scenario=scenario.name, device=scenario.device.name, seed=scenario.run.seed)
        self._file.facts.update(bios=self._seen)
        if self.notes:
            self._file.facts["note"] = self.notes[0]

    def _complete(self, bio: _Bio, record: list[int]) -> None:
        number, done, op = (record[COLUMN[name]] for name in ("row", "done_ns", "op"))
        arrived = done - record[COLUMN["total"]]
        whole = tuple(record[_FIRST_STAGE : _FIRST_STAGE + len(STAGE_FIELDS)])
        stages = intervals(self._engine, op, arrived, bio.turns, whole)
        self._tracks.count("bios in flight", arrived, done)
        spans = bio.spans
        for stage, begin, end in stages:
            if stage in _COUNTED:
                self._tracks.count(_COUNTED[stage], begin, end)
            if stage in _LANES_OF_STAGE:
                spans.append((_LANES_OF_STAGE[stage], None, begin, end, f"bio {number}", ()))
            elif stage == "transfer":
                group = Group.ENGINE_WRITE if op == ReqOp.WRITE else Group.ENGINE_READ
                spans.append((group, None, begin, end, f"bio {number}", ()))
            elif stage == "media" and not self._knows_units:
                spans.append((Group.MEDIA_LANE, None, begin, end, f"bio {number}", ()))
        whole_bio = Slice(
            group=Group.BIO,
            begin=arrived,
            end=done,
            name=f"{ReqOp(op).name.lower()} {format_size(record[COLUMN['nbytes']])}",
            arguments=_arguments(bio, record),
            inside=[(stage.replace("_", " "), begin, end) for stage, begin, end in stages],
            shown=bio.shown,
        )
        self._write(number, whole_bio, spans)

    def _write(self, number: int, whole: Slice, spans: list[_Span]) -> None:
        """A bio and everything done for it, with arrows from one to the next in the order of time."""
        slices = [whole]
        for group, lane, begin, end, name, inside in sorted(spans, key=lambda span: (span[2], span[0])):
            slices.append(
                Slice(
                    group=group,
                    begin=begin,
                    end=end,
                    name=name,
                    lane=lane,
                    arguments={"bio": number},
                    inside=inside,
                    shown=whole.shown,
                )
            )
        last = len(slices) - 1
        for at, one in enumerate(slices):
            phase: FlowPhase = "s" if not at else "f" if at == last else "t"
            self._tracks.add(one, (phase, number) if last else None)


def _arguments(bio: _Bio, record: list[int]) -> dict[str, str | int]:
    _, number, _, sector, _, key, dun, stream = bio.row
    found: dict[str, str | int] = {"bio": number, "sector": sector, "stream": stream}
    if key >= 0 and bio.key is not None:
        found |= {"key": bio.key.label, "dun": dun}
    if bio.slot >= 0:
        found["keyslot"] = bio.slot
    status = record[COLUMN["status"]]
    if status:
        found["status"] = str(BlkStatus(status))
    return found


def open_timeline(stack: ExitStack, target: str | None, scenario: Scenario, bios: str | None) -> Timeline:
    """A timeline into the file ``target``, complete when ``stack`` ends well.

    Raises:
        BadInput: as ``TraceFile`` and ``parse_bios`` say, or bios are chosen for no file.
    """
    chosen = BioRange() if bios is None else parse_bios(bios)
    if target is None:
        raise BadInput(
            "bios are chosen for a timeline: name its file with --timeline", where="--timeline-bios"
        )
    return Timeline(stack.enter_context(TraceFile(target)), scenario, chosen)
