"""From files to bios: how many there are, where they go, and what they say about keys."""

import errno
from dataclasses import replace

import numpy as np
import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.capabilities import capabilities
from blkcrypto.block.key import CryptoModeNum, KeyType
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.allocator import NextFree
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.errors import IoFailed, NoSpace
from blkcrypto.fs.smallfs.gc import collect
from tests.fscrypt_world import CLASSIC, EXT4, SHORT_RAW, UUID
from tests.small_world import Watched, add_key, encrypted_dir, new_device, new_mount, read, wrap, write

BLOCK = 4096
LBLK_32 = PolicyFlags.IV_INO_LBLK_32
FS_LAYER = ext4_like(UUID, kernel=CLASSIC, inlinecrypt=False)
# Who encrypts: the drive, the kernel's fallback, the filesystem.
PATHS = {"hardware": EXT4, "fallback": replace(EXT4, inlinecrypt=False), "fs-layer": FS_LAYER}


def blocks(count: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(count * BLOCK)


def cold(file: files.OpenFile) -> files.OpenFile:
    """The file without its page cache."""
    file.fsync()
    file.inode.pages.clear()
    return file


# Buffered I/O


def test_a_file_in_one_piece_is_written_and_read_by_one_bio() -> None:
    world = Watched()
    file = world.open()
    file.write(0, blocks(8))
    cold(file).read(0, 8 * BLOCK)
    assert world.taken() == [(ReqOp.WRITE, 1, 8 * BLOCK, 0), (ReqOp.READ, 1, 8 * BLOCK, 0)]


def test_a_hole_ends_a_bio_though_the_blocks_behind_it_follow_on_disk() -> None:
    # Blocks 0 to 3 and 6 to 7 of the file are blocks 1 to 6 of the disk; the DUN jumps from 4 to 6.
    world = Watched()
    file = world.open()
    file.write(0, blocks(4))
    file.write(6 * BLOCK, blocks(2))
    file.fsync()
    assert world.taken() == [(ReqOp.WRITE, 1, 4 * BLOCK, 0), (ReqOp.WRITE, 5, 2 * BLOCK, 6)]
    assert world.device.queue.counts.requests == 2
    assert world.device.queue.counts.back_merges == 0


def test_direct_io_stops_at_a_hole_too() -> None:
    world = Watched()
    file = world.open()
    file.write(0, blocks(4))
    file.write(6 * BLOCK, blocks(2, seed=2))
    cold(file)
    world.taken()
    assert file.direct_read(0, 8 * BLOCK) == blocks(4) + bytes(2 * BLOCK) + blocks(2, seed=2)
    assert world.taken() == [(ReqOp.READ, 1, 4 * BLOCK, 0), (ReqOp.READ, 5, 2 * BLOCK, 6)]


def test_without_encryption_the_same_file_is_one_bio() -> None:
    world = Watched()
    file = world.open("plain")
    file.write(0, blocks(4))
    file.write(6 * BLOCK, blocks(2))
    file.fsync()
    assert world.taken() == [(ReqOp.WRITE, 1, 6 * BLOCK, None)]


def test_a_hole_is_read_without_a_bio() -> None:
    world = Watched()
    file = world.open()
    file.write(3 * BLOCK, blocks(1))
    file.fsync()
    file.inode.pages.clear()
    assert file.read(0, 3 * BLOCK) == bytes(3 * BLOCK)
    assert file.direct_read(0, 3 * BLOCK) == bytes(3 * BLOCK)
    assert [op for op, *_ in world.taken()] == [ReqOp.WRITE]


def test_two_files_written_in_turn_are_read_a_block_at_a_time() -> None:
    world = Watched()
    opened = [world.open(f"d/{name}") for name in "ab"]
    for index in range(3):
        for file in opened:
            file.write(index * BLOCK, blocks(1))
            file.fsync()
    world.taken()
    cold(opened[0]).read(0, 3 * BLOCK)
    # The first file has blocks 1, 3 and 5.
    assert world.taken() == [(ReqOp.READ, 1 + 2 * index, BLOCK, index) for index in range(3)]


@pytest.mark.parametrize("shared", [False, True])
def test_files_next_to_each_other_never_share_a_request(shared: bool) -> None:
    """Their keys differ, or with a shared key their DUNs do not follow."""
    world = Watched(flags=PolicyFlags.IV_INO_LBLK_64 if shared else 0)
    for name in "ab":
        write(world.mount, f"d/{name}", blocks(1))
    world.mount.sync_filesystem()
    assert [(block, nbytes) for _, block, nbytes, _ in world.taken()] == [(1, BLOCK), (2, BLOCK)]
    assert world.device.queue.counts.requests == 2


def test_a_bio_has_at_most_256_pages_and_the_queue_cuts_it_to_its_segments() -> None:
    # 300 pages: 256 and 44.  A request has 128 segments: the first bio becomes two, the other fits neither.
    world = Watched()
    file = world.open()
    file.write(0, blocks(300))
    file.fsync()
    assert world.taken() == [(ReqOp.WRITE, 1, 256 * BLOCK, 0), (ReqOp.WRITE, 257, 44 * BLOCK, 256)]
    assert (world.device.queue.counts.splits, world.device.queue.counts.requests) == (1, 3)


def test_blocks_smaller_than_a_page_share_vectors_as_they_share_pages() -> None:
    world = Watched(ext4_like(UUID, block_size=1024))
    file = world.open()
    file.write(2 * 1024, bytes(5 * 1024))
    file.fsync()
    # Blocks 2 and 3 are the second half of the first page, 4 to 6 the beginning of the next.
    assert world.vecs == [[(2048, 2048), (0, 3072)]]


def test_a_failed_write_is_an_error_and_stays_to_be_written() -> None:
    world = Watched()
    file = world.open()
    file.write(0, blocks(2))
    world.device.drive.write_status = BlkStatus.IOERR
    with pytest.raises(IoFailed):
        file.fsync()
    assert world.device.drive.medium == {}
    world.device.drive.write_status = BlkStatus.OK
    assert cold(file).read(0, 2 * BLOCK) == blocks(2)


# IV_INO_LBLK_32: the reference has inode 24209004, 57 blocks before the wrap of its DUNs.

WRAPPING_INO = 24_209_004


def wrapping(fs: FileSystem) -> Watched:
    """The directory takes the number before."""
    return Watched(fs, flags=LBLK_32, disk=Disk(first_ino=WRAPPING_INO - 1))


@pytest.mark.parametrize("direct", [False, True])
def test_a_bio_ends_where_lblk_32_wraps(direct: bool) -> None:
    world = wrapping(EXT4)
    file = world.open()
    assert file.inode.disk.ino == WRAPPING_INO
    if direct:
        file.direct_write(0, blocks(60))
    else:
        file.write(0, blocks(60))
        file.fsync()
    expected = [(ReqOp.WRITE, 1, 57 * BLOCK, 0xFFFFFFC7), (ReqOp.WRITE, 58, 3 * BLOCK, 0)]
    assert world.taken() == expected


def test_a_filesystem_that_encrypts_itself_goes_on_across_the_wrap() -> None:
    world = wrapping(FS_LAYER)
    file = world.open()
    file.write(0, blocks(60))
    file.fsync()
    assert world.taken() == [(ReqOp.WRITE, 1, 60 * BLOCK, None)]


def test_the_medium_is_the_same_on_both_sides_of_the_wrap_whoever_encrypts() -> None:
    media = []
    for fs in PATHS.values():
        world = wrapping(fs)
        write(world.mount, "d/f", blocks(60))
        world.mount.sync_filesystem()
        media.append(world.device.drive.medium)
        world.mount.drop_caches()
        assert read(world.mount, "d/f") == blocks(60)
    assert media[0] == media[1] == media[2]
    assert len(media[0]) == 60


# Who encrypts


@pytest.mark.parametrize("path", PATHS)
def test_the_key_is_where_the_path_says(path: str) -> None:
    world = Watched(PATHS[path])
    write(world.mount, "d/f", blocks(1))
    world.mount.sync_filesystem()
    profile, fallback = world.device.queue.profile, world.device.kernel.fallback
    assert profile is not None
    assert profile.table is not None
    assert fallback is not None
    held = {
        "hardware": [key for _, key in profile.table.programmed()],
        "fallback": list(world.device.keys_held) if fallback.engine is not None else [],
        "fs-layer": list(world.mount.blocks.contents.keys_held),
    }
    assert {name: len(keys) for name, keys in held.items()} == {name: int(name == path) for name in PATHS}
    assert [dun for *_, dun in world.taken()] == [None if path == "fs-layer" else 0]
    world.mount.unmount()
    assert not world.device.keys_held | world.mount.blocks.contents.keys_held


@pytest.mark.parametrize(("fs", "number"), [(EXT4, errno.ENOPKG), (ext4_like(UUID, kernel=CLASSIC), 0)])
def test_a_kernel_without_fallback_refuses_what_hardware_cannot_do_unless_the_filesystem_can(
    fs: FileSystem, number: int
) -> None:
    mount = new_mount(fs, device=new_device(fs, native=None, has_fallback=False))
    encrypted_dir(mount, "d", add_key(mount))
    assert error_of(lambda: write(mount, "d/f", b"x")) == number


@pytest.mark.parametrize(
    ("fs", "number"), [(EXT4, errno.EOPNOTSUPP), (ext4_like(UUID, kernel=CLASSIC), errno.EINVAL)]
)
def test_a_wrapped_key_needs_hardware_for_its_very_configuration(fs: FileSystem, number: int) -> None:
    only_512 = capabilities(
        {CryptoModeNum.AES_256_XTS: 512}, max_dun_bytes=8, key_types=KeyType.RAW | KeyType.HW_WRAPPED
    )
    mount = new_mount(fs, device=new_device(fs, native=only_512))
    spec = add_key(mount, wrap(SHORT_RAW), wrapped=True)
    encrypted_dir(mount, "d", spec, flags=PolicyFlags.IV_INO_LBLK_64)
    assert error_of(lambda: write(mount, "d/f", b"x")) == number


def error_of(action: object) -> int:
    assert callable(action)
    try:
        action()
    except BlkCryptoError as error:
        return error.errno
    return 0


# Direct I/O


@pytest.mark.parametrize(
    ("pos", "length", "address", "goes_direct"),
    [
        (0, 2 * BLOCK, 0, True),
        (BLOCK, BLOCK, 8 * BLOCK, True),
        (512, BLOCK, 0, False),
        (0, 512, 0, False),
        (0, BLOCK, 512, False),
    ],
)
@pytest.mark.parametrize("unit", [0, 9])
def test_direct_io_of_an_encrypted_file_is_whole_blocks_of_file_and_memory_or_buffered(
    pos: int, length: int, address: int, goes_direct: bool, unit: int
) -> None:
    """Blocks count, also where data units are smaller."""
    world = Watched(log2_data_unit_size=unit)
    file = world.open()
    file.write(0, blocks(4))
    cold(file)
    assert file.direct_read(pos, length, address) == blocks(4)[pos : pos + length]
    assert bool(file.inode.pages) is not goes_direct


def test_direct_io_is_buffered_where_the_filesystem_encrypts_itself() -> None:
    world = Watched(FS_LAYER)
    file = world.open()
    file.direct_write(0, blocks(2))
    assert sorted(file.inode.pages) == [0, 1]
    assert world.taken() == [(ReqOp.WRITE, 1, 2 * BLOCK, None)]


def test_vectors_of_direct_io_follow_the_pages_of_the_users_buffer() -> None:
    # Six blocks of 1 KiB at byte 1024 of a page: 3 KiB to its end, 3 KiB of the next.
    world = Watched(ext4_like(UUID, block_size=1024))
    file = world.open()
    file.direct_write(0, bytes(6 * 1024), address=1024)
    file.direct_read(0, 6 * 1024, address=2048)
    assert world.vecs == [[(1024, 3072), (0, 3072)], [(2048, 2048), (0, 4096)]]


def test_direct_and_buffered_io_write_the_same_ciphertext() -> None:
    media = []
    for direct in (False, True):
        world = Watched()
        file = world.open()
        (file.direct_write if direct else file.write)(0, blocks(20))
        file.fsync()
        media.append(world.device.drive.medium)
    assert media[0] == media[1]


# Zeroing, truncating


@pytest.mark.parametrize(("path", "count"), [("hardware", 2), ("fallback", 2), ("fs-layer", 19)])
def test_zeroing_300_blocks_takes_bios_of_256_pages_or_of_16_bounce_pages(path: str, count: int) -> None:
    # 300 = 256 + 44 = 18 * 16 + 12.
    world = Watched(PATHS[path])
    file = world.open()
    world.mount.blocks.zero_out(file.inode, range(300))
    bios = world.taken()
    assert len(bios) == count
    assert sum(nbytes for _, _, nbytes, _ in bios) == 300 * BLOCK
    stored = world.device.drive.medium.values()
    assert len(set(stored)) == 300
    assert bytes(BLOCK) not in stored
    file.truncate(300 * BLOCK)
    assert file.read(0, 300 * BLOCK) == bytes(300 * BLOCK)


def test_zeroing_uses_one_page_of_zeroes_over_and_over() -> None:
    world = Watched(ext4_like(UUID, block_size=1024))
    world.mount.blocks.zero_out(world.open().inode, range(1, 7))
    assert world.vecs == [[(0, 4096), (0, 2048)]]


def test_zeroing_a_file_that_is_not_encrypted_writes_zeroes() -> None:
    world = Watched()
    world.mount.blocks.zero_out(world.open("plain").inode, range(2))
    assert list(world.device.drive.medium.values()) == [bytes(BLOCK)] * 2


def test_what_truncation_cuts_off_reads_as_zeroes_when_the_file_grows_again() -> None:
    world = Watched()
    file = world.open()
    file.write(0, blocks(3))
    file.fsync()
    file.truncate(BLOCK + 100)
    file.truncate(3 * BLOCK)
    assert cold(file).read(0, 3 * BLOCK) == blocks(3)[: BLOCK + 100].ljust(3 * BLOCK, b"\0")
    assert sorted(file.inode.disk.blocks) == [0, 1]


def test_truncating_frees_blocks_for_others_and_leaves_their_ciphertext() -> None:
    world = Watched()
    file = world.open()
    file.write(0, blocks(3))
    file.fsync()
    before = dict(world.device.drive.medium)
    file.truncate(BLOCK)
    assert sorted(world.mount.disk.owners) == [1]
    assert world.device.drive.medium == before


# Garbage collection


def locked_files() -> tuple[Watched, list[int]]:
    """Two files of two blocks each, side by side, whose key is gone; and their inode numbers."""
    world = Watched()
    for name in "ab":
        write(world.mount, f"d/{name}", blocks(2, seed=ord(name)))
    world.mount.drop_caches()
    ioctls.remove_key(world.mount, world.spec)
    world.taken()
    return world, [13, 14]


def test_ciphertext_of_two_files_moves_without_their_keys_in_one_bio_each_way() -> None:
    world, _ = locked_files()
    assert collect(world.mount, range(1, 5)) == 4
    assert world.taken() == [(ReqOp.READ, 1, 4 * BLOCK, None), (ReqOp.WRITE, 5, 4 * BLOCK, None)]
    medium = world.device.drive.medium
    assert [medium[block] for block in range(1, 5)] == [medium[block] for block in range(5, 9)]


def test_moved_ciphertext_reads_the_same_once_the_key_is_back() -> None:
    world, inos = locked_files()
    collect(world.mount, range(1, 5))
    world.device.drive.medium |= {block: bytes(BLOCK) for block in range(1, 5)}
    add_key(world.mount)
    assert [read(world.mount, f"d/{name}") for name in "ab"] == [blocks(2, ord(name)) for name in "ab"]
    assert world.mount.disk.owners == {5 + at: (inos[at // 2], at % 2) for at in range(4)}


def test_collection_moves_what_lives_in_the_stretch_only() -> None:
    world, _ = locked_files()
    add_key(world.mount)
    namei.unlink(world.mount, "d/a")
    assert collect(world.mount, range(1, 4)) == 1
    assert sorted(world.mount.disk.owners) == [4, 5]


def test_a_dirty_page_goes_to_where_its_block_moved() -> None:
    world = Watched()
    file = world.open()
    file.write(0, blocks(1))
    file.fsync()
    file.write(0, blocks(1, seed=2))
    collect(world.mount, range(1, 2))
    assert cold(file).read(0, BLOCK) == blocks(1, seed=2)
    assert list(world.mount.disk.owners) == [2]


@pytest.mark.parametrize("full", [False, True])
def test_collection_that_fails_moves_nothing(full: bool) -> None:
    world = Watched(disk=Disk(NextFree(end=6)))
    write(world.mount, "d/f", blocks(3))
    world.mount.sync_filesystem()
    before = dict(world.mount.disk.owners)
    if full:
        with pytest.raises(NoSpace):
            collect(world.mount, range(1, 4))
    else:
        world.device.drive.write_status = BlkStatus.IOERR
        with pytest.raises(IoFailed):
            collect(world.mount, range(1, 3))
    assert world.mount.disk.owners == before
