"""Who waits for which keyslot, for how long, and why.  All times are arithmetic on the figures given."""

import numpy as np

from hwmodel.clock import Clock
from hwmodel.keyslots import Control, Keyslots
from hwmodel.request import Request
from tests.machines import READ, US, Records, device, keys, machine, run_ios

A, B, C, D = 0, 1, 2, 3


def waits(records: Records) -> list[tuple[int, int, int]]:
    """(behind the lock, for an idle slot, programming) of each bio, in us."""
    columns = (records[name] // US for name in ("keyslot_lock", "keyslot_idle", "keyslot_program"))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_the_first_bio_of_a_key_programs_a_slot_and_the_next_one_finds_it() -> None:
    records, run = run_ios(device(), [(0, READ, A), (50 * US, READ, A)])
    assert waits(records) == [(0, 0, 10), (0, 0, 0)]
    assert run.keyslots is not None
    assert (run.keyslots.hits, run.keyslots.programs) == (1, 1)


def test_a_key_whose_slot_is_idle_is_still_a_hit() -> None:
    records, _ = run_ios(device(), [(0, READ, A), (1000 * US, READ, A)])
    assert waits(records)[1] == (0, 0, 0)


def test_misses_program_one_after_another() -> None:
    records, _ = run_ios(device(slots=4), [(0, READ, key) for key in (A, B, C)])
    assert waits(records) == [(0, 0, 10), (10, 0, 10), (20, 0, 10)]


def test_programming_holds_up_a_hit_on_another_key() -> None:
    ios = [(0, READ, A), (200 * US, READ, B), (203 * US, READ, A)]
    records, _ = run_ios(device(), ios)
    assert waits(records)[2] == (7, 0, 0)


def test_a_bio_that_waited_for_the_lock_finds_its_key_programmed_by_another() -> None:
    records, run = run_ios(device(), [(0, READ, A), (4 * US, READ, A)])
    assert waits(records) == [(0, 0, 10), (6, 0, 0)]
    assert run.keyslots is not None
    assert run.keyslots.programs == 1


def test_a_third_key_waits_until_a_slot_is_idle_and_is_then_programmed() -> None:
    # A has its slot at 10 us and is read until 110 us; B programs from 10 to 20 and is read until 120.
    records, _ = run_ios(device(), [(0, READ, A), (0, READ, B), (0, READ, C)])
    assert waits(records)[2] == (20, 90, 10)
    assert (records["done_ns"] // US).tolist() == [110, 120, 220]


def test_every_slot_that_becomes_idle_wakes_all_waiters_and_the_losers_sleep_again() -> None:
    # One slot.  All queue for the lock until 10; B, C and D then sleep until A ends at 110.  B programs until
    # 120 while C and D queue for the lock, find no idle slot and sleep until B ends at 220, and so on.
    records, run = run_ios(device(slots=1), [(0, READ, key) for key in (A, B, C, D)])
    assert waits(records) == [
        (0, 0, 10),
        (10, 100, 10),
        (10 + 10, 100 + 100, 10),
        (10 + 10 + 10, 100 + 100 + 100, 10),
    ]
    assert run.keyslots is not None
    assert run.keyslots.waits == 3


def test_a_waiter_takes_a_slot_that_another_waiter_programmed_with_its_key() -> None:
    records, run = run_ios(device(slots=1), [(0, READ, A), (0, READ, B), (0, READ, B)])
    assert (records["done_ns"] // US).tolist() == [110, 220, 220]
    assert run.keyslots is not None
    assert (run.keyslots.hits, run.keyslots.programs) == (1, 2)


def test_the_victim_is_the_slot_that_was_released_longest_ago() -> None:
    # A ends at 110, B at 1120: C takes A's slot, so B hits and A misses.
    ios = [
        (0, READ, A),
        (1000 * US, READ, B),
        (2000 * US, READ, C),
        (3000 * US, READ, B),
        (4000 * US, READ, A),
    ]
    records, _ = run_ios(device(), ios)
    assert [program for _, _, program in waits(records)] == [10, 10, 10, 0, 10]


def test_a_waiting_bio_holds_its_tag() -> None:
    # Two tags: A and B (waiting for A's only slot) hold them, so plain I/O waits for a tag until A ends.
    records, _ = run_ios(device(tags=2, slots=1), [(0, READ, A), (1 * US, READ, B), (2 * US, READ, -1)])
    assert records["tag_wait"].tolist() == [0, 0, 108 * US]


def test_plain_bios_take_no_keyslot() -> None:
    _, run = run_ios(device(), [(0, READ, -1)] * 3)
    assert run.keyslots is not None
    assert run.keyslots.acquires == 0


def test_hardware_without_keyslots_never_programs_and_pays_per_data_unit() -> None:
    facts = device(slots=0, per_data_unit_ns=50)
    records, run = run_ios(facts, [(0, READ, A)], nbytes=16384)
    assert run.keyslots is None
    assert records["submit"].tolist() == [4 * 50]


def test_programming_on_the_cpu_keeps_it_from_submitting() -> None:
    # Submission takes 1 us, then A programs on the same CPU from 1 to 11; B's submission runs after that.
    facts = device(program_on_cpu=True, submit_ns=1 * US)
    records, _ = run_ios(facts, [(0, READ, A), (0, READ, -1)])
    assert records["queued"].tolist() == [0, 11 * US]


def test_evicting_a_key_makes_its_next_bio_program_again() -> None:
    records = Records()
    objects = keys(1)
    run = machine(device(), objects, records)
    run.run(iter([(0, 0, READ, 0, 4096, A, 0, 0)]))
    slots = run.keyslots
    assert slots is not None
    run.clock.process(slots.evict(objects[A], 5 * US))
    run.clock.run_until_empty()
    now = run.clock.now
    run.run(iter([(now, 1, READ, 8, 4096, A, 0, 0)]))
    assert (slots.evicts, slots.programs) == (1, 2)


def test_key_operations_hold_up_hits() -> None:
    records = Records()
    run = machine(device(), keys(1), records)
    run.run(iter([(0, 0, READ, 0, 4096, A, 0, 0)]))
    assert run.keyslots is not None
    began = run.clock.now
    run.clock.process(run.keyslots.hold_lock(300 * US))
    run.run(iter([(began + 1 * US, 1, READ, 8, 4096, A, 0, 0)]))
    assert records["keyslot_lock"].tolist() == [0, 299 * US]


def test_readers_woken_together_have_their_slots_before_any_of_them_lets_another_program() -> None:
    # A and B are in the two slots.  Both wait for the lock; when A goes on, it lets C in, whose miss must not
    # take B's slot: B was woken with A.
    clock = Clock()
    waiting = {name: Request() for name in (A, B, C)}
    for name, request in waiting.items():
        request.key = keys(3)[name]
    granted: list[int] = []

    def go_on(request: Request, now: int) -> None:
        granted.append(next(name for name, other in waiting.items() if other is request))
        if len(granted) == 3:
            slots.acquire(waiting[C], now)

    slots = Keyslots(clock, 2, program_ns=lambda _key: 10 * US, granted=go_on)
    for name in (A, B):
        slots.acquire(waiting[name], clock.now)
        clock.run_until_empty()
        slots.release(waiting[name].slot, clock.now)
    clock.process(slots.hold_lock(5 * US))
    clock.process(_acquire_later(clock, slots, [waiting[A], waiting[B]]))
    clock.run_until_empty()
    assert granted == [A, B, A, B]
    assert slots.table.victim() == -1
    slots.release(waiting[B].slot, clock.now)
    clock.run_until_empty()
    assert granted == [A, B, A, B, C]


def _acquire_later(clock: Clock, slots: Keyslots, requests: list[Request]) -> Control:
    yield clock.timeout(1 * US)
    for request in requests:
        slots.acquire(request, clock.now)


def test_stage_times_of_every_bio_sum_to_its_total() -> None:
    rng = np.random.default_rng(5)
    when = np.sort(rng.integers(0, 20_000 * US, 3000))
    ios = np.column_stack((when, rng.integers(0, 2, 3000), rng.integers(-1, 8, 3000))).tolist()
    facts = device(tags=8, slots=3, submit_ns=700, link_per_s=10**9, engine_per_s=10**9, program_on_cpu=True)
    records, run = run_ios(facts, ios)
    stages = (
        "queued",
        "submit",
        "tag_wait",
        "keyslot_lock",
        "keyslot_idle",
        "keyslot_program",
        "cpu_crypto",
        "device_queue",
        "transfer",
        "media",
    )
    total = sum((records[stage] for stage in stages), start=np.zeros(3000, dtype=np.int64))
    assert (total == records["total"]).all()
    assert (records["done_ns"] - records["total"] == when).all()
    assert run.is_idle
