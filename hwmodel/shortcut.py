"""The short way through a machine whose device encrypts, and never fails, sleeps or has bios held back.

It is the way of ``hwmodel.controller`` and ``hwmodel.keyslots`` in fewer calls: steps that follow each other
without waiting are one function.  Rules and state are the machine's own parts, so whatever waits goes on
there.  ``tests/test_shortcut.py`` leads machines both ways and compares every record.

Form follows speed: closures find what every bio needs without a look at any object.
"""

from heapq import heappush
from typing import TYPE_CHECKING

from hwmodel.clock import NORMAL, Arrive, Row
from hwmodel.keyslots import Keyslots
from hwmodel.request import READ, WRITE, Request, Then

if TYPE_CHECKING:
    from hwmodel.controller import Machine


def shortcut(machine: "Machine") -> Arrive:
    """Lead ``machine`` the short way from here on; what takes its arrivals."""
    tagged = send = _to_device(machine, _to_completion(machine))
    if machine.device_keyslots is not None:
        tagged = _to_keyslot(machine.device_keyslots, send)
    machine.tags.granted = tagged
    return _to_tag(machine, tagged)


def _to_tag(machine: "Machine", tagged: Then) -> Arrive:
    """From arrival to a tag."""
    pool, tags, keys = machine.pool, machine.tags, machine.keys
    idle, max_bytes = pool.idle, tags.max_bytes
    cpus, submit_takes_cpu = machine.cpus.count, machine.submit_takes_cpu

    def arrive(row: Row) -> None:
        if idle:
            request = idle.pop()
        else:
            row = machine.wait_for_room(row)
            request = pool.take()
        now, request.row, request.op, request.sector, nbytes, key, request.dun, stream = row
        request.arrived = now
        request.nbytes = nbytes
        request.key = keys[key] if key >= 0 else None
        request.cpu = stream % cpus
        if submit_takes_cpu:
            machine.submit(request, now)
        elif tags.free and nbytes <= max_bytes:
            tags.free -= 1
            tagged(request, now)
        else:
            tags.get(request, now)

    return arrive


def _to_keyslot(slots: Keyslots, send: Then) -> Then:
    """From a tag to a keyslot, and on to the device."""
    get = slots.table.get
    slots.granted = send

    def tagged(request: Request, now: int) -> None:
        key = request.key
        if key is None:
            send(request, now)
        elif slots.locked:
            slots.acquire(request, now)
        else:
            slots.acquires += 1
            slot = get(key)
            if slot < 0:
                request.mark = now
                slots.program(request, now)
            else:
                slots.hits += 1
                request.slot = slot
                send(request, now)

    return tagged


def _to_device(machine: "Machine", done: Then) -> Then:
    """Through data path and media."""
    items, order = machine.clock.items, machine.clock.order
    on_media, on_path = machine.storage.serve, machine.path.serve

    def straight(request: Request, now: int) -> None:
        request.transfer = 0
        heappush(items, (on_media(request, now), NORMAL, next(order), request, done))

    def read_media(request: Request, now: int) -> None:
        heappush(items, (on_media(request, now), NORMAL, next(order), request, read_path))

    def read_path(request: Request, now: int) -> None:
        passed = on_path(request, now, inline=request.key is not None)
        heappush(items, (passed, NORMAL, next(order), request, done))

    def write_media(request: Request, now: int) -> None:
        heappush(items, (on_media(request, now), NORMAL, next(order), request, done))

    def send(request: Request, now: int) -> None:
        if request.op == READ:
            read_media(request, now)
        elif request.op == WRITE:
            passed = on_path(request, now, inline=request.key is not None)
            heappush(items, (passed, NORMAL, next(order), request, write_media))
        else:
            straight(request, now)

    return send if machine.path.limits else straight


def _to_completion(machine: "Machine") -> Then:
    """From the device to the records; others get keyslot and tag."""
    tags, slots, plane, room = machine.tags, machine.device_keyslots, machine.plane, machine.room
    waiting, idle, take = tags.waiting, machine.pool.idle, machine.recorded.take

    def done(request: Request, now: int) -> None:
        key = request.key
        if slots is not None and request.slot >= 0:
            slot = request.slot
            key = slots.hardware[slot]
            request.slot = -1
            if put(slot) and slots.sleepers:
                slots.wake_sleepers(now)
        if request.parent is not None:
            machine.bio_done(request, now, key)
        else:
            if plane is not None:
                plane.complete(request, key)
            take(request, now)
            idle.append(request)
            if room is not None:
                room.append(None)
        if waiting:
            tags.put(now)
        else:
            tags.free += 1

    if slots is not None:
        put = slots.table.put
    return done
