"""Splits and merges in the simulated block layer: what they cost and save.

The device has one tag, hence two scheduler requests; a bio that arrives while both exist merges or waits.
"""

import numpy as np
import pytest

from blkcrypto.block.limits import QueueLimits
from hwmodel.controller import Machine, Where
from hwmodel.dataplane import VerifyingPlane
from hwmodel.request import STAGE_FIELDS
from scenarios.load import load_scenario
from scenarios.results.result import RunResult
from scenarios.run import run as run_scenario
from tests.machines import READ, US, WRITE, Records, device, keys, machine
from tests.test_data_on_the_medium import UNIT, random_ios, xts

PAGE = 4096
A, B = 0, 1
LIMITS = QueueLimits(max_sectors=64, max_segments=8)
Bio = tuple[int, int, int]  # page on the device, key number, DUN


def reads(bios: list[Bio], where: Where = "inline") -> tuple[Records, Machine]:
    """4 KiB reads that all arrive at 0, after a plain one far away that keeps the only tag busy."""
    records = Records()
    run = machine(
        device(tags=1, slots=4, units=1, program_ns=0),
        keys(2),
        records,
        where=where,
        scheduler="mq-deadline",
        limits=LIMITS,
    )
    rows = [(0, 0, READ, 1 << 20, PAGE, -1, 0, 0)]
    rows += [(0, row, READ, page * 8, PAGE, key, dun, 0) for row, (page, key, dun) in enumerate(bios, 1)]
    run.run(iter(rows))
    return records, run


def test_a_bio_behind_a_held_request_with_the_next_dun_merges_and_takes_no_keyslot() -> None:
    records, run = reads([(10, A, 0), (11, A, 1), (12, A, 2)])
    assert run.merges == 2
    assert run.keyslots is not None
    assert run.keyslots.acquires == 1
    # The busy tag is free at 100 us; all three are one request then.
    assert records["done_ns"].tolist() == [100 * US, 200 * US, 200 * US, 200 * US]
    assert records["scheduler"].tolist() == [0, 100 * US, 100 * US, 100 * US]


def test_a_bio_in_front_of_a_held_request_merges() -> None:
    _, run = reads([(10, A, 5), (9, A, 4)])
    assert run.merges == 1


@pytest.mark.parametrize(
    "second",
    [(11, B, 1), (11, A, 7), (11, -1, 0)],
    ids=["another key", "not the next DUN", "not encrypted"],
)
def test_adjacent_bios_stay_apart_when_key_or_dun_do_not_line_up(second: Bio) -> None:
    _, run = reads([(10, A, 0), second])
    assert run.merges == 0


def test_the_fallback_s_bios_carry_no_context_and_merge_whatever_their_keys() -> None:
    _, run = reads([(10, A, 0), (11, B, 7)], where="fallback")
    assert run.merges == 1


def test_a_request_grows_no_larger_than_the_limits() -> None:
    _, run = reads([(10 + page, A, page) for page in range(9)])
    assert run.merges == 7  # 8 segments are one request; the ninth bio is another


def test_a_bio_larger_than_a_request_is_split_and_completes_with_its_last_part() -> None:
    records = Records()
    run = machine(device(units=1, program_ns=10 * US), keys(1), records, limits=LIMITS)
    run.run(iter([(0, 0, READ, 0, 20 * PAGE, A, 0, 0)]))
    # 8 + 8 + 4 pages, served one after another by the only unit; one program.
    assert run.splits == 2
    assert records["done_ns"].tolist() == [10 * US + 3 * 100 * US]
    assert records["nbytes"].tolist() == [20 * PAGE]
    assert run.is_idle


@pytest.mark.parametrize("where", ["inline", "fallback", "fs-layer"])
def test_merging_and_splitting_change_no_byte_and_leave_stage_times_that_sum_up(where: Where) -> None:
    # All at once, so that the scheduler has much to merge; the order of completion differs, so only reads
    # of what was written long before are compared between the runs.
    writes = [
        (row, row, WRITE, int(unit) * 8, UNIT, int(unit) // 256, int(unit) % 256, row % 4)
        for row, unit in enumerate(range(1024))
    ]
    mixed = [(10**9 + when, 1024 + row, *rest) for when, row, *rest in random_ios(5, 500)]
    media = []
    for scheduler, limits in (("none", None), ("mq-deadline", LIMITS)):
        plane = VerifyingPlane(UNIT, seed=3, cipher_of=xts)
        records = Records()
        run = machine(
            device(tags=2, slots=2, cpus=2),
            keys(4),
            records,
            where=where,
            plane=plane,
            scheduler=scheduler,  # type: ignore[arg-type]  # literals from a tuple
            limits=limits,
        )
        run.run(iter([*writes, *(row for row in mixed if row[2] == READ)]))
        plane.process()
        assert plane.verified.mismatches == 0
        stages = np.stack([records[stage] for stage in STAGE_FIELDS]).sum(axis=0)
        assert (stages == records["total"]).all()
        assert run.is_idle
        media.append(plane.medium.sha256())
        if limits is not None:
            assert run.merges > 100
            assert run.splits > 10
    assert media[0] == media[1]


def catalog_run(*sets: str) -> RunResult:
    return run_scenario(load_scenario("merging", sets=("ios=20000", *sets)))


def test_merging_raises_the_throughput_of_sequential_io_under_per_file_keys() -> None:
    without, merged = (catalog_run(f"block.scheduler={name}") for name in ("none", "mq-deadline"))
    assert without.merges == 0
    assert merged.merges > merged.bios // 2
    assert merged.directions["read"].iops > 2 * without.directions["read"].iops


def test_what_is_not_adjacent_on_the_device_does_not_merge() -> None:
    # Extents of one bio each, all moved: the next data unit of a file is next to it only by chance.
    scattered = catalog_run("block.scheduler=mq-deadline", "layout.extent=4k", "layout.fragmentation=1")
    assert scattered.merges < scattered.bios // 100


def test_a_keyslot_is_acquired_once_per_request_not_once_per_bio() -> None:
    merged = catalog_run("block.scheduler=mq-deadline")
    assert merged.keyslots.acquires < merged.bios
    # Requests merged into each other had a keyslot each, and gave one up.
    assert merged.keyslots.acquires >= merged.bios - merged.merges
