"""What is compiled works on: a machine laid out in flat arrays.

A class names the fields of one row, all int64; rows lie in structured arrays, where numba finds a field by
its name.  A request's row begins with its record, as ``hwmodel.request.RECORD`` has it.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt

from hwmodel.request import RECORD

Ints = npt.NDArray[np.int64]
Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)

NOBODY: Final = -1  # as the number of a request


class Rows(Protocol[Row_co]):
    """A structured array."""

    @overload
    def __getitem__(self, index: int, /) -> Row_co: ...

    @overload
    def __getitem__(self, field: str, /) -> Ints: ...

    def __len__(self) -> int: ...


class InFlight:
    """A request; ``next`` is who stands behind it in the one queue where it waits."""

    row: int
    done_ns: int
    op: int
    nbytes: int
    status: int
    total: int
    queued: int
    submit: int
    tag_wait: int
    scheduler: int
    keyslot_lock: int
    keyslot_idle: int
    keyslot_program: int
    cpu_crypto: int
    device_queue: int
    transfer: int
    media: int
    # Up to here the record.
    arrived: int
    mark: int
    sector: int
    key: int
    slot: int
    cpu: int
    parent: int
    parts: int
    cuts: int  # where its parts' sizes begin
    next: int
    turn: int
    order: int
    then: int
    cpu_then: int
    cost_ns: int


class Event:
    """Who goes on when; ``order`` decides between equal times."""

    when: int
    order: int
    request: int


class Slot:
    """A keyslot, in the ring of idle ones while ``refs`` is 0; the row after the last is the ring's head."""

    key: int
    refs: int
    before: int
    after: int


class Queue:
    """First come, first served; ``first`` is ``NOBODY`` when nobody waits."""

    first: int
    last: int


class Cpu:
    """A CPU."""

    busy: int


class Op:
    """What media take for an operation; ``draws`` is the number of its stock of draws, or -1."""

    fixed_ns: int
    per_s: int
    draws: int


class Stock:
    """Which draws are left."""

    begin: int
    end: int


class Bio:
    """A bio to come."""

    time_ns: int
    number: int
    op: int
    sector: int
    nbytes: int
    key: int
    stream: int
    cuts: int


class Int:
    """An integer of many."""

    value: int


class Float:
    """A number of many."""

    value: float


class State:
    """What there is once, what never changes, and where the rest begins."""

    # Addresses.
    bios: int
    requests: int
    idle_requests: int
    heap: int
    queues: int
    cpus: int
    slots: int
    slot_of: int  # by key number; -1 for none
    program_ns: int  # by key number
    units: int  # when each unit of the media is free
    ops: int
    stocks: int
    draws: int  # by stock
    cuts: int  # number of parts, and their sizes, of each kind of bio that is to be split
    records: int
    # How many of them.
    bio_count: int
    most_requests: int
    cpu_count: int
    slot_count: int
    unit_count: int
    most_draws: int
    most_records: int
    records_apart: int  # from one column to the next
    # Time.
    now: int
    late: int
    events: int
    order: int
    # The next bio, and whether these are the last.
    at: int
    is_last: int
    depth: int
    room: int
    is_full: int
    # The pool of requests.
    every: int
    idle: int
    helpers: int
    most: int
    most_parts: int
    recorded: int
    # Submission, tags and parts.
    submit_cost_ns: int
    per_unit_ns: int
    unit_bytes: int
    submit_ns: int
    keeps: int
    free_tags: int
    max_bytes: int
    splits: int
    # Keyslots.
    programs_on_cpu: int
    locked: int
    locked_at: int
    turn: int
    acquires: int
    hits: int
    programs: int
    waits: int
    lock_waits: int
    lock_held_ns: int
    program_cpu_ns: int
    # The data path.
    has_path: int
    is_pooled: int
    link_per_s: int
    engine_per_s: int
    mixed_read_per_s: int
    mixed_write_per_s: int
    latency_ns: int
    percent: int
    free: int
    free_for_writes: int
    # Media.
    takes_any: int
    stripe: int
    draws_are_factors: int
    wanted: int  # which stock is short
    wanted_draws: int


_NUMBERS: Final = {"int": np.int64, int: np.int64, "float": np.float64, float: np.float64}


def dtype_of(kind: type) -> np.dtype[np.void]:
    """How rows of ``kind`` lie in memory."""
    fields = [(name, _NUMBERS[of]) for name, of in kind.__annotations__.items()]
    if kind is State:
        fields.append((f"of_{_digest()}", np.int64))
    return np.dtype(fields)


def rows_of(kind: type[Row], count: int) -> Rows[Row]:
    """``count`` rows of zeros."""
    return cast(Rows[Row], np.zeros(count, dtype=dtype_of(kind)))


@cache
def _digest() -> str:
    """Of all that is compiled.  numba keeps compiled code by the date of one file, and by types."""
    texts = [file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))]
    return sha256(b"".join(texts)).hexdigest()[:16]


INTS_PER_REQUEST: Final = len(InFlight.__annotations__)

assert tuple(InFlight.__annotations__)[: len(RECORD)] == RECORD
