"""Inline data: inodes byte by byte, which blocks a file has, and what holds its key."""

import struct

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.waiting import Task
from blkcrypto.fs.fscrypt.caller import ROOT
from blkcrypto.fs.fscrypt.key_args import AddKeyArg
from blkcrypto.fs.fscrypt.key_entry import RemovalFlags
from blkcrypto.fs.fscrypt.policy import Context, PolicyFlags
from blkcrypto.fs.inline_data import volume as inline
from blkcrypto.fs.inline_data.mount import CachedFile
from tests.fscrypt_world import INO, NONCE, RAW
from tests.oracle.fscrypt_files import contents_unit
from tests.small_world import ANY_IDENTIFIER
from tests.test_design_inline_data import TEXT, World

INLINE = inline.INCOMPAT_ENCRYPTED_INLINE_DATA


def test_an_inode_with_inline_data_is_laid_out_as_it_says() -> None:
    volume = inline.Volume(inline.ext4_layout(1024), features=INLINE)
    area = bytes(at % 251 for at in range(836))
    volume.store(12, inline.InodeRecord(3, 70, b"context", area))
    data = volume.inodes[12]
    assert len(data) == 1024
    assert data[:24] == struct.pack("<IQ4xB", 3, 70, 7) + b"context"
    assert bytes(data[64 : 64 + 60] + data[248:]) == area
    assert volume.load(12) == inline.InodeRecord(3, 70, b"context", area)
    assert volume.image() == b"inlndata" + INLINE.to_bytes(4, "little") + data


@pytest.mark.parametrize("extra_attr", [False, True])
def test_the_area_of_f2fs_lies_behind_364_bytes_and_the_extra_attributes(extra_attr: bool) -> None:
    volume = inline.Volume(inline.f2fs_layout(extra_attr=extra_attr))
    area = bytes(at % 251 for at in range(3488 - 36 * extra_attr))
    volume.store(12, inline.InodeRecord(1, 70, b"", area))
    start = 364 + 36 * extra_attr
    assert volume.inodes[12][start : start + len(area)] == area
    assert not any(volume.inodes[12][start + len(area) :])


def written(world: World, data: bytes) -> CachedFile:
    file = world.create()
    world.mount.write(file, 0, data)
    world.mount.writeback(file)
    return file


def test_a_file_in_blocks_is_written_to_the_blocks_it_has() -> None:
    world = World("A0", features=0)
    world.volume.next_block = 0x01_02_03_04
    first, second = bytes(range(256)) * 48, bytes(reversed(range(256))) * 48
    file = written(world, first)
    blocks = list(world.store.medium)
    world.mount.write(file, 0, second)
    world.mount.writeback(file)
    assert list(world.store.medium) == blocks == [0x01_02_03_04, 0x01_02_03_05, 0x01_02_03_06]
    assert world.record.area[:12] == b"".join(block.to_bytes(4, "little") for block in blocks)
    assert world.read_again() == second


def test_a_file_that_grows_takes_blocks_for_what_is_new_only() -> None:
    world = World("A0", features=0)
    file = written(world, bytes(4096))
    world.mount.write(file, 4096, b"more")
    world.mount.writeback(file)
    assert (list(world.store.medium), world.volume.next_block) == ([1, 2], 3)


def test_an_inode_of_60_bytes_has_15_blocks_and_no_more() -> None:
    world = World("A0", features=0, layout=inline.ext4_layout(128))
    file = written(world, bytes(15 * 4096))
    assert len(world.store.medium) == 15
    world.mount.write(file, 15 * 4096, b"x")
    with pytest.raises(OSError, match="have 15 blocks"):
        world.mount.writeback(file)


def test_what_reached_the_device_is_counted() -> None:
    world = World("A2")
    file = written(world, b"small")
    world.mount.writeback(file)  # clean: nothing
    figures = world.mount.figures
    assert (figures.inode_writes, figures.block_writes, figures.block_reads) == (2, 0, 0)
    world.mount.write(file, 0, bytes(2 * 4096 + 1))
    world.mount.writeback(file)
    assert (figures.inode_writes, figures.block_writes, figures.block_reads) == (3, 3, 0)
    world.read_again()
    figures = world.mount.figures
    assert (figures.inode_writes, figures.block_writes, figures.block_reads) == (0, 0, 3)


def test_an_open_or_dirty_file_stays_cached_and_its_key_with_it() -> None:
    world = World("A4")
    file = written(world, TEXT)
    for still_dirty in (False, True):
        assert world.mount.region.live_ciphers == 1
        world.mount.evict_unlocked([INO, INO + 1])
        assert world.mount.open(INO) is file
        world.mount.close(file)
        if still_dirty:
            world.mount.write(file, 0, b"x")
            world.mount.close(file)
            assert (file.opens, file.dirty) == (0, True)
    world.mount.evict_unlocked([INO])
    assert world.mount.region.live_ciphers == 1
    world.mount.sync_filesystem()
    world.mount.evict_unlocked([INO])
    assert world.mount.region.live_ciphers == 0


def test_what_a_wrapped_key_exposed_is_gone_when_the_inode_is() -> None:
    world = World("A4", wrapped=True, flags=PolicyFlags.IV_INO_LBLK_64)
    world.mount.close(written(world, TEXT))
    assert world.mount.region.exposed == {INO}
    world.mount.evict_unlocked([INO])
    assert (world.mount.region.exposed, world.mount.region.live_ciphers) == (set(), 0)


def test_a_deleted_file_leaves_neither_inode_nor_key() -> None:
    world = World("A2")
    world.mount.close(written(world, TEXT))
    world.mount.delete(INO)
    assert (world.volume.inodes, world.mount.region.live_ciphers) == ({}, 0)
    assert world.mount.keyring.remove(world.spec, ROOT) == RemovalFlags.NONE


def test_a_file_that_cannot_be_read_is_not_kept_and_does_not_hold_its_key() -> None:
    world = World("A4", wrapped=True, flags=PolicyFlags.IV_INO_LBLK_64)
    world.mount.close(written(world, TEXT))
    world.mount.unmount()
    world.alternative = "A2"  # which takes no wrapped keys, and so cannot read what A4 wrote
    world.mount, world.spec = world.remount()
    with pytest.raises(BlkCryptoError, match="EOPNOTSUPP"):
        world.mount.open(INO)
    assert world.mount.keyring.remove(world.spec, ROOT) == RemovalFlags.NONE


def test_syncing_tries_every_file_and_tells_the_first_error() -> None:
    world = World("A1")
    small = world.create()
    large = world.mount.create(INO + 1, Context(world.policy, NONCE[::-1]))
    world.mount.keyring.remove(world.spec, ROOT)
    world.mount.write(small, 0, TEXT)
    world.mount.write(large, 0, bytes(5000))
    with pytest.raises(BlkCryptoError, match=f"{world.spec.key.hex()} was removed"):
        world.mount.sync_filesystem()
    assert (small.dirty, large.dirty, len(world.store.medium)) == (True, False, 2)


def test_unmounting_forgets_files_and_keys_though_something_could_not_be_written() -> None:
    world = World("A1")
    file = world.create()
    world.mount.keyring.remove(world.spec, ROOT)
    world.mount.write(file, 0, TEXT)
    with pytest.raises(BlkCryptoError, match="ENOKEY"):
        world.mount.unmount()
    assert world.mount.region.live_ciphers == 0
    assert not world.store.keys_held
    arg = AddKeyArg(spec=ANY_IDENTIFIER, raw=RAW, raw_size=len(RAW))
    assert world.mount.add_key(arg, ROOT) == world.spec


@pytest.mark.parametrize(
    ("alternative", "counts"), [("A1", True), ("A2", True), ("A3", False), ("A4", False)]
)
def test_the_number_that_a_caller_gives_a_region_counts_where_the_iv_is_the_policy_s(
    alternative: str, counts: bool
) -> None:
    world = World(alternative)
    info = world.create().info
    data = bytes(range(64))
    stored = world.mount.region.crypt(Task("t"), INO, info, data, dun=5, encrypt=True)
    assert stored == contents_unit(world.subject, 1, 5 if counts else 0, data)
    assert world.mount.region.crypt(Task("t"), INO, info, stored, dun=5, encrypt=False) == data


def test_an_empty_file_is_inline_and_reads_back_empty() -> None:
    world = World("A2")
    written(world, b"")
    world.mount.truncate(file := world.mount.open(INO), 10)
    world.mount.truncate(file, 0)
    world.mount.writeback(file)
    assert (world.is_inline, world.record.size) == (True, 0)
    assert world.read_again() == b""
