"""The compiled way through a plain machine, fed with columns.

What a machine is goes into flat arrays before the first bio, and comes back after the last.  Rules that need
more than arithmetic are asked beforehand, for each kind of bio or key that comes: where to split, and what
programming takes.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt

from hwmodel.columns import Columns
from hwmodel.compiled.events import OF_CPUS
from hwmodel.compiled.loop import (
    DONE,
    RECORDS_FULL,
    WANTS_BIOS,
    WANTS_DRAWS,
    WANTS_REQUESTS,
    advance,
)
from hwmodel.compiled.moves import Moves
from hwmodel.compiled.state import (
    NOBODY,
    Bio,
    Cpu,
    Event,
    InFlight,
    Ints,
    Op,
    Queue,
    Slot,
    State,
    Stock,
    rows_of,
)
from hwmodel.dataplane import VerifyingPlane
from hwmodel.engine import PooledPath
from hwmodel.media import Media
from hwmodel.recordbuffer import FLUSH_AT_BYTES
from hwmodel.request import RECORD, RECORD_WIDTH, WRITE

if TYPE_CHECKING:
    from hwmodel.controller import Machine

_REQUESTS: Final = 1024
_KEYS: Final = 1024
_OPS: Final = 16
_RECORDS: Final = FLUSH_AT_BYTES // (RECORD_WIDTH * 8)
_NUMBER: Final = RECORD.index("row")

_Array = npt.NDArray[Any]  # of rows, or of one number each


def why_not(machine: "Machine") -> str:
    """Why ``machine`` cannot be led the compiled way; empty when it can."""
    if machine.why_not_plain:
        return machine.why_not_plain
    if machine.plane is not None:
        if type(machine.plane) is not VerifyingPlane:
            return "somebody looks at each bio's data"
        if machine.plane.why_one_by_one:
            return machine.plane.why_one_by_one
    if type(machine.storage) is not Media:
        return "its storage is more than parallel units"
    slots = machine.device_keyslots
    if machine.clock.items or (slots is not None and any(slots.hardware)):
        return "it has run before"
    return ""


def compiled_way(machine: "Machine", batches: Iterator[Columns], queue_depth: int = 0) -> None:
    """What ``Machine.run`` does, for a ``machine`` that ``why_not`` has nothing against.

    Nothing but the bios may happen meanwhile; afterwards the machine is as the usual way would leave it.
    The memory of the records that it hands out is used again.
    """
    _Way(machine, queue_depth).run(batches)


class _Way:
    """A machine in arrays, from before its first bio to after its last."""

    def __init__(self, machine: "Machine", depth: int) -> None:
        self._machine = machine
        self._states = rows_of(State, 1)
        self._arrays: dict[str, _Array] = {}
        self._number_of: dict[object, int] = {}
        self._first_of: Ints = np.zeros(0, dtype=np.int64)  # by key number: the first of the same object
        self._kinds_cut: dict[tuple[int, int, bool], int] = {}
        self._drawing: list[int] = []  # by stock, an operation that draws from it
        plane = cast(VerifyingPlane | None, machine.plane)
        self._moves = Moves(plane, machine.keys) if plane is not None else None
        self._lay("bios", rows_of(Bio, 1))
        # Column by column, as they are read; a row's values would share one set of a cache without the gap.
        self._lay("records", np.empty((RECORD_WIDTH, _RECORDS + 8), dtype=np.int64))
        queues = rows_of(Queue, OF_CPUS + machine.cpus.count)
        queues["first"][:] = queues["last"][:] = NOBODY
        self._lay("queues", queues)
        self._lay("cpus", rows_of(Cpu, machine.cpus.count))
        self._lay("cuts", np.zeros(1, dtype=np.int64))
        self._lay_requests(max(_REQUESTS, 2 * len(machine.pool.every)))
        self._arrays["idle_requests"][: len(machine.pool.every)] = range(len(machine.pool.every))
        self._set(depth=depth, room=depth, now=machine.clock.now)
        self._set(most_records=_RECORDS, records_apart=self._arrays["records"].shape[1])
        self._set_host()
        self._set_path()
        self._lay_slots()
        self._lay_media()

    def run(self, batches: Iterator[Columns]) -> None:
        """To the end."""
        while (stopped := advance(self._states)) != DONE:
            if stopped == RECORDS_FULL:
                self._hand_on()
            elif stopped == WANTS_DRAWS:
                self._draw()
            elif stopped == WANTS_REQUESTS:
                self._lay_requests(2 * self._got("most_requests") + self._got("most_parts"))
            else:
                assert stopped == WANTS_BIOS
                self._next(next(batches, None))
        self._hand_on()
        self._back()

    def _lay(self, name: str, rows: object) -> None:
        """Put rows where the loop finds them."""
        array = cast(_Array, rows)
        self._arrays[name] = array  # or it would be freed
        self._set(**{name: array.ctypes.data})

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self._states[name][0] = value

    def _got(self, name: str) -> int:
        return int(self._states[name][0])

    def _hand_on(self) -> None:
        if recorded := self._got("recorded"):
            records = self._arrays["records"][:, :recorded]
            if self._moves is not None:
                self._moves.done(records[_NUMBER])
            self._machine.recorded.records(records.T)
        self._set(recorded=0)

    # --- before ---------------------------------------------------------------------------------------

    def _set_host(self) -> None:
        machine, slots = self._machine, self._machine.device_keyslots
        self._set(
            cpu_count=machine.cpus.count,
            submit_cost_ns=machine.submit_cost_ns,
            per_unit_ns=machine.per_unit_ns,
            unit_bytes=machine.unit_bytes,
            keeps=NOBODY,
            free_tags=machine.tags.free,
            max_bytes=machine.tags.max_bytes,
            every=len(machine.pool.every),
            idle=len(machine.pool.idle),
            most=machine.pool.most,
            most_parts=1,
            programs_on_cpu=slots is not None and slots.on_cpu is not None,
        )

    def _set_path(self) -> None:
        path = self._machine.path
        self._set(
            has_path=path.limits,
            link_per_s=path.link_per_s,
            latency_ns=path.latency_ns,
            percent=path.percent,
        )
        if isinstance(path, PooledPath):
            reads, writes = path.mixed_per_s
            self._set(is_pooled=1, engine_per_s=path.alone_per_s)
            self._set(mixed_read_per_s=reads, mixed_write_per_s=writes)
            self._set(free=path.free[0], free_for_writes=path.free[1])
        else:
            self._set(engine_per_s=path.engine_per_s, free=path.free)

    def _lay_slots(self) -> None:
        """All empty, in a ring in the order in which they are idle."""
        slots = self._machine.device_keyslots
        count = slots.table.num_slots if slots is not None else 0
        rows = rows_of(Slot, count + 1)
        rows["key"][:] = NOBODY
        ring = (count, *(slots.table.idle_order if slots is not None else ()), count)
        for before, after in pairwise(ring):
            rows["after"][before], rows["before"][after] = after, before
        self._lay("slots", rows)
        self._lay("slot_of", np.full(_KEYS, NOBODY))
        self._lay("program_ns", np.zeros(_KEYS, dtype=np.int64))
        self._set(slot_count=count)

    def _lay_media(self) -> None:
        media = cast(Media, self._machine.storage)
        times = media.times
        ops = rows_of(Op, _OPS)
        ops["draws"][:] = NOBODY
        left: list[list[float]] = []
        for op, fixed_ns in times.fixed_ns.items():
            ops["fixed_ns"][op], ops["per_s"][op] = fixed_ns, times.rates_per_s.get(op, 0)
            draws = times.draws.get(op)
            if draws is None:
                continue
            number = next((number for number, known in enumerate(left) if draws is known), len(left))
            if number == len(left):
                left.append(draws)
                self._drawing.append(op)
            ops["draws"][op] = number
        stocks = rows_of(Stock, max(1, len(left)))
        filled = np.zeros((len(stocks), max([1, *map(len, left)])))
        for number, draws in enumerate(left):
            stocks["end"][number] = len(draws)
            filled[number, : len(draws)] = draws[::-1]
        self._lay("ops", ops)
        self._lay("stocks", stocks)
        self._lay("draws", filled)
        self._lay("units", np.array(media.free))
        self._set(unit_count=media.units, takes_any=media.takes_any, stripe=media.stripe)
        self._set(most_draws=filled.shape[1], draws_are_factors=times.draws_are_factors)

    # --- meanwhile ------------------------------------------------------------------------------------

    def _next(self, columns: Columns | None) -> None:
        self._set(at=0, bio_count=0, is_last=columns is None)
        if columns is None:
            return
        if self._machine.device_keyslots is not None and len(self._machine.keys) > len(self._first_of):
            self._learn_keys()
        count = len(columns.number)
        if count > len(self._arrays["bios"]):
            self._lay("bios", rows_of(Bio, count))
        bios = self._arrays["bios"][:count]
        for name in ("time_ns", "number", "op", "sector", "nbytes", "key", "stream"):
            bios[name] = getattr(columns, name)
        if len(self._first_of) != len(self._number_of):  # an object stands twice among the keys
            bios["key"] = np.where(columns.key < 0, columns.key, self._first_of[columns.key])
        self._cut(columns, bios["cuts"])
        self._set(bio_count=count)
        if self._moves is not None:
            self._moves.feed(columns)

    def _learn_keys(self) -> None:
        slots, known, count = self._machine.device_keyslots, len(self._first_of), len(self._machine.keys)
        assert slots is not None
        new = self._machine.keys[known:count]
        first_of = [self._number_of.setdefault(key, number) for number, key in enumerate(new, known)]
        self._first_of = np.concatenate((self._first_of, np.array(first_of, dtype=np.int64)))
        slot_of, program_ns = self._arrays["slot_of"], self._arrays["program_ns"]
        if count > len(slot_of):
            more = (0, max(count, 2 * len(slot_of)) - len(slot_of))
            slot_of, program_ns = np.pad(slot_of, more, constant_values=NOBODY), np.pad(program_ns, more)
            self._lay("slot_of", slot_of)
            self._lay("program_ns", program_ns)
        program_ns[known:count] = [slots.program_ns(key) for key in new]

    def _cut(self, columns: Columns, places: Ints) -> None:
        """Fill in where the sizes of each large bio's parts begin."""
        splitter = self._machine.splitter
        large = np.flatnonzero((columns.nbytes > splitter.max_bytes) & (columns.op <= WRITE))
        if not len(large):
            return
        sector, nbytes, key = columns.sector[large], columns.nbytes[large], columns.key[large]
        kinds, which = np.unique(
            np.stack((sector % splitter.period, nbytes, key >= 0)), axis=1, return_inverse=True
        )
        found = [self._place(sector, nbytes, bool(key)) for sector, nbytes, key in kinds.T.tolist()]
        places[large] = np.array(found)[which.ravel()]

    def _place(self, sector: int, nbytes: int, encrypted: bool) -> int:
        kind = (sector, nbytes, encrypted)
        place = self._kinds_cut.get(kind)
        if place is None:
            sizes = self._machine.splitter.sizes(sector, nbytes, encrypted=encrypted)
            place = self._kinds_cut[kind] = len(self._arrays["cuts"])
            self._lay("cuts", np.concatenate((self._arrays["cuts"], [len(sizes), *sizes])))
            self._set(most_parts=max(self._got("most_parts"), 1 + len(sizes)))
        return place

    def _draw(self) -> None:
        """Draw as often as the request that is next needs it, and no oftener."""
        times = cast(Media, self._machine.storage).times
        number, stocks, filled = self._got("wanted"), self._arrays["stocks"], self._arrays["draws"]
        draws = filled[number, stocks["begin"][number] : stocks["end"][number]]
        while len(draws) < self._got("wanted_draws"):
            draws = np.concatenate((draws, times.draw(self._drawing[number])[::-1]))
        if len(draws) > filled.shape[1]:
            filled = np.pad(filled, ((0, 0), (0, len(draws) - filled.shape[1])))
            self._lay("draws", filled)
            self._set(most_draws=filled.shape[1])
        filled[number, : len(draws)] = draws
        stocks["begin"][number], stocks["end"][number] = 0, len(draws)

    def _lay_requests(self, count: int) -> None:
        """Room for so many requests, with those that are there."""
        for name, rows in (
            ("requests", rows_of(InFlight, count)),
            ("idle_requests", np.zeros(count, dtype=np.int64)),
            ("heap", rows_of(Event, count)),
        ):
            old = self._arrays.get(name)
            if old is not None:
                cast(_Array, rows)[: len(old)] = old
            self._lay(name, rows)
        self._set(most_requests=count)

    # --- after ----------------------------------------------------------------------------------------

    def _back(self) -> None:
        machine, got = self._machine, self._got
        machine.clock.late += got("late")
        machine.clock.skip_to(got("now"))
        machine.submit_ns += got("submit_ns")
        machine.splitter.splits += got("splits")
        for _ in range(got("every") - len(machine.pool.every)):
            machine.pool.add_idle()
        if isinstance(machine.path, PooledPath):
            machine.path.free = [got("free"), got("free_for_writes")]
        else:
            machine.path.free = got("free")
        media, stocks = cast(Media, machine.storage), self._arrays["stocks"]
        media.free = self._arrays["units"].tolist()
        for number, op in enumerate(self._drawing):
            begin, end = stocks["begin"][number], stocks["end"][number]
            media.times.draws[op][:] = self._arrays["draws"][number, begin:end][::-1].tolist()
        if machine.device_keyslots is not None:
            self._slots_back()

    def _slots_back(self) -> None:
        slots, got = self._machine.device_keyslots, self._got
        assert slots is not None
        slots.acquires += got("acquires")
        slots.hits += got("hits")
        slots.programs += got("programs")
        slots.waits += got("waits")
        slots.lock_waits += got("lock_waits")
        slots.lock_held_ns += got("lock_held_ns")
        slots.program_cpu_ns += got("program_cpu_ns")
        held, after = self._arrays["slots"]["key"][:-1].tolist(), self._arrays["slots"]["after"].tolist()
        keys = [self._machine.keys[key] if key >= 0 else None for key in held]
        slots.hardware = list(keys)
        idle, slot = [], after[-1]
        while slot < len(keys):
            idle.append(slot)
            slot = after[slot]
        slots.table.restore(keys, idle)
