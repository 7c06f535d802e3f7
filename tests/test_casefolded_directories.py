"""Directories that find names without regard to case, encrypted and not, with the key and without."""

import errno
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.casefold import casefold
from blkcrypto.fs.fscrypt.filesystem import ext4_like
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.rename import RenameFlags, rename
from tests.fscrypt_world import CLASSIC, GOLDEN, UUID, needs_golden
from tests.small_world import ANY_IDENTIFIER, add_key, encrypted_dir, new_device, read, write

DESCRIPTOR = bytes(range(8))
BOTH = pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])


def casefolding_mount(*, strict: bool = False, disk: Disk | None = None, uuid: bytes = UUID) -> Mount:
    fs = ext4_like(uuid, kernel=CLASSIC)
    return Mount(
        disk or Disk(),
        fs,
        new_device(fs),
        np.random.default_rng(1),
        has_casefold=True,
        strict_encoding=strict,
    )


def fold(mount: Mount, path: str) -> None:
    file = files.open_file(mount, path)
    try:
        ioctls.set_casefold(file)
    finally:
        file.close()


def folded_dir(*, encrypted: bool, strict: bool = False) -> Mount:
    """A mount with a casefolded directory ``d``."""
    mount = casefolding_mount(strict=strict)
    if encrypted:
        encrypted_dir(mount, "d", add_key(mount))
    else:
        namei.create(mount, "d", InodeKind.DIRECTORY)
    fold(mount, "d")
    return mount


def locked(mount: Mount) -> Mount:
    """The same disk without any key."""
    mount.unmount()
    return casefolding_mount(disk=mount.disk)


def error_of(action: object, *args: object) -> int:
    assert callable(action)
    try:
        action(*args)
    except BlkCryptoError as error:
        return error.errno
    return 0


# Lookup


@BOTH
def test_a_name_is_found_in_any_case_and_keeps_its_own(encrypted: bool) -> None:
    mount = folded_dir(encrypted=encrypted)
    made = namei.create(mount, "d/Straße")
    for other in ("d/Straße", "d/STRASSE", "d/strasse"):
        assert namei.existing(mount, other) is made
    assert namei.readdir(mount, "d") == ["Straße".encode()]


@BOTH
def test_a_name_that_differs_in_case_only_is_taken(encrypted: bool) -> None:
    mount = folded_dir(encrypted=encrypted)
    write(mount, "d/File", b"one")
    assert error_of(namei.create, mount, "d/fILE") == errno.EEXIST
    write(mount, "d/fILE", b"two")
    assert read(mount, "d/FILE") == b"two"


def test_elsewhere_case_counts() -> None:
    mount = casefolding_mount()
    encrypted_dir(mount, "d", add_key(mount))
    assert namei.create(mount, "d/a") is not namei.create(mount, "d/A")


@BOTH
def test_a_name_is_removed_in_any_case(encrypted: bool) -> None:
    mount = folded_dir(encrypted=encrypted)
    namei.create(mount, "d/Name")
    namei.unlink(mount, "d/NAME")
    assert namei.readdir(mount, "d") == []
    assert error_of(namei.existing, mount, "d/Name") == errno.ENOENT


@given(names=st.lists(st.text("aAbBäÄßſ\u0301é", min_size=1, max_size=4), max_size=12))
def test_what_is_found_is_what_a_scan_of_all_names_would_find(names: list[str]) -> None:
    mount = folded_dir(encrypted=True)
    made: dict[bytes, str] = {}
    for name in names:
        taken = casefold(name.encode()) in made
        assert error_of(namei.create, mount, f"d/{name}") == (errno.EEXIST if taken else 0)
        made.setdefault(casefold(name.encode()), name)
    assert namei.readdir(mount, "d") == [name.encode() for name in made.values()]


# Renaming


@BOTH
def test_replacing_a_name_leaves_it_the_case_it_had(encrypted: bool) -> None:
    mount = folded_dir(encrypted=encrypted)
    write(mount, "d/Kept", b"old")
    write(mount, "d/new", b"new")
    rename(mount, "d/NEW", "d/kept")
    assert namei.readdir(mount, "d") == [b"Kept"]
    assert read(mount, "d/KEPT") == b"new"


def test_renaming_to_another_case_of_itself_changes_nothing() -> None:
    # Both names are one inode's, which the virtual filesystem leaves alone.
    mount = folded_dir(encrypted=True)
    namei.create(mount, "d/name")
    rename(mount, "d/name", "d/NAME")
    assert namei.readdir(mount, "d") == [b"name"]


@pytest.mark.parametrize("flags", [RenameFlags.EXCHANGE, RenameFlags.WHITEOUT])
def test_a_renamed_name_is_found_in_any_case_again(flags: RenameFlags) -> None:
    mount = folded_dir(encrypted=True)
    write(mount, "d/One", b"1")
    write(mount, "d/Two", b"2")
    rename(mount, "d/ONE", "d/TWO", flags)
    assert read(mount, "d/two") == b"1"
    assert namei.lookup(mount, "d/one").inode is not None


# Making a directory casefolded


def test_directories_made_in_a_casefolded_one_are_casefolded() -> None:
    mount = folded_dir(encrypted=True)
    made = namei.create(mount, "d/Sub", InodeKind.DIRECTORY)
    namei.create(mount, "d/Sub/Deep")
    assert made.disk.is_casefolded
    assert namei.existing(mount, "d/sub/DEEP")


def test_only_an_empty_directory_is_made_casefolded() -> None:
    mount = casefolding_mount()
    write(mount, "file", b"")
    namei.create(mount, "full", InodeKind.DIRECTORY)
    namei.create(mount, "full/x")
    assert error_of(fold, mount, "file") == errno.ENOTDIR
    assert error_of(fold, mount, "full") == errno.ENOTEMPTY


def test_a_filesystem_without_the_feature_has_no_such_directories() -> None:
    mount = casefolding_mount()
    mount.has_casefold = False
    namei.create(mount, "d", InodeKind.DIRECTORY)
    assert error_of(fold, mount, "d") == errno.EOPNOTSUPP


def test_an_encrypted_directory_needs_its_key_to_be_made_casefolded() -> None:
    mount = casefolding_mount()
    spec = add_key(mount)
    encrypted_dir(mount, "d", spec)
    ioctls.remove_key(mount, spec)
    assert error_of(fold, mount, "d") == errno.ENOKEY


def test_the_key_must_still_be_there_and_not_only_the_directory_unlocked() -> None:
    mount = casefolding_mount()
    spec = add_key(mount)
    encrypted_dir(mount, "d", spec)
    file = files.open_file(mount, "d")
    mount.require_key(file.inode)
    ioctls.remove_key(mount, spec)
    assert error_of(ioctls.set_casefold, file) == errno.ENOKEY


def test_v1_policies_and_casefolding_exclude_each_other() -> None:
    mount = casefolding_mount()
    spec = add_key(mount, descriptor=DESCRIPTOR)
    encrypted_dir(mount, "v1", spec)
    assert error_of(fold, mount, "v1") == errno.EINVAL
    namei.create(mount, "folded", InodeKind.DIRECTORY)
    fold(mount, "folded")
    file = files.open_file(mount, "folded")
    policy = Policy(version=1, master_key=DESCRIPTOR)
    assert error_of(ioctls.set_policy, file, policy.to_bytes()) == errno.EINVAL


def test_a_casefolded_directory_may_be_encrypted_afterwards() -> None:
    mount = casefolding_mount()
    spec = add_key(mount)
    namei.create(mount, "d", InodeKind.DIRECTORY)
    fold(mount, "d")
    file = files.open_file(mount, "d")
    ioctls.set_policy(file, Policy(master_key=spec.key).to_bytes())
    namei.create(mount, "d/Name")
    assert namei.existing(mount, "d/NAME")


# Names that are no UTF-8

LATIN_1 = "d/caf\udce9"  # the byte E9, as Python passes it


@BOTH
def test_a_name_that_is_not_utf8_matches_itself_only(encrypted: bool) -> None:
    mount = folded_dir(encrypted=encrypted)
    namei.create(mount, LATIN_1)
    assert namei.existing(mount, LATIN_1)
    assert error_of(namei.existing, mount, LATIN_1.replace("caf", "CAF")) == errno.ENOENT


@BOTH
def test_a_strict_filesystem_neither_makes_nor_finds_such_names_where_it_folds(encrypted: bool) -> None:
    mount = folded_dir(encrypted=encrypted, strict=True)
    assert error_of(namei.create, mount, LATIN_1) == errno.EINVAL
    assert error_of(namei.existing, mount, LATIN_1) == errno.EINVAL
    namei.create(mount, "d/café")
    namei.create(mount, LATIN_1.removeprefix("d/"))


# Without the key


def test_without_the_key_names_do_not_fold() -> None:
    mount = folded_dir(encrypted=True)
    namei.create(mount, "d/Name")
    without = locked(mount)
    (listed,) = (name.decode() for name in namei.readdir(without, "d"))
    assert namei.existing(without, f"d/{listed}")
    assert error_of(namei.existing, without, f"d/{listed.swapcase()}") == errno.ENOENT
    assert error_of(namei.existing, without, "d/Name") == errno.ENOENT
    assert error_of(namei.create, without, "d/Other") == errno.ENOKEY


def test_a_name_is_removed_by_its_no_key_name_and_then_free_again() -> None:
    mount = folded_dir(encrypted=True)
    namei.create(mount, "d/Name")
    without = locked(mount)
    namei.unlink(without, f"d/{namei.readdir(without, 'd')[0].decode()}")
    add_key(without)
    namei.create(without, "d/NAME")
    assert namei.readdir(without, "d") == [b"NAME"]


@needs_golden
@pytest.mark.parametrize("case", ["v2-xts", "v2-hctr2", "v2-lblk64"])
def test_names_hashes_and_no_key_names_are_those_that_linux_stored(case: str) -> None:
    record: dict[str, Any] = json.loads((GOLDEN / f"ext4-4k-casefold/{case}.json").read_text())
    top, *rest = record["objects"]
    inside = [item for item in rest if item.get("parent_ino") == top["ino"] and "disk_name" in item]
    uuid = bytes.fromhex(record["fs"]["uuid"])
    mount = casefolding_mount(disk=Disk(first_ino=top["ino"]), uuid=uuid)
    spec = add_key(mount, bytes.fromhex(record["master_key"]))
    assert spec.type is ANY_IDENTIFIER.type
    policy = Policy(
        contents_mode=record["policy"]["contents_mode"],
        filenames_mode=record["policy"]["filenames_mode"],
        flags=record["policy"]["flags"],
        master_key=spec.key,
    )
    directory = namei.create(mount, "d", InodeKind.DIRECTORY)
    file = files.open_file(mount, "d")
    ioctls.set_policy(file, policy.to_bytes())
    directory.disk.context = bytes.fromhex(top["context"])
    ioctls.set_casefold(file)
    for item in inside:
        namei.create(mount, f"d/{item['name']}")
    stored = directory.disk.directory.hashes
    expected = {bytes.fromhex(item["disk_name"]): hashes_of(item["dirent_hash"]) for item in inside}
    assert stored == expected
    file.close()
    mount.drop_caches()
    ioctls.remove_key(mount, spec)
    assert {name.decode() for name in namei.readdir(mount, "d")} == {item["nokey_name"] for item in inside}


def hashes_of(text: str) -> tuple[int, int]:
    raw = bytes.fromhex(text)
    return int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:], "little")


# Default_Ignorable_Code_Point of Unicode 12.1 (DerivedCoreProperties.txt): first and last of each range.
IGNORABLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip


@pytest.mark.parametrize(("first", "last"), IGNORABLE)
def test_ignorable_characters_do_not_count_and_their_neighbours_do(first: int, last: int) -> None:
    for point in (first, (first + last) // 2, last):
        assert casefold(f"a{chr(point)}b".encode()) == b"ab"
    for point in (first - 1, last + 1):
        assert casefold(f"a{chr(point)}b".encode()) != b"ab"
