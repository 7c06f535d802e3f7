"""The keyslot map and the reuse curve of a run's page, against slow and literal twins."""

import inspect
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.observer import Observer, Observers
from scenarios.load import load_scenario
from scenarios.results.records import COLUMN, Records
from scenarios.results.slotuse import MOST_SLOTS, SlotUse
from scenarios.run import run
from tests.machines import keys

KEYS = keys(6)
# (slot, key number or -1 for an eviction, ns since the change before), in the order of time.
CHANGES = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 5), st.integers(1, 400_000)), max_size=40)


class Log(SlotUse):
    """Also notes every change as it came."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.changes: list[tuple[int, int, BlkCryptoKey | None]] = []

    def programmed(self, slot: int, key: BlkCryptoKey, row: int, begin: int, end: int) -> None:
        super().programmed(slot, key, row, begin, end)
        self.changes.append((end, slot, key))


def finished(done_ns: int) -> Records:
    made = np.zeros((1, len(COLUMN)), dtype=np.int64)
    made[0, COLUMN["done_ns"]] = done_ns
    return made


def held_at(changes: list[tuple[int, int, BlkCryptoKey | None]], slot: int, when: int) -> BlkCryptoKey | None:
    """What ``slot`` held at ``when``: the last change up to then."""
    return next((key for at, where, key in reversed(changes) if where == slot and at <= when), None)


@given(changes=CHANGES, more=st.integers(1, 1_000_000))
def test_each_interval_shows_the_key_that_was_there_when_it_began(
    changes: list[tuple[int, int, int]], more: int
) -> None:
    use, now = SlotUse(4), 0
    log: list[tuple[int, int, BlkCryptoKey | None]] = []
    for slot, number, after in changes:
        now += after
        if number < 0:
            use.emptied(slot, now)
        else:
            use.programmed(slot, KEYS[number], 0, now - 1, now)
        log.append((now, slot, KEYS[number] if number >= 0 else None))
    use.completed(finished(now + more))
    seen = use.slot_map()
    for slot, row in enumerate(seen.keys):
        for column, key in enumerate(row):
            assert key is held_at(log, slot, column * seen.interval_ns)
    assert len(seen.keys[0]) == -(-(now + more) // seen.interval_ns) <= 256


class Heard(Observer):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[object, ...]]] = []

    def __getattribute__(self, name: str) -> object:
        if name not in vars(Observer) or name.startswith("_"):
            return super().__getattribute__(name)
        return lambda *told: self.told.append((name, told))


def test_several_observers_are_all_told_everything() -> None:
    first, second = Heard(), Heard()
    several = Observers(first, second)
    events = [
        (name, tuple(object() for _ in list(inspect.signature(event).parameters)[1:]))
        for name, event in vars(Observer).items()
        if not name.startswith("_")
    ]
    for name, told in events:
        getattr(several, name)(*told)
    assert first.told == second.told == events


def test_programs_and_waits_of_a_run_are_all_in_its_map() -> None:
    scenario = load_scenario("tag-starvation", sets=["ios=3000", "run.warmup=0"])
    use = Log(4)
    result = run(scenario, observer=Observers(use))
    seen = use.slot_map()
    assert int(seen.programs.sum()) == result.keyslots.programs == len(use.changes)
    lengths = np.full(len(seen.lock_waiting), seen.interval_ns)
    lengths[-1] = seen.end_ns - seen.interval_ns * (len(lengths) - 1)
    stages = result.directions["all"].stage_ns
    assert float((seen.lock_waiting * lengths).sum()) == pytest.approx(stages["keyslot_lock"])
    assert float((seen.idle_waiting * lengths).sum()) == pytest.approx(stages["keyslot_idle"])
    for slot, row in enumerate(seen.keys):
        assert all(
            key is held_at(use.changes, slot, column * seen.interval_ns) for column, key in enumerate(row)
        )


@given(used=st.lists(st.integers(0, 9), min_size=1, max_size=200))
def test_reuse_is_the_hit_ratio_of_an_lru_table_of_each_size(used: list[int]) -> None:
    use = SlotUse(4)
    for number, key in enumerate(used):
        use.arrived((0, number, 0, 0, 4096, key, 0, 0))
    shares = use.reuse()
    for slots in (1, 2, 5, 64):
        table: OrderedDict[int, None] = OrderedDict()
        hits = 0
        for key in used:
            hits += key in table
            table[key] = None
            table.move_to_end(key)
            if len(table) > slots:
                table.popitem(last=False)
        assert shares[slots - 1] == hits / len(used)


def test_plain_bios_use_no_key() -> None:
    use = SlotUse(4)
    use.arrived((0, 0, 0, 0, 4096, -1, -1, 0))
    assert len(use.reuse()) == 0


def test_of_very_many_slots_the_first_are_shown() -> None:
    use = SlotUse(10 * MOST_SLOTS)
    use.programmed(MOST_SLOTS, KEYS[0], 0, 0, 10)
    use.programmed(MOST_SLOTS - 1, KEYS[1], 0, 0, 10)
    use.completed(finished(5000))
    rows = use.slot_map().keys
    assert [slot for slot, row in enumerate(rows) if any(row)] == [MOST_SLOTS - 1]


def test_the_last_programs_are_shown_between_their_own_begins_and_ends() -> None:
    a, b, c = KEYS[:3]
    use = SlotUse(2)
    use.programmed(0, a, 0, 0, 10)
    use.programmed(1, b, 1, 10, 20)
    use.programmed(0, c, 2, 30, 40)
    # It arrived at 5, waited for the lock until 25, and was done at once.
    waited = finished(25)
    waited[0, COLUMN["total"]] = waited[0, COLUMN["keyslot_lock"]] = 20
    use.completed(waited)
    seen = use.last_programs()
    assert seen is not None
    assert seen.times == [0, 10, 20, 30, 40]
    assert seen.keys == [[None, a, a, None], [None, None, b, b]]
    assert seen.programming == [[True, False, False, True], [False, True, False, False]]
    # 5 ns of the first ten, all of the second, 5 of the third.
    assert seen.lock_waiting.tolist() == [0.5, 1.0, 0.5, 0.0]


def test_what_slots_held_before_the_last_programs_is_known() -> None:
    use = SlotUse(2)
    use.programmed(1, KEYS[5], 0, 0, 10)
    for number in range(200):
        use.programmed(0, KEYS[number % 2], 1 + number, 100 * number + 50, 100 * number + 80)
    seen = use.last_programs()
    assert seen is not None
    assert set(seen.keys[1]) == {KEYS[5]}
    assert seen.times[-1] == 199 * 100 + 80


def test_an_evicted_key_is_seen_no_more() -> None:
    use = SlotUse(1)
    use.programmed(0, KEYS[0], 0, 0, 10)
    use.emptied(0, 30)
    use.programmed(0, KEYS[1], 1, 40, 50)
    seen = use.last_programs()
    assert seen is not None
    assert seen.keys == [[None, KEYS[0], None, None]]


def test_nothing_programmed_is_no_stretch() -> None:
    assert SlotUse(2).last_programs() is None
