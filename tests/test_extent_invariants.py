"""Invariants of extents by their numbers: I21 to I25 and I30 (I26 to I29 are about other designs)."""

import errno

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.fs.attacker import leaks, reused_pairs, runs_of
from blkcrypto.fs.extents import namespace
from blkcrypto.fs.extents.balance import balance
from blkcrypto.fs.extents.designs import HEAVY, IV_FROM_FS, LIGHT, NONCE_ONLY, CloneCheck, ExtentDesign
from blkcrypto.fs.extents.errors import CloneMismatch
from blkcrypto.fs.extents.subject import policy_for
from blkcrypto.fs.extents.volume import Volume
from blkcrypto.fs.fscrypt.key_args import AddKeyArg
from blkcrypto.fs.store import SoftwareStore
from tests.extent_world import BLOCK, World, blocks, every_design, items_of
from tests.fscrypt_world import RAW, SHORT_RAW
from tests.small_world import ANY_IDENTIFIER


@every_design
def test_i21_clone_snapshot_and_relocation_keep_ciphertext_and_plaintext(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 6))
    world.sync()
    ((_, item),) = items_of(world, "f")
    first, count = item.extent.block, item.extent.blocks
    ciphertext = [world.store.medium[block] for block in range(first, first + count)]

    world.duplicate("f", "g")
    world.snapshot()
    balance(world.volume)

    moved = item.extent.block
    assert moved != first
    assert [world.store.medium[block] for block in range(moved, moved + count)] == ciphertext
    world.remount()
    world.add_key()
    assert world.read("f") == world.read("g") == world.read_snapshot("f") == blocks(0, 6)


@every_design
def test_i22_the_dun_counts_from_the_extents_start_wherever_its_parts_stand(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 6))
    world.write("pad", 0, blocks(0, 1))
    world.sync()
    base = world.logging.log[0].iv
    world.open("g", make=True).close()
    target, source = world.open("g"), world.open("f")
    target.clone_from(source, 2 * BLOCK, 9 * BLOCK, 3 * BLOCK)
    ((start, item),) = items_of(world, "g")

    info = world.volume.io.info(target.inode, item)

    assert (start, item.offset) == (9 * BLOCK, 2 * BLOCK)
    assert info is not None
    assert info.first_dun == base == (0 if design.key_per_extent else base)
    assert target.read(9 * BLOCK, 3 * BLOCK) == blocks(2, 3)


@every_design
def test_i23_copy_on_write_never_encrypts_two_plaintexts_under_one_key_and_dun(design: ExtentDesign) -> None:
    world = World(design)
    for number in range(6):
        world.write("f", number * 1000, blocks(10 * number, 4))
        world.sync()

    assert len(world.logging.log) > 20
    assert reused_pairs(world.logging.log) == {}


@every_design
def test_i23_preallocated_ranges_are_written_in_place_once_and_copied_after_that(
    design: ExtentDesign,
) -> None:
    world = World(design)
    file = world.open("f", make=True)
    file.preallocate(0, 4 * BLOCK)
    assert file.read(0, 4 * BLOCK) == bytes(4 * BLOCK)
    ((_, whole),) = items_of(world, "f")
    for number in range(3):
        file.write(BLOCK, blocks(number, 2))
        file.fsync()

    assert reused_pairs(world.logging.log) == {}
    first = [use.address for use in world.logging.log][:2]
    assert first == [whole.extent.block + 1, whole.extent.block + 2]


@every_design
def test_i23_nocow_loses_it_and_the_log_shows_which_pairs(design: ExtentDesign) -> None:
    world = World(design)
    file = namespace.create(world.volume, "d/f", nocow=True)
    for number in range(3):
        file.write(0, blocks(10 * number, 2))
        file.fsync()

    reused = reused_pairs(world.logging.log)

    assert sorted(reused.values()) == [3, 3]


@every_design
def test_i23_a_nocow_file_is_copied_once_after_a_snapshot(design: ExtentDesign) -> None:
    world = World(design)
    file = namespace.create(world.volume, "d/f", nocow=True)
    file.write(0, blocks(0, 1))
    world.snapshot()

    file.write(0, blocks(5, 1))
    file.fsync()

    assert reused_pairs(world.logging.log) == {}
    assert world.read_snapshot("f") == blocks(0, 1)


@pytest.mark.parametrize("design", [HEAVY, NONCE_ONLY, IV_FROM_FS], ids=lambda design: design.name)
def test_i24_a_clone_across_policies_is_refused_before_anything_changes(design: ExtentDesign) -> None:
    check_refused_clone(World(design))


def test_i24_holds_for_the_lightweight_design_with_the_check_that_review_asks_for() -> None:
    world = World(LIGHT)
    world.volume = Volume(world.disk, world.store, world.rng, clone_check=CloneCheck.SAME_POLICY)
    world.add_key()
    check_refused_clone(world)


def check_refused_clone(world: World) -> None:
    arg = AddKeyArg(spec=ANY_IDENTIFIER, raw=SHORT_RAW, raw_size=len(SHORT_RAW))
    other = world.volume.add_key(arg)
    namespace.make_dir(world.volume, "other", policy_for(world.disk.design, other.key))
    world.write("f", 0, blocks(0, 2))
    target = namespace.create(world.volume, "other/g")
    target.write(0, blocks(7, 3))
    world.sync()
    before = world.disk.stored_items(world.disk.subvolumes[0])

    with pytest.raises(CloneMismatch) as caught:
        target.clone_from(world.open("f"), 0, 0, 2 * BLOCK)

    assert caught.value.errno_name == "EINVAL"
    assert world.disk.stored_items(world.disk.subvolumes[0]) == before
    assert target.read(0, 3 * BLOCK) == blocks(7, 3)


@every_design
def test_i25_new_extents_of_open_files_after_removal_are_written_or_stay_dirty(design: ExtentDesign) -> None:
    world = World(design)
    file = world.open("f", make=True)
    world.volume.remove_key(world.spec)
    file.write(0, blocks(0, 1))

    if design is HEAVY:
        with pytest.raises(Exception, match="ENOKEY"):
            file.fsync()
        assert list(file.inode.dirty) == [0]
    else:
        file.fsync()
        assert not file.inode.dirty


@every_design
def test_i26_a_loaded_extent_never_serves_another(design: ExtentDesign) -> None:
    # Extents are loaded by numbers that are never used twice, even when their blocks are.
    world = World(design, max_extent_bytes=BLOCK)
    seen = set()
    for number in range(5):
        world.write("f", 0, blocks(number, 1))
        world.sync()
        seen |= {item.extent.number for _, item in items_of(world, "f")}

    assert len(seen) == 5
    assert len(world.open("f").inode.infos) == 1


@every_design
def test_i30_the_device_shows_no_run_of_plaintext_and_no_key(design: ExtentDesign) -> None:
    world = World(design)
    world.write("a file with quite a long name", 0, blocks(0, 8))
    world.sync()
    keys = {use.key for use in world.logging.log if isinstance(use.key, bytes)}
    secrets = [*runs_of(blocks(0, 8)), b"a file with quite", RAW[:16], *(key[:16] for key in keys)]

    assert leaks(world.image(), secrets) == []
    assert len(keys) == 1


@pytest.mark.parametrize("design", [HEAVY, LIGHT], ids=lambda design: design.name)
def test_i24_every_extent_names_mode_and_key_of_every_inode_that_refers_to_it(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 20))
    world.duplicate("f", "g")
    world.snapshot()
    world.write("g", 3 * BLOCK, blocks(40, 3))
    world.sync()
    named = set()
    for subvolume in world.disk.subvolumes.values():
        for _, data in world.disk.stored_items(subvolume):
            if design is HEAVY:
                # struct fscrypt_context_v2: contents mode at 1, identifier at 8.
                named.add((data[53 + 1], data[53 + 8 : 53 + 24]))
            elif len(data) == 34:
                named.add((data[1], data[2:18]))

    assert named == {(1, world.spec.key)}


class DeviceBroken(BlkCryptoError):
    """The device takes no writes just now."""

    errno = errno.EIO


class BreakingStore(SoftwareStore):
    """A device that breaks and recovers."""

    broken = False

    def write(self, ctx: BioCryptCtx | None, block: int, data: bytes) -> None:
        if self.broken:
            raise DeviceBroken("broken")
        super().write(ctx, block, data)


@every_design
def test_i17_a_failed_write_keeps_pages_dirty_old_data_in_place_and_no_key_behind(
    design: ExtentDesign,
) -> None:
    store = BreakingStore(BLOCK)
    world = World(design, store=store)
    world.write("f", 0, blocks(0, 2))
    world.sync()
    extents, live = dict(world.disk.extents), world.volume.keys.live
    world.write("f", 0, blocks(9, 2))
    store.broken = True

    with pytest.raises(DeviceBroken):
        world.sync()

    assert (world.disk.extents, world.volume.keys.live) == (extents, live)
    store.broken = False
    world.remount()
    world.add_key()
    assert world.read("f") == blocks(9, 2)
