"""What lies on the device, against an oracle that reads it with the master key alone."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.fs.attacker import reused_pairs
from blkcrypto.fs.extents import namespace
from blkcrypto.fs.extents.balance import balance
from blkcrypto.fs.extents.designs import IV_FROM_FS, LIGHT, ExtentDesign
from blkcrypto.fs.extents.errors import ChecksumMismatch
from blkcrypto.fs.extents.items import COMPRESS_ZLIB, FileExtent
from tests.extent_world import BLOCK, DESIGNS, World, blocks, every_design, items_of
from tests.fscrypt_world import RAW
from tests.oracle.extent_ciphertext import file_on_device


def on_device(world: World, path: str) -> bytes:
    """The file as the oracle reads it, from every item's bytes."""
    world.sync()
    file = world.open(path)
    file.close()
    inode = file.inode
    stored = world.disk.stored_items(inode.subvolume)
    return file_on_device(world.name, RAW, stored, inode.ino, file.size, world.store.medium)


def overwrite(world: World) -> None:
    world.write("f", 3 * BLOCK, blocks(50, 2))


def punch(world: World) -> None:
    file = world.open("f")
    file.punch_hole(2 * BLOCK + 100, 3 * BLOCK)
    file.close()


def truncate(world: World) -> None:
    world.truncate("f", 4 * BLOCK + 10)


def clone_inside(world: World) -> None:
    file = world.open("f")
    file.clone_from(file, 0, 20 * BLOCK, 3 * BLOCK)
    file.close()


def snapshot_and_write(world: World) -> None:
    world.snapshot()
    world.write("f", BLOCK, blocks(70, 1))


def move(world: World) -> None:
    balance(world.volume)


def fill_preallocated(world: World) -> None:
    file = world.open("f")
    file.preallocate(30 * BLOCK, 6 * BLOCK)
    file.write(32 * BLOCK, blocks(90, 2))
    file.close()


STEPS: tuple[Callable[[World], None], ...] = (
    overwrite, punch, truncate, clone_inside, snapshot_and_write, move, fill_preallocated,
)  # fmt: skip


@every_design
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_the_oracle_reads_what_the_filesystem_reads(
    design: ExtentDesign, step: Callable[[World], None]
) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 12))
    world.sync()

    step(world)

    assert on_device(world, "f") == world.read("f")
    assert any(world.read("f"))


@every_design
def test_compressed_extents_are_encrypted_after_compression_from_data_unit_0(design: ExtentDesign) -> None:
    world = World(design, max_extent_bytes=1 << 20)
    file = namespace.create(world.volume, "d/f", compress=True)
    file.write(0, b"compress me " * 40000)
    file.fsync()
    file.close()

    extents = [item.extent for _, item in items_of(world, "f")]

    assert {extent.compression for extent in extents} == {COMPRESS_ZLIB}
    assert max(extent.ram_bytes for extent in extents) == 128 * 1024
    assert on_device(world, "f") == b"compress me " * 40000


@every_design
def test_part_of_a_compressed_extent_survives_an_overwrite_and_a_remount(design: ExtentDesign) -> None:
    world = World(design)
    file = namespace.create(world.volume, "d/f", compress=True)
    file.write(0, blocks(0, 32))
    file.fsync()
    file.write(5 * BLOCK, blocks(80, 2))
    file.close()
    world.remount()
    world.add_key()

    assert world.read("f") == blocks(0, 5) + blocks(80, 2) + blocks(7, 25)


def test_data_that_does_not_compress_is_stored_as_it_is() -> None:
    world = World(LIGHT)
    file = namespace.create(world.volume, "d/f", compress=True)
    noise = world.rng.bytes(8 * BLOCK)
    file.write(0, noise)
    file.close()

    assert on_device(world, "f") == noise
    assert not any(item.extent.compression for _, item in items_of(world, "f"))


def test_a_file_of_an_unencrypted_directory_lies_in_clear_and_has_no_contexts() -> None:
    world = World(LIGHT)
    namespace.make_dir(world.volume, "open")
    file = namespace.create(world.volume, "open/f")
    file.write(0, blocks(0, 1))
    file.fsync()
    file.close()

    stored = world.disk.stored_items(world.disk.subvolumes[0])
    assert blocks(0, 1) in world.store.medium.values()
    assert [(key[1], len(data)) for key, data in stored] == [(108, 53)]


@every_design
def test_a_bio_stays_in_one_extent_and_within_256_blocks_or_one(design: ExtentDesign) -> None:
    world = World(design, max_extent_bytes=600 * BLOCK)

    world.write("f", 0, bytes(700 * BLOCK))
    world.sync()

    sizes = [count for ctx, _, count in world.logging.bios if ctx is not None]
    # An extent of 600 blocks and one of 100.
    assert sizes == ([1] * 700 if design is IV_FROM_FS else [256, 256, 88, 100])


@every_design
def test_damage_is_found_by_checksum_without_any_key(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 4))
    world.remount()
    ((_, item),) = _items_without_key(world)
    block = item.extent.block + 2
    world.store.medium[block] = b"\x01" + world.store.medium[block][1:]

    with pytest.raises(ChecksumMismatch) as caught:
        balance(world.volume)

    assert caught.value.errno_name == "EIO"


def _items_without_key(world: World) -> list[tuple[int, FileExtent]]:
    walk = world.disk.subvolumes[0].tree.walk((0, 0, 0), (1 << 62, 0, 0))
    return [(key[2], item) for key, item in walk if isinstance(item, FileExtent)]


file_ops = st.lists(
    st.tuples(
        st.sampled_from(["write", "punch", "truncate", "clone", "snapshot", "move", "prealloc", "remount"]),
        st.integers(0, 40_000),
        st.integers(1, 20_000),
    ),
    max_size=14,
)


@settings(max_examples=40)
@given(st.sampled_from(DESIGNS), st.booleans(), file_ops)
def test_any_sequence_of_operations_reads_as_a_plain_file_does_and_reuses_no_iv(
    design: ExtentDesign, compress: bool, steps: list[tuple[str, int, int]]
) -> None:
    world = World(design)
    namespace.create(world.volume, "d/f", compress=compress).close()
    plain = bytearray()
    for count, (what, pos, length) in enumerate(steps):
        file = world.open("f")
        if what == "write":
            data = bytes([count + 1]) * length
            file.write(pos, data)
            plain.extend(bytes(max(0, pos + length - len(plain))))
            plain[pos : pos + length] = data
        elif what == "punch":
            file.punch_hole(pos, length)
            plain[pos : pos + length] = bytes(len(plain[pos : pos + length]))
        elif what == "truncate":
            file.truncate(pos)
            plain = plain[:pos] + bytes(max(0, pos - len(plain)))
        elif what == "clone" and len(plain) > BLOCK:
            source = plain[:BLOCK]
            target = -(-len(plain) // BLOCK) * BLOCK
            file.clone_from(file, 0, target, BLOCK)
            plain.extend(bytes(target - len(plain)) + source)
        elif what == "prealloc":
            file.preallocate(pos, length)
            plain.extend(bytes(max(0, pos + length - len(plain))))
        file.close()
        if what == "snapshot":
            world.snapshot()
        elif what == "move":
            world.sync()
            world.move()
        elif what == "remount":
            world.remount()
            world.add_key()
        assert world.read("f") == plain
    assert on_device(world, "f") == plain
    assert reused_pairs(world.logging.log) == {}
