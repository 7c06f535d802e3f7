"""The life of a request: tag, keyslot, plug, scheduler, device, end (reference sections 3.6 and 3.11)."""

import numpy as np
import pytest

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.plug import plugged
from blkcrypto.block.sysfs import slot_views
from blkcrypto.block.trace import Tracepoint
from blkcrypto.block.waiting import Task, run_to_end
from tests.block_world import ProgramFailed, World, crypt_units, pattern

READ, WRITE = ReqOp.READ, ReqOp.WRITE
PREFLUSH, FUA = ReqFlags.PREFLUSH, ReqFlags.FUA


def refs(world: World) -> list[int]:
    return [view.refs for view in slot_views(world.profile)]


Submission = tuple[Bio, BlkCryptoKey | None, int]


def one(
    world: World,
    sector: int,
    key: BlkCryptoKey | None,
    *,
    flags: ReqFlags = ReqFlags.NONE,
    name: str = "",
    op: ReqOp = WRITE,
) -> Submission:
    return world.bio(op, sector, pattern(512), flags=flags, name=name), key, sector


def issued(world: World) -> list[tuple[ReqOp, int]]:
    return [(op, sector) for op, sector, _, _ in world.memory_disk.seen]


def start(world: World, name: str, *bios: Submission, plug: bool = False) -> None:
    """Submit from a task of its own, which may be left asleep."""
    task = Task(name)
    world.loop.spawn(task, world.submission(task, bios, plug=plug))
    while world.loop.step():
        pass


def test_the_slot_is_taken_after_the_tag() -> None:
    world = World(slots=2, depth=1)
    a, b = world.key("A"), world.key("B")
    start(world, "first", one(world, 0, a))

    start(world, "second", one(world, 100, b))

    assert world.loop.sleeping() == [("second", "a tag of sda (0 of 1 free)")]
    assert refs(world) == [1, 0]


def test_a_bio_with_nowait_gets_again_for_want_of_a_tag_but_sleeps_for_a_keyslot() -> None:
    world = World(slots=1, depth=2)
    a, b = world.key("A"), world.key("B")
    start(world, "first", one(world, 0, a))

    start(world, "second", one(world, 100, b, flags=ReqFlags.NOWAIT, name="second"))
    start(world, "third", one(world, 200, a, flags=ReqFlags.NOWAIT, name="third"))

    assert [name for name, _ in world.loop.sleeping()] == ["second"]
    assert "keyslot of sda" in world.loop.sleeping()[0][1]
    assert world.done == [("third", BlkStatus.AGAIN)]


def test_requests_waiting_for_a_slot_hold_a_tag_that_unrelated_io_lacks() -> None:
    world = World(slots=1, depth=2)
    a, b = world.key("A"), world.key("B")
    start(world, "first", one(world, 0, a))
    start(world, "second", one(world, 100, b))

    start(world, "plain", one(world, 200, None))

    assert [name for name, _ in world.loop.sleeping()] == ["second", "plain"]


def test_requests_a_scheduler_holds_back_keep_their_slots() -> None:
    world = World(slots=4, depth=2, scheduler="mq-deadline")
    keys = [world.key(name) for name in "ABCD"]

    for number, key in enumerate(keys):
        start(world, key.label, one(world, 100 * number, key))

    assert (len(world.memory_disk.pending), refs(world)) == (2, [1, 1, 1, 1])


def test_a_scheduler_makes_twice_as_many_requests_as_there_are_tags() -> None:
    world = World(native=None, depth=31, scheduler="mq-deadline")

    for number in range(70):
        start(world, str(number), one(world, 10 * number, None))

    assert (len(world.memory_disk.pending), len(world.loop.sleeping())) == (31, 70 - 62)


def test_a_task_that_sleeps_for_a_slot_hands_on_the_requests_it_held_back() -> None:
    world = World(slots=1)
    a, b = world.key("A"), world.key("B")

    start(world, "task", one(world, 0, a), one(world, 100, b), plug=True)

    assert world.loop.sleeping()[0][0] == "task"
    assert issued(world) == [(WRITE, 0)]
    world.loop.run()
    assert issued(world) == [(WRITE, 0), (WRITE, 100)]


def test_a_failed_program_ends_the_bio_and_gives_tag_and_context_back() -> None:
    world = World(slots=1, depth=1)
    key = world.key("A")
    world.memory_disk.program_error = ProgramFailed("no")

    start(world, "task", one(world, 0, key, name="bio"))

    assert world.done == [("bio", BlkStatus.DEV_RESOURCE)]
    assert (world.queue.tags.in_use, world.kernel.ctx_pool.in_use, refs(world)) == (0, 0, [0])


def test_a_busy_device_is_offered_the_same_request_again_in_order() -> None:
    world = World(depth=8)
    key = world.key("A")
    world.memory_disk.busy = 1

    for number in range(3):
        start(world, str(number), one(world, 100 * number, key))
    world.loop.run()

    assert [sector for _, sector in issued(world)] == [0, 100, 200]
    assert world.queue.counts.requeues == 1


def test_a_driver_that_refuses_a_request_fails_its_bios_and_frees_all_it_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(slots=1)
    monkeypatch.setattr(world.memory_disk, "queue_rq", lambda rq: BlkStatus.TARGET)

    world.submit(one(world, 0, world.key("A"), name="bio"))

    assert world.done == [("bio", BlkStatus.TARGET)]
    assert (refs(world), world.queue.tags.in_use, world.queue.in_flight) == ([0], 0, set())


def test_bytes_done_in_parts_release_the_slot_only_with_the_last() -> None:
    world = World(slots=1)
    key = world.key("A")
    data = pattern(4096)
    world.submit((world.bio(WRITE, 0, data, name="bio"), key, 50))

    rq = world.memory_disk.complete_part(1024)
    after_part = (refs(world), rq.sector, rq.nbytes, rq.crypt_ctx and rq.crypt_ctx.dun, list(world.done))
    world.memory_disk.complete_part(3072)

    # Linux leaves the request's DUN at 50; here the rest carries 52, so that it may be requeued.
    assert after_part == ([1], 2, 3072, 52, [])
    assert (refs(world), world.done) == ([0], [("bio", BlkStatus.OK)])
    assert np.array_equal(world.memory_disk.medium[:4096], crypt_units(key, 50, data, encrypt=True))


@pytest.mark.parametrize("nbytes", [0, 512, 4096 + 512, 16384])
def test_a_part_that_is_no_whole_number_of_data_units_is_refused(nbytes: int) -> None:
    world = World()
    key = world.key("A", size=4096)
    world.submit((world.bio(WRITE, 0, pattern(8192)), key, 0))

    with pytest.raises(ValueError, match="data units"):
        world.queue.complete(world.memory_disk.pending[0], BlkStatus.OK, nbytes)


def test_a_failed_part_of_a_request_fails_the_bios_it_covers_and_no_others() -> None:
    world = World()
    key = world.key("A", size=512)
    bios = [(world.bio(WRITE, n, pattern(512), name=f"bio {n}"), key, n) for n in range(3)]
    world.submit(*bios, plug=True)
    rq = world.memory_disk.pending[0]

    world.queue.complete(rq, BlkStatus.MEDIUM, 1024)
    world.queue.complete(rq, BlkStatus.OK)

    assert world.done == [("bio 0", BlkStatus.MEDIUM), ("bio 1", BlkStatus.MEDIUM), ("bio 2", BlkStatus.OK)]


@pytest.mark.parametrize(
    ("part", "done"),
    [(1, []), (3, ["bio 0"]), (4, ["bio 0"]), (5, ["bio 0", "bio 3"]), (8, ["bio 0", "bio 3"])],
)
def test_a_part_of_a_request_completes_the_bios_that_lie_in_it_whole(part: int, done: list[str]) -> None:
    world = World()
    key = world.key("A", size=512)
    spans = [(0, 3), (3, 5), (5, 9)]
    bios = [
        (world.bio(WRITE, first, pattern(512 * (end - first)), name=f"bio {first}"), key, first)
        for first, end in spans
    ]
    world.submit(*bios, plug=True)

    rq = world.memory_disk.complete_part(512 * part)

    assert [name for name, _ in world.done] == done
    assert (rq.sector, rq.end_sector) == (part, 9)
    left = [(bio.sector, bio.end_sector) for bio in rq.bios]
    assert left == [(max(first, part), end) for first, end in spans if end > part]
    world.memory_disk.complete_part(512 * (9 - part))
    assert world.done == [(f"bio {first}", BlkStatus.OK) for first, _ in spans]


def test_a_bio_of_which_a_part_failed_fails_and_its_neighbours_do_not() -> None:
    world = World()
    key = world.key("A", size=512)
    bios = [(world.bio(WRITE, 2 * n, pattern(1024), name=f"bio {n}"), key, 2 * n) for n in range(3)]
    world.submit(*bios, plug=True)
    rq = world.memory_disk.pending[0]

    for status, sectors in ((BlkStatus.OK, 2), (BlkStatus.MEDIUM, 1), (BlkStatus.OK, 3)):
        world.queue.complete(rq, status, 512 * sectors)

    assert world.done == [("bio 0", BlkStatus.OK), ("bio 1", BlkStatus.MEDIUM), ("bio 2", BlkStatus.OK)]


def test_a_merged_request_completes_its_bios_in_sector_order_after_releasing_the_slot_once() -> None:
    world = World(slots=1)
    key = world.key("A", size=512)
    seen: list[list[int]] = []
    bios = [
        (world.bio(WRITE, n, pattern(512), name=str(n), end_io=lambda _bio: seen.append(refs(world))), key, n)
        for n in (2, 1, 0)
    ]
    world.submit(*bios, plug=True)

    world.loop.run()

    assert [name for name, _ in world.done] == ["0", "1", "2"]
    assert seen == [[0], [0], [0]]


# Flushes

CACHED = QueueLimits(write_cache=True)
NATIVE_FUA = QueueLimits(write_cache=True, fua=True)


@pytest.mark.parametrize(
    ("flags", "limits", "expected"),
    [
        (PREFLUSH, CACHED, [ReqOp.FLUSH, WRITE]),
        (FUA, CACHED, [WRITE, ReqOp.FLUSH]),
        (PREFLUSH | FUA, CACHED, [ReqOp.FLUSH, WRITE, ReqOp.FLUSH]),
        (PREFLUSH | FUA, NATIVE_FUA, [ReqOp.FLUSH, WRITE]),
        (FUA, NATIVE_FUA, [WRITE]),
        (PREFLUSH | FUA, QueueLimits(), [WRITE]),
    ],
)
def test_a_write_takes_the_flushes_its_device_needs(
    flags: ReqFlags, limits: QueueLimits, expected: list[ReqOp]
) -> None:
    world = World(limits=limits)

    world.submit(one(world, 0, world.key("A"), flags=flags, name="bio"))
    world.loop.run()

    assert [op for op, _ in issued(world)] == expected
    assert world.done == [("bio", BlkStatus.OK)]


def test_an_empty_flush_goes_alone_or_nowhere_without_a_cache() -> None:
    ops = []
    for limits in (CACHED, QueueLimits()):
        world = World(limits=limits)
        world.submit((world.bio(WRITE, 0, flags=PREFLUSH, name="flush"), None, 0))
        world.loop.run()
        assert world.done == [("flush", BlkStatus.OK)]
        ops.append([op for op, _ in issued(world)])

    assert ops == [[ReqOp.FLUSH], []]


def test_a_write_holds_its_slot_while_it_waits_for_the_flush_before_it() -> None:
    world = World(limits=CACHED, slots=1)

    world.submit(one(world, 0, world.key("A"), flags=PREFLUSH))

    assert (issued(world), refs(world)) == ([(ReqOp.FLUSH, 0)], [1])


def test_the_slot_goes_with_the_data_although_a_flush_follows() -> None:
    world = World(limits=CACHED, slots=1)
    world.submit(one(world, 0, world.key("A"), flags=FUA, name="bio"))

    world.memory_disk.complete_next()

    assert ([op for op, _ in issued(world)], refs(world), world.done) == ([WRITE, ReqOp.FLUSH], [0], [])


def test_a_failed_write_is_not_followed_by_the_flush_it_needed() -> None:
    world = World(limits=CACHED, slots=1)
    world.submit(one(world, 0, world.key("A"), flags=FUA, name="bio"))
    world.memory_disk.status = BlkStatus.MEDIUM

    world.memory_disk.complete_next()

    assert (world.done, [op for op, _ in issued(world)]) == ([("bio", BlkStatus.MEDIUM)], [WRITE])
    assert (refs(world), world.queue.tags.in_use) == ([0], 0)


def test_whoever_needs_a_flush_while_one_runs_shares_the_next() -> None:
    world = World(limits=CACHED)
    for number in range(4):
        start(world, str(number), one(world, 8 * number, None, flags=PREFLUSH))

    world.memory_disk.complete_next()

    assert [op for op, _ in issued(world)] == [ReqOp.FLUSH, WRITE, ReqOp.FLUSH]
    world.loop.run()
    assert sum(op is ReqOp.FLUSH for op, _ in issued(world)) == 2


def test_a_failed_flush_fails_the_writes_that_needed_it_before_their_data() -> None:
    world = World(limits=CACHED, slots=1)
    world.submit(one(world, 0, world.key("A"), flags=PREFLUSH, name="bio"))
    world.memory_disk.status = BlkStatus.IOERR

    world.memory_disk.complete_next()

    assert (world.done, issued(world)) == ([("bio", BlkStatus.IOERR)], [(ReqOp.FLUSH, 0)])
    assert (refs(world), world.queue.tags.in_use) == ([0], 0)


# Reference 3.11 and the version map: since 6.4 the slot goes before the callback, earlier with the request.
@pytest.mark.parametrize(("version", "held"), [("5.18", 1), ("7.3", 0)])
@pytest.mark.parametrize("failing", [True, False])
def test_of_a_write_with_flushes_too_the_slot_goes_before_the_callback_since_6_4(
    version: str, held: int, *, failing: bool
) -> None:
    world = World(version, limits=CACHED, slots=1)
    seen: list[int] = []
    bio = world.bio(
        WRITE, 0, pattern(512), flags=PREFLUSH | FUA, name="bio", end_io=lambda _: seen.extend(refs(world))
    )
    world.submit((bio, world.key("A"), 0))
    if failing:
        world.memory_disk.status = BlkStatus.IOERR

    world.loop.run()

    assert (seen, refs(world)) == ([held], [0])
    assert world.done == [("bio", BlkStatus.IOERR if failing else BlkStatus.OK)]


def test_a_flush_needs_no_tag_of_its_own() -> None:
    world = World(limits=CACHED, depth=1)

    world.submit(one(world, 0, None, flags=PREFLUSH | FUA, name="bio"))
    world.loop.run()

    assert world.done == [("bio", BlkStatus.OK)]


# Plug and scheduler


def test_a_plug_is_flushed_before_the_33rd_request() -> None:
    world = World(depth=128)

    start(world, "task", *(one(world, 10 * n, None) for n in range(40)), plug=True)

    first_issue = [event.tracepoint for event in world.events].index(Tracepoint.RQ_ISSUE)
    queued = [e for e in world.events[:first_issue] if e.tracepoint is Tracepoint.BIO_QUEUE]
    assert len(queued) == 33
    assert [sector for _, sector in issued(world)] == [10 * n for n in range(40)]


def test_a_full_plug_issues_directly_and_one_of_a_task_that_sleeps_goes_through_the_scheduler() -> None:
    full, sleeping = World(native=None, depth=128), World(slots=1)
    a, b = sleeping.key("A"), sleeping.key("B")

    start(full, "task", *(one(full, 10 * n, None) for n in range(40)), plug=True)
    start(sleeping, "task", one(sleeping, 0, a), one(sleeping, 100, b), plug=True)

    inserted = [
        sum(event.tracepoint is Tracepoint.RQ_INSERT for event in world.events) for world in (full, sleeping)
    ]
    assert inserted == [0, 1]


@pytest.mark.parametrize(("first_kib", "expected"), [(128, 2), (124, 3)])
def test_a_plug_whose_head_has_128_kib_is_flushed_before_the_next_request(
    first_kib: int, expected: int
) -> None:
    world = World()

    world.submit(
        (world.bio(WRITE, 0, first_kib * 1024), None, 0),
        (world.bio(WRITE, 1000, 128 * 1024), None, 0),
        (world.bio(WRITE, 2000, 4096), None, 0),
        plug=True,
    )

    order = [
        e.tracepoint for e in world.events if e.tracepoint in (Tracepoint.BIO_QUEUE, Tracepoint.RQ_ISSUE)
    ]
    # The head decides: behind a small head the 128 KiB request waits for the end of the plug.
    assert order.index(Tracepoint.RQ_ISSUE) == expected


def test_a_plug_inside_a_plug_is_the_same_plug() -> None:
    world, task = World(native=None), Task("task")
    with plugged(task) as outer:
        with plugged(task) as inner:
            run_to_end(world.submission(task, [one(world, 0, None)]))
        held = list(outer.requests)

    assert inner is outer
    assert (len(held), issued(world)) == (1, [(WRITE, 0)])


def test_a_plug_with_two_queues_tries_the_newest_request_of_the_bio_s_own() -> None:
    world = World(native=None)
    _, other = world.add_disk("sdb", None)
    bios = [
        world.bio(WRITE, 0, pattern(512)),
        world.bio(WRITE, 0, pattern(512), bdev=other.whole),
        world.bio(WRITE, 1, pattern(512)),
    ]

    world.submit(*((bio, None, 0) for bio in bios), plug=True)

    assert [(row[1], row[2]) for row in world.memory_disk.seen] == [(0, 2)]


def test_integrity_is_dropped_from_a_bio_with_a_context_with_a_warning() -> None:
    world = World()
    bio = world.bio(WRITE, 0, pattern(512), flags=ReqFlags.INTEGRITY)

    world.submit((bio, world.key("A"), 0))

    assert ReqFlags.INTEGRITY not in bio.flags
    assert len(world.kernel.log) == 1


def test_events_of_a_write_that_is_done_in_two_parts() -> None:
    world = World(native=None)
    world.submit((world.bio(WRITE, 8, pattern(4096)), None, 0))
    world.memory_disk.complete_part(1024)
    world.memory_disk.complete_part(3072)

    assert world.events == [
        (Tracepoint.BIO_QUEUE, "sda", WRITE, 8, 8),
        (Tracepoint.GETRQ, "sda", WRITE, 8, 8),
        (Tracepoint.RQ_ISSUE, "sda", WRITE, 8, 8),
        (Tracepoint.RQ_COMPLETE, "sda", WRITE, 8, 2),
        (Tracepoint.RQ_COMPLETE, "sda", WRITE, 10, 6),
    ]


def test_events_of_a_request_that_waits_in_a_scheduler_and_is_handed_back() -> None:
    world = World(native=None, scheduler="mq-deadline")
    world.memory_disk.busy = 1
    world.submit((world.bio(WRITE, 8, pattern(512)), None, 0))
    world.loop.run()

    assert [event.tracepoint for event in world.events] == [
        Tracepoint.BIO_QUEUE,
        Tracepoint.GETRQ,
        Tracepoint.RQ_INSERT,
        Tracepoint.RQ_ISSUE,
        Tracepoint.RQ_REQUEUE,
        Tracepoint.RQ_ISSUE,
        Tracepoint.RQ_COMPLETE,
    ]
    assert {event[1:] for event in world.events} == {("sda", WRITE, 8, 1)}
