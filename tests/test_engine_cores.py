"""An engine that is a pool of cores, shared by reads and writes.

The engine encrypts 4096 bytes in 28 us with all 28 cores; reads alone and writes alone have all of them.
When both are on their way reads have 14 cores (56 us) and writes 7 (112 us).  The flash takes no time.
"""

from msgspec.structs import replace

from hwmodel.device import Device
from tests.machines import READ, US, WRITE, Records, device, fig, run_ios

A = 0
PLAIN = -1


def pooled(*, cores: int = 28, clock_percent: int = 100) -> Device:
    facts = device(engine_per_s=4096 * 1_000_000 // 28, program_ns=0, read_ns=0, write_ns=0)
    assert facts.engine is not None
    engine = replace(
        facts.engine,
        cores=fig(cores),
        mixed_read_cores=fig(14),
        mixed_write_cores=fig(7),
        clock_percent=fig(clock_percent),
    )
    return replace(facts, engine=engine)


def done_us(records: Records) -> list[int]:
    times: list[int] = (records["done_ns"] // US).tolist()
    return times


def test_reads_alone_have_all_cores() -> None:
    records, _ = run_ios(pooled(), [(0, READ, A), (0, READ, A)])
    assert done_us(records) == [28, 56]


def test_a_write_that_begins_while_reads_pass_has_only_its_share() -> None:
    records, _ = run_ios(pooled(), [(0, READ, A), (10 * US, WRITE, A)])
    assert done_us(records) == [28, 10 + 112]


def test_a_read_that_begins_while_writes_pass_has_only_its_share() -> None:
    records, _ = run_ios(pooled(), [(0, WRITE, A), (10 * US, READ, A)])
    assert done_us(records) == [28, 10 + 56]


def test_an_engine_that_is_one_whole_serves_one_after_another() -> None:
    records, _ = run_ios(pooled(cores=0), [(0, READ, A), (0, WRITE, A)])
    assert sorted(done_us(records)) == [28, 56]


def test_half_the_clock_takes_twice_the_time() -> None:
    for cores in (0, 28):
        records, _ = run_ios(pooled(cores=cores, clock_percent=50), [(0, READ, A)])
        assert done_us(records) == [56]


def test_plain_data_takes_no_core() -> None:
    records, _ = run_ios(pooled(), [(0, READ, PLAIN), (0, WRITE, A)])
    assert done_us(records) == [0, 28]
