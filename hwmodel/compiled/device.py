"""Data path and media, as ``hwmodel.engine`` and ``hwmodel.media`` have them.

A request that is sent stands in a queue first, with its order in time already taken: so the loop can stop
before it needs more draws than there are, and nothing else happens in between.
"""

from typing import Final

import numpy as np

from blkcrypto.base.units import NS_PER_SECOND, SECTOR_SHIFT
from hwmodel.compiled.events import (
    BEGIN,
    COMPLETE,
    READ_PATH,
    SENT,
    WRITE_MEDIA,
    anybody,
    append,
    call_at,
    new_order,
    pop,
)
from hwmodel.compiled.rows import compiled, float_at, int_at, op_at, queue_at, request_at, stock_at
from hwmodel.compiled.state import InFlight, State
from hwmodel.request import READ, WRITE

_NEVER: Final = 1 << 62


@compiled
def send(s: State, request: int, then: int) -> None:
    """Let the device begin with a request, or go on with its media."""
    r = request_at(s.requests, request)
    r.order = new_order(s)
    r.then = then
    append(s, SENT, request)


@compiled
def serve_sent(s: State) -> bool:
    """Let the device serve whoever was sent; False when draws are missing."""
    while anybody(s, SENT):
        request = queue_at(s.queues, SENT).first
        r = request_at(s.requests, request)
        begins = r.then == BEGIN
        if begins and s.has_path and r.op == WRITE:
            pop(s, SENT)
            call_at(s, pass_path(s, r), r.order, request, WRITE_MEDIA)
            continue
        number = op_at(s.ops, r.op).draws
        if number >= 0:
            stock, pieces = stock_at(s.stocks, number), _pieces(s, r)
            if stock.end - stock.begin < pieces:
                s.wanted, s.wanted_draws = number, pieces
                return False
        pop(s, SENT)
        then = COMPLETE
        if begins:
            r.transfer = 0
            if s.has_path and r.op == READ:
                then = READ_PATH
        done = _on_any_unit(s, r) if s.takes_any else _on_units(s, r)
        call_at(s, done, r.order, request, then)
    return True


@compiled
def _size_ns(nbytes: int, per_s: int) -> int:
    return -(-nbytes * NS_PER_SECOND // per_s) if per_s else 0


@compiled
def pass_path(s: State, r: InFlight) -> int:
    """When the data has passed."""
    writes = s.is_pooled and r.op == WRITE
    free, other = (s.free_for_writes, s.free) if writes else (s.free, s.free_for_writes)
    start = max(free, s.now)
    cost_ns = _size_ns(r.nbytes, s.link_per_s)
    if r.key >= 0:
        per_s = s.engine_per_s
        if s.is_pooled and other > start:
            per_s = s.mixed_write_per_s if writes else s.mixed_read_per_s
        cost_ns = max(cost_ns, _size_ns(r.nbytes, per_s))
    cost_ns = cost_ns * s.percent // 100
    if writes:
        s.free_for_writes = start + cost_ns
    else:
        s.free = start + cost_ns
    if r.key >= 0:
        cost_ns += s.latency_ns
    r.device_queue += start - s.now
    r.transfer = cost_ns
    return start + cost_ns


@compiled
def _service_ns(s: State, op: int, nbytes: int) -> int:
    facts = op_at(s.ops, op)
    known = facts.fixed_ns + _size_ns(nbytes, facts.per_s)
    if facts.draws < 0:
        return known
    stock = stock_at(s.stocks, facts.draws)
    draw = float_at(s.draws, facts.draws * s.most_draws + stock.begin).value
    stock.begin += 1
    return int(np.rint(known * draw)) if s.draws_are_factors else known + int(draw)


@compiled
def _on_any_unit(s: State, r: InFlight) -> int:
    r.media = _service_ns(s, r.op, r.nbytes)
    start = max(int_at(s.units, 0).value, s.now)
    _replace_first(s.units, s.unit_count, start + r.media)
    r.device_queue += start - s.now
    return start + r.media


@compiled
def _replace_first(heap: int, count: int, value: int) -> None:
    at, below = 0, 1
    while below < count:
        if below + 1 < count and int_at(heap, below + 1).value < int_at(heap, below).value:
            below += 1
        if value <= int_at(heap, below).value:
            break
        int_at(heap, at).value = int_at(heap, below).value
        at, below = below, 2 * below + 1
    int_at(heap, at).value = value


@compiled
def _pieces(s: State, r: InFlight) -> int:
    offset = r.sector << SECTOR_SHIFT
    if s.takes_any or r.op > WRITE or offset % s.stripe + r.nbytes <= s.stripe:
        return 1
    return (offset + r.nbytes - 1) // s.stripe - offset // s.stripe + 1


@compiled
def _on_units(s: State, r: InFlight) -> int:
    offset = r.sector << SECTOR_SHIFT
    index, end = offset // s.stripe, offset + r.nbytes
    last = index + _pieces(s, r) - 1
    start, done = _NEVER, 0
    while index <= last:
        until = end if index == last else (index + 1) * s.stripe
        free = int_at(s.units, index % s.unit_count)
        begins = max(free.value, s.now)
        free.value = begins + _service_ns(s, r.op, until - offset)
        start, done = min(start, begins), max(done, free.value)
        offset = until
        index += 1
    r.device_queue += start - s.now
    r.media = done - start
    return done
