"""Keyslots in time, as ``hwmodel.keyslots`` has them, and their table, as ``blkcrypto.block.keyslots``."""

from hwmodel.compiled.cpus import run_on_cpu
from hwmodel.compiled.device import send
from hwmodel.compiled.events import (
    BEGIN,
    PROGRAMMED,
    READERS,
    SLEEPERS,
    WRITERS,
    anybody,
    append,
    call_at,
    new_order,
    pop,
)
from hwmodel.compiled.rows import compiled, int_at, queue_at, request_at, slot_at
from hwmodel.compiled.state import Slot, State

# --- the table ----------------------------------------------------------------------------------------------


@compiled
def _get(s: State, key: int) -> int:
    number = int_at(s.slot_of, key).value
    if number >= 0:
        slot = slot_at(s.slots, number)
        if not slot.refs:
            _leave_ring(s, slot)
        slot.refs += 1
    return number


@compiled
def _leave_ring(s: State, slot: Slot) -> None:
    slot_at(s.slots, slot.before).after = slot.after
    slot_at(s.slots, slot.after).before = slot.before


@compiled
def _put(s: State, number: int) -> bool:
    slot = slot_at(s.slots, number)
    slot.refs -= 1
    if slot.refs:
        return False
    head = slot_at(s.slots, s.slot_count)
    slot.before, slot.after = head.before, s.slot_count
    slot_at(s.slots, slot.before).after = number
    head.before = number
    return True


@compiled
def _install(s: State, number: int, key: int) -> None:
    slot = slot_at(s.slots, number)
    if slot.key >= 0:
        int_at(s.slot_of, slot.key).value = -1
    slot.key = key
    int_at(s.slot_of, key).value = number
    _leave_ring(s, slot)
    slot.refs = 1


# --- time ---------------------------------------------------------------------------------------------------


@compiled
def acquire(s: State, request: int) -> None:
    """Send a request that has its tag, with a slot for its key."""
    r = request_at(s.requests, request)
    if r.key < 0 or not s.slot_count:
        send(s, request, BEGIN)
        return
    s.acquires += 1
    if s.locked:
        r.mark = s.now
        s.lock_waits += 1
        _queue(s, READERS, request)
        return
    r.slot = _get(s, r.key)
    if r.slot < 0:
        r.mark = s.now
        _program(s, request)
    else:
        s.hits += 1
        send(s, request, BEGIN)


@compiled
def release(s: State, number: int) -> None:
    """Drop a reference, waking every sleeper when the slot becomes idle."""
    if not _put(s, number) or not anybody(s, SLEEPERS):
        return
    while anybody(s, SLEEPERS):
        request = pop(s, SLEEPERS)
        r = request_at(s.requests, request)
        r.keyslot_idle += s.now - r.mark
        r.mark = s.now
        _queue(s, WRITERS, request)
    _serve_lock(s)


@compiled
def _queue(s: State, number: int, request: int) -> None:
    s.turn += 1
    request_at(s.requests, request).turn = s.turn
    append(s, number, request)


@compiled
def _program(s: State, request: int) -> None:
    r = request_at(s.requests, request)
    victim = slot_at(s.slots, s.slot_count).after
    if victim == s.slot_count:
        if not r.keyslot_idle:
            s.waits += 1
        append(s, SLEEPERS, request)
        return
    s.locked, s.locked_at = 1, s.now
    r.slot = victim
    cost_ns = int_at(s.program_ns, r.key).value
    if s.programs_on_cpu:
        s.program_cpu_ns += cost_ns
        run_on_cpu(s, request, cost_ns, PROGRAMMED)
    else:
        call_at(s, s.now + cost_ns, new_order(s), request, PROGRAMMED)


@compiled
def programmed(s: State, request: int) -> None:
    """The key is in its slot, and the lock is free for whoever waits."""
    r = request_at(s.requests, request)
    r.keyslot_program += s.now - r.mark
    _install(s, r.slot, r.key)
    s.programs += 1
    send(s, request, BEGIN)
    s.locked = 0
    s.lock_held_ns += s.now - s.locked_at
    _serve_lock(s)


@compiled
def _serve_lock(s: State) -> None:
    while not s.locked:
        readers, writers = anybody(s, READERS), anybody(s, WRITERS)
        if readers and writers:
            readers = _first_turn(s, READERS) < _first_turn(s, WRITERS)
        if readers:
            _serve_readers(s)
        elif not writers:
            return
        else:
            request = pop(s, WRITERS)
            if not _hits(s, request):
                _program(s, request)


@compiled
def _first_turn(s: State, number: int) -> int:
    return request_at(s.requests, queue_at(s.queues, number).first).turn


@compiled
def _serve_readers(s: State) -> None:
    # The model wakes so many at most.  Here that is no difference: while readers are served no writer waits
    # but those who just missed, and they stand behind all readers.
    while anybody(s, READERS):
        request = pop(s, READERS)
        if not _hits(s, request):
            _queue(s, WRITERS, request)


@compiled
def _hits(s: State, request: int) -> bool:
    r = request_at(s.requests, request)
    r.keyslot_lock += s.now - r.mark
    r.mark = s.now
    r.slot = _get(s, r.key)
    if r.slot < 0:
        return False
    s.hits += 1
    send(s, request, BEGIN)
    return True
