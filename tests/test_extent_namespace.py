"""Names, ranges and clones of the filesystem with extents: what is refused, and with which errno."""

import errno
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.extents import namespace
from blkcrypto.fs.extents.designs import EXTENT_DESIGNS, LIGHT, CloneCheck, ExtentDesign
from blkcrypto.fs.extents.disk import ExtentDisk
from blkcrypto.fs.extents.extent_io import compress, decompress
from blkcrypto.fs.extents.file import ExtentFile
from tests.extent_world import BLOCK, World, blocks, every_design, items_of

Call = Callable[[World, ExtentFile], object]

# A file of six and a half blocks, open.  Sources: open(2), fallocate(2), ioctl_ficlonerange(2).
CASES: dict[str, tuple[int, Call]] = {
    "a directory again": (errno.EEXIST, lambda w, _: namespace.make_dir(w.volume, "d")),
    "a file again": (errno.EEXIST, lambda w, _: namespace.create(w.volume, "d/f")),
    "a file in no directory": (errno.ENOENT, lambda w, _: namespace.create(w.volume, "none/f")),
    "no such file": (errno.ENOENT, lambda w, _: namespace.open_file(w.volume, "d/none")),
    "unlinking nothing": (errno.ENOENT, lambda w, _: namespace.unlink(w.volume, "d/none")),
    "unlinking an open file": (errno.EBUSY, lambda w, _: namespace.unlink(w.volume, "d/f")),
    "a hole of nothing": (errno.EINVAL, lambda _, f: f.punch_hole(0, 0)),
    "a hole before the file": (errno.EINVAL, lambda _, f: f.punch_hole(-BLOCK, BLOCK)),
    "preallocating nothing": (errno.EINVAL, lambda _, f: f.preallocate(0, 0)),
    "collapsing": (errno.EOPNOTSUPP, lambda _, f: f.collapse_range(0, BLOCK)),
    "a clone past the end": (errno.EINVAL, lambda _, f: f.clone_from(f, 6 * BLOCK, 16 * BLOCK, BLOCK)),
    "a clone from within a block": (errno.EINVAL, lambda _, f: f.clone_from(f, 512, 16 * BLOCK, BLOCK)),
    "a clone to within a block": (errno.EINVAL, lambda _, f: f.clone_from(f, 0, 16 * BLOCK + 512, BLOCK)),
    "a clone of half a block": (errno.EINVAL, lambda _, f: f.clone_from(f, 0, 16 * BLOCK, BLOCK // 2)),
    "a clone to the end from past it": (errno.EINVAL, lambda _, f: f.clone_from(f, 8 * BLOCK, 16 * BLOCK, 0)),
    "a clone over itself": (errno.EINVAL, lambda _, f: f.clone_from(f, 0, BLOCK, 2 * BLOCK)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_refused(case: str) -> None:
    number, call = CASES[case]
    world = World(next(iter(EXTENT_DESIGNS.values())))
    file = namespace.create(world.volume, "d/f")
    file.write(0, blocks(0, 6) + b"half".ljust(BLOCK // 2, b"."))
    with pytest.raises(BlkCryptoError) as caught:
        call(world, file)
    assert caught.value.errno == number


@every_design
def test_a_clone_up_to_the_end_of_both_files_may_end_within_a_block(design: ExtentDesign) -> None:
    world = World(design)
    source, target = world.open("a", make=True), world.open("b", make=True)
    text = blocks(0, 2) + b"rest"
    source.write(0, text)
    target.clone_from(source, 0, 0, len(text))
    assert target.read(0, 4 * BLOCK) == text


@every_design
def test_a_clone_of_no_length_goes_to_the_source_s_end_and_from_there_does_nothing(
    design: ExtentDesign,
) -> None:
    world = World(design)
    source, target = world.open("a", make=True), world.open("b", make=True)
    text = blocks(0, 3) + b"rest"
    source.write(0, text)
    target.clone_from(source, BLOCK, 0, 0)
    target.clone_from(source, len(text), 8 * BLOCK, 0)
    assert target.read(0, 16 * BLOCK) == text[BLOCK:]


def test_a_plain_and_an_encrypted_file_never_share_extents() -> None:
    design = next(each for each in EXTENT_DESIGNS.values() if each.clone_check is not CloneCheck.SAME_POLICY)
    world = World(design)
    namespace.make_dir(world.volume, "plain")
    plain, encrypted = namespace.create(world.volume, "plain/f"), world.open("f", make=True)
    plain.write(0, blocks(0, 1))
    with pytest.raises(BlkCryptoError) as caught:
        encrypted.clone_from(plain, 0, 0, BLOCK)
    assert caught.value.errno == errno.EINVAL


def test_a_file_that_is_closed_twice_is_closed_once() -> None:
    world = World(next(iter(EXTENT_DESIGNS.values())))
    file, other = world.open("f", make=True), world.open("f")
    file.close()
    file.close()
    assert file.inode.opens == 1
    other.close()


def test_a_subvolume_goes_with_its_cached_files_but_not_from_under_an_open_one() -> None:
    world = World(LIGHT)
    world.write("f", 0, blocks(0, 2))
    kept = namespace.snapshot(world.volume)
    file = namespace.open_file(world.volume, "d/f", kept)
    file.read(0, BLOCK)

    with pytest.raises(BlkCryptoError, match="EBUSY"):
        namespace.delete_subvolume(world.volume, kept)
    file.close()
    namespace.delete_subvolume(world.volume, kept)

    assert {inode.subvolume.number for inode in world.volume.cached} == {0}
    assert world.read("f") == blocks(0, 2)


@pytest.mark.parametrize("snapshots", [0, 1])
def test_a_deleted_file_s_extents_are_freed_with_their_keys_unless_a_snapshot_has_them(
    snapshots: int,
) -> None:
    world = World(LIGHT, max_extent_bytes=2 * BLOCK)
    world.write("f", 0, blocks(0, 6))
    for _ in range(snapshots):
        world.snapshot()
    world.sync()
    file = world.open("f")
    file.close()
    inode = file.inode
    assert len(world.disk.extents) == len(inode.infos) == 3

    namespace.unlink(world.volume, "d/f")

    assert len(world.disk.extents) == 3 * snapshots
    assert (len(inode.infos), inode in world.volume.cached) == (0, False)


def test_there_is_no_snapshot_to_read_before_one_was_made_and_no_inode_but_those_of_the_tree() -> None:
    world = World(LIGHT)
    world.write("f", 0, b"x")
    for act in (lambda: world.read_snapshot("f"), lambda: world.volume.inode(world.disk.subvolumes[0], 999)):
        with pytest.raises(BlkCryptoError) as caught:
            act()
        assert caught.value.errno == errno.ENOENT


def test_a_write_into_a_hole_ends_where_a_preallocated_extent_begins_which_is_written_in_place() -> None:
    world = World(LIGHT)
    file = namespace.create(world.volume, "d/f")
    file.preallocate(2 * BLOCK, 2 * BLOCK)
    ((_, reserved),) = items_of(world, "f")

    file.write(0, blocks(0, 4))
    file.fsync()

    assert [(at // BLOCK, item.extent.blocks) for at, item in items_of(world, "f")] == [(0, 2), (2, 2)]
    assert items_of(world, "f")[1][1].extent is reserved.extent
    assert world.read("f") == blocks(0, 4)


@pytest.mark.parametrize(
    ("stored", "ram_bytes", "why"),
    [
        (b"no deflate stream", BLOCK, "does not decompress"),
        (zlib.compress(bytes(100)), 101, "holds 100 bytes, not 101"),
    ],
)
def test_what_is_no_compressed_extent_is_eio(stored: bytes, ram_bytes: int, why: str) -> None:
    with pytest.raises(BlkCryptoError, match=why) as caught:
        decompress(stored, ram_bytes)
    assert caught.value.errno == errno.EIO


def test_data_is_compressed_only_where_that_saves_a_block() -> None:
    noise = np.random.default_rng(1).bytes(2 * BLOCK)
    assert compress(noise) is None
    assert compress(bytes(BLOCK)) is None  # a block would still be a block
    packed = compress(bytes(2 * BLOCK))
    assert packed is not None
    assert (len(packed), decompress(packed, 2 * BLOCK)) == (BLOCK, bytes(2 * BLOCK))


def test_a_preallocated_file_has_extents_of_at_most_128_mib() -> None:
    mib = 1 << 20
    world = World(LIGHT, max_extent_bytes=ExtentDisk(LIGHT).max_extent_bytes)
    file = namespace.create(world.volume, "d/f")
    file.preallocate(0, 300 * mib)

    assert [item.extent.blocks * BLOCK for _, item in items_of(world, "f")] == [
        128 * mib,
        128 * mib,
        44 * mib,
    ]
    assert file.read(200 * mib, 2 * BLOCK) == bytes(2 * BLOCK)


def test_a_disk_is_filled_to_its_last_block_and_then_from_the_smallest_free_run_that_has_room() -> None:
    disk = ExtentDisk(LIGHT, blocks=12)
    assert [disk.allocate(4), disk.allocate(7)] == [1, 5]  # block 0 is no extent's
    with pytest.raises(BlkCryptoError, match="ENOSPC"):
        disk.allocate(1)
    disk.give_back(5, 7)
    disk.give_back(1, 3)

    assert [disk.allocate(2), disk.allocate(1), disk.allocate(6), disk.allocate(1)] == [1, 3, 5, 11]
    with pytest.raises(BlkCryptoError, match="ENOSPC"):
        disk.allocate(1)


@every_design
def test_a_hole_inside_a_block_that_is_not_cached_zeroes_its_bytes_and_leaves_the_rest(
    design: ExtentDesign,
) -> None:
    world = World(design)
    world.write("f", 0, blocks(7, 2))
    world.sync()
    file = world.open("f")
    file.inode.pages.clear()
    file.punch_hole(BLOCK + 100, 50)
    world.sync()
    file.inode.pages.clear()
    text = bytearray(blocks(7, 2))
    text[BLOCK + 100 : BLOCK + 150] = bytes(50)
    assert file.read(0, 2 * BLOCK) == bytes(text)
