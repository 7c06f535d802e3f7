"""What a fault does to bios, keys and keyslots, and when.  All times are arithmetic on the figures given.

device(): reads take 100 us, writes 200 us, programming a keyslot 10 us.
"""

import pytest

from blkcrypto.base.status import BlkStatus
from hwmodel.faultplan import (
    Eviction,
    FaultPlan,
    Hang,
    MediaError,
    ProgramFailure,
    Rates,
    Removal,
    Reset,
    Slowdown,
)
from tests.machines import MS, READ, US, WRITE, Records, device, run_ios

A, B, C = 0, 1, 2
OK, IOERR = BlkStatus.OK, BlkStatus.IOERR


def done_us(records: Records) -> list[int]:
    times: list[int] = (records["done_ns"] // US).tolist()
    return times


# --- controller reset ---------------------------------------------------------------------------------


def test_a_reset_requeues_what_is_in_flight_and_programs_every_key_before_io_goes_on() -> None:
    # A is sent at 10 us, B at 20.  Reset at 50 takes 1000 us, then both keys are programmed, 10 us each, and
    # both reads begin anew at 1070.
    plan = FaultPlan(resets=(Reset(at_ns=50 * US),))
    records, run = run_ios(device(reset_ns=1 * MS), [(0, READ, A), (0, READ, B)], faults=plan)
    assert done_us(records) == [1170, 1170]
    assert records["status"].tolist() == [OK, OK]
    assert run.keyslots is not None
    assert (run.keyslots.programs, run.keyslots.reprograms) == (2, 2)


def test_a_requeued_request_keeps_its_keyslot() -> None:
    plan = FaultPlan(resets=(Reset(at_ns=50 * US),))
    _, run = run_ios(device(reset_ns=1 * MS), [(0, READ, A)], faults=plan)
    assert run.keyslots is not None
    assert (run.keyslots.acquires, run.keyslots.hits) == (1, 0)


def test_the_time_a_reset_takes_from_a_request_is_waiting_for_the_device() -> None:
    # Sent at 10, withdrawn at 50, sent again at 1060: 1050 us of waiting, then 100 us of media.
    plan = FaultPlan(resets=(Reset(at_ns=50 * US),))
    records, _ = run_ios(device(reset_ns=1 * MS), [(0, READ, A)], faults=plan)
    assert (records["device_queue"] // US).tolist() == [1050]
    assert (records["media"] // US).tolist() == [100]


def test_io_issued_during_a_reset_waits_behind_what_was_requeued() -> None:
    # One media unit: the requeued read of A goes first, from 1060 to 1160.
    plan = FaultPlan(resets=(Reset(at_ns=50 * US),))
    ios = [(0, READ, A), (500 * US, READ, -1)]
    records, _ = run_ios(device(reset_ns=1 * MS, units=1), ios, faults=plan)
    assert done_us(records) == [1160, 1260]


def test_a_miss_during_reprogramming_waits_for_the_lock() -> None:
    # A and B are programmed again from 1050 to 1070; C asks at 1055 and is programmed until 1080.
    plan = FaultPlan(resets=(Reset(at_ns=50 * US),))
    ios = [(0, READ, A), (0, READ, B), (1055 * US, READ, C)]
    records, _ = run_ios(device(reset_ns=1 * MS, slots=3), ios, faults=plan)
    assert done_us(records) == [1170, 1170, 1180]
    assert (records["keyslot_lock"] // US).tolist() == [0, 10, 15]


def test_a_reset_in_the_middle_of_a_drain_lets_the_drain_end() -> None:
    # B's miss at 50 us waits for A; the reset at 60 empties the device, so the poll at 20.05 ms programs B.
    # The reset itself is over at 60 us + 30 ms; A and B are then programmed again, 10 us each.
    plan = FaultPlan(resets=(Reset(at_ns=60 * US),))
    facts = device(drains_io=True, drain_poll_ns=20 * MS, reset_ns=30 * MS)
    records, run = run_ios(facts, [(0, READ, A), (50 * US, READ, B)], faults=plan)
    assert done_us(records) == [30_000 + 60 + 20 + 100] * 2
    assert run.is_idle


def test_a_second_reset_during_the_first_begins_it_anew() -> None:
    # Resets at 50 and 550 us, 1000 us each: up at 1550, programmed until 1560.
    plan = FaultPlan(resets=(Reset(at_ns=50 * US), Reset(at_ns=550 * US)))
    records, run = run_ios(device(reset_ns=1 * MS), [(0, READ, A)], faults=plan)
    assert done_us(records) == [1660]
    assert run.is_idle


def test_a_fault_can_wait_for_bios_to_complete() -> None:
    # The first read ends at 100 us; the reset comes 20 us later and takes 1000.
    plan = FaultPlan(resets=(Reset(after_bios=1, at_ns=20 * US),))
    ios = [(0, READ, -1), (50 * US, READ, -1)]
    records, _ = run_ios(device(reset_ns=1 * MS), ios, faults=plan)
    assert done_us(records) == [100, 1220]


# --- programming --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("EIO", BlkStatus.IOERR),
        ("EINVAL", BlkStatus.INVAL),
        ("EBUSY", BlkStatus.DEV_RESOURCE),
        ("ENOMEM", BlkStatus.RESOURCE),
        ("ETIMEDOUT", BlkStatus.TIMEOUT),
    ],
)
def test_a_failed_program_completes_its_bio_with_the_status_of_the_errno(
    error: str, status: BlkStatus
) -> None:
    plan = FaultPlan(program_failures=(ProgramFailure(error=error),))  # type: ignore[arg-type]  # a Literal
    records, run = run_ios(device(), [(0, READ, A), (500 * US, READ, A)], faults=plan)
    assert records["status"].tolist() == [status, OK]
    assert done_us(records) == [10, 610]
    assert run.is_idle


def test_a_failed_program_leaves_the_victims_key_where_it_was() -> None:
    # B's program into A's slot fails; A is still a hit.
    plan = FaultPlan(program_failures=(ProgramFailure(after_bios=1),))
    ios = [(0, READ, A), (500 * US, READ, B), (1000 * US, READ, A)]
    records, run = run_ios(device(slots=1), ios, faults=plan)
    assert records["status"].tolist() == [OK, IOERR, OK]
    assert run.keyslots is not None
    assert (run.keyslots.hits, run.keyslots.programs, run.keyslots.failures) == (1, 1, 1)


def test_a_slot_that_lost_its_key_is_still_a_hit_and_its_io_fails_until_it_is_programmed() -> None:
    # B's program clobbers A's slot and fails; A hits an empty slot; B then takes the slot, and A takes it
    # back.
    plan = FaultPlan(program_failures=(ProgramFailure(after_bios=1, clobbers=True),))
    ios = [(row * 500 * US, READ, key) for row, key in enumerate((A, B, A, B, A))]
    records, run = run_ios(device(slots=1), ios, faults=plan)
    assert records["status"].tolist() == [OK, IOERR, IOERR, OK, OK]
    assert run.keyslots is not None
    assert run.keyslots.hits == 1


def test_a_waiter_for_an_idle_slot_tries_after_another_ones_program_failed() -> None:
    # One slot: A until 110 us, then B's program fails at 120, and C, woken with it, programs from 120 to 130.
    plan = FaultPlan(program_failures=(ProgramFailure(at_ns=50 * US),))
    records, run = run_ios(device(slots=1), [(0, READ, A), (0, READ, B), (0, READ, C)], faults=plan)
    assert done_us(records) == [110, 120, 230]
    assert run.is_idle


def test_a_program_that_times_out_holds_the_lock_until_then() -> None:
    failure = ProgramFailure(takes_ns=5 * MS, error="ETIMEDOUT", at_ns=150 * US)
    plan = FaultPlan(program_failures=(failure,))
    ios = [(0, READ, A), (200 * US, READ, B), (300 * US, READ, A)]
    records, _ = run_ios(device(), ios, faults=plan)
    assert done_us(records) == [110, 5200, 5300]
    assert records["keyslot_lock"].tolist()[2] == 4900 * US


def test_while_secure_firmware_hangs_every_program_times_out_and_hits_go_on() -> None:
    # Hung from 1 to 3 ms; a program then takes 500 us and fails.
    plan = FaultPlan(hangs=(Hang(at_ns=1 * MS, duration_ns=2 * MS, timeout_ns=500 * US),))
    ios = [(0, READ, A), (1 * MS, READ, B), (2 * MS, READ, A), (2500 * US, READ, C), (4 * MS, READ, B)]
    records, _ = run_ios(device(), ios, faults=plan)
    assert done_us(records) == [110, 1500, 2100, 3000, 4110]
    assert records["status"].tolist() == [OK, BlkStatus.TIMEOUT, OK, BlkStatus.TIMEOUT, OK]


# --- media, heat, removal -----------------------------------------------------------------------------


def test_a_read_of_a_bad_medium_takes_its_time_and_fails() -> None:
    plan = FaultPlan(media_errors=(MediaError(),))
    records, _ = run_ios(device(), [(0, READ, A), (0, WRITE, -1), (500 * US, READ, A)], faults=plan)
    assert records["status"].tolist() == [BlkStatus.MEDIUM, OK, OK]
    assert done_us(records) == [110, 200, 600]


def test_a_read_that_failed_is_not_decrypted_in_software() -> None:
    plan = FaultPlan(media_errors=(MediaError(),))
    records, _ = run_ios(device(), [(0, READ, A)], where="fallback", faults=plan)
    assert records["cpu_crypto"].tolist() == [0]


def test_a_hot_device_takes_a_multiple_of_its_time_until_it_has_cooled() -> None:
    plan = FaultPlan(slowdowns=(Slowdown(at_ns=1 * MS, duration_ns=1 * MS, percent=300),))
    ios = [(row * MS, READ, -1) for row in range(3)]
    records, _ = run_ios(device(), ios, faults=plan)
    assert (records["media"] // US).tolist() == [100, 300, 100]


def test_removing_the_device_fails_what_is_in_flight_and_all_that_follows() -> None:
    # A would end at 110 us.  B's program begins at 200, fails and takes its 10 us.
    plan = FaultPlan(removals=(Removal(at_ns=50 * US),))
    records, run = run_ios(device(), [(0, READ, A), (100 * US, READ, -1), (200 * US, READ, B)], faults=plan)
    assert records["status"].tolist() == [IOERR] * 3
    assert done_us(records) == [50, 100, 210]
    assert run.is_idle


def test_a_device_is_removed_once() -> None:
    plan = FaultPlan(removals=(Removal(at_ns=50 * US), Removal(at_ns=60 * US)))
    _, run = run_ios(device(), [(0, READ, A)], faults=plan)
    assert run.injector is not None
    assert run.injector.counts["removals"] == 1


# --- eviction -----------------------------------------------------------------------------------------


def test_an_evicted_key_is_not_programmed_again_by_a_reset() -> None:
    plan = FaultPlan(evictions=(Eviction(key=A, at_ns=200 * US),), resets=(Reset(at_ns=300 * US),))
    _, run = run_ios(device(reset_ns=1 * MS), [(0, READ, A), (0, READ, B)], faults=plan)
    assert run.keyslots is not None
    assert [key and key.raw[0] for key in run.keyslots.hardware] == [None, B]


def test_a_key_that_was_in_use_when_evicted_stays_in_the_keyslot_of_a_device_that_is_then_removed() -> None:
    # A is at the device from 10 us on.  Its second eviction finds it in no table, and is none that failed.
    plan = FaultPlan(
        evictions=(Eviction(key=A, at_ns=50 * US), Eviction(key=A, at_ns=200 * US)),
        removals=(Removal(at_ns=100 * US),),
    )
    _, run = run_ios(device(), [(0, READ, A)], faults=plan)
    assert run.keyslots is not None
    assert run.injector is not None
    assert [key and key.raw[0] for key in run.keyslots.hardware] == [A, None]
    assert run.injector.counts == {"evictions of keys in use": 1, "removals": 1, "evictions": 1}
    assert not run.injector.violations


# --- chance -------------------------------------------------------------------------------------------


def test_faults_at_random_are_the_same_for_the_same_seed() -> None:
    plan = FaultPlan(rates=Rates(resets_per_s=200, program_failure=0.1, clobber=0.5, media_error=0.05))
    ios = [(row * 50 * US, row % 2, row % 5) for row in range(1000)]
    first, run = run_ios(device(reset_ns=100 * US), ios, faults=plan)
    again, _ = run_ios(device(reset_ns=100 * US), ios, faults=plan)
    assert first["status"].tolist() == again["status"].tolist()
    assert first["done_ns"].tolist() == again["done_ns"].tolist()
    assert run.injector is not None
    assert {"controller resets", "failed programs", "media errors"} <= run.injector.counts.keys()
