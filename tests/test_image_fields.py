"""Fields of ext4's structures where its documentation puts them, and the last value each may have.

Source: Documentation/filesystems/ext4, the pages that the modules of ``blkcrypto.fs.ext4`` name.
"""

import stat
import struct

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.ext4.directory import DirEntry, block_entries
from blkcrypto.fs.ext4.extents import Extent, tree_extents
from blkcrypto.fs.ext4.features import InodeFlags
from blkcrypto.fs.ext4.groups import inode_table
from blkcrypto.fs.ext4.inode import Inode, parse_inode
from blkcrypto.fs.ext4.xattrs import Xattr, block_xattrs, inode_xattrs
from tests.image_world import layout_image, opened


@pytest.mark.parametrize(("size", "table"), [(32, 0x01020304), (64, 0x05060708_01020304)])
def test_a_wide_group_descriptor_has_an_upper_half_of_the_inode_table_s_block(size: int, table: int) -> None:
    descriptor = bytearray(size)
    struct.pack_into("<I", descriptor, 0x8, 0x01020304)
    if size > 32:
        struct.pack_into("<I", descriptor, 0x28, 0x05060708)
    assert inode_table(bytes(descriptor)) == table


def inode_bytes(mode: int, size: int = 256, extra: int = 32) -> bytes:
    data = bytearray(at % 251 for at in range(size))
    struct.pack_into("<HHI", data, 0x0, mode, 0x1122, 0x33445566)
    struct.pack_into("<H", data, 0x1A, 0x7788)
    struct.pack_into("<I", data, 0x20, 0x99AABBCC)
    data[0x28:0x64] = bytes(range(60))
    struct.pack_into("<III", data, 0x64, 0xDDEEFF00, 0x10203040, 0x5)
    struct.pack_into("<H", data, 0x76, 0x6070)
    if size > 128:
        struct.pack_into("<H", data, 0x80, extra)
    return bytes(data)


@pytest.mark.parametrize(("kind", "upper"), [(stat.S_IFREG, 5 << 32), (stat.S_IFDIR, 0), (stat.S_IFLNK, 0)])
def test_the_fields_of_an_inode_are_where_they_are_documented(kind: int, upper: int) -> None:
    """Only a regular file's size has an upper half."""
    data = inode_bytes(kind | 0o644)
    assert parse_inode(12, data) == Inode(
        ino=12,
        mode=kind | 0o644,
        uid=0x1122,
        links=0x7788,
        size=upper + 0x33445566,
        flags=0x99AABBCC,
        i_block=bytes(range(60)),
        generation=0xDDEEFF00,
        xattr_block=0x6070_10203040,
        xattr_space=data[160:],
    )


@pytest.mark.parametrize(
    ("size", "extra", "spare"), [(128, 0, 0), (256, 0, 128), (256, 128, 0), (1024, 32, 864)]
)
def test_attributes_may_lie_behind_the_fields_up_to_the_inode_s_end(
    size: int, extra: int, spare: int
) -> None:
    assert len(parse_inode(12, inode_bytes(stat.S_IFREG, size, extra)).xattr_space) == spare


@pytest.mark.parametrize("extra", [129, 132, 30])
def test_fields_that_do_not_fit_the_inode_or_end_inside_a_word_are_damage(extra: int) -> None:
    with pytest.raises(ValueError, match=f"i_extra_isize {extra}"):
        parse_inode(12, inode_bytes(stat.S_IFREG, 256, extra))


@pytest.mark.parametrize(
    ("mode", "size", "flags", "fast"),
    [
        (stat.S_IFLNK, 59, 0, True),
        (stat.S_IFLNK, 60, 0, False),
        (stat.S_IFLNK, 0, 0, False),
        (stat.S_IFLNK, 10, InodeFlags.EXTENTS, False),
        (stat.S_IFLNK, 10, InodeFlags.INLINE_DATA, False),
        (stat.S_IFREG, 10, 0, False),
    ],
)
def test_a_target_of_less_than_60_bytes_lies_in_the_inode(
    mode: int, size: int, flags: int, fast: bool
) -> None:
    assert Inode(12, mode, 0, 1, size, flags, bytes(60), 0, 0, b"").is_fast_symlink is fast


def test_only_a_directory_is_casefolded() -> None:
    folded = [
        Inode(12, mode, 0, 1, 0, InodeFlags.CASEFOLD, bytes(60), 0, 0, b"").is_casefolded
        for mode in (stat.S_IFDIR, stat.S_IFREG)
    ]
    assert folded == [True, False]


# Extents: 12 bytes each, the first 12 a header; lengths above 32768 are of space never written.


def root(*rows: bytes, depth: int = 0) -> bytes:
    return (struct.pack("<HHHHI", 0xF30A, len(rows), 4, depth, 0) + b"".join(rows)).ljust(60, b"\0")


@pytest.mark.parametrize(
    ("length", "count", "written"), [(32768, 32768, True), (32769, 1, False), (65535, 32767, False)]
)
def test_an_extent_has_up_to_32768_written_or_32767_unwritten_blocks(
    length: int, count: int, written: bool
) -> None:
    data = root(struct.pack("<IHHI", 3, length, 0x12, 0x34567890))
    assert list(tree_extents(data, lambda _: b"")) == [Extent(3, 0x12_34567890, count, written)]


def test_a_tree_may_have_five_levels_below_its_root() -> None:
    leaf = root(struct.pack("<IHHI", 0, 1, 0, 99))
    nodes = {number: root(struct.pack("<IIHH", 0, number - 1, 0, 0), depth=number) for number in range(1, 6)}
    nodes[0] = leaf
    assert list(tree_extents(nodes[5], nodes.__getitem__)) == [Extent(0, 99, 1)]
    too_deep = root(struct.pack("<IIHH", 0, 5, 0, 0), depth=6)
    with pytest.raises(ValueError, match="depth 6"):
        list(tree_extents(too_deep, nodes.__getitem__))


def test_the_block_of_a_node_has_48_bits() -> None:
    top = root(struct.pack("<IIHH", 0, 0x56789ABC, 0x1234, 0), depth=1)
    leaves = {0x1234_56789ABC: root(struct.pack("<IHHI", 0, 1, 0x1234, 70))}
    assert list(tree_extents(top, leaves.__getitem__)) == [Extent(0, 0x1234_00000046, 1)]


@pytest.mark.parametrize(("magic", "depth"), [(0xF30B, 0), (0xF30A, 1), (0xF30B, 1)])
def test_a_node_of_another_magic_or_depth_is_damage(magic: int, depth: int) -> None:
    leaf = struct.pack("<HHHHI", magic, 0, 4, depth, 0).ljust(60, b"\0")
    top = root(struct.pack("<IIHH", 0, 99, 0, 0), depth=1)
    with pytest.raises(ValueError, match=f"at depth 0: magic {magic:#06x}, depth {depth}"):
        list(tree_extents(top, lambda _: leaf))


@pytest.mark.parametrize(("entries", "room"), [(4, 3), (1, 5), (5, 5)])
def test_a_node_that_claims_more_than_it_has_room_for_is_damage(entries: int, room: int) -> None:
    row = struct.pack("<IHHI", 0, 1, 0, 70)
    data = (struct.pack("<HHHHI", 0xF30A, entries, room, 0, 0) + row).ljust(60, b"\0")
    with pytest.raises(ValueError, match=f"an extent node claims {entries} of {room} entries"):
        list(tree_extents(data, lambda _: b""))


@pytest.mark.parametrize(("second", "why"), [(9, "out of order"), (10, "")])
def test_extents_of_a_leaf_may_touch_and_not_overlap(second: int, why: str) -> None:
    data = root(struct.pack("<IHHI", 0, 10, 0, 70), struct.pack("<IHHI", second, 1, 0, 90))
    if why:
        with pytest.raises(ValueError, match=why):
            list(tree_extents(data, lambda _: b""))
    else:
        assert [part.lblk for part in tree_extents(data, lambda _: b"")] == [0, 10]


@pytest.mark.parametrize(("count", "why"), [(8, ""), (9, "overlap at logical block 8")])
def test_extents_of_a_leaf_end_where_the_next_leaf_begins(count: int, why: str) -> None:
    leaves = {98: root(struct.pack("<IHHI", 0, count, 0, 70)), 99: root(struct.pack("<IHHI", 8, 1, 0, 90))}
    top = root(struct.pack("<IIHH", 0, 98, 0, 0), struct.pack("<IIHH", 8, 99, 0, 0), depth=1)
    if why:
        with pytest.raises(ValueError, match=why):
            list(tree_extents(top, leaves.__getitem__))
    else:
        assert [part.lblk for part in tree_extents(top, leaves.__getitem__)] == [0, 8]


def test_a_file_may_map_its_last_possible_block() -> None:
    data = root(struct.pack("<IHHI", 2**32 - 2, 2, 0, 70))
    assert list(tree_extents(data, lambda _: b"")) == [Extent(2**32 - 2, 70, 2)]


@pytest.mark.parametrize(
    ("lblk", "pblk", "written", "follows"),
    [(10, 110, True, True), (11, 110, True, False), (10, 111, True, False), (10, 110, False, False)],
)
def test_an_extent_follows_where_the_other_ends_in_the_file_and_on_disk(
    lblk: int, pblk: int, written: bool, follows: bool
) -> None:
    assert Extent(lblk, pblk, 5, written).follows(Extent(0, 100, 10)) is follows


# Directory entries: inode, length of the record, length of the name, type; then the name.


def entry(ino: int, name: bytes, length: int, kind: int = 1) -> bytes:
    return (struct.pack("<IHBB", ino, length, len(name) & 0xFF, kind) + name).ljust(length, b"\0")


def listed(block: bytes, *, hashed: bool = False) -> list[DirEntry]:
    return list(block_entries(block, hashed=hashed))


def test_names_of_a_block_stand_in_records_that_fill_it() -> None:
    block = entry(12, b".", 12) + entry(2, b"..", 12) + entry(0, b"gone", 12) + entry(13, b"name", 12)
    assert listed(block + entry(14, b"longer", 1024 - 48)) == [
        DirEntry(12, b"."), DirEntry(2, b".."), DirEntry(13, b"name"), DirEntry(14, b"longer"),
    ]  # fmt: skip


def test_hashes_stand_behind_the_padded_name_but_of_the_dots() -> None:
    name = b"sixteen bytes..!" + b"x"
    hashed = entry(13, name.ljust(20, b"\0") + struct.pack("<II", 7, 8), 1000)
    hashed = struct.pack("<IHBB", 13, 1000, 17, 1) + hashed[8:]
    block = entry(12, b".", 12) + entry(2, b"..", 12) + hashed
    assert listed(block, hashed=True)[2] == DirEntry(13, name, (7, 8))
    assert [found.hashes for found in listed(block, hashed=True)[:2]] == [None, None]


@pytest.mark.parametrize(
    "block",
    [
        entry(12, b"n", 1020),  # a record past the end, by the four bytes that are missing
        entry(12, b"n", 1014) + bytes(10),  # not a multiple of four
        entry(12, b"name of", 12) + bytes(1012),  # seven bytes of name need sixteen
        entry(0, b"", 8) + bytes(1016),  # less than the smallest record
        entry(12, b"n", 1012) + bytes(4),  # no room for another record
    ],
)
def test_records_that_do_not_fit_are_damage(block: bytes) -> None:
    with pytest.raises(ValueError, match="a directory entry at byte"):
        listed(block[:1016])


@pytest.mark.parametrize(("stored", "length"), [(0, 65536), (65535, 65536), (65532, 65532), (65533, 131068)])
def test_in_a_block_of_64_kib_a_record_s_length_has_17_bits(stored: int, length: int) -> None:
    block = struct.pack("<IHBB4s", 12, stored, 4, 1, b"name").ljust(65536, b"\0")
    if length > 65536:
        with pytest.raises(ValueError, match=f"{length} bytes"):
            listed(block)
        return
    if length < 65536:
        block = block[:length] + struct.pack("<IHBB", 0, 12, 0, 0)
        with pytest.raises(ValueError, match="at byte 65532 runs past the end"):
            listed(block[:65536])
        return
    assert listed(block) == [DirEntry(12, b"name")]


def test_attributes_of_an_inode_count_their_values_from_behind_the_magic() -> None:
    entries = (
        struct.pack("<BBHIII", 1, 9, 60, 0, 4, 0)
        + b"c\0\0\0"
        + struct.pack("<BBHIII", 4, 7, 0, 77, 9, 0)
        + b"data"
    )
    space = (struct.pack("<I", 0xEA020000) + entries).ljust(64, b"\0") + b"last"
    assert list(inode_xattrs(space)) == [Xattr(9, b"c", b"last"), Xattr(7, b"data", None)]


def test_spare_bytes_without_the_magic_are_no_attributes() -> None:
    assert list(inode_xattrs(bytes(96))) == []


def test_attributes_that_run_past_the_end_are_damage() -> None:
    entry = struct.pack("<BBHIII", 1, 9, 0, 0, 0, 0) + b"c\0\0\0"
    for after in (b"\1", bytes(3) + b"\1", b"\1".ljust(15, b"\0")):
        with pytest.raises(ValueError, match="run past their end"):
            list(inode_xattrs(struct.pack("<I", 0xEA020000) + entry + after))


def attribute_block(magic: int, blocks: int) -> bytes:
    """One attribute, its value counted from the block's beginning."""
    header = struct.pack("<III20x", magic, 1, blocks)
    return (header + struct.pack("<BBHIII", 1, 9, 60, 0, 4, 0) + b"c\0\0\0").ljust(60, b"\0") + b"last"


@pytest.mark.parametrize(("magic", "blocks"), [(0xEA020001, 1), (0xEA020000, 2), (0xEA020000, 0)])
def test_a_block_of_attributes_has_the_magic_and_is_one_block(magic: int, blocks: int) -> None:
    assert list(block_xattrs(attribute_block(0xEA020000, 1))) == [Xattr(9, b"c", b"last")]
    with pytest.raises(ValueError, match="no block of extended attributes"):
        list(block_xattrs(attribute_block(magic, blocks)))


def test_the_last_block_of_a_filesystem_can_be_read_and_none_beyond() -> None:
    data = layout_image("trees")
    volume = opened(data).volume
    last = volume.superblock.blocks_count - 1
    size = volume.block_size
    assert volume.read_blocks(last) == data[last * size : (last + 1) * size]
    assert volume.read_blocks(last - 1, 2) == data[(last - 1) * size : (last + 1) * size]
    first = volume.superblock.first_data_block + 1
    assert volume.read_blocks(first) == data[first * size : (first + 1) * size]
    for block, count in ((last + 1, 1), (last, 2), (first - 1, 1), (-1, 1)):
        with pytest.raises(BadInput, match=f"block {block}: the filesystem has no {count} blocks there"):
            volume.read_blocks(block, count)


def test_the_last_inode_can_be_read_and_none_beyond() -> None:
    volume = opened(layout_image("trees"), checksums=False).volume
    count = volume.superblock.inodes_count
    assert volume.inode(count).ino == count
    for ino in (0, -1, count + 1):
        with pytest.raises(BadInput, match=f"inode {ino}: there are {count} inodes"):
            volume.inode(ino)
