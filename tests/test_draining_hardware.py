"""Hardware that empties itself before a keyslot changes."""

from tests.machines import MS, READ, US, device, run_ios

A, B = 0, 1
# Reads take 100 us, programming 10 us; the drain looks every 20 ms.
DRAINING = device(drains_io=True, drain_poll_ns=20 * MS)


def test_an_empty_device_programs_at_once() -> None:
    records, _ = run_ios(DRAINING, [(0, READ, A)])
    assert records["done_ns"].tolist() == [110 * US]


def test_a_miss_waits_until_the_device_is_empty_rounded_up_to_whole_polls() -> None:
    # A is read from 10 to 110 us; B asks at 50 us, looks at 20.05 ms, programs 10 us and reads 100.
    records, _ = run_ios(DRAINING, [(0, READ, A), (50 * US, READ, B)])
    assert records["done_ns"].tolist() == [110 * US, 50 * US + 20 * MS + 110 * US]
    assert records["keyslot_program"].tolist() == [10 * US, 20 * MS + 10 * US]


def test_plain_bios_and_hits_wait_while_the_device_drains() -> None:
    records, run = run_ios(
        DRAINING, [(0, READ, A), (50 * US, READ, B), (60 * US, READ, -1), (70 * US, READ, A)]
    )
    resumed = 50 * US + 20 * MS + 10 * US
    assert records["device_queue"].tolist()[2] == resumed - 60 * US
    assert records["keyslot_lock"].tolist()[3] == resumed - 70 * US
    assert run.is_idle


def test_without_draining_the_same_bios_do_not_wait() -> None:
    records, _ = run_ios(device(), [(0, READ, A), (50 * US, READ, B), (60 * US, READ, -1)])
    assert records["device_queue"].tolist() == [0, 0, 0]
