"""Pools never deadlock, and when a rule is broken the error says who waits for what.

Ordinary memory has run out in all of these: only what was set aside is left.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.fallback import Fallback
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.mempool import Mempool, exhausted
from blkcrypto.block.op import ReqOp
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.block.waiting import Deadlock, RunLoop, Steps, Task, WaitQueue, WorkQueue
from tests.block_world import ANY_SIZE, World, pattern
from tests.oracle.block_xts import ciphertext

READ, WRITE = ReqOp.READ, ReqOp.WRITE
SUBMITTERS = 8
PAGES = 5
REGION = PAGES * 4096


def fallback_with(*, bounce_pages: int = 1) -> Callable[[Kernel, RunLoop], Fallback]:
    def make(kernel: Kernel, loop: RunLoop) -> Fallback:
        return Fallback(
            kernel,
            loop,
            np.random.default_rng(7),
            num_keyslots=1,
            bounce_pages=bounce_pages,
            read_contexts=1,
            bios=1,
            workers=1,
        )

    return make


def chooser(seed: int) -> Callable[[int], int]:
    rng = np.random.default_rng(seed)
    return lambda count: int(rng.integers(count))


class Crowd:
    """Eight submitters, each with its own region: write it in two bios, then read it back."""

    def __init__(self, world: World, keys: list[BlkCryptoKey], *, plug: bool) -> None:
        self.world, self.keys, self.plug = world, keys, plug
        self.plain = [pattern(REGION, seed=number) for number in range(SUBMITTERS)]
        self.read = [np.zeros(REGION, dtype=np.uint8) for _ in range(SUBMITTERS)]

    def run(self) -> None:
        for op, buffers in ((WRITE, self.plain), (READ, self.read)):
            for number in range(SUBMITTERS):
                task = Task(f"{op.name} {number}")
                self.world.loop.spawn(task, self.submission(task, number, op, buffers[number]))
            if op is WRITE:
                self.world.loop.run()
        self.world.loop.run()

    def submission(
        self, task: Task, number: int, op: ReqOp, data: np.ndarray[tuple[int], np.dtype[np.uint8]]
    ) -> Steps[None]:
        key, base = self.keys[number % len(self.keys)], number * REGION // 512
        half = 2 * 4096
        bios = []
        for first, last in ((0, half), (half, REGION)):
            bio = self.world.bio(
                op, base + first // 512, data[first:last], layout=[4096] * ((last - first) // 4096)
            )
            bios.append((bio, key, base + first // 512))
        yield from self.world.submission(task, bios, plug=self.plug)

    def check(self) -> None:
        assert [status for _, status in self.world.done] == [BlkStatus.OK] * (4 * SUBMITTERS)
        for number in range(SUBMITTERS):
            base = number * REGION
            key = self.keys[number % len(self.keys)]
            expected = ciphertext(key.raw, base // 512, self.plain[number].tobytes(), 512)
            assert self.world.memory_disk.medium[base : base + REGION].tobytes() == expected
            assert np.array_equal(self.read[number], self.plain[number])


def fallback_world(era: str, seed: int, *, bounce_pages: int = 1, scheduler: str = "none") -> World:
    return World(
        era,
        native=None,
        fallback=fallback_with(bounce_pages=bounce_pages),
        memory=exhausted,
        ctx_reserve=1,
        split_reserve=1,
        depth=1,
        scheduler=scheduler,
        limits=QueueLimits(max_segments=2),
        choose=chooser(seed),
    )


def native_world(seed: int, scheduler: str = "none") -> World:
    return World(
        "7.3",
        native=ANY_SIZE,
        slots=1,
        fallback=fallback_with(),
        memory=exhausted,
        ctx_reserve=1,
        rq_ctx_reserve=1,
        split_reserve=1,
        depth=1,
        scheduler=scheduler,
        choose=chooser(seed),
    )


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    plug=st.booleans(),
    era=st.sampled_from(["7.0", "7.3"]),
    scheduler=st.sampled_from(["none", "mq-deadline"]),
)
def test_the_fallback_gets_on_with_one_of_everything(seed: int, plug: bool, era: str, scheduler: str) -> None:
    world = fallback_world(era, seed, scheduler=scheduler)
    crowd = Crowd(world, [world.key(name) for name in "ABC"], plug=plug)

    crowd.run()

    crowd.check()
    fallback = world.kernel.fallback
    assert fallback is not None
    pools = (fallback.writes.pages, fallback.writes.bios, fallback.reads.contexts, world.kernel.ctx_pool)
    assert [pool.in_use for pool in pools] == [0, 0, 0, 0]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), plug=st.booleans(), scheduler=st.sampled_from(["none", "mq-deadline"]))
def test_hardware_and_fallback_side_by_side_get_on_with_one_of_everything(
    seed: int, plug: bool, scheduler: str
) -> None:
    world = native_world(seed, scheduler)
    keys = [world.key(name, allow_hw=name in "AB") for name in "ABCD"]
    crowd = Crowd(world, keys, plug=plug)

    crowd.run()

    crowd.check()


def test_before_7_0_one_write_of_33_pages_waits_for_ever_for_the_pages_it_holds_itself() -> None:
    world = World("6.12", native=None, memory=exhausted)
    key = world.key("A")
    task = Task("writer")
    world.loop.spawn(task, world.submission(task, [(world.bio(WRITE, 0, 33 * 4096), key, 0)]))

    with pytest.raises(Deadlock) as caught:
        world.loop.run()

    assert caught.value.waits == [("writer", "bounce pages (0 of 32 in reserve, held: 32 by writer)")]
    assert str(caught.value) == (
        "deadlock: writer waits for bounce pages (0 of 32 in reserve, held: 32 by writer)"
    )


def test_the_same_write_gets_on_with_32_pages_taken_all_at_once() -> None:
    world = World("7.0", native=None, memory=exhausted, fallback=fallback_with(bounce_pages=32))

    world.write(0, pattern(33 * 4096), world.key("A"))

    assert {status for _, status in world.done} == {BlkStatus.OK}


def one_by_one(self: Mempool, task: Task, count: int) -> Steps[None]:
    """The broken rule: hold what there is and wait for the rest."""
    for _ in range(count):
        yield from self.alloc(task)


def deadlocks(world_of: Callable[[int], World], *, plug: bool = False) -> list[Deadlock]:
    """Deadlocks among twenty random orders."""
    found = []
    for seed in range(20):
        world = world_of(seed)
        crowd = Crowd(world, [world.key(name) for name in "ABC"], plug=plug)
        try:
            crowd.run()
        except Deadlock as deadlock:
            found.append(deadlock)
    return found


def test_taking_bounce_pages_one_by_one_deadlocks_and_names_who_holds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def world_of(seed: int) -> World:
        # Several writers at a time: bios and slots do not keep them apart.
        world = fallback_world("7.3", seed, bounce_pages=3)
        assert world.kernel.fallback is not None
        world.kernel.fallback.writes.bios.curr_nr = world.kernel.fallback.writes.bios.min_nr = 8
        world.kernel.fallback._num_keyslots = 8
        world.kernel.ctx_pool.curr_nr = world.kernel.ctx_pool.min_nr = 16
        return world

    without = deadlocks(world_of)
    monkeypatch.setattr(Mempool, "alloc_bulk", one_by_one)
    broken = deadlocks(world_of)

    assert without == []
    assert broken
    waits = [what for deadlock in broken for _, what in deadlock.waits]
    assert any(what.startswith("bounce pages (0 of 3 in reserve, held: 1 by WRITE") for what in waits)


def test_a_release_that_wakes_nobody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: CryptoProfile, slot: int) -> None:
        assert self.table is not None
        self.table.put(slot)

    monkeypatch.setattr(CryptoProfile, "put_keyslot", forgetful)

    broken = deadlocks(lambda seed: World(slots=1, choose=chooser(seed)))

    assert broken
    assert all(
        "keyslot" in what for who, what in broken[0].waits if who.startswith("WRITE") and "tag" not in what
    )


def test_a_task_that_sleeps_without_flushing_its_plug_waits_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert deadlocks(native_world, plug=True) == []
    monkeypatch.setattr("blkcrypto.block.plug.Plug.flush", lambda self, from_schedule: None)

    assert len(deadlocks(native_world, plug=True)) == 20


def test_one_shared_context_is_too_few_for_hardware_as_in_linux() -> None:
    # Bios and requests take contexts from the same reserve; a task holds its bio's while it waits for its
    # request's.  Linux has 128 and the same hazard with 128 bios at once and no other memory.
    world = World(native=ANY_SIZE, memory=exhausted, ctx_reserve=1)
    key = world.key("A")
    task = Task("writer")
    world.loop.spawn(task, world.submission(task, [(world.bio(WRITE, 0, pattern(512)), key, 0)]))

    with pytest.raises(
        Deadlock, match=r"writer waits for crypt contexts \(0 of 1 in reserve, held: 1 by writer\)"
    ):
        world.loop.run()


def test_a_bulk_request_takes_all_or_waits_holding_none() -> None:
    pool, loop = Mempool("pages", 4, exhausted), RunLoop()
    first, second, third = Task("first"), Task("second"), Task("third")
    for task, count in ((first, 3), (second, 2), (third, 1)):
        loop.spawn(task, pool.alloc_bulk(task, count))
    while loop.step():
        pass

    assert loop.sleeping() == [("second", "pages (0 of 4 in reserve, held: 3 by first, 1 by third)")]


def test_a_bulk_request_beyond_the_reserve_is_refused() -> None:
    pool = Mempool("pages", 4, exhausted)

    with pytest.raises(ValueError, match="5 of pages at once, but the pool guarantees only 4"):
        next(pool.alloc_bulk(Task("task"), 5))


def test_ordinary_memory_comes_first_and_a_freed_element_refills_the_reserve() -> None:
    granted = iter([1, 0, 0])
    pool, task = Mempool("pages", 1, lambda _count: next(granted)), Task("task")
    levels = []
    for _ in range(2):
        for _wait in pool.alloc(task):
            raise AssertionError("nothing to wait for")
        levels.append(pool.curr_nr)

    pool.free("task", 2)

    assert (levels, pool.curr_nr, pool.in_use) == ([1, 0], 1, 0)


def test_a_work_queue_runs_as_many_workers_as_it_may_and_numbers_them() -> None:
    loop, never = RunLoop(), WaitQueue("what never comes")
    queue = WorkQueue("wq", loop, 2)

    def wait(_worker: Task) -> Steps[None]:
        yield never

    for _ in range(3):
        queue.queue(wait)
    while loop.step():
        pass

    assert loop.sleeping() == [("wq/1", "what never comes"), ("wq/2", "what never comes")]


def test_a_pool_without_a_reserve_promises_nothing_and_is_refused() -> None:
    with pytest.raises(ValueError, match="the pool of pages needs a reserve of at least 1"):
        Mempool("pages", 0)
