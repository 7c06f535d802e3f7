"""What each design costs, by hand and by counting a filesystem that really has the files."""

import pytest

from blkcrypto.fs.extents import namespace
from blkcrypto.fs.extents.designs import HEAVY, IV_FROM_FS, LIGHT, NONCE_ONLY, ExtentDesign
from blkcrypto.fs.extents.overhead import Overhead, file_overhead, per_gib
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES, INODE_INFO_BYTES
from tests.extent_world import BLOCK, World, blocks, every_design, items_of

MIB = 1 << 20
KIB = 1 << 10


@pytest.mark.parametrize(
    ("design", "extent", "on_disk", "keys"),
    [
        # 1 GiB is 8 extents of 128 MiB or 8192 of 128 KiB; the inode's own context has 40 bytes.
        (HEAVY, 128 * MIB, 40 + 8 * 40, 8),
        (HEAVY, 128 * KIB, 40 + 8192 * 40, 8192),
        (NONCE_ONLY, 128 * MIB, 40 + 8 * 16, 8),
        (NONCE_ONLY, 128 * KIB, 40 + 8192 * 16, 8192),
        (LIGHT, 128 * MIB, 40 + 8 * (34 + 25), 8),
        (LIGHT, 128 * KIB, 40 + 8192 * (34 + 25), 8192),
        (IV_FROM_FS, 128 * MIB, 40 + 8 * 16, 1),
        (IV_FROM_FS, 128 * KIB, 40 + 8192 * 16, 1),
    ],
    ids=lambda value: value.name if isinstance(value, ExtentDesign) else str(value),
)
def test_a_gibibyte_costs_on_disk_what_the_sizes_say(
    design: ExtentDesign, extent: int, on_disk: int, keys: int
) -> None:
    found = per_gib(design, extent)

    assert (found.on_disk_bytes, found.keys) == (on_disk, keys)


def test_checksums_of_a_gibibyte_are_a_mebibyte_in_every_design() -> None:
    # 2**30 / 4096 blocks of 4 bytes.
    assert per_gib(LIGHT, 128 * MIB).csum_bytes == MIB


@pytest.mark.parametrize(
    ("design", "per_extent"),
    # Info, key, link in the master key's list.
    [(HEAVY, 128 + 160 + 16), (NONCE_ONLY, 16 + 160), (LIGHT, 48 + 160), (IV_FROM_FS, 0)],
    ids=lambda value: value.name if isinstance(value, ExtentDesign) else str(value),
)
def test_a_loaded_extent_costs_its_structures_once_for_each_inode(
    design: ExtentDesign, per_extent: int
) -> None:
    one = file_overhead(design, 8 * MIB, MIB)
    shared = file_overhead(design, 8 * MIB, MIB, sharers=3)

    own_key = 0 if design.key_per_extent else BLK_CRYPTO_KEY_BYTES
    assert one.in_memory_bytes == INODE_INFO_BYTES + 8 * per_extent + own_key
    assert shared.in_memory_bytes == 3 * (INODE_INFO_BYTES + 8 * per_extent) + own_key


def test_a_file_that_ends_inside_an_extent_pays_for_all_of_it() -> None:
    assert file_overhead(LIGHT, MIB + 1, MIB).items == 2


def measured(world: World, sharers: int) -> Overhead:
    """The same figures, counted."""
    stored = world.disk.stored_items(world.disk.subvolumes[0])
    items = sum(key[1] == 108 for key, _ in stored)
    headers = 25 * (len(stored) - items)
    added = sum(len(data) - (53 if key[1] == 108 else 0) for key, data in stored)
    return Overhead(
        items=items,
        on_disk_bytes=40 * sharers + added + headers,
        csum_bytes=4 * len(world.disk.csums),
        in_memory_bytes=world.volume.in_memory_bytes,
        keys=world.volume.keys.live if world.disk.design.key_per_extent else len(world.store.keys_held),
    )


@every_design
def test_a_real_file_costs_what_the_arithmetic_says(design: ExtentDesign) -> None:
    world = World(design, max_extent_bytes=4 * BLOCK)
    world.write("f", 0, blocks(0, 30))
    world.sync()
    _only_files_cached(world, "f")

    assert measured(world, 1) == file_overhead(design, 30 * BLOCK, 4 * BLOCK)


@every_design
def test_clones_of_a_real_file_cost_what_the_arithmetic_says(design: ExtentDesign) -> None:
    world = World(design, max_extent_bytes=4 * BLOCK)
    world.write("f", 0, blocks(0, 16))
    world.duplicate("f", "g")
    world.duplicate("f", "h")
    _only_files_cached(world, "f", "g", "h")

    assert measured(world, 3) == file_overhead(design, 16 * BLOCK, 4 * BLOCK, sharers=3)


@every_design
def test_overwriting_the_middle_of_extents_costs_what_the_arithmetic_says(design: ExtentDesign) -> None:
    world = World(design, max_extent_bytes=4 * BLOCK)
    world.write("f", 0, blocks(0, 16))
    world.sync()
    for extent in (0, 1, 2):
        world.write("f", (4 * extent + 1) * BLOCK, blocks(40, 1))
        world.sync()
    _only_files_cached(world, "f")

    found, wanted = measured(world, 1), file_overhead(design, 16 * BLOCK, 4 * BLOCK, splits=3)
    # The overwritten blocks stay allocated with their extents, and so do their checksums.
    assert found.csum_bytes == wanted.csum_bytes + 3 * 4
    assert (found.items, found.on_disk_bytes, found.in_memory_bytes, found.keys) == (
        wanted.items,
        wanted.on_disk_bytes,
        wanted.in_memory_bytes,
        wanted.keys,
    )


def _only_files_cached(world: World, *paths: str) -> None:
    """Everything evicted, then the files read: one info for each extent of each file, and no directory."""
    world.sync()
    for path in paths:
        file = world.open(path)
        file.inode.pages.clear()
        file.read(0, file.size)
    for inode in world.volume.cached:
        if inode.item.is_dir:
            world.volume.evict(inode)


@every_design
def test_an_extent_overwritten_as_a_whole_takes_its_key_with_it(design: ExtentDesign) -> None:
    world = World(design)
    for number in range(5):
        world.write("f", 0, blocks(number, 4))
        world.sync()

    assert len(world.disk.extents) == 1
    assert world.volume.keys.live == (1 if design.key_per_extent else 0)
    assert len(items_of(world, "f")) == 1


@every_design
def test_freed_blocks_are_used_again_once_the_device_was_filled(design: ExtentDesign) -> None:
    world = World(design, device_blocks=24)
    for number in range(20):
        world.write("f", 0, blocks(number, 4))
        world.sync()

    assert max(world.store.medium) < 24
    assert world.read("f") == blocks(19, 4)


def test_a_full_device_says_enospc_and_the_data_stays_dirty() -> None:
    world = World(LIGHT, device_blocks=8)
    file = world.open("f", make=True)
    file.write(0, blocks(0, 12))

    with pytest.raises(Exception, match="ENOSPC"):
        file.fsync()

    assert len(file.inode.dirty) == 12
    assert world.volume.keys.live == 0


def test_deleting_the_last_snapshot_frees_what_only_it_used() -> None:

    world = World(LIGHT)
    world.write("f", 0, blocks(0, 4))
    snapshot = namespace.snapshot(world.volume)
    world.write("f", 0, blocks(9, 4))
    world.sync()
    assert len(world.disk.extents) == 2

    namespace.delete_subvolume(world.volume, snapshot)

    assert len(world.disk.extents) == 1
    assert world.read("f") == blocks(9, 4)
