"""Reads behind a cache's writing in the background: in order, yielding, suspended.

Reads take 100 us on the flash, writes 200; accepting a write into the cache takes 10 us, FLUSH itself 50,
suspending a program 20.  Stripes are 1 MiB: with one unit, everything meets on it.
"""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from blkcrypto.base.errors import BadInput
from blkcrypto.block.op import ReqOp
from hwmodel.device import Device, Programs
from scenarios.compare import run_grid
from scenarios.load import load_scenario
from tests.machines import READ, US, WRITE, Records, device, fig, run_ios

FLUSH = int(ReqOp.FLUSH)
PLAIN = -1
Io = tuple[int, int, int]


def cached(programs: Programs, *, units: int = 1, cache_bytes: int = 1 << 20) -> Device:
    facts = device(units=units, flush_ns=50 * US, placement="striped")
    media = replace(
        facts.media,
        cache_bytes=fig(cache_bytes),
        cache_write_ns=fig(10 * US),
        programs=programs,
        suspend_ns=fig(20 * US),
    )
    return replace(facts, media=media)


def done_us(facts: Device, ios: list[Io]) -> list[int]:
    records: Records
    records, _ = run_ios(facts, [(when * US, op, key) for when, op, key in ios])
    times: list[int] = (records["done_ns"] // US).tolist()
    return times


# Three writes are in the cache at once.  On the flash one after the other: until 200, 400, 600.
WRITES: list[Io] = [(0, WRITE, PLAIN)] * 3


@pytest.mark.parametrize(
    ("programs", "read_done"),
    [
        ("in-order", 700),  # behind all three
        ("yield", 300),  # behind the one in progress
        ("suspend", 170),  # 50 + 20 + 100
        ("apart", 150),  # 50 + 100
    ],
)
def test_a_read_waits_for_the_programs_it_cannot_pass(programs: Programs, read_done: int) -> None:
    assert done_us(cached(programs), [*WRITES, (50, READ, PLAIN)])[3] == read_done


def test_a_flush_waits_for_what_the_read_held_up() -> None:
    # Suspended at 50, read until 170, what is left of the program (150) until 320, then 200 and 200 more.
    assert done_us(cached("suspend"), [*WRITES, (50, READ, PLAIN), (180, FLUSH, PLAIN)])[4] == 770


def test_a_flush_without_reads_takes_as_long_in_every_way() -> None:
    ios = [*WRITES, (20, FLUSH, PLAIN)]
    assert {done_us(cached(programs), ios)[3] for programs in get_args(Programs)} == {650}


def test_programs_somebody_waits_for_keep_their_place_before_later_reads() -> None:
    # The FLUSH makes all three urgent; the read comes after them.
    assert done_us(cached("suspend"), [*WRITES, (20, FLUSH, PLAIN), (50, READ, PLAIN)])[4] == 700


def test_a_full_cache_makes_the_oldest_program_urgent_and_no_other() -> None:
    # Room for two.  The third write needs the first one's room: that program keeps its place until 200.  The
    # second write's has not begun then, and the read goes first.
    facts = cached("yield", cache_bytes=8192)
    assert done_us(facts, [*WRITES, (50, READ, PLAIN)]) == [10, 10, 210, 300]


def test_a_write_that_will_be_accepted_late_lets_no_program_begin_early() -> None:
    # Even rows lie on die A, odd ones on B, and the cache holds three.  Row 5 finds it full, so row 0, the
    # oldest, becomes urgent: on A after two reads, from 200 until 400.  Row 6 waits behind row 5, until after
    # 400.  None of this is a reason for B to begin row 3 before the read at 30 is served: that waits for row
    # 1 alone, until 200.
    facts = cached("yield", units=2, cache_bytes=3 << 20)
    ios = [(0, op, PLAIN) for op in (WRITE, WRITE, READ, WRITE, READ)]
    ios += [(10 * US, WRITE, PLAIN), (20 * US, WRITE, PLAIN), (30 * US, READ, PLAIN)]
    records, _ = run_ios(facts, ios, nbytes=1 << 20)
    of_row = dict(zip(records["row"].tolist(), (records["done_ns"] // US).tolist(), strict=True))
    assert (of_row[5], of_row[7]) == (410, 300)


def test_a_die_without_programs_reads_at_once() -> None:
    # Row 3 lies at 12 KiB of the first stripe, so does everything else: with two units one stays idle.
    facts = cached("in-order", units=2)
    records, _ = run_ios(facts, [(0, WRITE, PLAIN), (50 * US, READ, PLAIN)], nbytes=1 << 20)
    assert (records["done_ns"] // US).tolist() == [10, 150]


Ios = st.lists(
    st.tuples(st.integers(0, 3000), st.sampled_from([READ, WRITE, WRITE, FLUSH]), st.just(PLAIN)),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(ios=Ios, programs=st.sampled_from(get_args(Programs)))
def test_every_request_is_served_and_no_program_is_lost(ios: list[Io], programs: Programs) -> None:
    ios = sorted(ios)
    last = max(when for when, _, _ in ios) + 100_000
    done = done_us(cached(programs, cache_bytes=16384), [*ios, (last, FLUSH, PLAIN)])
    # By then the flash has had time for all of it: 40 x 200 us and as many suspensions.
    assert done[-1] == last + 50


@settings(deadline=None, max_examples=60)
@given(ios=Ios)
def test_alone_and_yielding_no_read_is_later_than_in_order(ios: list[Io]) -> None:
    # With one read only, nothing but programs can be in its way.
    writes = sorted((when, WRITE, PLAIN) for when, _, _ in ios)
    mixed = sorted([*writes, (1500, READ, PLAIN)])
    at = mixed.index((1500, READ, PLAIN))
    assert done_us(cached("yield"), mixed)[at] <= done_us(cached("in-order"), mixed)[at]


def test_reads_of_the_catalog_scenario_are_quick_once_programs_yield() -> None:
    points = run_grid("read-interference", sets=["ios=6000", "warmup=0"])
    means = [point.result.directions["read"].lat_ns.mean for point in points if point.result is not None]
    in_order, yielding, suspended = means
    assert suspended < yielding < in_order
    # Alone on its die a read takes 71.2 us, with engine, link and submission 78 us.

    assert suspended < 100 * US < in_order


@pytest.mark.parametrize(
    ("change", "what"),
    [("media.cache_bytes=0", "needs a write cache"), ('media.placement="any"', "a read knows its unit")],
)
def test_yielding_needs_a_cache_and_addresses(change: str, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        load_scenario("read-interference", sets=["device.media.programs=yield", f"device.{change}"])
