"""What the small filesystem does besides encryption: read-only mounts, ranges of files, names.

Sources: mount(2), open(2), truncate(2), fallocate(2), link(2), rename(2), symlink(2).
"""

import errno
from collections.abc import Callable

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.caller import Caller
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.directory import Directory
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.rename import RenameFlags, rename
from blkcrypto.fs.smallfs.symlink import readlink, symlink
from tests.fscrypt_world import EXT4
from tests.small_world import add_key, encrypted_dir, new_device, new_mount, read, remount, write

BLOCK = 4096
CONTENTS = bytes(number for number in range(1, 5) for _ in range(BLOCK))

Change = Callable[[Mount, files.OpenFile], object]
CHANGES: dict[str, Change] = {
    "make a file": lambda m, _: namei.create(m, "new"),
    "make a directory": lambda m, _: namei.create(m, "new", InodeKind.DIRECTORY),
    "make a special inode": lambda m, _: namei.create(m, "new", InodeKind.SPECIAL),
    "open with O_CREAT": lambda m, _: files.open_file(m, "new", make=True),
    "open with O_TMPFILE": lambda m, _: files.open_tmpfile(m, "empty"),
    "make a symlink": lambda m, _: symlink(m, b"file", "new"),
    "link": lambda m, _: namei.link(m, "file", "new"),
    "unlink": lambda m, _: namei.unlink(m, "file"),
    "remove a directory": lambda m, _: namei.rmdir(m, "empty"),
    "rename": lambda m, _: rename(m, "file", "new"),
    "exchange": lambda m, _: rename(m, "file", "empty", RenameFlags.EXCHANGE),
    "write": lambda _, f: f.write(0, b"x"),
    "write directly": lambda _, f: f.direct_write(0, bytes(BLOCK)),
    "truncate by name": lambda m, _: files.truncate(m, "file", 0),
    "truncate": lambda _, f: f.truncate(0),
    "punch a hole": lambda _, f: f.punch_hole(0, BLOCK),
    "allocate": lambda _, f: f.allocate(0, 1 << 20),
    "collapse": lambda _, f: f.collapse_range(0, BLOCK),
    "insert": lambda _, f: f.insert_range(0, BLOCK),
    "set a policy": lambda m, _: ioctls.set_policy(
        files.open_file(m, "empty"), Policy(version=1, master_key=bytes(8)).to_bytes()
    ),
    "make casefolded": lambda m, _: ioctls.set_casefold(files.open_file(m, "empty")),
}


@pytest.fixture
def mount() -> Mount:
    """A file of four blocks that lie on disk, and an empty directory."""
    made = new_mount()
    made.has_casefold = True
    namei.create(made, "empty", InodeKind.DIRECTORY)
    write(made, "file", CONTENTS)
    made.sync_filesystem()
    return made


def state(mount: Mount) -> object:
    """All that is on the disk."""
    inodes = {
        ino: (inode.nlink, inode.size, inode.context, inode.is_casefolded, dict(inode.entries))
        for ino, inode in mount.disk.inodes.items()
    }
    return inodes, dict(mount.disk.owners), dict(mount.device.drive.medium)


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_changes_on_a_read_only_mount(change: str, mount: Mount) -> None:
    file = files.open_file(mount, "file")
    before = state(mount)
    mount.read_only = True
    with pytest.raises(BlkCryptoError) as caught:
        CHANGES[change](mount, file)
    assert (caught.value.errno, state(mount), file.read(0, 1 << 20)) == (errno.EROFS, before, CONTENTS)


# What Linux 6.18 answers on a tmpfs that is mounted read-only: EROFS comes before all that is said of a last
# name that goes, but after EEXIST of one that comes.
READ_ONLY: dict[str, tuple[int, Callable[[Mount], object]]] = {
    "unlink of nothing": (errno.EROFS, lambda m: namei.unlink(m, "nothing")),
    "unlink of a directory": (errno.EROFS, lambda m: namei.unlink(m, "empty")),
    "unlink below a file": (errno.ENOTDIR, lambda m: namei.unlink(m, "file/name")),
    "rmdir of nothing": (errno.EROFS, lambda m: namei.rmdir(m, "nothing")),
    "rmdir of a file": (errno.EROFS, lambda m: namei.rmdir(m, "file")),
    "rename of nothing": (errno.EROFS, lambda m: rename(m, "nothing", "new")),
    "rename into itself": (errno.EROFS, lambda m: rename(m, "empty", "empty/new")),
    "rename of a file to a directory": (errno.EROFS, lambda m: rename(m, "file", "empty")),
    "link to a taken name": (errno.EEXIST, lambda m: namei.link(m, "file", "empty")),
    "link of a directory": (errno.EROFS, lambda m: namei.link(m, "empty", "new")),
    "link of nothing": (errno.ENOENT, lambda m: namei.link(m, "nothing", "new")),
    "mkdir of a taken name": (errno.EEXIST, lambda m: namei.create(m, "file", InodeKind.DIRECTORY)),
    "symlink of a taken name": (errno.EEXIST, lambda m: symlink(m, b"to", "file")),
    "truncate of nothing": (errno.ENOENT, lambda m: files.truncate(m, "nothing", 0)),
}


@pytest.mark.parametrize("call", READ_ONLY)
def test_errors_on_a_read_only_mount_come_in_the_order_of_linux(call: str, mount: Mount) -> None:
    mount.read_only = True
    expected, work = READ_ONLY[call]
    with pytest.raises(BlkCryptoError) as caught:
        work(mount)
    assert caught.value.errno == expected


@pytest.mark.parametrize(("read_only", "expected"), [(False, errno.ENOKEY), (True, errno.EROFS)])
def test_truncating_a_locked_file_by_name_asks_for_the_mount_before_the_key(
    read_only: bool, expected: int, mount: Mount
) -> None:
    encrypted_dir(mount, "secret", add_key(mount))
    write(mount, "secret/file", CONTENTS)
    locked = remount(mount)
    (name,) = (name.decode() for name in namei.readdir(locked, "secret"))
    locked.read_only = read_only
    with pytest.raises(BlkCryptoError) as caught:
        files.truncate(locked, f"secret/{name}", 0)
    assert caught.value.errno == expected


def test_reading_works_on_a_read_only_mount(mount: Mount) -> None:
    mount.read_only = True
    assert (namei.readdir(mount, "/"), read(mount, "file")) == ([b"empty", b"file"], CONTENTS)


@pytest.mark.parametrize(
    ("pos", "length", "keep_size", "size"),
    [
        (BLOCK, 10 * BLOCK, False, 11 * BLOCK),
        (3 * BLOCK, BLOCK, False, 4 * BLOCK),
        (BLOCK, 100, False, 4 * BLOCK),
        (BLOCK, 10 * BLOCK, True, 4 * BLOCK),
    ],
)
def test_space_reserved_past_the_end_makes_a_file_longer_unless_it_shall_keep_its_size(
    pos: int, length: int, keep_size: bool, size: int, mount: Mount
) -> None:
    file = files.open_file(mount, "file")
    file.allocate(pos, length, keep_size=keep_size)
    assert file.read(0, 1 << 20) == CONTENTS.ljust(size, b"\0")


def test_collapsing_takes_blocks_out_and_frees_them(mount: Mount) -> None:
    file = files.open_file(mount, "file")
    file.collapse_range(BLOCK, 2 * BLOCK)
    assert read(mount, "file") == CONTENTS[:BLOCK] + CONTENTS[3 * BLOCK :]
    mount.drop_caches()
    assert read(mount, "file") == CONTENTS[:BLOCK] + CONTENTS[3 * BLOCK :]
    assert sorted(mount.disk.owners.values()) == [(file.inode.disk.ino, 0), (file.inode.disk.ino, 1)]


def test_inserting_puts_a_hole_in_and_moves_the_rest(mount: Mount) -> None:
    file = files.open_file(mount, "file")
    file.write(BLOCK, b"dirty")
    file.insert_range(BLOCK, 2 * BLOCK)
    expected = CONTENTS[:BLOCK] + bytes(2 * BLOCK) + b"dirty" + CONTENTS[BLOCK + 5 :]
    assert read(mount, "file") == expected
    assert sorted(lblk for _, lblk in mount.disk.owners.values()) == [0, 3, 4, 5]


def test_a_write_says_how_much_it_wrote(mount: Mount) -> None:
    file = files.open_file(mount, "file")
    assert (file.write(100, bytes(5000)), file.direct_write(0, bytes(2 * BLOCK))) == (5000, 2 * BLOCK)


def test_direct_io_past_the_end_makes_a_file_longer_and_stops_at_it(mount: Mount) -> None:
    file = files.open_file(mount, "file")
    file.direct_write(6 * BLOCK, b"z" * BLOCK)
    expected = CONTENTS + bytes(2 * BLOCK) + b"z" * BLOCK
    assert file.direct_read(0, 16 * BLOCK) == expected
    file.truncate(6 * BLOCK + 10)
    assert file.direct_read(6 * BLOCK, BLOCK) == b"z" * 10
    assert file.direct_read(8 * BLOCK, BLOCK) == b""


def test_a_misaligned_direct_write_reaches_the_disk_all_the_same(mount: Mount) -> None:
    file = files.open_file(mount, "file")
    assert file.direct_write(512, b"y" * 512) == 512
    assert mount.device.drive.medium[file.inode.disk.blocks[0]][:1025] == b"\1" * 512 + b"y" * 512 + b"\1"


def test_a_new_symlink_is_the_inode_that_has_its_name(mount: Mount) -> None:
    made = symlink(mount, b"file", "link")
    assert namei.existing(mount, "link") is made
    assert readlink(mount, "link") == b"file"


def test_a_new_inode_is_its_maker_s(mount: Mount) -> None:
    made = [namei.create(mount, "f", caller=Caller(1000)), symlink(mount, b"f", "l", Caller(1001))]
    assert [inode.disk.uid for inode in made] == [1000, 1001]


def test_an_inode_that_cannot_get_its_key_is_not_made() -> None:
    """No hardware and no fallback: the name is not entered, and the inode is gone again."""
    mount = new_mount(EXT4, device=new_device(EXT4, native=None, has_fallback=False))
    encrypted_dir(mount, "d", add_key(mount))
    before, cached = set(mount.disk.inodes), set(mount.cached)
    with pytest.raises(BlkCryptoError, match="ENOPKG"):
        namei.create(mount, "d/f")
    assert (namei.readdir(mount, "d"), set(mount.disk.inodes), set(mount.cached)) == ([], before, cached)


def test_an_open_file_and_its_directories_stay_cached_until_it_is_closed(mount: Mount) -> None:
    namei.create(mount, "empty/sub", InodeKind.DIRECTORY)
    namei.create(mount, "empty/other", InodeKind.DIRECTORY)
    file = files.open_file(mount, "empty/sub/f", make=True)
    mount.drop_caches()
    assert {inode.disk.ino for inode in mount.cached} == {
        inode.disk.ino for inode in (mount.root(), *map(mount.inode, (12, 14)), file.inode)
    }
    file.close()
    mount.drop_caches()
    assert mount.cached == ()


def test_a_dirty_file_stays_cached_until_it_is_written_back(mount: Mount) -> None:
    write(mount, "file", b"dirty")
    inode = namei.existing(mount, "file")
    mount.evict_unlocked([inode.disk.ino])
    assert inode in mount.cached
    mount.sync_filesystem()
    mount.evict_unlocked([inode.disk.ino])
    assert inode not in mount.cached


def test_a_nameless_file_lives_until_it_is_closed(mount: Mount) -> None:
    before = set(mount.disk.inodes)
    file = files.open_tmpfile(mount, "empty")
    file.write(0, b"x" * BLOCK)
    file.fsync()
    ino = file.inode.disk.ino
    assert (file.read(0, 9), namei.readdir(mount, "empty"), ino in mount.disk.inodes) == (b"x" * 9, [], True)
    file.close()
    assert set(mount.disk.inodes) == before
    assert ino not in {owner for owner, _ in mount.disk.owners.values()}


def test_a_file_lives_until_its_last_name_is_gone(mount: Mount) -> None:
    namei.link(mount, "file", "empty/again")
    namei.unlink(mount, "file")
    assert read(mount, "empty/again") == CONTENTS
    namei.unlink(mount, "empty/again")
    assert not mount.disk.owners


def test_names_of_equal_hashes_are_found_until_each_is_removed() -> None:
    directory = Directory()
    for number, name in enumerate((b"a", b"b", b"c")):
        directory.put(name, number, (1, 2) if name != b"c" else (1, 3))
    directory.put(b"b", 9, (1, 2))
    assert (directory.with_hashes((1, 2)), directory.entries[b"b"]) == ([b"a", b"b"], 9)
    directory.remove(b"a")
    assert directory.with_hashes((1, 2)) == [b"b"]
    directory.remove(b"b")
    assert list(directory.with_hashes((1, 2))) == []
    assert list(directory._by_hash) == [(1, 3)]  # nothing is kept for names that are gone
    assert (list(directory.entries), directory.hashes) == ([b"c"], {b"c": (1, 3)})


def test_a_rename_asks_whether_the_old_inode_may_move_and_an_exchange_whether_both_may(mount: Mount) -> None:
    # Out of an encrypted directory anything may go; into one only what has its policy.
    encrypted_dir(mount, "d", add_key(mount))
    write(mount, "d/a", b"a")

    with pytest.raises(BlkCryptoError) as caught:
        rename(mount, "d/a", "file", RenameFlags.EXCHANGE)
    rename(mount, "d/a", "file")

    assert caught.value.errno == errno.EXDEV
    assert read(mount, "file") == b"a"
    assert namei.readdir(mount, "d") == []


@pytest.mark.parametrize("name", [b"", b"a/b"])
def test_a_directory_with_a_name_that_cannot_be_one_is_not_listed(mount: Mount, name: bytes) -> None:
    # A wrong key makes such names.  verify_dirent_name() of Linux's readdir gives EIO for both.
    encrypted_dir(mount, "d", add_key(mount))
    namei.create(mount, "d/good")
    directory = namei.existing(mount, "d")
    assert directory.info is not None
    assert directory.info.names is not None
    directory.disk.directory.put(directory.info.names.encrypt(name), 99)

    with pytest.raises(BlkCryptoError) as caught:
        namei.readdir(mount, "d")

    assert caught.value.errno == errno.EIO
