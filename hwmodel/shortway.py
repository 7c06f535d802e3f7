"""The short way through a machine whose device encrypts, and never fails, sleeps or has bios held back.

It is the way of ``hwmodel.controller``, ``hwmodel.tags`` and ``hwmodel.keyslots`` in one loop, over the same
queue.  The rules are the machine's own: which slot, where to split, how long media and data path take.  What
is written twice is who waits for whom, and ``tests/test_three_ways.py`` leads machines both ways and compares
every record.

Form follows speed, and only here: what every bio passes stands in the loop itself, what some bios wait for in
closures beside it.  In the form of methods that call each other a bio took twice the time.
"""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, cast

from hwmodel.clock import NORMAL, Row
from hwmodel.keyslots import MAX_READERS_WOKEN, Keyslots
from hwmodel.media import Media
from hwmodel.recordbuffer import FLUSH_AT_BYTES, packer
from hwmodel.request import READ, WRITE, Request, Then

if TYPE_CHECKING:
    from hwmodel.controller import Machine

Run = Callable[[Iterator[Row], int], None]

# What a request does next when the device is done with it: the loop looks there first.
DONE: Final[Any] = None

_NEVER: Final = 1 << 62
_NO_ROW: Final = (_NEVER, -1, 0, 0, 0, -1, 0, 0)
# Nothing fails here, nothing is held back, and no CPU encrypts.
_pack = packer(zeros=("status", "scheduler", "cpu_crypto"))


def short_way(machine: "Machine") -> Run:
    """What runs rows through ``machine``, in place of ``Machine.run``, while the clock's queue is empty.

    Nothing but the rows may happen meanwhile; afterwards the machine is as the long way would leave it.
    """
    clock, pool, tags, cpus = machine.clock, machine.pool, machine.tags, machine.cpus
    items, order, idle, keys = clock.items, clock.order, pool.idle, machine.keys
    waiting, max_bytes, get_tag = tags.waiting, tags.max_bytes, tags.get
    submit = machine.submit if machine.submit_takes_cpu else None
    cpu_count, storage, on_path = cpus.count, machine.storage, machine.path.serve
    on_media = storage.serving() if type(storage) is Media else storage.serve
    joined, plane, recorded = machine.joined, machine.plane, machine.recorded
    has_path = machine.path.limits
    has_slots = machine.device_keyslots is not None
    uses_cpus = submit is not None or (
        machine.device_keyslots is not None and machine.device_keyslots.on_cpu is not None
    )

    # --- the keyslot ----------------------------------------------------------------------------------

    slots = cast(Keyslots, machine.device_keyslots)
    if has_slots:  # or nobody asks
        hardware, program_on_cpu, table = slots.hardware, slots.on_cpu, slots.table
        program_ns: Callable[[Any], int] = slots.program_ns  # of a key, which encrypted requests have
        get: Callable[[Any], int] = table.get
        put, victim, install = table.put, table.victim, table.install
    locked, locked_at, turn = False, 0, 0
    acquires = hits = programs = 0
    readers: deque[tuple[int, Request]] = deque()  # by the turn in which they came
    writers: deque[tuple[int, Request]] = deque()
    sleepers: list[Request] = []

    def acquire(request: Request, now: int) -> None:
        nonlocal acquires, hits, turn
        key = request.key
        if key is None:
            send(request, now)
            return
        acquires += 1
        if locked:
            request.mark = now
            slots.lock_waits += 1
            turn += 1
            readers.append((turn, request))
            return
        slot = get(key)
        if slot < 0:
            request.mark = now
            program(request, now)
        else:
            hits += 1
            request.slot = slot
            send(request, now)

    def program(request: Request, now: int) -> None:
        nonlocal locked, locked_at
        slot = victim()
        if slot < 0:
            slots.waits += not request.keyslot_idle
            sleepers.append(request)
            return
        locked, locked_at = True, now
        request.slot = slot
        cost_ns = program_ns(request.key)
        if program_on_cpu is None:
            heappush(items, (now + cost_ns, NORMAL, next(order), request, programmed))
        else:
            slots.program_cpu_ns += cost_ns
            program_on_cpu.run(request, now, cost_ns, programmed)

    def programmed(request: Request, now: int) -> None:
        nonlocal locked, programs
        slot, key = request.slot, request.key
        assert key is not None
        request.keyslot_program += now - request.mark
        hardware[slot] = key
        install(slot, key)
        programs += 1
        send(request, now)
        locked = False
        slots.lock_held_ns += now - locked_at
        if readers or writers:
            serve_lock(now)

    def serve_lock(now: int) -> None:
        nonlocal hits, turn
        while not locked:
            if readers and not (writers and writers[0][0] < readers[0][0]):
                found = []
                for _ in range(min(len(readers), MAX_READERS_WOKEN)):
                    _, request = readers.popleft()
                    request.keyslot_lock += now - request.mark
                    request.mark = now
                    slot = request.slot = get(request.key)
                    if slot < 0:
                        turn += 1
                        writers.append((turn, request))
                    else:
                        found.append(request)
                hits += len(found)
                for request in found:
                    send(request, now)
            elif writers:
                _, request = writers.popleft()
                request.keyslot_lock += now - request.mark
                request.mark = now
                slot = get(request.key)
                if slot < 0:
                    program(request, now)
                else:
                    hits += 1
                    request.slot = slot
                    send(request, now)
            else:
                return

    def wake_sleepers(now: int) -> None:
        nonlocal turn
        for request in sleepers:
            request.keyslot_idle += now - request.mark
            request.mark = now
            turn += 1
            writers.append((turn, request))
        sleepers.clear()
        if not locked:
            serve_lock(now)

    # --- the device -----------------------------------------------------------------------------------

    def send_straight(request: Request, now: int) -> None:
        request.transfer = 0
        heappush(items, (on_media(request, now), NORMAL, next(order), request, DONE))

    def send_by_path(request: Request, now: int) -> None:
        if request.op == READ:
            heappush(items, (on_media(request, now), NORMAL, next(order), request, read_path))
        elif request.op == WRITE:
            passed = on_path(request, now, inline=request.key is not None)
            heappush(items, (passed, NORMAL, next(order), request, write_media))
        else:
            send_straight(request, now)

    def read_path(request: Request, now: int) -> None:
        passed = on_path(request, now, inline=request.key is not None)
        heappush(items, (passed, NORMAL, next(order), request, DONE))

    def write_media(request: Request, now: int) -> None:
        heappush(items, (on_media(request, now), NORMAL, next(order), request, DONE))

    send: Then = send_by_path if has_path else send_straight
    tagged: Then = acquire if has_slots else send

    # --- time -----------------------------------------------------------------------------------------

    def run(rows: Iterator[Row], depth: int) -> None:
        long_way, tags.granted = tags.granted, tagged
        now, room, is_full, packed = clock.now, depth, False, recorded.packed
        following = _closed(rows) if depth else rows
        when, row, op, sector, nbytes, key, dun, stream = next(following, _NO_ROW)
        while True:
            # Completions come before an arrival at the same time.
            if items and (items[0][0] <= when or is_full):
                now, _, _, request, then = heappop(items)
                if then is not DONE:
                    then(request, now)
                    continue
                slot, inline = request.slot, request.key
                if slot >= 0:
                    request.slot = -1
                    inline = hardware[slot]  # the data is what the slot made it, whatever the request wanted
                    if put(slot) and sleepers:
                        wake_sleepers(now)
                bio = request if request.parent is None else joined(request)
                is_full = False
                if bio is not None:
                    if plane is not None:
                        plane.complete(bio, inline)
                    packed += _pack(
                        bio.row,
                        now,
                        bio.op,
                        bio.nbytes,
                        now - bio.arrived,
                        bio.queued,
                        bio.submit,
                        bio.tag_wait,
                        bio.keyslot_lock,
                        bio.keyslot_idle,
                        bio.keyslot_program,
                        bio.device_queue,
                        bio.transfer,
                        bio.media,
                    )
                    bio.queued = bio.submit = bio.tag_wait = bio.device_queue = 0
                    bio.keyslot_lock = bio.keyslot_idle = bio.keyslot_program = 0
                    if len(packed) >= FLUSH_AT_BYTES:
                        recorded.flush()
                        packed = recorded.packed
                    idle.append(bio)
                    room += 1
                if waiting:
                    request = waiting.popleft()
                    request.tag_wait += now - request.mark
                    tagged(request, now)
                else:
                    tags.free += 1
            elif row < 0:
                break
            elif (depth and not room) or not (idle or pool.has_room):
                is_full = True
            else:
                room -= 1
                if when >= now:
                    now = when
                elif not depth:  # it waited for room, or one before it did while this one's time passed
                    clock.late += 1
                request = idle.pop() if idle else pool.take()
                request.row, request.op, request.sector, request.nbytes = row, op, sector, nbytes
                request.arrived, request.dun = now, dun
                request.key = keys[key] if key >= 0 else None
                if uses_cpus:
                    request.cpu = stream % cpu_count
                if submit is not None:
                    submit(request, now)
                elif tags.free and nbytes <= max_bytes:
                    tags.free -= 1
                    tagged(request, now)
                else:
                    get_tag(request, now)
                when, row, op, sector, nbytes, key, dun, stream = next(following, _NO_ROW)
        clock.skip_to(now)
        if has_slots:
            slots.acquires += acquires
            slots.hits += hits
            slots.programs += programs
        tags.granted = long_way

    return run


def _closed(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows of a closed loop: none has a time of its own before which others would come."""
    return ((-1, *row[1:]) for row in rows)
