"""What each design stores with an extent, byte by byte."""

import pytest

from blkcrypto.fs.extents.contexts import LightContext, pack_encryption, unpack_encryption
from blkcrypto.fs.extents.designs import (
    DESIGNS,
    EXTENT_DESIGNS,
    HEAVY,
    IV_FROM_FS,
    LIGHT,
    NONCE_ONLY,
    ExtentDesign,
    stored_bytes,
)
from blkcrypto.fs.extents.errors import ExtentContextInvalid
from blkcrypto.fs.extents.items import encode, parse
from blkcrypto.fs.fscrypt.policy import parse_context
from tests.extent_world import BLOCK, World, blocks, every_design, items_of
from tests.fscrypt_world import NONCE, RAW


def test_the_light_context_is_version_mode_identifier_nonce_in_34_bytes() -> None:
    stored = LightContext(1, b"i" * 16, b"n" * 16).to_bytes()

    assert stored == b"\x01\x01" + b"i" * 16 + b"n" * 16


@pytest.mark.parametrize("damaged", [b"", bytes(34), b"\x01" * 33, b"\x01" * 35, b"\x02" + bytes(33)])
def test_a_light_context_of_another_length_or_version_is_einval(damaged: bytes) -> None:
    with pytest.raises(ExtentContextInvalid) as caught:
        LightContext.from_bytes(damaged)

    assert caught.value.errno_name == "EINVAL"


def test_type_and_size_share_a_byte_as_two_and_six_bits() -> None:
    assert (pack_encryption(1, 40), unpack_encryption(0xA1)) == (0xA1, (1, 40))


def test_a_context_of_64_bytes_does_not_fit_six_bits() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pack_encryption(1, 64)


@pytest.mark.parametrize(
    ("design", "added"),
    # Full context; nonce; 34 bytes and 25 of item header; IV of AES-256-XTS.
    [(HEAVY, 40), (NONCE_ONLY, 16), (LIGHT, 34 + 25), (IV_FROM_FS, 16)],
    ids=lambda value: value.name if isinstance(value, ExtentDesign) else str(value),
)
def test_each_design_adds_its_bytes_to_the_53_of_a_file_extent_item(design: ExtentDesign, added: int) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 1))
    world.sync()

    stored = world.disk.stored_items(world.disk.subvolumes[0])

    headers = 25 * (len(stored) - 1)
    assert sum(len(data) for _, data in stored) + headers - 53 == added == stored_bytes(design)


def test_adiantum_needs_32_bytes_of_iv_and_a_v1_context_28() -> None:
    assert (stored_bytes(IV_FROM_FS, iv_bytes=32), stored_bytes(HEAVY, v1=True)) == (32, 28)


def test_only_the_light_design_has_an_item_of_type_42() -> None:
    kinds = {}
    for design in EXTENT_DESIGNS.values():
        world = World(design)
        world.write("f", 0, blocks(0, 1))
        world.sync()
        kinds[design] = [key[1] for key, _ in world.disk.stored_items(world.disk.subvolumes[0])]

    assert kinds == {HEAVY: [108], NONCE_ONLY: [108], LIGHT: [42, 108], IV_FROM_FS: [108]}


@every_design
def test_an_item_says_what_it_said_when_it_was_encoded(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 6))
    world.sync()
    ((_, whole),) = items_of(world, "f")
    part = whole.part(2 * BLOCK, 3 * BLOCK)

    stored = dict(encode(design, (300, 108, 0), part))
    parsed = parse(design, stored[300, 108, 0], stored.get((300, 42, 0), b""))

    assert (parsed.disk_bytenr, parsed.disk_num_bytes) == (whole.extent.block * BLOCK, 6 * BLOCK)
    assert (parsed.offset, parsed.num_bytes, parsed.ram_bytes) == (2 * BLOCK, 3 * BLOCK, 6 * BLOCK)
    assert (parsed.context, parsed.prealloc) == (whole.context, False)


@every_design
def test_an_item_whose_context_has_another_size_than_stated_is_einval(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 1))
    world.sync()
    ((_, item),) = items_of(world, "f")
    data = dict(encode(design, (300, 108, 0), item))[300, 108, 0]

    with pytest.raises(ExtentContextInvalid):
        parse(design, data + b"\0", b"x")
    with pytest.raises(ExtentContextInvalid):
        parse(design, data[:52])


@every_design
def test_two_extents_never_store_the_same_context(design: ExtentDesign) -> None:
    world = World(design, max_extent_bytes=BLOCK)
    world.write("f", 0, blocks(0, 64))
    world.sync()

    assert len({item.context for _, item in items_of(world, "f")}) == 64


def test_a_heavy_extent_names_policy_and_key_as_its_inode_does() -> None:
    world = World(HEAVY)
    world.write("f", 0, blocks(0, 1))
    world.sync()
    ((_, item),) = items_of(world, "f")

    assert parse_context(item.context).policy == world.policy


def test_the_key_of_a_light_extent_is_the_published_answer_for_context_9() -> None:
    # Reference fscrypt.md section 2.6: master key 01..40, nonce a0..af.
    world = World(LIGHT, raw=RAW)
    world.open("f", make=True).close()
    stored = LightContext(1, world.spec.key, NONCE).to_bytes()
    entry = world.volume.keyring.find(world.spec)
    assert entry is not None

    info = world.volume.keys.set_up(world.policy, entry, stored)

    assert info.key.raw.hex() == (
        "c4d644753b7791ee9473213a99c84f65ad5e30441da4fe9279113ca16fd67dcf"
        "628fdbe5299c555c87399b0255adc54064378af8f4f21fa7249090a2bf8dddcf"
    )


@pytest.mark.parametrize(
    ("dun", "begins"),
    [(0, "af7ddb7502f94da402c787736991f8e7"), (1, "035dc4b36c8eadfc97cc0974cb031a51")],
)
def test_zeroes_in_a_light_extent_become_the_published_ciphertext(dun: int, begins: str) -> None:
    world = World(LIGHT, raw=RAW)
    world.volume.writeback.random = lambda count: NONCE[:count]
    world.write("f", 0, bytes(2 * BLOCK))
    world.sync()
    ((_, item),) = items_of(world, "f")

    assert world.store.medium[item.extent.block + dun][:16].hex() == begins


def test_nonces_come_from_the_generator_given() -> None:
    images = []
    for _ in range(2):
        world = World(LIGHT, seed=7)
        world.write("f", 0, blocks(0, 3))
        world.sync()
        images.append(world.store.medium)

    assert images[0] == images[1]


def test_only_iv_from_fs_is_listed_without_inline_encryption_and_needs_the_whole_iv() -> None:
    listed = {row.name: (row.inline_crypto, row.dun_bits) for row in DESIGNS}

    assert listed == {
        "extents-heavyweight": (True, 0),
        "extents-nonce-only": (True, 0),
        "extents-lightweight": (True, 0),
        "extents-iv-from-fs": (False, 128),
    }
