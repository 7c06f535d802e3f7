"""Writes that are done in the cache, and what has to wait for the flash all the same.

Reads take 100 us on the flash, writes 200; accepting a write into the cache takes 10 us, FLUSH itself 50.
"""

import numpy as np
from msgspec.structs import replace

from blkcrypto.block.op import ReqOp
from hwmodel.controller import Machine
from hwmodel.device import Device
from hwmodel.faultplan import FaultPlan, PowerCut
from scenarios.fua import fua_rows
from tests.machines import MS, READ, US, WRITE, Io, Records, device, fig, run_ios

FLUSH = int(ReqOp.FLUSH)
PLAIN = -1


def cached(*, units: int = 1, cache_bytes: int = 8192) -> Device:
    facts = device(units=units, flush_ns=50 * US)
    media = replace(facts.media, cache_bytes=fig(cache_bytes), cache_write_ns=fig(10 * US))
    return replace(facts, media=media)


def done_us(records: Records) -> list[int]:
    times: list[int] = (records["done_ns"] // US).tolist()
    return times


def test_a_write_is_done_when_it_is_in_the_cache() -> None:
    records, _ = run_ios(cached(), [(0, WRITE, PLAIN)])
    assert done_us(records) == [10]


def test_a_write_waits_for_room_until_an_earlier_one_is_on_the_flash() -> None:
    # Two fit.  They are on the flash at 200 and 400: then the third and the fourth are accepted.
    records, _ = run_ios(cached(), [(0, WRITE, PLAIN)] * 4)
    assert done_us(records) == [10, 10, 210, 410]
    assert (records["device_queue"] // US).tolist() == [0, 0, 200, 400]


def test_a_flush_waits_until_everything_before_it_is_on_the_flash() -> None:
    # The writes are on the flash at 200 and 400.
    records, _ = run_ios(cached(), [(0, WRITE, PLAIN), (0, WRITE, PLAIN), (20 * US, FLUSH, PLAIN)])
    assert done_us(records)[2] == 450


def test_a_flush_of_an_empty_cache_only_takes_its_own_time() -> None:
    records, _ = run_ios(cached(), [(0, WRITE, PLAIN), (300 * US, FLUSH, PLAIN)])
    assert done_us(records)[1] == 350


def test_writing_in_the_background_is_in_the_way_of_reads() -> None:
    records, _ = run_ios(cached(), [(0, WRITE, PLAIN), (50 * US, READ, PLAIN)])
    assert done_us(records)[1] == 300


def test_a_write_larger_than_the_cache_passes_it() -> None:
    records, _ = run_ios(cached(cache_bytes=4096), [(0, WRITE, PLAIN)], nbytes=8192)
    assert done_us(records) == [200]


def test_after_a_power_cut_the_cache_is_empty() -> None:
    plan = FaultPlan(power_cuts=(PowerCut(at_ns=50 * US, outage_ns=1 * US),))
    ios = [(0, WRITE, PLAIN), (0, WRITE, PLAIN), (100 * US, WRITE, PLAIN)]
    records, _ = run_ios(cached(), ios, faults=plan)
    assert done_us(records) == [10, 10, 110]


def test_without_a_cache_a_write_takes_as_long_as_the_flash() -> None:
    records, _ = run_ios(cached(cache_bytes=0), [(0, WRITE, PLAIN), (1 * MS, FLUSH, PLAIN)])
    assert done_us(records) == [200, 1050]


def forced(facts: Device, ios: list[Io], rows: set[int]) -> Records:
    """``ios`` with FUA writes at ``rows``."""
    records = Records()
    built = Machine(
        facts,
        where="inline",
        rng=np.random.default_rng(1),
        keys=[],
        records=records.add,
        is_fua=rows.__contains__,
    )
    built.run((when, row, op, 8 * row, 4096, key, row, 0) for row, (when, op, key) in enumerate(ios))
    return records


def test_a_fua_write_is_done_when_it_is_on_the_flash() -> None:
    # Behind the first write's program, until 200; FUA's own until 400, the third is in the cache at once.
    records = forced(cached(cache_bytes=1 << 20), [(0, WRITE, PLAIN)] * 3, {1})
    assert done_us(records) == [10, 400, 10]


def test_a_device_without_fua_is_sent_a_flush_after_the_write() -> None:
    facts = cached(cache_bytes=1 << 20)
    facts = replace(facts, media=replace(facts.media, fua=False))
    # Both are on the flash at 400, FLUSH takes 50.
    assert done_us(forced(facts, [(0, WRITE, PLAIN)] * 2, {1})) == [10, 450]


def test_without_a_cache_fua_changes_nothing() -> None:
    assert done_us(forced(cached(cache_bytes=0), [(0, WRITE, PLAIN)] * 2, {1})) == [200, 400]


def test_fua_writes_do_not_merge() -> None:
    def merges(rows: set[int]) -> int:
        built = Machine(
            device(tags=1),
            where="inline",
            rng=np.random.default_rng(1),
            keys=[],
            records=Records().add,
            scheduler="mq-deadline",
            is_fua=rows.__contains__,
        )
        built.run((0, row, WRITE, 8 * row, 4096, PLAIN, row, 0) for row in range(6))
        return built.merges

    # The first is at the device; the others follow one another on it.
    assert merges(set()) == 4
    assert merges({1, 2, 3, 4, 5}) == 0


def test_about_the_given_share_of_rows_is_fua_and_the_seed_says_which() -> None:
    chosen = fua_rows(0.3, seed=1)
    other = fua_rows(0.3, seed=2)
    assert chosen is not None
    assert other is not None
    rows = range(20_000)
    # Binomial: 6,000 with a standard deviation of sqrt(20,000 x 0.3 x 0.7) = 65.
    assert abs(sum(map(chosen, rows)) - 6_000) < 4 * 65
    assert [chosen(row) for row in rows] != [other(row) for row in rows]
    assert fua_rows(0.0, seed=1) is None
