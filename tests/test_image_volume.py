"""Symlinks, directories and attributes of a volume where they end, and what damage of them says."""

import stat
import struct
from dataclasses import replace

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.ext4.directory import block_entries
from blkcrypto.fs.ext4.extents import Extent
from blkcrypto.fs.ext4.features import InodeFlags
from blkcrypto.fs.ext4.inode import Inode
from blkcrypto.fs.ext4.volume import Ext4Volume
from tests.image_world import layout_image, opened


@pytest.fixture
def volume() -> Ext4Volume:
    return opened(layout_image("trees")).volume


def mapped(lblk: int, count: int, pblk: int, *, written: bool = True) -> bytes:
    """``i_block`` with one extent."""
    head = struct.pack("<HHHHI", 0xF30A, 1, 4, 0, 0)
    return (head + struct.pack("<IHHI", lblk, count + (0 if written else 0x8000), 0, pblk)).ljust(60, b"\0")


def inode(mode: int, size: int, i_block: bytes, flags: int = InodeFlags.EXTENTS) -> Inode:
    return Inode(99, mode | 0o777, 0, 1, size, flags, i_block, 0, 0, b"")


@pytest.mark.parametrize("size", [1, 1023, 1024])
def test_a_target_fills_a_block_at_most(size: int, volume: Ext4Volume) -> None:
    link = inode(stat.S_IFLNK, size, mapped(0, 1, 100))
    assert volume.symlink(link) == volume.read_blocks(100)[:size]


@pytest.mark.parametrize("size", [0, 1025])
def test_a_target_of_nothing_or_of_more_than_a_block_is_damage(size: int, volume: Ext4Volume) -> None:
    with pytest.raises(BadInput, match=f"inode 99: is a symlink of {size} bytes"):
        volume.symlink(inode(stat.S_IFLNK, size, mapped(0, 1, 100)))


@pytest.mark.parametrize("i_block", [mapped(1, 1, 100), mapped(0, 1, 100, written=False)])
def test_a_target_that_does_not_begin_its_symlink_is_damage(i_block: bytes, volume: Ext4Volume) -> None:
    with pytest.raises(BadInput, match="inode 99: is a symlink without a block"):
        volume.symlink(inode(stat.S_IFLNK, 70, i_block))


def test_a_short_target_lies_in_the_inode_and_an_inline_one_in_its_attributes_too(volume: Ext4Volume) -> None:
    short = inode(stat.S_IFLNK, 59, bytes(range(60)), 0)
    assert volume.symlink(short) == bytes(range(59))
    entry = struct.pack("<BBHIII", 4, 7, 40, 0, 10, 0) + b"data"
    space = (struct.pack("<I", 0xEA020000) + entry).ljust(44, b"\0") + b"0123456789"
    inline = replace(short, size=66, flags=InodeFlags.INLINE_DATA, xattr_space=space)
    assert volume.symlink(inline) == bytes(range(60)) + b"012345"


@pytest.mark.parametrize("blocks", [1, 5, 14])
def test_a_directory_ends_where_its_size_says(blocks: int, volume: Ext4Volume) -> None:
    many = volume.inode(16)
    (extent,) = volume.extents(many)
    parts = [volume.read_blocks(extent.pblk + at) for at in range(blocks)]
    expected = [entry.name for part in parts for entry in block_entries(part, hashed=False)]
    found = [entry.name for entry in volume.entries(replace(many, size=1024 * blocks))]
    assert found == [name for name in expected if name not in (b".", b"..")]


def test_a_directory_with_blocks_never_written_is_damage(volume: Ext4Volume) -> None:
    with pytest.raises(BadInput, match="inode 99: is a directory with blocks never written"):
        list(volume.entries(inode(stat.S_IFDIR, 1024, mapped(0, 1, 100, written=False))))


def test_blocks_before_the_first_group_and_behind_the_last_belong_to_no_file(volume: Ext4Volume) -> None:
    count = volume.superblock.blocks_count
    assert volume.extents(inode(stat.S_IFREG, 0, mapped(0, 1, count - 1)))[0].pblk == count - 1
    assert volume.extents(inode(stat.S_IFREG, 0, mapped(0, 2, 2)))[0].pblk == 2  # block 1: the superblock
    for pblk, length in ((count - 1, 2), (count, 1), (1, 1)):
        with pytest.raises(BadInput, match=f"maps {length} blocks at {pblk}, outside the filesystem"):
            volume.extents(inode(stat.S_IFREG, 0, mapped(0, length, pblk)))


def test_blocks_that_follow_each_other_are_joined_run_by_run(volume: Ext4Volume) -> None:
    pointers = struct.pack("<15I", 100, 101, 102, 200, 201, 0, 202, 203, *[0] * 7)
    found = volume.extents(inode(stat.S_IFREG, 12 * 1024, pointers, 0))
    assert found == [Extent(0, 100, 3), Extent(3, 200, 2), Extent(6, 202, 2)]


def test_a_file_may_map_as_many_blocks_as_there_are(volume: Ext4Volume) -> None:
    count = volume.superblock.blocks_count
    head = struct.pack("<HHHHI", 0xF30A, 2, 4, 0, 0) + struct.pack("<IHHI", 0, 2000, 0, 40)
    for beyond in (0, 1):
        tree = (head + struct.pack("<IHHI", 3000, count - 2000 + beyond, 0, 40)).ljust(60, b"\0")
        if beyond:
            with pytest.raises(BadInput, match=f"maps more blocks than the filesystem's {count}"):
                volume.extents(inode(stat.S_IFREG, 0, tree))
        else:
            assert sum(part.count for part in volume.extents(inode(stat.S_IFREG, 0, tree))) == count


def test_a_span_is_read_and_written_to_the_end_of_its_extent(volume: Ext4Volume) -> None:
    (extent,) = volume.extents(inode(stat.S_IFREG, 0, mapped(0, 2, 2000)))
    volume.write_span(extent, 2048 - 3, b"end")
    assert volume.read_span(extent, 2048 - 4, 4) == b"\0end"
    with pytest.raises(ValueError, match="only the data of written extents"):
        volume.write_span(extent, 2048 - 3, b"ends")


def test_an_attribute_is_found_by_index_and_name(volume: Ext4Volume) -> None:
    entries = b"".join(
        struct.pack("<BBHIII", 4, index, 96 + 4 * at, 0, 4, 0) + name
        for at, (index, name) in enumerate([(1, b"data"), (7, b"time"), (7, b"data")])
    )
    space = (struct.pack("<I", 0xEA020000) + entries).ljust(100, b"\0") + b"zeroone-two-"
    holder = replace(inode(stat.S_IFREG, 0, bytes(60)), xattr_space=space)
    found = [volume.xattr(holder, *key) for key in ((7, b"data"), (1, b"data"), (7, b"time"), (2, b"data"))]
    assert found == [b"two-", b"zero", b"one-", None]
