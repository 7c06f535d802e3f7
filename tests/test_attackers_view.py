"""What the device shows without a key: by hand-made images, and for every design of extents."""

import numpy as np
import pytest

from blkcrypto.fs.attacker import Image, KeyUse, leaks, one_image, reused_pairs, runs_of, two_images
from blkcrypto.fs.extents import namespace
from blkcrypto.fs.extents.balance import balance
from blkcrypto.fs.extents.designs import ExtentDesign
from tests.extent_world import BLOCK, World, blocks, every_design, items_of

A, B, ZERO = b"a" * 4096, b"b" * 4096, bytes(4096)


def test_equal_units_count_beyond_the_first_of_each_kind_and_zeroes_apart() -> None:
    seen = one_image(Image(units={1: A, 2: A, 3: A, 4: B, 5: ZERO, 6: ZERO}))

    assert (seen.units, seen.equal_units, seen.zero_units, seen.free_units) == (6, 2, 2, -1)


def test_units_that_metadata_shows_unused_are_free() -> None:
    assert one_image(Image(units={1: A, 2: B}, in_use=frozenset({2}))).free_units == 1


def test_metadata_in_clear_shows_sizes_names_and_sharing() -> None:
    image = Image(
        units={1: A},
        sizes=(70, 5),
        names=(b"x" * 32, b"y" * 16, b"y" * 16),
        contexts=(b"n1", b"n1", b"n2"),
        links={"f": frozenset({1, 2}), "g": frozenset({1})},
    )

    seen = one_image(image)

    assert (seen.sizes, seen.name_lengths, seen.equal_names) == ((5, 70), (16, 16, 32), 1)
    assert (seen.shared_units, seen.repeated_contexts) == (1, 1)


def test_two_images_show_what_changed_appeared_stayed_and_moved() -> None:
    changed_part = A[:16] + B[16:]
    before = Image(units={1: A, 2: B, 3: A})
    after = Image(units={1: A, 2: A, 3: changed_part, 4: B})

    seen = two_images(before, after)

    assert (seen.changed, seen.appeared, seen.kept) == ((2, 3), (4,), 1)
    # Address 2 got what stood at 1, address 4 what stood at 2.
    assert (seen.moved, seen.rewritten_parts) == (2, 1)


def test_a_leak_is_found_at_any_offset_and_in_names() -> None:
    image = Image(units={1: A[:100] + b"needle of 16 byt" + A[116:]}, names=(b"a name in clear!",))

    assert leaks(image, [b"needle of 16 byt", b"a name in clear!", b"not on the disk!"]) == [
        b"needle of 16 byt",
        b"a name in clear!",
    ]


def test_runs_skip_zeroes() -> None:
    assert runs_of(bytes(256) + b"x" * 32) == [b"x" * 16]


def test_runs_have_16_bytes_at_every_step_as_far_as_the_text_goes() -> None:
    text = bytes(at % 255 + 1 for at in range(272))

    assert runs_of(text) == [text[:16], text[256:]]
    assert runs_of(text[:-1]) == [text[:16]]
    assert runs_of(text[:40], step=8) == [text[at : at + 16] for at in (0, 8, 16, 24)]


def test_a_run_across_two_units_is_no_leak_and_one_in_a_context_is() -> None:
    image = Image(units={1: A[:-8] + b"needle o", 2: b"f 16 byt" + A[8:]}, contexts=(b"--a context's key--",))

    assert leaks(image, [b"needle of 16 byt", b"a context's key-"]) == [b"a context's key-"]


def test_units_of_two_lengths_are_compared_as_far_as_both_go() -> None:
    seen = two_images(Image(units={1: A[:32] + B[:16]}), Image(units={1: A[:16] + B[:16]}))

    assert (seen.changed, seen.rewritten_parts, seen.kept) == ((1,), 1, 0)


def test_a_pair_is_reused_when_it_encrypted_two_plaintexts_not_when_the_same_twice() -> None:
    log = [
        KeyUse.of("k", 0, A, 1),
        KeyUse.of("k", 0, A, 2),
        KeyUse.of("k", 1, A, 3),
        KeyUse.of("k", 1, B, 3),
        KeyUse.of("l", 0, B, 4),
    ]

    assert reused_pairs(log) == {("k", 1): 2}


@every_design
def test_equal_blocks_of_a_file_and_of_two_files_look_different(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, b"same" * BLOCK)
    world.write("g", 0, b"same" * BLOCK)
    world.sync()

    assert one_image(world.image()).equal_units == 0


@every_design
def test_rewriting_a_block_shows_nothing_but_a_new_unit_and_a_freed_one(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 1))
    world.sync()
    before = world.image()
    world.write("f", 0, blocks(0, 1)[:-16] + b"x" * 16)
    world.sync()

    seen = two_images(before, world.image())

    assert (seen.changed, len(seen.appeared), seen.rewritten_parts, seen.moved) == ((), 1, 0, 0)
    assert one_image(world.image()).free_units == 1


@every_design
def test_rewriting_a_nocow_block_shows_which_16_bytes_did_not_change(design: ExtentDesign) -> None:
    world = World(design)
    file = namespace.create(world.volume, "d/f", nocow=True)
    file.write(0, blocks(0, 1))
    file.fsync()
    before = world.image()
    file.write(0, b"x" * 16)
    file.fsync()

    seen = two_images(before, world.image())

    # XTS: one of the unit's 256 parts was rewritten.
    assert (len(seen.changed), seen.appeared, seen.rewritten_parts) == (1, (), 255)


@every_design
def test_relocation_shows_as_ciphertext_that_stands_elsewhere(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 5))
    world.sync()
    before = world.image()
    balance(world.volume)

    seen = two_images(before, world.image())

    assert (seen.moved, len(seen.appeared)) == (5, 5)


@every_design
def test_clones_and_splits_show_as_shared_units_and_repeated_contexts(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 6))
    world.duplicate("f", "g")
    world.write("g", 2 * BLOCK, blocks(30, 1))
    world.sync()

    seen = one_image(world.image())

    # f: one item; g: left, new, right, of which two repeat f's context.  Five of six units stay shared.
    assert (seen.repeated_contexts, seen.shared_units) == (2, 5)


@every_design
def test_names_show_only_their_padded_lengths(design: ExtentDesign) -> None:
    world = World(design)
    world.write("short", 0, b"1")
    world.write("a name of more than thirty-two bytes", 0, b"2")
    world.sync()

    seen = one_image(world.image())

    # The directory itself has a plain name of one byte.
    assert seen.name_lengths == (1, 32, 64)
    assert leaks(world.image(), [b"thirty-two bytes"]) == []


@every_design
def test_sizes_and_holes_are_in_clear(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 10 * BLOCK, b"x")
    world.sync()

    seen = one_image(world.image())

    assert (seen.sizes, seen.units) == ((10 * BLOCK + 1,), 1)


@every_design
def test_compression_shows_how_repetitive_each_extent_is(design: ExtentDesign) -> None:
    world = World(design)
    file = namespace.create(world.volume, "d/f", compress=True)
    file.write(0, bytes(20 * BLOCK))
    file.fsync()
    file.write(20 * BLOCK, world.rng.bytes(10 * BLOCK) + bytes(10 * BLOCK))
    file.fsync()

    # 20 blocks of zeroes become 1; 10 of noise and 10 of zeroes become 11: 5 and 55 per cent.
    assert one_image(world.image()).compression_ratios == (5, 55)


@every_design
def test_written_zeroes_are_not_zeroes_on_the_device(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, bytes(8 * BLOCK))
    world.sync()

    seen = one_image(world.image())

    assert (seen.units, seen.zero_units, seen.equal_units) == (8, 0, 0)


@pytest.mark.parametrize("seed", range(3))
@every_design
def test_random_writes_with_snapshots_reuse_no_pair(design: ExtentDesign, seed: int) -> None:
    world = World(design, seed=seed)
    rng = np.random.default_rng(seed)
    for step in range(30):
        world.write("f", int(rng.integers(0, 60_000)), rng.bytes(int(rng.integers(1, 9_000))))
        if step % 7 == 0:
            world.snapshot()
    world.sync()

    assert reused_pairs(world.logging.log) == {}
    assert len(items_of(world, "f")) > 1
