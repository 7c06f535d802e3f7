"""What a power cut takes and what it leaves: flushed data stays, in-flight bios never complete."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.op import ReqOp
from hwmodel.controller import Machine, Where
from hwmodel.dataplane import VerifyingPlane
from hwmodel.faultplan import FaultPlan, PowerCut, Reset
from hwmodel.powerloss import Content, VolatileWrites
from tests.machines import MS, READ, US, WRITE, Records, device, keys, machine
from tests.test_data_on_the_medium import UNIT, random_ios, xts

FLUSH = int(ReqOp.FLUSH)
Row = tuple[int, ...]


def run_cut(
    rows: Sequence[Row],
    *cuts: PowerCut,
    where: Where = "inline",
    seed: int = 1,
    scheduler: bool = False,
    fua: int = -1,
) -> tuple[Records, Machine, VerifyingPlane]:
    records = Records()
    plane = VerifyingPlane(UNIT, seed=3, cipher_of=xts, is_fua=fua.__eq__)
    run = machine(
        device(slots=2, cpus=2, flush_ns=50 * US),
        keys(4),
        records,
        where=where,
        plane=plane,
        seed=seed,
        scheduler="mq-deadline" if scheduler else "none",
        faults=FaultPlan(power_cuts=cuts),
    )
    run.run(iter(rows))
    plane.process()
    return records, run, plane


def write(when: int, row: int, unit: int) -> Row:
    return (when, row, WRITE, unit * 8, UNIT, 0, unit, 0)


def read(when: int, row: int, unit: int) -> Row:
    return (when, row, READ, unit * 8, UNIT, 0, unit, 0)


def flush(when: int, row: int) -> Row:
    return (when, row, FLUSH, 0, 0, -1, 0, 0)


def test_a_bio_in_flight_at_a_power_cut_ends_then_and_later_ones_wait_until_power_is_back() -> None:
    # The write would end at 210 us.  Power is away from 100 to 1100; the key is programmed anew, 10 us.
    rows = [write(0, 0, 5), read(500 * US, 1, 7)]
    records, run, _ = run_cut(rows, PowerCut(at_ns=100 * US, outage_ns=1 * MS))
    assert records["status"].tolist() == [BlkStatus.IOERR, BlkStatus.OK]
    assert (records["done_ns"] // US).tolist() == [100, 1210]
    assert run.is_idle


@pytest.mark.parametrize("seed", range(20))
def test_a_write_completed_before_a_flush_was_submitted_survives_once_the_flush_is_complete(
    seed: int,
) -> None:
    # Written until 210 us, flushed from 250 to 300.
    rows = [write(0, 0, 5), flush(250 * US, 1), read(3 * MS, 2, 5)]
    records, run, plane = run_cut(rows, PowerCut(at_ns=400 * US), seed=seed)
    assert records["status"].tolist() == [0, 0, 0]
    assert run.injector is not None
    assert not {name for name in run.injector.counts if name.startswith("data units")}
    assert (plane.verified.mismatches, plane.broken_promises) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_a_completed_fua_write_survives_without_a_flush(seed: int) -> None:
    # Unit 6 is written beside it, not forced.
    rows = [write(0, 0, 5), write(0, 1, 6), read(3 * MS, 2, 5)]
    _, run, plane = run_cut(rows, PowerCut(at_ns=400 * US), seed=seed, fua=0)
    assert run.injector is not None
    in_doubt = {name: n for name, n in run.injector.counts.items() if name.startswith("data units")}
    assert sum(in_doubt.values()) == 1
    assert (plane.verified.mismatches, plane.broken_promises) == (0, 0)


def test_a_write_that_was_not_flushed_is_sometimes_lost_and_sometimes_kept() -> None:
    fates: set[str] = set()
    for seed in range(20):
        _, run, _ = run_cut([write(0, 0, 5)], PowerCut(at_ns=400 * US), seed=seed)
        assert run.injector is not None
        fates |= run.injector.counts.keys() & {"data units kept", "data units rolled back"}
    assert fates == {"data units kept", "data units rolled back"}


def test_a_flush_that_power_cut_short_promises_nothing() -> None:
    # The flush begins at 250 us; power fails at 270.
    rolled_back = 0
    for seed in range(20):
        rows = [write(0, 0, 5), flush(250 * US, 1)]
        records, run, _ = run_cut(rows, PowerCut(at_ns=270 * US), seed=seed)
        assert records["status"].tolist() == [BlkStatus.OK, BlkStatus.IOERR]
        assert run.injector is not None
        rolled_back += run.injector.counts["data units rolled back"]
    assert rolled_back


def test_an_overwrite_in_flight_leaves_old_new_or_torn_data_and_reads_agree() -> None:
    # Flushed at 300; the second write is in flight from 350 until power fails at 400.
    fates: set[str] = set()
    for seed in range(30):
        rows = [write(0, 0, 5), flush(250 * US, 1), write(350 * US, 2, 5), read(3 * MS, 3, 5)]
        _, run, plane = run_cut(rows, PowerCut(at_ns=400 * US), seed=seed)
        assert (plane.verified.mismatches, plane.broken_promises) == (0, 0)
        assert run.injector is not None
        fates |= {name for name in run.injector.counts if name.startswith("data units")}
    assert fates == {"data units kept", "data units rolled back", "data units torn"}


def test_nothing_is_torn_where_the_medium_writes_whole_data_units() -> None:
    for seed in range(30):
        rows = [write(0, 0, 5), write(350 * US, 1, 5)]
        _, run, _ = run_cut(rows, PowerCut(at_ns=400 * US, tear_bytes=UNIT), seed=seed)
        assert run.injector is not None
        assert not run.injector.counts["data units torn"]


@pytest.mark.parametrize("where", ["inline", "fallback", "fs-layer"])
@pytest.mark.parametrize("scheduler", [False, True])
def test_after_cuts_at_any_time_everything_read_is_what_survived(where: Where, scheduler: bool) -> None:
    rows = random_ios(7, 1500)
    flushes = set(range(0, 1500, 40))
    rows = [flush(row[0], row[1]) if row[1] in flushes else row for row in rows]
    cuts = [PowerCut(at_ns=when * MS) for when in (3, 4, 11, 21)]
    records, run, plane = run_cut(rows, *cuts, where=where, scheduler=scheduler)
    assert sorted(records.completion_order()) == list(range(1500))
    assert plane.verified.bytes > 0
    assert (plane.verified.mismatches, plane.broken_promises) == (0, 0)
    assert run.is_idle
    assert run.injector is not None
    assert run.injector.counts["data units torn"] > 0


def test_a_cut_during_a_reset_leaves_a_machine_that_works() -> None:
    records = Records()
    plan = FaultPlan(
        resets=(Reset(at_ns=50 * US),), power_cuts=(PowerCut(at_ns=60 * US, outage_ns=100 * US),)
    )
    run = machine(device(reset_ns=1 * MS), keys(1), records, faults=plan)
    run.run(iter([read(0, 0, 1), read(2 * MS, 1, 2)]))
    assert records["status"].tolist() == [BlkStatus.IOERR, BlkStatus.OK]
    assert (records["done_ns"] // US).tolist() == [60, 2110]
    assert run.is_idle


# --- the rule, without time ---------------------------------------------------------------------------


def content(version: int, done_ns: int) -> Content:
    return Content(np.full(4096, version, dtype=np.uint8), version, done_ns)


Event = tuple[str, int]


@given(
    events=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 3)),
            st.tuples(st.just("flush"), st.integers(0, 30)),
        ),
        max_size=60,
    ),
    seed=st.integers(0, 1000),
)
def test_no_cut_takes_what_a_flush_promised(events: list[Event], seed: int) -> None:
    # Event number n ends at n; a flush was submitted and begun some events before its end.
    volatile = VolatileWrites()
    held = dict.fromkeys(range(4), Content(None, 0))
    writes: list[tuple[int, int, int]] = []
    promised = dict.fromkeys(range(4), 0)
    for now, (what, number) in enumerate(events, start=1):
        if what == "write":
            new = content(now, now)
            volatile.written(number, held[number], new)
            held[number] = new
            writes.append((now, number, now))
        else:
            submitted = max(0, now - number)
            volatile.flushed(submitted_ns=submitted, began_ns=max(0, now - number // 2))
            for when, unit, version in writes:
                if when <= submitted:
                    promised[unit] = max(promised[unit], version)
    for survivor in volatile.cut([], np.random.default_rng(seed), 512):
        assert min(survivor.versions) >= promised[survivor.unit]
    assert volatile.broken_promises == 0


def test_a_device_that_forgets_a_flushed_write_is_found_out() -> None:
    # The host submitted its flush at 20, after the write at 10; this device began it before the write.
    for seed in range(20):
        volatile = VolatileWrites()
        volatile.written(0, Content(None, 0), content(1, done_ns=10))
        volatile.flushed(submitted_ns=20, began_ns=5)
        (survivor,) = volatile.cut([], np.random.default_rng(seed), 512)
        assert volatile.broken_promises == (survivor.image is None)


def test_what_does_not_fit_in_the_cache_of_16384_data_units_is_durable_oldest_first() -> None:
    volatile = VolatileWrites()
    for unit in range(16384 + 3):
        volatile.written(unit, Content(None, 0), content(1, done_ns=10))
    in_doubt = [survivor.unit for survivor in volatile.cut([], np.random.default_rng(1), 512)]
    assert in_doubt == list(range(3, 16384 + 3))


def test_of_a_data_unit_written_five_times_the_first_is_durable_by_itself() -> None:
    # Four versions fit behind what is durable.
    seen: set[int] = set()
    for seed in range(200):
        volatile = VolatileWrites()
        held = Content(None, 0)
        for version in range(1, 6):
            volatile.written(0, held, held := content(version, done_ns=version))
        (survivor,) = volatile.cut([], np.random.default_rng(seed), 512)
        seen |= set(survivor.versions)
    assert seen == {1, 2, 3, 4, 5}
