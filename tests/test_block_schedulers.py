"""Which request next: none and mq-deadline (reference section 3.6)."""

import pytest

from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.merge import Merge
from blkcrypto.block.op import ReqOp
from blkcrypto.block.request import Request
from blkcrypto.block.scheduler import MqDeadline, NoScheduler
from blkcrypto.block.trace import Tracepoint
from blkcrypto.block.waiting import Task
from tests.block_world import World, pattern

READ, WRITE = ReqOp.READ, ReqOp.WRITE
SECOND = 1_000_000_000
WORLD = World(native=None)


def start(world: World, name: str, sector: int, op: ReqOp = WRITE, key: BlkCryptoKey | None = None) -> None:
    """Submit one sector from a task of its own, which may be left asleep."""
    task = Task(name)
    bio = world.bio(op, sector, pattern(512))
    world.loop.spawn(task, world.submission(task, [(bio, key, sector)]))
    while world.loop.step():
        pass


def issued(world: World) -> list[tuple[ReqOp, int]]:
    return [(op, sector) for op, sector, _, _ in world.memory_disk.seen]


def blocked_world(depth: int = 8) -> World:
    """All tags at the device and one request next in line: the scheduler holds what comes now."""
    world = World(native=None, depth=depth, scheduler="mq-deadline")
    for number in range(depth + 1):
        start(world, f"blocker {number}", 15000 + 10 * number)
    return world


def test_mq_deadline_serves_reads_before_writes_each_upwards_from_where_it_stands() -> None:
    world = blocked_world()
    for sector, op in ((300, WRITE), (900, READ), (100, WRITE), (500, READ), (700, WRITE)):
        start(world, str(sector), sector, op)

    world.loop.run()

    # No write lies above the blockers: the batch begins with the oldest write, 300, and starts over for 100.
    assert issued(world)[9:] == [(READ, 500), (READ, 900), (WRITE, 300), (WRITE, 700), (WRITE, 100)]


def test_mq_deadline_lets_a_write_through_after_two_batches_of_reads() -> None:
    world = blocked_world()
    start(world, "write", 1)
    for number in range(4):  # each lies before the one served last, so each begins a batch
        start(world, f"read {number}", 8000 - 10 * number, READ)
        world.memory_disk.complete_next()

    assert [op for op, _ in issued(world)[9:]] == [READ, READ, WRITE]


def test_mq_deadline_stays_in_one_direction_for_16_requests() -> None:
    world = blocked_world(depth=32)
    for number in range(20):
        start(world, f"write {number}", 100 + 10 * number)
    while len(issued(world)) < 33 + 3:
        world.memory_disk.complete_next()
    start(world, "read", 5000, READ)

    world.loop.run()

    assert [op for op, _ in issued(world)[33:]].index(READ) == 16


def test_with_no_scheduler_only_the_last_8_waiting_requests_are_tried() -> None:
    world = World(native=None, depth=64)
    world.memory_disk.busy = 1
    start(world, "busy", 5000)
    for number in range(9):
        start(world, str(number), 10 * number)

    for sector in (11, 1):  # behind the second oldest, behind the oldest
        start(world, f"try {sector}", sector)

    assert [e.sector for e in world.events if e.tracepoint is Tracepoint.BIO_BACKMERGE] == [11]


class Held:
    """A scheduler on its own, with a clock to turn."""

    def __init__(self, limits: QueueLimits | None = None) -> None:
        self.now = 0
        self.dropped: list[int] = []
        self.scheduler = MqDeadline(
            limits or QueueLimits(), lambda rq: self.dropped.append(rq.sector), lambda: self.now
        )

    def insert(self, sector: int, op: ReqOp = WRITE, sectors: int = 1) -> bool:
        bio = WORLD.bio(op, sector, sectors * 512)
        return self.scheduler.insert(Request(WORLD.queue, bio, 1, op))

    def order(self) -> list[tuple[int, int]]:
        """First sector and sectors of each request, in the order they are served."""
        served = []
        while (rq := self.scheduler.next()) is not None:
            served.append((rq.sector, rq.sectors))
        return served


def test_a_request_that_waited_its_time_is_served_first_whatever_its_sector() -> None:
    held = Held()
    held.insert(500, READ)
    held.now = SECOND // 4
    held.insert(100, READ)

    held.now = SECOND // 2
    assert held.order() == [(500, 1), (100, 1)]


def test_before_its_time_the_lower_sector_comes_first() -> None:
    held = Held()
    held.insert(500, READ)
    held.insert(100, READ)

    held.now = SECOND // 2 - 1
    assert held.order() == [(100, 1), (500, 1)]


@pytest.mark.parametrize(("op", "expire"), [(READ, SECOND // 2), (WRITE, 5 * SECOND)])
def test_reads_expire_after_half_a_second_and_writes_after_five(op: ReqOp, expire: int) -> None:
    firsts = []
    for now in (expire - 1, expire):
        held = Held()
        held.insert(0, READ if op is WRITE else WRITE)
        held.scheduler.next()  # a batch of the other direction
        held.insert(500, op)
        held.insert(100, op)
        held.now = now
        firsts.append(held.order()[0][0])

    assert firsts == [100, 500]


def test_an_inserted_request_joins_the_one_that_ends_where_it_begins() -> None:
    held = Held()
    held.insert(100)
    held.insert(300)

    inserted = held.insert(101)

    assert (inserted, held.dropped, held.order()) == (False, [101], [(100, 2), (300, 1)])


def test_an_inserted_request_that_closes_a_gap_makes_one_of_three() -> None:
    held = Held()
    for sector in (100, 102, 101):
        held.insert(sector)

    # 101 joins 100; nothing asks 102 until something grows towards it, as in Linux.
    assert (held.dropped, held.order()) == ([101], [(100, 2), (102, 1)])


def test_a_bio_that_closes_a_gap_makes_one_of_three() -> None:
    held = Held()
    held.insert(102)
    held.insert(100)

    held.scheduler.merge_bio(WORLD.bio(WRITE, 101, 512), 1)

    assert (len(held.dropped), held.order()) == (1, [(100, 3)])


def test_a_grown_request_has_the_deadline_of_the_older_one() -> None:
    held = Held()
    held.insert(102, READ)
    held.now = SECOND // 4
    held.insert(900, READ)
    held.insert(100, READ)
    held.scheduler.merge_bio(WORLD.bio(READ, 101, 512), 1)

    held.insert(50, READ)
    held.now = SECOND // 2

    assert held.order() == [(100, 3), (900, 1), (50, 1)]


def test_a_request_that_does_not_fit_is_forgotten_as_the_last_merged_and_still_served() -> None:
    held = Held(QueueLimits(max_sectors=8))
    held.insert(100, sectors=8)

    held.insert(108)

    assert held.order() == [(100, 8), (108, 1)]


def test_a_full_request_stays_the_first_to_be_asked_no_longer_than_until_it_is_known_to_be_full() -> None:
    held = Held(QueueLimits(max_sectors=8))
    held.insert(100, sectors=8)
    refused = held.scheduler.merge_bio(WORLD.bio(WRITE, 108, 512), 1)
    held.insert(200, sectors=2)
    held.insert(201)

    # Both end at sector 202.  The older is asked first, next after the full one; else the newer would be.
    joined = held.scheduler.merge_bio(WORLD.bio(WRITE, 202, 512), 1)

    assert (refused, joined) == (Merge.NONE, Merge.BACK)
    assert held.order() == [(100, 8), (200, 3), (201, 1)]


def test_a_device_that_completes_out_of_order_gets_requests_in_merged_form_once() -> None:
    world = blocked_world()
    for number in range(4):
        start(world, str(number), 100 + number)
    merges = [event.sector for event in world.events if event.tracepoint is Tracepoint.BIO_BACKMERGE]

    world.loop.run()

    assert merges == [101, 102, 103]
    assert issued(world)[9:] == [(WRITE, 100)]


def test_a_scheduler_says_how_many_requests_it_holds() -> None:
    held = Held()
    counts = [len(held.scheduler)]
    for sector, op in ((100, READ), (300, WRITE), (101, READ)):  # the last joins the first
        held.insert(sector, op)
        counts.append(len(held.scheduler))
    held.scheduler.next()

    assert [*counts, len(held.scheduler)] == [0, 1, 2, 2, 1]


def test_with_no_scheduler_a_request_that_is_adjacent_but_full_ends_the_search() -> None:
    limits = QueueLimits(max_sectors=8)
    tried = list[Merge]()
    for order in ((100, 94), (94, 100)):  # the one that ends at 95 has room for sector 95 and more
        scheduler = NoScheduler(limits)
        for sector in order:
            sectors = 1 if sector == 94 else 8
            scheduler.insert(Request(WORLD.queue, WORLD.bio(WRITE, sector, sectors * 512), 1, WRITE))
        tried.append(scheduler.merge_bio(WORLD.bio(WRITE, 95, 5 * 512), 1))

    # Newest first: 94 takes it; 100 begins where it ends, but is full.
    assert tried == [Merge.BACK, Merge.NONE]


def test_there_are_two_schedulers() -> None:
    with pytest.raises(ValueError, match="'bfq' is no scheduler"):
        World(scheduler="bfq")
