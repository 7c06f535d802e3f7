"""The short way through a machine whose device encrypts, and never fails, sleeps or has bios held back.

It is the way of ``hwmodel.controller``, ``hwmodel.tags`` and ``hwmodel.keyslots`` in fewer calls, over the
same queue.  The rules are the machine's own: which slot, where to split, how long media and data path take.
What is written twice is who waits for whom, and ``tests/test_short_way.py`` leads machines both ways and
compares every record.

Form follows speed, and only here: steps that follow each other without waiting are one function, and all of
them are closures over what every bio needs.  Methods of objects with slots took a seventh more time.
"""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, cast

from hwmodel.clock import NORMAL, Row
from hwmodel.keyslots import MAX_READERS_WOKEN, Keyslots
from hwmodel.recordbuffer import FLUSH_AT_BYTES, packer
from hwmodel.request import READ, WRITE, Request, Then

if TYPE_CHECKING:
    from hwmodel.controller import Machine

Run = Callable[[Iterator[Row], int], None]

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
    cpu_count, on_media, on_path = cpus.count, machine.storage.serve, machine.path.serve
    joined, plane, recorded = machine.joined, machine.plane, machine.recorded
    now = clock.now  # in the loops below, while nobody waits for room: any time up to the present
    room = 0  # of a closed loop
    uses_cpus = submit is not None or (
        machine.device_keyslots is not None and machine.device_keyslots.on_cpu is not None
    )

    # --- arrival, and the tag -------------------------------------------------------------------------

    def arrive(row: Row) -> None:
        request = idle.pop() if idle else pool.take()
        when, request.row, request.op, request.sector, nbytes, key, request.dun, stream = row
        request.arrived = when
        request.nbytes = nbytes
        request.key = keys[key] if key >= 0 else None
        if uses_cpus:
            request.cpu = stream % cpu_count
        if submit is not None:
            submit(request, when)
        elif tags.free and nbytes <= max_bytes:
            tags.free -= 1
            tagged(request, when)
        else:
            get_tag(request, when)

    # --- the keyslot ----------------------------------------------------------------------------------

    slots = cast(Keyslots, machine.device_keyslots)
    if machine.device_keyslots is not None:  # or nobody asks
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
        nonlocal hits
        while not locked:
            if readers and not (writers and writers[0][0] < readers[0][0]):
                serve_readers(now)
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

    def serve_readers(now: int) -> None:
        nonlocal hits, turn
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
        heappush(items, (on_media(request, now), NORMAL, next(order), request, done))

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
        heappush(items, (passed, NORMAL, next(order), request, done))

    def write_media(request: Request, now: int) -> None:
        heappush(items, (on_media(request, now), NORMAL, next(order), request, done))

    send: Then = send_by_path if machine.path.limits else send_straight
    tagged: Then = send if machine.device_keyslots is None else acquire

    # --- completion -----------------------------------------------------------------------------------

    def done(request: Request, now: int) -> None:
        nonlocal room
        slot, key = request.slot, request.key
        if slot >= 0:
            request.slot = -1
            key = hardware[slot]  # the data is what the slot made it, whatever the request wanted
            if put(slot) and sleepers:
                wake_sleepers(now)
        bio = request if request.parent is None else joined(request)
        if bio is not None:
            if plane is not None:
                plane.complete(bio, key)
            recorded.packed += _pack(
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
            if len(recorded.packed) >= FLUSH_AT_BYTES:
                recorded.flush()
            idle.append(bio)
            room += 1
        if waiting:
            request = waiting.popleft()
            request.tag_wait += now - request.mark
            tagged(request, now)
        else:
            tags.free += 1

    # --- time -----------------------------------------------------------------------------------------

    def step() -> None:
        nonlocal now
        now, _, _, request, then = heappop(items)
        then(request, now)

    def wait_for_room() -> None:
        while not idle:
            step()

    def run_open(rows: Iterator[Row]) -> None:
        nonlocal now
        for row in rows:
            when = row[0]
            while items and items[0][0] <= when:
                at, _, _, request, then = heappop(items)
                then(request, at)
            if not idle and not pool.has_room:
                wait_for_room()
            if when < now:  # it waited for room, or one before it did while this one's time passed
                clock.late += 1
                row = (now, *row[1:])
            else:
                now = when
            arrive(row)

    def run_closed(rows: Iterator[Row], depth: int) -> None:
        nonlocal room
        room = depth
        for row in rows:
            while not room:
                step()
            if not idle and not pool.has_room:
                wait_for_room()
            room -= 1
            arrive((now, *row[1:]))

    def run(rows: Iterator[Row], depth: int) -> None:
        long_way, tags.granted = tags.granted, tagged
        if depth:
            run_closed(rows, depth)
        else:
            run_open(rows)
        while items:
            step()
        clock.skip_to(now)
        if machine.device_keyslots is not None:
            slots.acquires += acquires
            slots.hits += hits
            slots.programs += programs
        tags.granted = long_way

    return run
