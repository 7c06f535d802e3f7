"""Dies behind channels: reads take 100 us on a die and writes 200; 4 KiB take 10 us on a channel."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from blkcrypto.base.errors import BadInput
from blkcrypto.block.op import ReqOp
from hwmodel.channels import Channel
from hwmodel.device import Device
from hwmodel.faultplan import FaultPlan, Reset
from scenarios.load import load_scenario
from tests.machines import READ, US, WRITE, Records, device, fig, run_ios

PLAIN = -1
DISCARD = int(ReqOp.DISCARD)


def dies(channels: int, *, units: int = 2) -> Device:
    """A stripe of 4 KiB, so that ``run_ios``'s rows lie on the dies in turn."""
    facts = device(units=units, placement="striped")
    media = replace(
        facts.media,
        stripe_bytes=fig(4096),
        channels=fig(channels),
        channel_per_s=fig(409_600_000),
    )
    return replace(facts, media=media)


def done_us(facts: Device, *ios: tuple[int, int]) -> list[int]:
    records: Records
    records, _ = run_ios(facts, [(when * US, op, PLAIN) for when, op in ios])
    times: list[int] = (records["done_ns"] // US).tolist()
    return times


@pytest.mark.parametrize(("channels", "done"), [(1, [110, 120]), (2, [110, 110])])
def test_what_two_dies_read_passes_their_channel_one_after_the_other(channels: int, done: list[int]) -> None:
    assert done_us(dies(channels), (0, READ), (0, READ)) == done


@pytest.mark.parametrize(("channels", "done"), [(1, [210, 220]), (2, [210, 210])])
def test_two_dies_get_their_data_one_after_the_other_and_program_together(
    channels: int, done: list[int]
) -> None:
    assert done_us(dies(channels), (0, WRITE), (0, WRITE)) == done


def test_a_channel_is_free_while_a_die_reads() -> None:
    # The first read needs it from 100 to 110; the write has it before.
    assert done_us(dies(1), (0, READ), (0, WRITE)) == [110, 210]


def test_a_die_is_busy_until_its_data_has_left() -> None:
    # One die: the second read begins at 110.
    assert done_us(dies(1, units=1), (0, READ), (0, READ)) == [110, 220]


def test_without_channels_dies_do_not_meet() -> None:
    assert done_us(dies(0), (0, READ), (0, READ)) == [100, 100]


def test_a_discard_keeps_its_die_busy_and_no_channel() -> None:
    # 50 us on die 0, which then reads; data that went with it would make them 60.
    facts = dies(1)
    facts = replace(facts, media=replace(facts.media, discard_ns=fig(50 * US)))
    assert done_us(facts, (0, DISCARD), (0, READ), (0, READ)) == [50, 110, 160]


def test_a_reset_frees_dies_and_channels() -> None:
    # One die: each read takes 100 us of it, then 10 of the channel.  All begin anew at 1100 us, when the
    # reset of 1000 us is over; the first has read at 1200, when without it the eleventh had the channel.
    facts = dies(1, units=1)
    facts = replace(facts, controller=replace(facts.controller, reset_ns=fig(1000 * US)))
    plan = FaultPlan(resets=(Reset(at_ns=100 * US),))
    records, _ = run_ios(facts, [(0, READ, PLAIN)] * 12, faults=plan)
    assert (records["done_ns"] // US).tolist() == [1100 + 110 * served for served in range(1, 13)]


Wishes = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=40)


@settings(deadline=None)
@given(wishes=Wishes)
def test_a_channel_gives_the_first_gap_that_is_long_enough(wishes: list[tuple[int, int]]) -> None:
    channel, taken = Channel(), set[int]()
    for earliest, ns in wishes:
        start = channel.reserve(earliest, ns, now=0)
        slots = set(range(start, start + ns))
        assert start >= earliest
        assert not slots & taken
        # Literally: no earlier place was free.
        assert all(set(range(at, at + ns)) & taken for at in range(earliest, start))
        taken |= slots


def test_channels_need_addresses() -> None:
    with pytest.raises(BadInput, match="channels need"):
        load_scenario("keyslot-contention", sets=["device.media.channels=2", 'device.media.placement="any"'])
