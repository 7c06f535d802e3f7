"""The workload of reflinks and snapshots: the same steps for every design, costs equal to the arithmetic."""

import numpy as np
import pytest

from blkcrypto.block.op import ReqOp
from blkcrypto.fs.attacker import one_image
from blkcrypto.fs.extents.bio_log import BioLog
from blkcrypto.fs.extents.designs import HEAVY, IV_FROM_FS, LIGHT, ExtentDesign
from blkcrypto.fs.extents.file import ExtentFile
from blkcrypto.fs.extents.items import InodeItem
from blkcrypto.fs.extents.measure import by_arithmetic, measure
from blkcrypto.fs.extents.workload import Workload, run
from blkcrypto.fs.fscrypt.keysetup import INODE_INFO_BYTES
from tests.extent_world import BLOCK, World, blocks, every_design
from tests.fscrypt_world import RAW
from tests.oracle.extent_ciphertext import file_on_device

SMALL = Workload(files=3, file_blocks=32, steps=60, io_blocks=6)


def after(design: ExtentDesign, seed: int = 4) -> tuple[World, list[str]]:
    world = World(design, store=BioLog(BLOCK), max_extent_bytes=8 * BLOCK)
    return world, list(run(world, SMALL, np.random.default_rng(seed)))


@every_design
def test_every_design_takes_the_same_steps_and_makes_the_same_extents(design: ExtentDesign) -> None:
    world, steps = after(design)
    other, other_steps = after(LIGHT)

    assert steps == other_steps
    assert {"clone", "snapshot", "relocate", "write", "read", "punch"} <= set(steps)
    assert [extent.number for extent in world.disk.extents.values()] == [
        extent.number for extent in other.disk.extents.values()
    ]


@every_design
def test_bytes_on_disk_equal_the_arithmetic_after_clones_splits_and_snapshots(design: ExtentDesign) -> None:
    world, _ = after(design)

    found = measure(world.volume)

    assert found.on_disk_bytes == by_arithmetic(world.volume, found)
    assert found.items > found.distinct_items > found.extents


@every_design
def test_bytes_in_memory_equal_the_arithmetic(design: ExtentDesign) -> None:
    world, _ = after(design)
    unlocked = [inode for inode in world.volume.cached if inode.entry is not None]
    infos = sum(len(inode.infos) for inode in unlocked)

    found = measure(world.volume).in_memory_bytes

    shared = 0 if design.key_per_extent else 192
    assert found == len(unlocked) * INODE_INFO_BYTES + infos * design.memory_per_extent_bytes + shared


@every_design
def test_contents_keys_are_one_for_each_loaded_extent_or_one_for_all(design: ExtentDesign) -> None:
    world = World(design, max_extent_bytes=4 * BLOCK)
    world.write("f", 0, blocks(0, 12))
    world.sync()

    found = measure(world.volume)

    assert (found.extents, found.items, found.csum_bytes) == (3, 3, 12 * 4)
    assert found.keys_live == (1 if design is IV_FROM_FS else 3)


@every_design
def test_every_file_of_every_subvolume_lies_on_the_device_as_the_oracle_says(design: ExtentDesign) -> None:
    world, _ = after(design)
    world.sync()
    checked = 0
    for subvolume in world.disk.subvolumes.values():
        stored = world.disk.stored_items(subvolume)
        for key, item in list(subvolume.tree.walk((0, 0, 0), (1 << 62, 0, 0))):
            if isinstance(item, InodeItem) and not item.is_dir:
                inode = world.volume.inode(subvolume, key[0])
                world.volume.unlock(inode)
                inode.pages.clear()
                seen = file_on_device(design.name, RAW, stored, key[0], item.size, world.store.medium)
                assert ExtentFile(world.volume, inode).read(0, item.size) == seen
                checked += 1
    assert checked > 10


@every_design
def test_the_workload_leaves_no_equal_units_but_relocated_ones(design: ExtentDesign) -> None:
    world, _ = after(design)

    seen = one_image(world.image())

    assert seen.zero_units == 0
    assert seen.equal_units <= seen.free_units


def test_the_log_has_one_row_for_each_bio_with_key_and_dun() -> None:
    log = BioLog(BLOCK)
    world = World(LIGHT, store=log, max_extent_bytes=4 * BLOCK)
    world.write("f", 0, blocks(0, 6))
    world.sync()
    file = world.open("f")
    file.inode.pages.clear()
    file.read(3 * BLOCK, 2 * BLOCK)

    bios = log.take()

    assert bios.op.tolist() == [ReqOp.WRITE, ReqOp.WRITE, ReqOp.READ, ReqOp.READ]
    assert bios.blocks.tolist() == [4, 2, 1, 1]
    assert (bios.key.tolist(), bios.dun.tolist()) == ([0, 1, 0, 1], [0, 0, 3, 0])
    assert len(log.take().op) == 0


@every_design
def test_a_file_keeps_no_key_of_an_extent_that_only_its_snapshot_still_uses(design: ExtentDesign) -> None:
    world = World(design)
    for number in range(5):
        world.write("f", 0, blocks(number, 4))
        world.snapshot()

    assert len(world.disk.extents) == 5
    assert len(world.open("f").inode.infos) == 1


@every_design
def test_a_file_keeps_the_key_of_an_extent_until_its_last_part_is_gone(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 6))
    world.sync()
    file = world.open("f")
    loaded = []
    for start, length in ((2, 2), (0, 1), (4, 2), (1, 1)):
        file.punch_hole(start * BLOCK, length * BLOCK)
        loaded.append(len(file.inode.infos))

    assert loaded == [1, 1, 1, 0]
    assert world.disk.extents == {}
    assert world.volume.keys.live == 0


@pytest.mark.parametrize(
    ("design", "expected"), [(HEAVY, 8), (LIGHT, 8), (IV_FROM_FS, 1)], ids=["heavy", "light", "iv"]
)
def test_reading_a_file_touches_a_key_for_each_extent(design: ExtentDesign, expected: int) -> None:
    log = BioLog(BLOCK)
    world = World(design, store=log, max_extent_bytes=4 * BLOCK)
    world.write("f", 0, blocks(0, 32))
    world.sync()

    assert len(log.take().keys) == expected


@every_design
def test_a_punch_moves_no_data_a_read_writes_none_and_a_write_some(design: ExtentDesign) -> None:
    log = BioLog(BLOCK)
    world = World(design, store=log, max_extent_bytes=8 * BLOCK)
    seen: dict[str, set[int]] = {}

    for step in run(world, SMALL, np.random.default_rng(4)):
        seen[step] = seen.get(step, set()) | set(log.take().op.tolist())

    assert (seen["fill"], seen["punch"], seen["read"]) == ({ReqOp.WRITE}, set(), {ReqOp.READ})
    assert ReqOp.WRITE in seen["write"]
