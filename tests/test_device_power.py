"""When an idle device sleeps, and who waits until it is awake.

Reads take 100 us, programming a keyslot 10 us.  Clocks stop after 150 ms and take 500 us to run again; the
device is suspended after 2 s and takes 3 ms to resume.
"""

from msgspec.structs import replace

from hwmodel.device import Device
from tests.machines import MS, READ, US, Records, device, fig, run_ios

A, B = 0, 1
PLAIN = -1


def saving(*, gate: bool = False, suspend: bool = False) -> Device:
    facts = device(slots=4)
    controller = replace(
        facts.controller,
        gate_after_ns=fig(150 * MS if gate else 0),
        ungate_ns=fig(500 * US),
        suspend_after_ns=fig(2000 * MS if suspend else 0),
        resume_ns=fig(3 * MS),
    )
    return replace(facts, controller=controller)


def latency_us(records: Records) -> list[int]:
    times: list[int] = (records["total"] // US).tolist()
    return times


def test_a_request_after_the_clocks_stopped_waits_until_they_run() -> None:
    # The first read ends at 100 us; 150 ms later the clocks stop.
    records, run = run_ios(saving(gate=True), [(0, READ, PLAIN), (150 * MS + 100 * US, READ, PLAIN)])
    assert latency_us(records) == [100, 600]
    assert (records["device_queue"] // US).tolist() == [0, 500]
    assert run.power is not None
    assert (run.power.ungates, run.power.resumes) == (1, 0)


def test_a_request_a_moment_earlier_finds_the_clocks_running() -> None:
    records, _ = run_ios(saving(gate=True), [(0, READ, PLAIN), (150 * MS + 99 * US, READ, PLAIN)])
    assert latency_us(records) == [100, 100]


def test_a_device_with_a_request_in_flight_is_not_idle() -> None:
    facts = saving(gate=True)
    slow = replace(facts, media=replace(facts.media, read_ns=fig(400 * MS)))
    records, _ = run_ios(slow, [(0, READ, PLAIN), (300 * MS, READ, PLAIN)])
    assert latency_us(records) == [400_000, 400_000]


def test_requests_that_come_while_the_clocks_start_wait_for_the_same_start() -> None:
    ios = [(0, READ, PLAIN), (200 * MS, READ, PLAIN), (200 * MS + 400 * US, READ, PLAIN)]
    records, run = run_ios(saving(gate=True), ios)
    assert latency_us(records) == [100, 600, 200]
    assert run.power is not None
    assert run.power.ungates == 1


def test_programming_a_keyslot_starts_the_clocks_before_it_takes_the_lock() -> None:
    # B waits 500 us, is programmed in 10 and read in 100.  A, a hit 100 us later, waits for the clocks.
    ios = [(0, READ, A), (200 * MS, READ, B), (200 * MS + 100 * US, READ, A)]
    records, _ = run_ios(saving(gate=True), ios)
    assert latency_us(records) == [110, 610, 500]
    assert (records["keyslot_lock"] // US).tolist() == [0, 0, 0]


def test_resuming_programs_every_key_again_before_io_goes_on() -> None:
    # 3 ms, then A and B, 10 us each; A is still a hit.
    ios = [(0, READ, A), (0, READ, B), (3000 * MS, READ, A)]
    records, run = run_ios(saving(gate=True, suspend=True), ios)
    assert latency_us(records)[2] == 3000 + 20 + 100
    assert run.keyslots is not None
    assert (run.keyslots.programs, run.keyslots.reprograms) == (2, 2)
    assert run.power is not None
    assert (run.power.ungates, run.power.resumes) == (0, 1)


def test_a_miss_that_resumes_the_device_is_programmed_after_the_keys_it_lost() -> None:
    ios = [(0, READ, A), (3000 * MS, READ, B)]
    records, run = run_ios(saving(suspend=True), ios)
    assert latency_us(records)[1] == 3000 + 10 + 10 + 100
    assert run.is_idle
    assert run.keyslots is not None
    assert {key.raw[0] for key in run.keyslots.hardware if key is not None} == {A, B}


def test_a_device_that_never_sleeps_makes_nobody_wait() -> None:
    records, run = run_ios(saving(), [(0, READ, PLAIN), (10_000 * MS, READ, PLAIN)])
    assert latency_us(records) == [100, 100]
    assert run.power is None
