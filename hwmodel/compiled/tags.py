"""Requests, tags and parts, as ``hwmodel.pool``, ``hwmodel.tags`` and ``hwmodel.splitter`` have them."""

from typing import Final

from blkcrypto.base.units import SECTOR_SHIFT
from hwmodel.compiled.events import FOR_TAGS, anybody, append, pop
from hwmodel.compiled.keyslots import acquire
from hwmodel.compiled.rows import compiled, int_at, request_at
from hwmodel.compiled.state import INTS_PER_REQUEST, NOBODY, State
from hwmodel.request import RECORD, RECORD_WIDTH, WRITE

_FIRST_STAGE: Final = RECORD.index("queued")


@compiled
def take(s: State) -> int:
    """A request whose stages are all 0."""
    if s.idle:
        s.idle -= 1
        return int_at(s.idle_requests, s.idle).value
    s.every += 1
    return s.every - 1


@compiled
def put(s: State, request: int) -> None:
    """The request stands for nothing any more."""
    for column in range(_FIRST_STAGE, RECORD_WIDTH):
        int_at(s.requests, request * INTS_PER_REQUEST + column).value = 0
    int_at(s.idle_requests, s.idle).value = request
    s.idle += 1


@compiled
def has_room(s: State) -> bool:
    """Whether another bio may enter the system."""
    return s.idle > 0 or s.every - s.idle - s.helpers < s.most


@compiled
def get_tag(s: State, request: int) -> None:
    """Go on with a tag, perhaps at once; a bio that is too large, in parts."""
    r = request_at(s.requests, request)
    if r.nbytes > s.max_bytes and r.op <= WRITE:
        _split(s, request)
    else:
        _get_tag_whole(s, request)


@compiled
def _get_tag_whole(s: State, request: int) -> None:
    if s.free_tags:
        s.free_tags -= 1
        acquire(s, request)
    else:
        request_at(s.requests, request).mark = s.now
        append(s, FOR_TAGS, request)


@compiled
def put_tag(s: State) -> None:
    """A tag is free: who waits longest gets it."""
    if anybody(s, FOR_TAGS):
        request = pop(s, FOR_TAGS)
        r = request_at(s.requests, request)
        r.tag_wait += s.now - r.mark
        acquire(s, request)
    else:
        s.free_tags += 1


@compiled
def _split(s: State, bio: int) -> None:
    b = request_at(s.requests, bio)
    b.parts = int_at(s.cuts, b.cuts).value
    s.splits += b.parts - 1
    sector = b.sector
    for number in range(1, b.parts + 1):
        s.helpers += 1
        part = take(s)
        p = request_at(s.requests, part)
        p.row, p.op, p.key, p.cpu, p.arrived = b.row, b.op, b.key, b.cpu, b.arrived
        p.slot, p.parent = -1, bio
        p.sector, p.nbytes = sector, int_at(s.cuts, b.cuts + number).value
        sector += p.nbytes >> SECTOR_SHIFT
        _copy_stages(s, bio, part)
        _get_tag_whole(s, part)


@compiled
def joined(s: State, request: int) -> int:
    """The bio that is complete now, whole or with its last part; or nobody."""
    r = request_at(s.requests, request)
    if r.parent == NOBODY:
        return request
    bio = r.parent
    b = request_at(s.requests, bio)
    b.parts -= 1
    if not b.parts:
        _copy_stages(s, request, bio)
    r.parent = NOBODY
    s.helpers -= 1
    put(s, request)
    return NOBODY if b.parts else bio


@compiled
def _copy_stages(s: State, source: int, target: int) -> None:
    for column in range(_FIRST_STAGE, RECORD_WIDTH):
        value = int_at(s.requests, source * INTS_PER_REQUEST + column).value
        int_at(s.requests, target * INTS_PER_REQUEST + column).value = value
