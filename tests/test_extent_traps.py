"""Behaviours of extent encryption that people get wrong, by their names: T9, T10, T17, T18, T25.

T3, the cache of shared keys that forgot the data unit size, is reproduced in test_fscrypt_key_setup.py; it
cannot happen here, where filesystems have no data units smaller than a block.  T17 for every design is in
test_design_invariants.py, T18 for f2fs itself in test_f2fs_compression.py.
"""

from dataclasses import replace

import pytest

from blkcrypto.block.key import ConfigFlags
from blkcrypto.fs.extents import namespace
from blkcrypto.fs.extents.balance import balance, relocate, scrub
from blkcrypto.fs.extents.checksums import MAX_SEGMENTS, check_native, check_segments
from blkcrypto.fs.extents.designs import LIGHT, ExtentDesign
from blkcrypto.fs.extents.errors import (
    BioTooLarge,
    CiphertextNotVisible,
    ExtentContextMismatch,
    ExtentPolicyUnsupported,
    RangeOperationRefused,
)
from blkcrypto.fs.extents.subject import policy_for
from blkcrypto.fs.extents.volume import Volume
from blkcrypto.fs.fscrypt.key_args import AddKeyArg
from blkcrypto.fs.fscrypt.modes import ModeNum
from blkcrypto.fs.fscrypt.validate import UnsupportedPolicy
from tests.extent_world import BLOCK, World, blocks, every_design, items_of
from tests.fscrypt_world import SHORT_RAW
from tests.small_world import ANY_IDENTIFIER


def cross_clone(*, other_mode: bool) -> tuple[World, str]:
    """A lightweight world where ``other/g`` shares the extents of ``d/f`` under another key or mode."""
    world = World(LIGHT)
    if other_mode:
        policy = policy_for(LIGHT, world.spec.key, (ModeNum.ADIANTUM, ModeNum.ADIANTUM))
    else:
        arg = AddKeyArg(spec=ANY_IDENTIFIER, raw=SHORT_RAW, raw_size=len(SHORT_RAW))
        policy = policy_for(LIGHT, world.volume.add_key(arg).key)
    namespace.make_dir(world.volume, "other", policy)
    world.write("f", 0, blocks(0, 2))
    target = namespace.create(world.volume, "other/g")
    target.clone_from(world.open("f"), 0, 0, 2 * BLOCK)
    target.close()
    return world, "other/g"


@pytest.mark.parametrize("other_mode", [False, True])
def test_t9_v7_clones_across_policies_and_the_clone_is_then_unreadable_with_einval(other_mode: bool) -> None:
    world, path = cross_clone(other_mode=other_mode)
    file = namespace.open_file(world.volume, path)

    with pytest.raises(ExtentContextMismatch) as caught:
        file.read(0, BLOCK)

    assert caught.value.errno_name == "EINVAL"
    assert world.read("f") == blocks(0, 2)


def test_t10_clones_and_splits_duplicate_the_context_so_extents_understate_what_is_stored() -> None:
    world = World(LIGHT)
    world.write("f", 0, blocks(0, 8))
    world.sync()
    world.duplicate("f", "g")
    world.write("f", 3 * BLOCK, blocks(50, 1))
    world.sync()

    stored = world.disk.stored_items(world.disk.subvolumes[0])

    contexts = [data for key, data in stored if key[1] == 42]
    # f: left part, new extent, right part; g: the whole.  Two extents, four contexts of 34 + 25 bytes.
    assert (len(world.disk.extents), len(contexts), len(set(contexts))) == (2, 4, 2)
    assert sum(len(context) + 25 for context in contexts) == 4 * 59


@every_design
def test_t17_balance_and_scrub_need_no_key(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 20))
    world.remount()
    before = len(world.logging.log)

    moved = balance(world.volume)

    assert moved == 3  # extents of at most 8 blocks
    assert scrub(world.volume) == []
    assert len(world.logging.log) == before
    assert world.volume.keys.made == 0


@every_design
def test_t17_collapsing_a_range_is_refused_though_extents_would_allow_it(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 4))

    with pytest.raises(RangeOperationRefused) as caught:
        world.open("f").collapse_range(0, BLOCK)

    assert caught.value.errno_name == "EOPNOTSUPP"


def test_t18_compressed_extents_count_from_0_where_f2fs_leaves_a_slot_for_its_header() -> None:
    world = World(LIGHT)
    file = namespace.create(world.volume, "d/f", compress=True)
    file.write(0, b"z" * 20 * BLOCK)
    file.fsync()
    ((_, item),) = items_of(world, "f")

    assert item.extent.compression
    assert [use.iv for use in world.logging.log] == list(range(item.extent.blocks))


@every_design
def test_t25_checksums_over_ciphertext_keep_every_key_from_hardware(design: ExtentDesign) -> None:
    flags = {}
    for checksums in (True, False):
        world = World(design)
        world.volume = Volume(world.disk, world.store, world.rng, checksums=checksums)
        world.add_key()
        world.write("f", 0, blocks(0, 1))
        world.sync()
        flags[checksums] = {ctx.key.crypto_cfg.flags for ctx, _, _ in world.logging.bios if ctx is not None}

    assert flags == {True: {ConfigFlags.NONE}, False: {ConfigFlags.ALLOW_HW}}


def test_t25_a_natively_encrypted_bio_cannot_be_checksummed() -> None:
    check_native(checksums=False, native=True)
    check_native(checksums=True, native=False)

    with pytest.raises(CiphertextNotVisible) as caught:
        check_native(checksums=True, native=True)

    assert caught.value.errno_name == "EOPNOTSUPP"


def test_t19_t25_a_checksummed_write_bio_of_more_than_256_segments_fails() -> None:
    check_segments(MAX_SEGMENTS + 1, checksums=False)
    check_segments(256, checksums=True)

    with pytest.raises(BioTooLarge):
        check_segments(257, checksums=True)


@pytest.mark.parametrize(("bio_blocks", "largest"), [(0, 256), (256, 256), (257, None)])
def test_t19_t25_a_filesystem_with_checksums_writes_no_larger_bio(
    bio_blocks: int, largest: int | None
) -> None:
    world = World(replace(LIGHT, bio_blocks=bio_blocks), max_extent_bytes=600 * BLOCK)
    world.write("f", 0, blocks(0, 600))

    if largest is None:
        with pytest.raises(BioTooLarge, match="257 segments"):
            world.sync()
    else:
        world.sync()
        assert max(count for _, _, count in world.logging.bios) == largest


def test_a_damaged_extent_stays_where_it_is_and_its_target_blocks_are_free_again() -> None:
    world = World(LIGHT)
    world.write("f", 0, blocks(0, 4))
    world.sync()
    ((_, item),) = items_of(world, "f")
    first = item.extent.block
    world.store.medium[first] = bytes(BLOCK)

    with pytest.raises(Exception, match="EIO"):
        relocate(world.volume, item.extent.number)

    assert item.extent.block == first
    assert scrub(world.volume) == [item.extent.number]


@every_design
@pytest.mark.parametrize("flags", [0x04, 0x08, 0x10])
def test_policies_with_shared_keys_are_einval(design: ExtentDesign, flags: int) -> None:
    world = World(design)
    policy = policy_for(design, world.spec.key)
    modes = (ModeNum.ADIANTUM, ModeNum.ADIANTUM) if flags == 0x04 else (1, 4)
    refused = type(policy)(
        contents_mode=modes[0],
        filenames_mode=modes[1],
        flags=policy.flags | flags,
        master_key=policy.master_key,
    )

    with pytest.raises((ExtentPolicyUnsupported, UnsupportedPolicy)) as caught:
        namespace.make_dir(world.volume, "other", refused)

    assert caught.value.errno_name == "EINVAL"


def test_checksums_move_with_their_extent_and_go_when_it_is_freed() -> None:
    world = World(LIGHT)
    world.write("f", 0, blocks(0, 4))
    world.sync()
    balance(world.volume)
    ((_, item),) = items_of(world, "f")
    assert sorted(world.disk.csums) == list(range(item.extent.block, item.extent.block + 4))

    world.write("f", 0, blocks(9, 4))
    world.sync()

    ((_, item),) = items_of(world, "f")
    assert sorted(world.disk.csums) == list(range(item.extent.block, item.extent.block + 4))


@every_design
def test_a_cloned_nocow_file_is_not_overwritten_in_place(design: ExtentDesign) -> None:
    world = World(design)
    file = namespace.create(world.volume, "d/f", nocow=True)
    file.write(0, blocks(0, 2))
    world.duplicate("f", "g")

    file.write(0, blocks(9, 1))
    file.fsync()
    world.remount()
    world.add_key()

    assert world.read("g") == blocks(0, 2)
