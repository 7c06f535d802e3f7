"""Time passes: arrivals and events until something is missing."""

from typing import Final

from hwmodel.compiled.cpus import leave_cpu, run_on_cpu
from hwmodel.compiled.device import pass_path, send, serve_sent
from hwmodel.compiled.events import (
    COMPLETE,
    PROGRAMMED,
    READ_PATH,
    SUBMITTED,
    WRITE_MEDIA,
    call_at,
    new_order,
    next_event,
)
from hwmodel.compiled.keyslots import programmed, release
from hwmodel.compiled.rows import bio_at, compiled, event_at, int_at, request_at
from hwmodel.compiled.state import INTS_PER_REQUEST, NOBODY, Rows, State
from hwmodel.compiled.tags import get_tag, has_room, joined, put, put_tag, take
from hwmodel.request import RECORD_WIDTH

# Why the loop stopped.
DONE, WANTS_BIOS, WANTS_DRAWS, WANTS_REQUESTS, RECORDS_FULL = 0, 1, 2, 3, 4

_NEVER: Final = 1 << 62


@compiled
def advance(states: Rows[State]) -> int:
    """Go on until something is missing, or all is done; which of these it is."""
    s = states[0]
    while True:
        if not serve_sent(s):
            return WANTS_DRAWS
        if s.recorded == s.most_records:
            return RECORDS_FULL
        if s.every + s.most_parts >= s.most_requests:
            return WANTS_REQUESTS
        if s.at == s.bio_count and not s.is_last:
            return WANTS_BIOS
        when = _NEVER
        if s.at < s.bio_count:
            when = -1 if s.depth else bio_at(s.bios, s.at).time_ns
        # Completions come before an arrival at the same time.
        if s.events and (s.is_full or event_at(s.heap, 0).when <= when):
            _go_on(s, next_event(s))
        elif s.at == s.bio_count:
            return DONE
        elif (s.depth and not s.room) or not has_room(s):
            s.is_full = 1
        else:
            _arrive(s, when)


@compiled
def _arrive(s: State, when: int) -> None:
    bio = bio_at(s.bios, s.at)
    s.at += 1
    s.room -= 1
    if when >= s.now:
        s.now = when
    elif not s.depth:  # it waited for room, or one before it did while this one's time passed
        s.late += 1
    request = take(s)
    r = request_at(s.requests, request)
    r.row, r.op, r.sector, r.nbytes, r.key = bio.number, bio.op, bio.sector, bio.nbytes, bio.key
    r.arrived, r.slot, r.parent, r.cuts = s.now, -1, NOBODY, bio.cuts
    r.cpu = bio.stream % s.cpu_count
    cost_ns = s.submit_cost_ns
    if s.per_unit_ns and r.key >= 0:
        cost_ns += s.per_unit_ns * (r.nbytes // s.unit_bytes)
    if cost_ns:
        run_on_cpu(s, request, cost_ns, SUBMITTED)
    else:
        get_tag(s, request)


@compiled
def _go_on(s: State, request: int) -> None:
    r = request_at(s.requests, request)
    if r.then == COMPLETE:
        _device_done(s, request)
    elif r.then == PROGRAMMED:
        programmed(s, request)
    elif r.then == READ_PATH:
        call_at(s, pass_path(s, r), new_order(s), request, COMPLETE)
    elif r.then == WRITE_MEDIA:
        send(s, request, WRITE_MEDIA)
    else:
        number = s.keeps = r.cpu
        if r.cpu_then == SUBMITTED:
            r.submit = s.now - r.mark
            s.submit_ns += r.submit
            get_tag(s, request)
        else:
            programmed(s, request)
        leave_cpu(s, number)


@compiled
def _device_done(s: State, request: int) -> None:
    r = request_at(s.requests, request)
    if r.slot >= 0:
        slot = r.slot
        r.slot = -1
        release(s, slot)
    bio = joined(s, request)
    s.is_full = 0
    if bio != NOBODY:
        b = request_at(s.requests, bio)
        b.done_ns, b.total = s.now, s.now - b.arrived
        for column in range(RECORD_WIDTH):
            value = int_at(s.requests, bio * INTS_PER_REQUEST + column).value
            int_at(s.records, column * s.records_apart + s.recorded).value = value
        s.recorded += 1
        put(s, bio)
        s.room += 1
    put_tag(s)
