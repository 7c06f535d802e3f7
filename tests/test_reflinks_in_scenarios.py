"""A filesystem that clones, snapshots and relocates, in simulated time."""

import pytest

from blkcrypto.fs.extents.measure import by_arithmetic
from hwmodel.companions import DesignWork
from scenarios.build import build
from scenarios.curves.curve import curve
from scenarios.load import load_scenario
from scenarios.model import Model
from scenarios.run import run
from scenarios.schema import Scenario

DESIGNS = ("extents-heavyweight", "extents-nonce-only", "extents-lightweight", "extents-iv-from-fs")


def small(design: str, *sets: str) -> Scenario:
    base = (f"design={design}", "ios=80", "files=3", "layout.file_size=256k", "layout.extent=256k")
    return load_scenario("extents-heavy-versus-light", sets=(*base, *sets))


def after(design: str) -> Model:
    model = build(small(design))
    model.machine.run(model.rows([]), queue_depth=8)
    return model


@pytest.mark.parametrize("design", DESIGNS)
def test_every_file_reads_back_as_it_was_written(design: str) -> None:
    result = run(small(design))
    assert result.verified_bytes > 256 << 10
    assert result.mismatches == 0
    assert all(result.checks.values())


@pytest.mark.parametrize("design", DESIGNS)
def test_bytes_on_disk_equal_the_arithmetic_of_items_and_inodes(design: str) -> None:
    model = after(design)
    assert model.wired is not None
    filesystem = model.wired.filesystem
    assert filesystem is not None

    wanted = by_arithmetic(filesystem._subject.volume, filesystem.measured)
    assert filesystem.footprint().on_disk_bytes == wanted


def test_all_designs_take_the_same_steps_and_make_the_same_items() -> None:
    results = {design: run(small(design, "payload=none")) for design in DESIGNS}
    counts = {(result.rows, result.figures.extents) for result in results.values() if result.figures}
    assert len(counts) == 1
    light, heavy = results["extents-lightweight"], results["extents-heavyweight"]
    assert light.figures is not None
    assert heavy.figures is not None
    # 34 + 25 against 40 bytes an item.
    assert light.design_on_disk_bytes - heavy.design_on_disk_bytes == 19 * light.figures.extents


def test_keys_are_set_up_once_for_each_inode_that_uses_an_extent() -> None:
    result = run(small("extents-lightweight", "payload=none"))
    assert result.figures is not None
    assert result.figures.setups_in_io == result.keyslots.distinct_keys


def test_damage_on_the_device_is_found() -> None:
    model = build(small("extents-lightweight", "ios=5"))
    assert model.wired is not None
    filesystem = model.wired.filesystem
    assert filesystem is not None
    rows = filesystem.rows(DesignWork())
    for _ in range(3):
        next(rows)
    # Checksums would stop the read, so damage what the comparison expects instead.
    filesystem._subject.plain["file 0"][5] ^= 1
    for _ in rows:
        pass
    assert filesystem.verified.mismatches == 1


def test_the_curve_counts_the_filesystem_s_keys() -> None:
    chosen = small("extents-lightweight", "payload=none", "run.queue_depth=1", "jobs=1", "keyslots=4")
    assert curve(chosen).hits[3] == run(chosen).keyslots.hits
