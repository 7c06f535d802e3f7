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
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.rename import RenameFlags, rename
from blkcrypto.fs.smallfs.symlink import readlink, symlink
from tests.small_world import new_mount, read, write

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
