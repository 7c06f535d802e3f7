"""xfstests about keys, policies and what works without a key, each under its name."""

import errno
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.key_entry import KeyStatus, RemovalFlags
from blkcrypto.fs.fscrypt.policy import Policy, PolicyFlags, parse_context
from blkcrypto.fs.fscrypt.process_keys import PayloadInvalid, logon_payload
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.gc import collect
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.rename import RenameFlags, rename
from blkcrypto.fs.smallfs.symlink import readlink, symlink
from tests.fscrypt_world import RAW, SHORT_RAW
from tests.small_world import (
    ANY_IDENTIFIER,
    add_key,
    encrypted_dir,
    new_mount,
    read,
    remount,
    set_policy,
    write,
)

DESCRIPTOR = bytes.fromhex("0000111122223333")
KINDS = pytest.mark.parametrize("descriptor", [b"", DESCRIPTOR], ids=["v2", "v1"])


@pytest.fixture
def mount() -> Mount:
    return new_mount()


def refused(number: int, action: Callable[..., object], *args: object, **kwargs: object) -> None:
    """The action fails with this errno."""
    with pytest.raises(BlkCryptoError) as caught:
        action(*args, **kwargs)
    assert errno.errorcode[caught.value.errno] == errno.errorcode[number]


def put_policy(mount: Mount, path: str, policy: Policy, caller: Caller = ROOT) -> None:
    file = files.open_file(mount, path)
    try:
        ioctls.set_policy(file, policy.to_bytes(), caller)
    finally:
        file.close()


def test_generic_395_setting_and_getting_policies(mount: Mount) -> None:
    v1 = Policy(version=1, master_key=bytes(8))
    namei.create(mount, "empty", InodeKind.DIRECTORY)
    file = files.open_file(mount, "empty")
    refused(errno.ENODATA, ioctls.get_policy, file)
    ioctls.set_policy(file, v1.to_bytes())
    assert ioctls.get_policy_v1(file) == v1.to_bytes()
    ioctls.set_policy(file, v1.to_bytes())
    refused(errno.EEXIST, ioctls.set_policy, file, replace(v1, flags=0).to_bytes())
    file.close()
    namei.create(mount, "nonempty", InodeKind.DIRECTORY)
    write(mount, "nonempty/file", b"x")
    refused(errno.ENOTEMPTY, put_policy, mount, "nonempty", v1)
    refused(errno.ENOTDIR, put_policy, mount, "nonempty/file", v1)
    namei.create(mount, "foreign", InodeKind.DIRECTORY)
    refused(errno.EACCES, put_policy, mount, "foreign", v1, Caller(1000))
    mount.read_only = True
    refused(errno.EROFS, put_policy, mount, "foreign", v1)


@pytest.mark.parametrize(
    "change",
    [
        {"contents_mode": 0},
        {"contents_mode": 255},
        {"filenames_mode": 0},
        {"filenames_mode": 255},
        {"contents_mode": 4},
        {"filenames_mode": 1},
        {"flags": 0x80},
        {"contents_mode": 1, "filenames_mode": 6},
        {"contents_mode": 5, "filenames_mode": 4},
    ],
)
def test_generic_396_invalid_policies(mount: Mount, change: dict[str, int]) -> None:
    namei.create(mount, "d", InodeKind.DIRECTORY)
    for policy in (Policy(version=1, master_key=bytes(8)), Policy(master_key=bytes(16))):
        refused(errno.EINVAL, put_policy, mount, "d", replace(policy, **change))  # type: ignore[arg-type]  # ints


def test_generic_397_access_with_and_without_the_key(mount: Mount) -> None:
    encrypted_dir(mount, "d", add_key(mount))
    for number in range(10):
        write(mount, f"d/{'n' * (25 * number + 1)}", b"contents" * number)
    namei.create(mount, "d/sub", InodeKind.DIRECTORY)
    symlink(mount, b"target", "d/link")
    sizes = {len(name): namei.existing(mount, f"d/{name.decode()}").disk.size for name in names(mount, "d")}
    locked = remount(mount)
    listed = names(locked, "d")
    assert len(listed) == 12
    assert not {b"sub", b"link", b"n"} & set(listed)
    found = [namei.existing(locked, f"d/{name.decode()}").disk.size for name in listed]
    assert sorted(found) == sorted(sizes.values())
    a_file = next(name for name in listed if kind(locked, name) is InodeKind.REGULAR).decode()
    a_link = next(name for name in listed if kind(locked, name) is InodeKind.SYMLINK).decode()
    refused(errno.ENOKEY, files.open_file, locked, f"d/{a_file}")
    refused(errno.ENOKEY, files.open_file, locked, "d/new", make=True)
    refused(errno.ENOKEY, namei.create, locked, "d/newdir", InodeKind.DIRECTORY)
    refused(errno.ENOKEY, symlink, locked, b"target", "d/newlink")
    assert readlink(locked, f"d/{a_link}") != b"target"
    for name in listed:
        remove = namei.rmdir if kind(locked, name) is InodeKind.DIRECTORY else namei.unlink
        remove(locked, f"d/{name.decode()}")
    assert names(locked, "d") == []


def names(mount: Mount, path: str) -> list[bytes]:
    return namei.readdir(mount, path)


def kind(mount: Mount, name: bytes) -> InodeKind:
    return namei.existing(mount, f"d/{name.decode()}").disk.kind


def test_generic_398_one_policy_in_each_encrypted_directory(mount: Mount) -> None:
    spec, other = add_key(mount), add_key(mount, SHORT_RAW)
    encrypted_dir(mount, "one", spec)
    encrypted_dir(mount, "two", other)
    namei.create(mount, "plain", InodeKind.DIRECTORY)
    for directory in ("one", "two", "plain"):
        write(mount, f"{directory}/file", b"x")
        namei.create(mount, f"{directory}/dir", InodeKind.DIRECTORY)
    for special in ("fifo", "other"):
        namei.create(mount, f"plain/{special}", InodeKind.SPECIAL)
    for item in ("file", "dir"):
        refused(errno.EXDEV, rename, mount, f"one/{item}", f"two/{item}2")
        refused(errno.EXDEV, rename, mount, f"plain/{item}", f"one/{item}2")
        refused(errno.EXDEV, rename, mount, f"one/{item}", f"two/{item}", RenameFlags.EXCHANGE)
        refused(errno.EXDEV, rename, mount, f"plain/{item}", f"one/{item}", RenameFlags.EXCHANGE)
    refused(errno.EXDEV, namei.link, mount, "one/file", "two/hard")
    refused(errno.EXDEV, namei.link, mount, "plain/file", "one/hard")
    rename(mount, "plain/fifo", "one/fifo")
    rename(mount, "plain/other", "two/other")
    rename(mount, "one/fifo", "two/other", RenameFlags.EXCHANGE)
    rename(mount, "one/file", "plain/moved")


def test_generic_399_zeroes_leave_no_pattern_on_the_medium() -> None:
    mount = new_mount()
    spec = add_key(mount)
    for directory in ("a", "b"):
        encrypted_dir(mount, directory, spec)
        for number in range(20):
            write(mount, f"{directory}/{number}", bytes(4 * 4096))
            symlink(mount, b"the same target", f"{directory}/l{number}")
    mount.sync_filesystem()
    medium = b"".join(mount.device.drive.medium.values())
    assert len(medium) == 2 * 20 * 4 * 4096
    assert len(zlib.compress(medium)) > len(medium)
    chunks = [medium[at : at + 16] for at in range(0, len(medium), 16)]
    assert len(set(chunks)) == len(chunks)
    entries = [set(namei.existing(mount, name).disk.entries) for name in ("a", "b")]
    assert not entries[0] & entries[1]
    targets = [inode.symlink for inode in mount.disk.inodes.values() if inode.symlink]
    assert len(set(targets)) == len(targets) == 40


def test_generic_419_rename_without_the_key(mount: Mount) -> None:
    encrypted_dir(mount, "d", add_key(mount))
    write(mount, "d/one", b"1")
    write(mount, "d/two", b"2")
    locked = remount(mount)
    one, two = (f"d/{name.decode()}" for name in names(locked, "d"))
    refused(errno.ENOKEY, rename, locked, one, two)
    refused(errno.ENOKEY, rename, locked, one, two, RenameFlags.EXCHANGE)
    refused(errno.ENOKEY, rename, locked, one, "d/three")


def test_generic_421_revoking_a_process_key_leaves_open_files_alone(mount: Mount) -> None:
    serial = mount.process_keys.add("logon", f"fscrypt:{DESCRIPTOR.hex()}", logon_payload(RAW))
    encrypted_dir(mount, "d", KeySpecifier(KeySpecType.DESCRIPTOR, DESCRIPTOR))
    write(mount, "d/f", bytes(range(256)) * 100)
    mount.sync_filesystem()
    file = files.open_file(mount, "d/f")
    mount.process_keys.revoke(serial)
    file.inode.pages.clear()
    assert file.read(0, 25600) == bytes(range(256)) * 100
    file.write(0, b"after")
    file.fsync()
    file.close()
    # Key removal does not know such files: nothing links them to a master key.
    spec = KeySpecifier(KeySpecType.DESCRIPTOR, DESCRIPTOR)
    assert ioctls.key_status(mount, spec).status is KeyStatus.ABSENT
    refused(errno.ENOKEY, ioctls.remove_key, mount, spec)
    mount.drop_caches()
    refused(errno.EKEYREVOKED, files.open_file, mount, "d/f")


def test_generic_435_long_no_key_names_are_unique(mount: Mount) -> None:
    encrypted_dir(mount, "d", add_key(mount))
    for number in range(300):
        write(mount, f"d/{'y' * 200}{number:03}", b"")
    listed = names(remount(mount), "d")
    assert len(set(listed)) == 300
    assert {len(name) for name in listed} == {252}


def test_generic_440_one_key_cached_is_no_mismatch(mount: Mount) -> None:
    spec = add_key(mount)
    encrypted_dir(mount, "d", spec)
    namei.create(mount, "d/sub", InodeKind.DIRECTORY)
    symlink(mount, b"target", "d/link")
    write(mount, "d/f", b"x")
    # Only the child's key is set up, then only the parent's.
    child = files.open_file(mount, "d/f")
    mount.evict(namei.existing(mount, "d"))
    ioctls.remove_key(mount, spec)
    assert namei.existing(mount, f"d/{nokey_of_kind(mount, InodeKind.DIRECTORY)}")
    child.close()
    locked = remount(mount)
    add_key(locked)
    files.open_file(locked, "d/sub").close()
    ioctls.remove_key(locked, spec)
    assert namei.existing(locked, f"d/{nokey_of_kind(locked, InodeKind.SYMLINK)}")


def nokey_of_kind(mount: Mount, wanted: InodeKind) -> str:
    return next(name.decode() for name in names(mount, "d") if kind(mount, name) is wanted)


@KINDS
def test_generic_580_the_life_of_a_key(mount: Mount, descriptor: bytes) -> None:
    spec = add_key(mount, descriptor=descriptor)
    encrypted_dir(mount, "d", spec)
    write(mount, "d/f", b"contents")
    busy = files.open_file(mount, "d/f")
    assert ioctls.key_status(mount, spec).status is KeyStatus.PRESENT
    assert ioctls.remove_key(mount, spec) == RemovalFlags.FILES_BUSY
    assert ioctls.key_status(mount, spec).status is KeyStatus.INCOMPLETELY_REMOVED
    assert busy.read(0, 8) == b"contents"
    files.open_file(mount, "d/f").close()
    refused(errno.ENOKEY, files.open_file, mount, "d/new", make=True)
    busy.close()
    assert ioctls.remove_key(mount, spec) == RemovalFlags.NONE
    assert ioctls.key_status(mount, spec).status is KeyStatus.ABSENT
    refused(errno.ENOENT, files.open_file, mount, "d/f")
    refused(errno.ENOKEY, ioctls.remove_key, mount, spec)
    add_key(mount, descriptor=descriptor)
    assert read(mount, "d/f") == b"contents"


def test_generic_581_users_and_their_keys() -> None:
    mount = new_mount()
    alice, bob = Caller(1001), Caller(1002)
    by_descriptor = KeySpecifier(KeySpecType.DESCRIPTOR, DESCRIPTOR)
    refused(errno.EACCES, ioctls.add_key, mount, AddKeyArg(spec=by_descriptor, raw=RAW, raw_size=64), alice)
    spec = ioctls.add_key(mount, AddKeyArg(spec=ANY_IDENTIFIER, raw=RAW, raw_size=64))
    namei.create(mount, "d", InodeKind.DIRECTORY, alice)
    policy = Policy(master_key=spec.key)
    refused(errno.ENOKEY, put_policy, mount, "d", policy, alice)
    ioctls.add_key(mount, AddKeyArg(spec=ANY_IDENTIFIER, raw=RAW, raw_size=64), alice)
    put_policy(mount, "d", policy, alice)
    assert ioctls.key_status(mount, spec, alice).user_count == 2
    refused(errno.ENOKEY, ioctls.remove_key, mount, spec, bob)
    refused(errno.EACCES, ioctls.remove_key, mount, spec, alice, all_users=True)
    assert ioctls.remove_key(mount, spec, alice) == RemovalFlags.OTHER_USERS
    assert ioctls.remove_key(mount, spec, all_users=True) == RemovalFlags.NONE
    # 20,000 bytes at 64 of payload and 42 of description ("<32 hex digits>.uid.1001" and a NUL) each.
    allowed = 20_000 // (64 + 42)
    args = [
        AddKeyArg(spec=ANY_IDENTIFIER, raw=number.to_bytes(32, "little"), raw_size=32)
        for number in range(allowed + 1)
    ]
    for arg in args[:allowed]:
        ioctls.add_key(mount, arg, alice)
    refused(errno.EDQUOT, ioctls.add_key, mount, args[allowed], alice)


@pytest.mark.parametrize(
    ("kind", "payload", "number"),
    [
        (2, RAW, 0),
        (1, RAW, errno.EKEYREJECTED),
    ],
)
def test_generic_593_keys_by_serial_number(mount: Mount, kind: int, payload: bytes, number: int) -> None:
    serial = mount.process_keys.add("fscrypt-provisioning", "k", struct.pack("<II", kind, 0) + payload)
    arg = AddKeyArg(spec=ANY_IDENTIFIER, raw_size=0, key_id=serial)
    if number:
        refused(number, ioctls.add_key, mount, arg)
        return
    spec = ioctls.add_key(mount, arg)
    encrypted_dir(mount, "d", spec)
    write(mount, "d/f", b"x")
    assert read(mount, "d/f") == b"x"


@pytest.mark.parametrize(
    ("kind", "description", "payload"),
    [
        ("fscrypt-provisioning", "k", b""),
        ("fscrypt-provisioning", "k", struct.pack("<II", 2, 0) + bytes(15)),
        ("fscrypt-provisioning", "k", struct.pack("<II", 3, 0) + bytes(64)),
        ("fscrypt-provisioning", "k", struct.pack("<II", 2, 0) + bytes(129)),
    ],
)
def test_generic_593_a_bad_provisioning_payload_is_refused_when_it_is_added(
    mount: Mount, kind: Literal["fscrypt-provisioning"], description: str, payload: bytes
) -> None:
    with pytest.raises(PayloadInvalid, match="EINVAL"):
        mount.process_keys.add(kind, description, payload)


@pytest.mark.parametrize("remove_at", range(1, 5))
def test_generic_595_no_write_is_lost_when_the_key_goes(mount: Mount, remove_at: int) -> None:
    """Open, write, write, close: the key is removed in between or after, and later comes back."""
    spec = add_key(mount)
    encrypted_dir(mount, "d", spec)
    write(mount, "d/f", b"-" * 8192)
    mount.drop_caches()
    expected = bytearray(b"-" * 8192)
    file = files.open_file(mount, "d/f")
    for step in range(1, 5):
        if step == remove_at:
            ioctls.remove_key(mount, spec)
        if step in (1, 2):
            file.write(step * 1000, b"written")
            expected[step * 1000 : step * 1000 + 7] = b"written"
        elif step == 3:
            file.close()
    again = remount(mount)
    add_key(again)
    assert read(again, "d/f") == bytes(expected)


def test_generic_613_nonces_are_unique_and_incompressible() -> None:
    mount = new_mount()
    v2, v1 = add_key(mount), add_key(mount, descriptor=DESCRIPTOR)
    flags = (0, PolicyFlags.IV_INO_LBLK_64, PolicyFlags.IV_INO_LBLK_32)
    for number, flag in enumerate(flags):
        encrypted_dir(mount, f"v2-{number}", v2, flags=flag)
    encrypted_dir(mount, "v1", v1)
    for directory in namei.readdir(mount, ""):
        for number in range(100):
            write(mount, f"{directory.decode()}/{number}", b"")
    contexts = [inode.context for inode in mount.disk.inodes.values() if inode.context is not None]
    nonces = [parse_context(context).nonce for context in contexts]
    assert len(set(nonces)) == len(nonces) == 4 * 101
    data = b"".join(nonces)
    assert len(zlib.compress(data)) > len(data)


def test_ciphertext_moved_without_a_key_reads_the_same_afterwards(mount: Mount) -> None:
    spec = add_key(mount)
    encrypted_dir(mount, "d", spec)
    data = np.random.default_rng(3).bytes(5 * 4096)
    write(mount, "d/f", data)
    mount.drop_caches()
    ioctls.remove_key(mount, spec)
    inode = namei.existing(mount, f"d/{names(mount, 'd')[0].decode()}")
    before = dict(inode.disk.blocks)
    assert collect(mount, range(min(before.values()), max(before.values()) + 1)) == 5
    assert set(inode.disk.blocks.values()).isdisjoint(before.values())
    add_key(mount)
    assert read(mount, "d/f") == data


def test_zeroed_out_ranges_are_encrypted_zeroes(mount: Mount) -> None:
    encrypted_dir(mount, "d", add_key(mount))
    write(mount, "d/f", b"x" * 4 * 4096)
    mount.sync_filesystem()
    file = files.open_file(mount, "d/f")
    mount.blocks.zero_out(file.inode, range(4))
    file.inode.pages.clear()
    assert file.read(0, 4 * 4096) == bytes(4 * 4096)
    blocks = [mount.device.drive.medium[block] for block in file.inode.disk.blocks.values()]
    assert len(set(blocks)) == 4
    assert bytes(4096) not in blocks


def test_an_identical_policy_is_accepted_anywhere_also_without_its_key(mount: Mount) -> None:
    spec = add_key(mount)
    policy = encrypted_dir(mount, "d", spec)
    write(mount, "d/f", b"x")
    set_policy(mount, "d/f", policy)
    mount.drop_caches()
    ioctls.remove_key(mount, spec)
    set_policy(mount, "d", policy)
