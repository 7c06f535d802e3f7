"""Invariants 1 to 12 of reference block-layer.md section 7.1, by their numbers.

The state machine in ``test_block_keyslot_machine`` checks most of them at every step, too.
"""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.capabilities import EVERYTHING
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import BlkCryptoKey, CryptoModeNum
from blkcrypto.block.keyslots import KeyslotBusy, KeyslotTable
from blkcrypto.block.ops import NO_SLOT
from blkcrypto.block.profile import CryptoProfile, SlotGrant
from blkcrypto.block.sysfs import slot_views
from blkcrypto.block.waiting import Deadlock, RunLoop, Steps, Task, run_to_end


class DeviceError(BlkCryptoError):
    errno = 16


class Log:
    """A device and its power switch that write down what they are asked."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.fails = False
        self.on_resume: Callable[[], None] = lambda: None
        self.on_program: Callable[[], None] = lambda: None

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        self.lines.append(f"program {key.label} {slot}")
        self.on_program()
        if self.fails:
            raise DeviceError("the device is busy")

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        self.lines.append(f"evict {key.label} {slot}")
        if self.fails:
            raise DeviceError("the device is busy")

    def resume(self) -> None:
        self.lines.append("resume")
        self.on_resume()

    def put(self) -> None:
        self.lines.append("suspend")

    @property
    def programs(self) -> list[str]:
        return [line for line in self.lines if line.startswith("program")]


def new_key(label: str) -> BlkCryptoKey:
    return init_key(bytes(64), CryptoModeNum.AES_256_XTS, dun_bytes=8, data_unit_size=4096, label=label)


def new_profile(slots: int) -> tuple[CryptoProfile, Log]:
    log = Log()
    return CryptoProfile("dev", slots, EVERYTHING, log, power=log, warn=log.lines.append), log


def get(profile: CryptoProfile, key: BlkCryptoKey) -> SlotGrant:
    return run_to_end(profile.get_keyslot(key))


def use(profile: CryptoProfile, *keys: BlkCryptoKey) -> None:
    """Requests one after the other, each finished before the next."""
    for key in keys:
        profile.put_keyslot(get(profile, key).slot)


def idle(profile: CryptoProfile) -> tuple[int, ...]:
    assert profile.table is not None
    return profile.table.idle_order


def keys_in(profile: CryptoProfile) -> list[str | None]:
    return [view.key for view in slot_views(profile)]


A, B, C, D = (new_key(name) for name in "ABCD")


def test_01_a_slot_is_on_the_idle_list_when_and_only_when_it_has_no_references() -> None:
    profile, _ = new_profile(2)

    first = get(profile, A)
    second = get(profile, A)
    while_held_twice = idle(profile)
    profile.put_keyslot(first.slot)
    while_held_once = idle(profile)
    profile.put_keyslot(second.slot)

    assert (while_held_twice, while_held_once, idle(profile)) == ((1,), (1,), (1, 0))


def test_01_a_hit_in_an_idle_slot_takes_it_off_the_idle_list() -> None:
    profile, _ = new_profile(2)
    use(profile, A)

    get(profile, A)

    assert idle(profile) == (1,)


def test_02_an_overwritten_key_is_found_nowhere_and_a_key_is_in_one_slot_only() -> None:
    profile, _ = new_profile(1)

    use(profile, A, B)

    assert profile.table is not None
    assert (profile.table.find(A), profile.table.find(B), keys_in(profile)) == (-1, 0, ["B"])


def test_02_two_keys_with_equal_bytes_take_two_slots() -> None:
    profile, _ = new_profile(2)
    assert A.raw == B.raw

    assert get(profile, A).slot != get(profile, B).slot


def test_03_a_slot_that_is_still_held_is_never_given_another_key() -> None:
    profile, log = new_profile(1)
    held = [get(profile, A), get(profile, A)]
    profile.put_keyslot(held[0].slot)

    with pytest.raises(Deadlock):
        get(profile, B)

    assert (log.programs, keys_in(profile)) == (["program A 0"], ["A"])


def test_03_evicting_a_key_in_use_is_ebusy_and_only_empties_the_slot() -> None:
    profile, log = new_profile(1)
    get(profile, A)

    with pytest.raises(KeyslotBusy, match="EBUSY"):
        profile.evict_key(A)

    assert keys_in(profile) == [None]
    assert not [line for line in log.lines if line.startswith("evict A")]


def test_04_slots_go_idle_in_order_of_last_release_beginning_in_index_order() -> None:
    profile, _ = new_profile(3)
    initially = idle(profile)
    grants = [get(profile, key) for key in (A, B, C)]

    for position in (1, 2, 0):
        profile.put_keyslot(grants[position].slot)

    assert (initially, idle(profile)) == ((0, 1, 2), (1, 2, 0))


def test_04_evicting_moves_no_slot() -> None:
    profile, _ = new_profile(3)
    use(profile, A, B, C)

    profile.evict_key(B)

    assert (idle(profile), keys_in(profile)) == ((0, 1, 2), ["A", None, "C"])


def test_05_a_miss_programs_the_idle_slot_released_longest_ago_although_another_is_empty() -> None:
    profile, log = new_profile(3)
    use(profile, A, B, C)
    profile.evict_key(C)
    log.lines.clear()

    use(profile, D)

    assert log.programs == ["program D 0"]


def test_05_the_device_is_resumed_before_the_lock_is_taken_and_stays_up_while_programming() -> None:
    profile, log = new_profile(2)
    use(profile, A)
    log.lines.clear()
    # Powering up may itself reprogram every slot, which takes the lock: not possible when it is held.
    log.on_resume = profile.reprogram_all_keys

    use(profile, B)

    assert log.lines == ["resume", "program A 0", "program B 1", "suspend"]


def test_05_a_low_level_operation_never_runs_inside_another() -> None:
    profile, log = new_profile(2)
    log.on_program = lambda: profile.evict_key(A)

    with pytest.raises(AssertionError, match="may not call back"):
        get(profile, A)


def test_05_a_slot_released_by_an_interrupt_while_programming_goes_idle_behind_the_victim() -> None:
    profile, log = new_profile(2)
    held = get(profile, A)
    log.on_program = lambda: profile.put_keyslot(held.slot)

    grant = get(profile, B)

    assert (grant.slot, idle(profile)) == (1, (0,))


def test_06_a_hit_in_a_busy_or_an_idle_slot_programs_nothing_and_resumes_nothing() -> None:
    profile, log = new_profile(1)
    use(profile, A)
    log.lines.clear()

    grants = [get(profile, A), get(profile, A)]

    assert ([grant.slot for grant in grants], log.lines) == ([0, 0], [])


def test_06_a_failed_program_leaves_old_key_and_place_and_its_errno_becomes_the_status() -> None:
    profile, log = new_profile(2)
    use(profile, A, B)
    log.fails = True

    grant = get(profile, C)

    assert grant == SlotGrant(BlkStatus.DEV_RESOURCE, NO_SLOT)
    assert (keys_in(profile), idle(profile)) == (["A", "B"], (0, 1))


def test_07_all_requests_of_one_key_share_one_slot_and_distinct_keys_never_exceed_the_slots() -> None:
    profile, _ = new_profile(2)

    slots = [get(profile, key).slot for key in (A, A, B, A)]
    with pytest.raises(Deadlock, match=r"A x3, B x1"):
        get(profile, C)

    assert slots == [0, 0, 1, 0]


def hold_then_release(profile: CryptoProfile, key: BlkCryptoKey, log: list[str]) -> Steps[None]:
    grant = yield from profile.get_keyslot(key)
    log.append(f"{key.label} in {grant.slot}")
    profile.put_keyslot(grant.slot)


def test_08_every_sleeper_is_woken_by_a_release_and_one_gets_the_slot_after_the_other() -> None:
    profile, _ = new_profile(1)
    held, log, loop = get(profile, A), list[str](), RunLoop()
    for key in (B, C, D):
        loop.spawn(Task(key.label), hold_then_release(profile, key, log))
    while loop.step():
        pass

    profile.put_keyslot(held.slot)
    loop.run()

    assert log == ["B in 0", "C in 0", "D in 0"]


def test_08_a_sleeper_whose_key_another_task_brought_in_shares_the_slot_without_programming() -> None:
    profile, log = new_profile(1)
    held, order, loop = get(profile, A), list[str](), RunLoop()
    for name in ("first", "second"):
        loop.spawn(Task(name), hold_then_release(profile, B, order))
    while loop.step():
        pass

    profile.put_keyslot(held.slot)
    loop.run()

    assert log.programs == ["program A 0", "program B 0"]


def test_08_a_release_wakes_all_sleepers_so_those_of_one_key_hold_its_slot_together() -> None:
    profile, _ = new_profile(1)
    held, grants, loop = get(profile, A), list[SlotGrant](), RunLoop()

    def hold() -> Steps[None]:
        grant = yield from profile.get_keyslot(B)
        grants.append(grant)

    for name in ("first", "second"):
        loop.spawn(Task(name), hold())
    while loop.step():
        pass

    profile.put_keyslot(held.slot)
    loop.run()

    # Nobody released B's slot: the second sleeper was woken by the release of A's.
    assert [grant.slot for grant in grants] == [0, 0]
    assert slot_views(profile)[0].refs == 2


def hits(num_slots: int, run: Sequence[int], keys: Sequence[BlkCryptoKey]) -> set[int]:
    """Positions in ``run`` that find their key in a slot."""
    profile, log = new_profile(num_slots)
    found = set()
    for position, number in enumerate(run):
        before = len(log.programs)
        use(profile, keys[number])
        if len(log.programs) == before:
            found.add(position)
    return found


@given(run=st.lists(st.integers(0, 5), max_size=40), num_slots=st.integers(1, 5))
def test_09_what_hits_with_n_slots_hits_with_one_more(run: list[int], num_slots: int) -> None:
    keys = [new_key(str(number)) for number in range(6)]

    assert hits(num_slots, run, keys) <= hits(num_slots + 1, run, keys)


@given(others=st.lists(st.integers(1, 5), max_size=20))
def test_09_a_key_stays_until_as_many_other_keys_as_slots_came_by(others: list[int]) -> None:
    keys = [new_key(str(number)) for number in range(6)]
    run = [0, *others, 0]

    assert (len(run) - 1 in hits(3, run, keys)) == (len(set(others)) < 3)


@pytest.mark.parametrize("fails", [False, True], ids=["evicted", "device refuses"])
def test_10_after_an_eviction_the_key_must_be_programmed_again(fails: bool) -> None:
    profile, log = new_profile(2)
    use(profile, A)
    log.fails = fails
    try:
        profile.evict_key(A)
    except DeviceError:
        assert fails
    log.fails = False
    log.lines.clear()
    left = keys_in(profile)

    use(profile, A)

    assert (left, log.programs) == ([None, None], ["program A 1"])


def test_10_evicting_an_absent_key_succeeds_and_changes_nothing() -> None:
    profile, log = new_profile(2)
    use(profile, A)
    before = slot_views(profile)
    log.lines.clear()

    profile.evict_key(B)

    assert (slot_views(profile), log.lines) == (before, ["resume", "suspend"])


def test_11_reprogramming_loads_every_linked_key_in_slot_order_idle_or_not_and_passes_failures() -> None:
    profile, log = new_profile(3)
    use(profile, A)
    get(profile, B)
    use(profile, C)
    profile.evict_key(C)
    log.lines.clear()
    log.fails = True

    profile.reprogram_all_keys()

    assert [line for line in log.lines if "failed" not in line] == ["program A 0", "program B 1"]
    assert sum("reprogramming slot" in line for line in log.lines) == 2


def test_12_a_device_without_slots_needs_none_and_is_never_programmed() -> None:
    profile, log = new_profile(0)

    grants = {get(profile, key) for key in (A, B, C)}
    profile.put_keyslot(NO_SLOT)
    profile.reprogram_all_keys()

    assert (grants, log.lines) == ({SlotGrant(BlkStatus.OK, NO_SLOT)}, [])


def test_12_evicting_from_a_device_without_slots_goes_to_the_device_with_no_slot() -> None:
    profile, log = new_profile(0)

    profile.evict_key(A)

    assert log.lines == ["resume", "evict A -1", "suspend"]


def test_a_table_has_at_least_one_slot() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        KeyslotTable[BlkCryptoKey](0)


class ProgramsOnly:
    """A device that cannot forget a key."""

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        pass


@pytest.mark.parametrize("slots", [0, 2])
def test_a_key_leaves_the_table_of_a_device_that_has_no_operation_for_it(slots: int) -> None:
    profile = CryptoProfile("dev", slots, EVERYTHING, ProgramsOnly())
    if slots:
        use(profile, A, B)

    profile.evict_key(A)

    assert keys_in(profile) == ([None, "B"] if slots else [])
