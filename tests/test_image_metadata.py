"""Checksums and directory hashes of ext4's metadata in images."""

import struct
from collections.abc import Callable

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.dirhash import Ext4HashVersion, ext4_hash
from blkcrypto.fs.ext4.directory import checksum_span
from blkcrypto.fs.ext4.features import Compat
from blkcrypto.fs.ext4.groups import descriptor_checksum_holds
from blkcrypto.fs.ext4.inode import inode_checksum_holds
from blkcrypto.fs.fscrypt.nokey import decode_nokey_name
from tests.fscrypt_world import needs_golden
from tests.image_world import Surgeon, golden_image, layout_image, opened
from tests.oracle.slow_crc32c import crc32c

# Checksums: a byte of each structure that has one, and how its error begins.


def extent_leaf(surgeon: Surgeon, ino: int) -> int:
    """The first node below the root of an extent tree."""
    return surgeon.u32(surgeon.inode_at(ino) + 0x28 + 12 + 4)


def first_block(surgeon: Surgeon, ino: int) -> int:
    return surgeon.extents(ino)[0][2]


Place = Callable[[Surgeon], tuple[int, str]]
PLACES: dict[str, tuple[str, Place]] = {
    "the superblock": ("trees", lambda _: (1024 + 0x2C, "superblock")),
    "the superblock's sum": ("trees", lambda _: (1024 + 0x3FC, "superblock")),
    "a group descriptor": ("trees", lambda _: (2048 + 0xC, "group descriptor 0")),
    "a group descriptor's sum": ("trees", lambda _: (2048 + 0x1E, "group descriptor 0")),
    "an inode": ("trees", lambda s: (s.inode_at(12) + 0x8, "inode 12")),
    "the last byte of an inode": ("trees", lambda s: (s.inode_at(12) + 255, "inode 12")),
    "an inode's sum": ("trees", lambda s: (s.inode_at(12) + 0x7C, "inode 12")),
    "its upper half": ("trees", lambda s: (s.inode_at(12) + 0x82, "inode 12")),
    "a small inode": ("blockmap", lambda s: (s.inode_at(12) + 0x8, "inode 12")),
    "a small inode's sum": ("blockmap", lambda s: (s.inode_at(12) + 0x7D, "inode 12")),
    "a node of extents": ("trees", lambda s: (1024 * (b := extent_leaf(s, 13)) + 8, f"block {b}")),
    "its sum": ("trees", lambda s: (1024 * (b := extent_leaf(s, 13)) + 12 + 84 * 12, f"block {b}")),
    "names": ("trees", lambda s: (1024 * (b := first_block(s, 2)) + 1000, f"inode 2, block {b}")),
    "their sum": ("trees", lambda s: (1024 * (b := first_block(s, 2)) + 1020, f"inode 2, block {b}")),
    "names further on": (
        "trees",
        lambda s: (1024 * (b := first_block(s, 11) + 3) + 1000, f"inode 11, block {b}"),
    ),
    "an index of names": ("trees", lambda s: (1024 * (b := first_block(s, 16)) + 41, f"inode 16, block {b}")),
    "its tail": ("trees", lambda s: (1024 * (b := first_block(s, 16)) + 1016, f"inode 16, block {b}")),
    "the index's sum": ("trees", lambda s: (1024 * (b := first_block(s, 16)) + 1020, f"inode 16, block {b}")),
    "attributes": ("blockmap", lambda _: (1024 * 27 + 1023, "inode 12, block 27")),
    "the attributes' sum": ("blockmap", lambda _: (1024 * 27 + 16, "inode 12, block 27")),
}


def look_at_all(data: bytearray, *, checksums: bool) -> None:
    image = opened(data, checksums=checksums)
    for node in image.walk(image.root):
        image.volume.extents(node.inode)


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_checksum_is_told_with_its_place_and_does_not_matter_where_none_is_checked(
    place: str,
) -> None:
    name, find = PLACES[place]
    data = layout_image(name)
    at, where = find(Surgeon(data))
    data[at] ^= 1
    with pytest.raises(BadInput, match=f"^test.img: {where}: its checksum is wrong: run e2fsck on a copy"):
        look_at_all(data, checksums=True)
    opened(data, checksums=False)


def dx_block(is_root: bool, limit: int, count: int) -> bytes:
    """A block of an index: its entries of 8 bytes begin at byte 32 of a root, at byte 8 of a node."""
    data = bytearray(at % 251 for at in range(1024))
    data[:8] = struct.pack("<IHBB", 12 if is_root else 0, 12 if is_root else 1024, 1, 2)
    struct.pack_into("<HH", data, 32 if is_root else 8, limit, count)
    return bytes(data)


@pytest.mark.parametrize(("is_root", "limit", "entries_end"), [(True, 123, 32 + 16), (False, 126, 8 + 16)])
def test_the_sum_of_an_index_covers_its_entries_in_use_and_its_tail(
    is_root: bool, limit: int, entries_end: int
) -> None:
    """123 entries from byte 32, or 126 from byte 8, leave the last 8 bytes: a word and the sum."""
    data = dx_block(is_root, limit, 2)
    covered = data[:entries_end] + data[1016:1020] + bytes(4)
    assert checksum_span(data, is_dx_root=is_root) == (covered, data[1020:])
    full = dx_block(is_root, limit, limit)
    assert checksum_span(full, is_dx_root=is_root) == (full[:1020] + bytes(4), full[1020:])


@pytest.mark.parametrize("is_root", [True, False])
@pytest.mark.parametrize(("more", "count"), [(0, 1), (1, 0), (-1, -10)])
def test_an_index_that_is_overfull_or_has_no_room_for_a_tail_has_no_sum(
    is_root: bool, more: int, count: int
) -> None:
    limit = (123 if is_root else 126) + more
    assert checksum_span(dx_block(is_root, limit, limit + count), is_dx_root=is_root) is None


def test_names_without_a_checksum_are_refused_where_checksums_are_checked() -> None:
    data = layout_image("trees")
    surgeon = Surgeon(data)
    block = first_block(surgeon, 2)
    data[1024 * block + 1024 - 5] = 0  # the type of the entry that holds the checksum
    with pytest.raises(
        BadInput, match=f"^test.img: inode 2, block {block}: a directory block without a checksum"
    ):
        look_at_all(data, checksums=True)


@pytest.mark.parametrize(("size", "extra"), [(128, None), (256, 0), (256, 4), (256, 32)])
def test_an_inode_s_sum_has_an_upper_half_where_its_fields_reach_so_far(size: int, extra: int | None) -> None:
    """Of the filesystem's UUID, the number, the generation at 0x64, and the inode with its sum blanked."""
    data = bytearray(at % 251 for at in range(size))
    data[0x7C:0x7E] = bytes(2)
    if extra is not None:
        data[0x80:0x82] = extra.to_bytes(2, "little")
    has_upper = bool(extra)
    if has_upper:
        data[0x82:0x84] = bytes(2)
    uuid = bytes(range(16))
    summed = crc32c(uuid + (12).to_bytes(4, "little") + bytes(data[0x64:0x68]) + bytes(data))
    data[0x7C:0x7E] = (summed & 0xFFFF).to_bytes(2, "little")
    if has_upper:
        data[0x82:0x84] = (summed >> 16).to_bytes(2, "little")
    seed = crc32c(uuid)
    assert inode_checksum_holds(seed, 12, bytes(data))
    assert not inode_checksum_holds(seed, 13, bytes(data))
    for at in (0x7C, 0x7D, *((0x82, 0x83) if has_upper else ())):
        data[at] ^= 0x80
        assert not inode_checksum_holds(seed, 12, bytes(data))
        data[at] ^= 0x80


@pytest.mark.parametrize("size", [32, 64])
def test_a_group_s_sum_leaves_out_its_own_two_bytes_and_no_others(size: int) -> None:
    """Lower half of the sum of the UUID, the group's number and the descriptor with its sum blanked."""
    sb = opened(layout_image("trees")).volume.superblock
    data = bytearray(at % 251 + 1 for at in range(size))
    data[30:32] = bytes(2)
    summed = crc32c(sb.uuid + (3).to_bytes(4, "little") + bytes(data)) & 0xFFFF
    data[30:32] = summed.to_bytes(2, "little")
    assert descriptor_checksum_holds(sb, 3, bytes(data))
    assert not descriptor_checksum_holds(sb, 2, bytes(data))
    for at in (29, 30, 31, *((32,) if size > 32 else ())):
        data[at] ^= 1
        assert not descriptor_checksum_holds(sb, 3, bytes(data))
        data[at] ^= 1


# Hashes


@pytest.mark.parametrize(
    ("version", "word", "minor"), [(Ext4HashVersion.HALF_MD4, 1, 2), (Ext4HashVersion.TEA, 0, 1)]
)
def test_no_name_has_the_hash_that_ends_a_directory(version: Ext4HashVersion, word: int, minor: int) -> None:
    """Nothing is hashed of an empty name: its hashes are two words of the seed, the lowest bit cleared."""
    for value, major in (
        (0xFFFFFFFF, 0xFFFFFFFC),
        (0xFFFFFFFE, 0xFFFFFFFC),
        (0xFFFFFFFD, 0xFFFFFFFC),
        (5, 4),
    ):
        words = [7, 7, 7, 7]
        words[word], words[minor] = value, 0x12345679
        assert ext4_hash(b"", version, struct.pack("<4I", *words), signed=False) == (major, 0x12345679)


# The hash in a no-key name: of the version and signedness that the superblock names.


@needs_golden
@pytest.mark.parametrize(
    ("version", "flags", "base", "signed"),
    [
        (1, 1, Ext4HashVersion.HALF_MD4, True),
        (1, 2, Ext4HashVersion.HALF_MD4, False),
        (2, 1, Ext4HashVersion.TEA, True),
        (2, 2, Ext4HashVersion.TEA, False),
        (4, 1, Ext4HashVersion.HALF_MD4, False),
        (5, 1, Ext4HashVersion.TEA, False),
    ],
)
def test_no_key_names_have_the_hash_that_the_superblock_asks_for(
    version: int, flags: int, base: Ext4HashVersion, signed: bool
) -> None:
    data = golden_image("image-4k")
    data[1024 + 0xFC] = version
    Surgeon(data).put32(1024 + 0x160, flags)
    image = opened(data, checksums=False)
    top = image.find(b"/v2-perfile")
    seed = bytes(data[1024 + 0xEC : 1024 + 0xFC])
    for node in image.children(top):
        nokey = decode_nokey_name(node.name.decode())
        assert (nokey.dir_hash, nokey.minor_hash) == ext4_hash(node.stored_name, base, seed, signed=signed)


@needs_golden
@pytest.mark.parametrize("version", [0, 3, 6])
def test_a_directory_ordered_by_another_hash_is_not_listed_without_its_key(version: int) -> None:
    data = golden_image("image-4k")
    data[1024 + 0xFC] = version
    image = opened(data, checksums=False)
    with pytest.raises(BadInput, match=f"hash version {version}"):
        list(image.children(image.find(b"/v2-perfile")))


@needs_golden
@pytest.mark.parametrize("without", ["the feature", "a single block"])
def test_a_directory_that_linux_lists_in_order_of_its_blocks_has_no_hashes(without: str) -> None:
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    if without == "the feature":
        surgeon.put32(1024 + 0x5C, surgeon.u32(1024 + 0x5C) & ~Compat.DIR_INDEX)
    else:
        surgeon.put32(surgeon.inode_at(12) + 4, 2 * 4096)
    image = opened(data, checksums=False)
    names = [node.name.decode() for node in image.children(image.find(b"/v2-perfile"))]
    assert {(nokey.dir_hash, nokey.minor_hash) for nokey in map(decode_nokey_name, names)} == {(0, 0)}
