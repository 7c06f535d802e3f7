"""The encryption ioctls of the small filesystem: what they tell, and which of several causes they name.

Source: ``fscrypt_ioctl_set_policy()``, fs/crypto/policy.c; Documentation/filesystems/fscrypt.rst.
"""

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.mount import Mount
from tests.small_world import add_key, encrypted_dir, new_mount, remount, write

USER = Caller(1000)
V1 = Policy(version=1, master_key=b"descript")
V2 = Policy(master_key=bytes(16))
UNSUPPORTED = replace(V2, contents_mode=4)


@pytest.fixture
def mount() -> Mount:
    """A plain directory of root's and one of a user's, an encrypted directory, and a file in each."""
    made = new_mount()
    namei.create(made, "mine", InodeKind.DIRECTORY)
    namei.create(made, "users", InodeKind.DIRECTORY, USER)
    encrypted_dir(made, "d", add_key(made, descriptor=b"descript"))
    for path in ("mine", "users", "d"):
        write(made, f"{path}/f", b"x")
    return made


def error_of(act: Callable[[], object]) -> int:
    try:
        act()
    except BlkCryptoError as error:
        return error.errno
    return 0


# Each has this cause and the next one too.
CAUSES: dict[str, tuple[int, str, bytes, Caller, bool]] = {
    "a version that is none": (errno.EINVAL, "mine", b"\7" + bytes(23), USER, True),
    "a directory of another": (errno.EACCES, "mine", V1.to_bytes(), USER, True),
    "a read-only mount": (errno.EROFS, "d", V2.to_bytes(), ROOT, True),
    "another policy": (errno.EEXIST, "d/f", V2.to_bytes(), ROOT, False),
    "a file": (errno.ENOTDIR, "mine/f", UNSUPPORTED.to_bytes(), ROOT, False),
    "a directory that is not empty": (errno.ENOTEMPTY, "users", UNSUPPORTED.to_bytes(), USER, False),
    "a policy that is not supported": (errno.EINVAL, "users", UNSUPPORTED.to_bytes(), USER, False),
    "a key that the user did not add": (errno.ENOKEY, "users", V2.to_bytes(), USER, False),
    "none, for a v1 policy": (0, "users", V1.to_bytes(), USER, False),
    "none, for who may do all": (0, "users", V2.to_bytes(), ROOT, False),
    "none, where it has the policy": (0, "d", V1.to_bytes(), ROOT, False),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_setting_a_policy_names_the_first_cause(cause: str, mount: Mount) -> None:
    number, path, policy, caller, read_only = CAUSES[cause]
    if cause.startswith(("a policy", "a key", "none")):
        namei.unlink(mount, "users/f")
    file = files.open_file(mount, path)
    if cause == "none, where it has the policy":
        policy = ioctls.get_policy(file).to_bytes()
    mount.read_only = read_only
    assert error_of(lambda: ioctls.set_policy(file, policy, caller)) == number
    if not number:
        assert ioctls.get_policy(file).to_bytes() == policy


def test_a_directory_that_was_removed_gets_no_policy(mount: Mount) -> None:
    file = files.open_file(mount, "users")
    namei.unlink(mount, "users/f")
    namei.rmdir(mount, "users")
    assert error_of(lambda: ioctls.set_policy(file, V1.to_bytes())) == errno.ENOENT


def test_casefolding_names_the_first_cause() -> None:
    """One obstacle after the other is taken out of the way."""
    made = new_mount()
    encrypted_dir(made, "d", add_key(made))
    write(made, "d/f", b"x")
    mount = remount(made)
    mount.read_only = True
    directory = files.open_file(mount, "d")
    found = [error_of(lambda: ioctls.set_casefold(directory, USER))]
    mount.read_only = False
    found.append(error_of(lambda: ioctls.set_casefold(directory, USER)))
    found.append(error_of(lambda: ioctls.set_casefold(directory)))
    add_key(mount)
    found.append(error_of(lambda: ioctls.set_casefold(directory)))
    mount.has_casefold = True
    found.append(error_of(lambda: ioctls.set_casefold(files.open_file(mount, "d/f"))))
    found.append(error_of(lambda: ioctls.set_casefold(directory)))
    namei.unlink(mount, "d/f")
    found.append(error_of(lambda: ioctls.set_casefold(directory)))
    assert directory.inode.disk.is_casefolded
    assert found == [
        errno.EROFS,
        errno.EACCES,
        errno.ENOKEY,
        errno.EOPNOTSUPP,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        0,
    ]


@pytest.mark.parametrize(
    ("has_ioctls", "has_encryption", "number"),
    [
        (False, False, errno.ENOTTY),
        (False, True, errno.ENOTTY),
        (True, False, errno.EOPNOTSUPP),
        (True, True, 0),
    ],
)
def test_a_filesystem_answers_if_its_type_knows_encryption_and_it_has_the_feature(
    has_ioctls: bool, has_encryption: bool, number: int, mount: Mount
) -> None:
    mount.has_ioctls, mount.has_encryption = has_ioctls, has_encryption
    file = files.open_file(mount, "d")
    assert error_of(lambda: ioctls.get_policy(file)) == number
    assert error_of(lambda: add_key(mount, descriptor=b"another.")) == number


def test_a_special_inode_passes_ioctls_on(mount: Mount) -> None:
    namei.create(mount, "fifo", InodeKind.SPECIAL)
    file = files.open_file(mount, "fifo")
    assert error_of(lambda: ioctls.get_policy(file)) == errno.ENOTTY


@pytest.mark.parametrize(("v1", "nbytes"), [(True, 12), (False, 24)])
def test_a_policy_is_told_to_a_buffer_that_it_fits(v1: bool, nbytes: int) -> None:
    """fscrypt.rst: FS_IOC_GET_ENCRYPTION_POLICY_EX fails with EOVERFLOW, the old ioctl knows v1 only."""
    mount = new_mount()
    policy = encrypted_dir(mount, "d", add_key(mount, descriptor=b"descript" if v1 else b""))
    file = files.open_file(mount, "d")
    assert ioctls.get_policy_ex(file, nbytes) == policy.to_bytes()
    with pytest.raises(BlkCryptoError, match="EOVERFLOW"):
        ioctls.get_policy_ex(file, nbytes - 1)
    if v1:
        assert ioctls.get_policy_v1(file) == policy.to_bytes()
    else:
        with pytest.raises(BlkCryptoError, match="EINVAL"):
            ioctls.get_policy_v1(file)
    assert ioctls.get_nonce(file) == (file.inode.disk.context or b"")[-16:]


def test_what_is_not_encrypted_has_neither_policy_nor_nonce(mount: Mount) -> None:
    file = files.open_file(mount, "mine/f")
    for ask in (ioctls.get_policy, ioctls.get_policy_v1, ioctls.get_policy_ex, ioctls.get_nonce):
        with pytest.raises(BlkCryptoError, match="ENODATA"):
            ask(file)


def test_the_root_directory_belongs_to_root(mount: Mount) -> None:
    root = files.open_file(mount, "")
    policy = V2.to_bytes()

    assert error_of(lambda: ioctls.set_policy(root, policy, USER)) == errno.EACCES
    # Root's turn comes further: the directory has names.
    assert error_of(lambda: ioctls.set_policy(root, policy, Caller(0))) == errno.ENOTEMPTY
