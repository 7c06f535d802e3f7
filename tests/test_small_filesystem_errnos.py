"""Errors of paths, renames, links and ranges of the small filesystem: those that the manual pages name.

Sources: path_resolution(7), rename(2), rmdir(2), unlink(2), readlink(2), symlink(2), fallocate(2), and
Documentation/filesystems/fscrypt.rst for the ioctls.
"""

import errno
from collections.abc import Callable
from dataclasses import replace

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
from tests.small_world import add_key, encrypted_dir, new_mount, read, remount, set_policy, write


@pytest.fixture
def mount() -> Mount:
    """Two directories, one of them full, and a file in the root."""
    made = new_mount()
    for name in ("full", "empty", "full/sub"):
        namei.create(made, name, InodeKind.DIRECTORY)
    write(made, "file", b"contents")
    write(made, "full/file", b"other contents")
    return made


Call = Callable[[Mount], object]
CASES: dict[str, tuple[int, Call]] = {
    "a path through nothing": (errno.ENOENT, lambda m: namei.existing(m, "none/file")),
    "a path through a file": (errno.ENOTDIR, lambda m: namei.existing(m, "file/file")),
    "opening nothing": (errno.ENOENT, lambda m: files.open_file(m, "none")),
    "a nameless file in nothing": (errno.ENOENT, lambda m: files.open_tmpfile(m, "none")),
    "truncating nothing": (errno.ENOENT, lambda m: files.truncate(m, "none", 0)),
    "listing a file": (errno.ENOTDIR, lambda m: namei.readdir(m, "file")),
    "making what exists": (errno.EEXIST, lambda m: namei.create(m, "file")),
    "linking a directory": (errno.EPERM, lambda m: namei.link(m, "full", "again")),
    "unlinking nothing": (errno.ENOENT, lambda m: namei.unlink(m, "none")),
    "unlinking a directory": (errno.EISDIR, lambda m: namei.unlink(m, "empty")),
    "removing nothing": (errno.ENOENT, lambda m: namei.rmdir(m, "none")),
    "removing a file as a directory": (errno.ENOTDIR, lambda m: namei.rmdir(m, "file")),
    "removing a full directory": (errno.ENOTEMPTY, lambda m: namei.rmdir(m, "full")),
    "renaming nothing": (errno.ENOENT, lambda m: rename(m, "none", "new")),
    "a directory into itself": (errno.EINVAL, lambda m: rename(m, "full", "full/sub/full")),
    "a directory for what is in it": (
        errno.EINVAL,
        lambda m: rename(m, "full", "full/sub", RenameFlags.EXCHANGE),
    ),
    "what is in a directory for it": (
        errno.EINVAL,
        lambda m: rename(m, "full/sub", "full", RenameFlags.EXCHANGE),
    ),
    "what is in a directory over it": (errno.ENOTEMPTY, lambda m: rename(m, "full/sub", "full")),
    "a directory over a file": (errno.ENOTDIR, lambda m: rename(m, "empty", "file")),
    "a file over a directory": (errno.EISDIR, lambda m: rename(m, "file", "empty")),
    "a directory over a full one": (errno.ENOTEMPTY, lambda m: rename(m, "empty", "full")),
    "a name that is taken": (errno.EEXIST, lambda m: rename(m, "file", "full/file", RenameFlags.NOREPLACE)),
    "exchange with nothing": (errno.ENOENT, lambda m: rename(m, "file", "none", RenameFlags.EXCHANGE)),
    "reading a file as a link": (errno.EINVAL, lambda m: readlink(m, "file")),
    "an empty link": (errno.ENOENT, lambda m: symlink(m, b"", "link")),
    "a link longer than a path": (errno.ENAMETOOLONG, lambda m: symlink(m, b"x" * 4096, "link")),
    "collapsing part of a block": (errno.EINVAL, lambda m: opened(m, "file").collapse_range(0, 100)),
    "inserting part of a block": (errno.EINVAL, lambda m: opened(m, "file").insert_range(100, 4096)),
    "a policy on the root": (errno.EPERM, lambda m: ioctls.set_policy(opened(m, "/"), an_empty_policy())),
    "casefolding what is another's": (errno.EACCES, lambda m: casefold(m, "empty", Caller(1000))),
}


def opened(mount: Mount, path: str) -> files.OpenFile:
    return files.open_file(mount, path)


def an_empty_policy() -> bytes:
    return Policy(version=1, master_key=bytes(8)).to_bytes()


def casefold(mount: Mount, path: str, caller: Caller) -> None:
    ioctls.set_casefold(opened(mount, path), caller)


@pytest.mark.parametrize("case", CASES)
def test_the_error_is_the_manual_pages(case: str, mount: Mount) -> None:
    number, call = CASES[case]
    if case == "a policy on the root":
        mount = new_mount()  # it has to be empty to come that far
    with pytest.raises(BlkCryptoError) as caught:
        call(mount)
    assert caught.value.errno == number


def test_a_replaced_file_loses_its_name_and_lives_until_it_is_closed(mount: Mount) -> None:
    replaced = opened(mount, "full/file")
    rename(mount, "file", "full/file")
    assert replaced.inode.disk.nlink == 0
    assert replaced.read(0, 100) == b"other contents"
    assert read(mount, "full/file") == b"contents"
    replaced.close()
    assert replaced.inode.disk.ino not in mount.disk.inodes


def test_a_directory_that_replaces_an_empty_one_keeps_its_entries(mount: Mount) -> None:
    rename(mount, "full", "empty")
    assert sorted(namei.readdir(mount, "/")) == [b"empty", b"file"]
    assert read(mount, "empty/file") == b"other contents"


def test_renaming_one_name_of_a_file_to_its_other_does_nothing(mount: Mount) -> None:
    namei.link(mount, "file", "again")
    rename(mount, "file", "again")
    assert {b"file", b"again"} <= set(namei.readdir(mount, "/"))


def test_exchanged_names_of_two_directories_have_each_other_s_files(mount: Mount) -> None:
    rename(mount, "file", "full/file", RenameFlags.EXCHANGE)
    assert (read(mount, "file"), read(mount, "full/file")) == (b"other contents", b"contents")


@pytest.mark.parametrize(("nbytes", "fits"), [(1023, True), (1024, False)])
def test_a_plain_link_target_has_one_byte_less_than_a_block(nbytes: int, fits: bool, mount: Mount) -> None:
    """The terminating zero takes the last byte of a block of 1 KiB."""
    small = new_mount(replace(mount.fs, block_size=1024))
    if fits:
        symlink(small, b"x" * nbytes, "link")
        assert readlink(small, "link") == b"x" * nbytes
        return
    with pytest.raises(BlkCryptoError) as caught:
        symlink(small, b"x" * nbytes, "link")
    assert caught.value.errno == errno.ENAMETOOLONG


def test_a_plain_symbolic_link_is_followed_from_where_it_lies_and_from_the_root(mount: Mount) -> None:
    symlink(mount, b"file", "full/near")
    symlink(mount, b"/file", "full/far")
    assert (read(mount, "full/near"), read(mount, "full/far")) == (b"other contents", b"contents")
    assert readlink(mount, "full/near") == b"file"


def test_a_file_that_is_closed_twice_is_closed(mount: Mount) -> None:
    file = opened(mount, "file")
    other = opened(mount, "file")
    file.close()
    file.close()
    assert file.inode.opens == 1
    other.close()


def test_casefolding_a_casefolded_directory_changes_nothing(mount: Mount) -> None:
    mount.has_casefold = True
    casefold(mount, "empty", Caller(0))
    casefold(mount, "empty", Caller(0))
    assert namei.existing(mount, "empty").disk.is_casefolded


def test_no_new_names_and_no_moves_without_the_key() -> None:
    mount = new_mount()
    encrypted_dir(mount, "d", add_key(mount))
    write(mount, "d/file", b"x")
    write(mount, "plain", b"x")
    locked = remount(mount)
    (name,) = (name.decode() for name in namei.readdir(locked, "d"))
    for call in (
        lambda: rename(locked, f"d/{name}", "d/other"),
        lambda: rename(locked, f"d/{name}", "other"),
        lambda: rename(locked, "plain", "d/other"),
        lambda: rename(locked, "plain", f"d/{name}"),
        lambda: rename(locked, "plain", f"d/{name}", RenameFlags.EXCHANGE),
        lambda: rename(locked, f"d/{name}", "plain", RenameFlags.EXCHANGE),
        lambda: namei.link(locked, "plain", "d/other"),
        lambda: namei.link(locked, f"d/{name}", "d/other"),
        lambda: namei.create(locked, "d/other"),
    ):
        with pytest.raises(BlkCryptoError) as caught:
            call()
        assert caught.value.errno == errno.ENOKEY
    namei.unlink(locked, f"d/{name}")
    assert namei.readdir(locked, "d") == []


def test_a_long_name_is_found_without_the_key_by_the_hash_of_its_rest() -> None:
    """A no-key name holds 149 bytes of ciphertext; of longer ones the SHA-256 of the rest stands for it."""
    mount = new_mount()
    encrypted_dir(mount, "d", add_key(mount))
    for last in "ab":
        write(mount, "d/" + "n" * 200 + last, last.encode())
    locked = remount(mount)
    names = [name.decode() for name in namei.readdir(locked, "d")]
    assert len({namei.existing(locked, f"d/{name}").disk.ino for name in names}) == 2
    with pytest.raises(BlkCryptoError) as caught:
        namei.existing(locked, f"d/{names[0][:-4]}AAAA")
    assert caught.value.errno == errno.ENOENT


def test_a_policy_needs_an_empty_directory_that_is_there(mount: Mount) -> None:
    for path, number in (("full", errno.ENOTEMPTY), ("file", errno.ENOTDIR)):
        with pytest.raises(BlkCryptoError) as caught:
            set_policy(mount, path, Policy(version=1, master_key=bytes(8)))
        assert caught.value.errno == number
