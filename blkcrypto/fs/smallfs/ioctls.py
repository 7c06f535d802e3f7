"""The encryption ioctls of files and directories, in Linux's order of checks.

Sources: fs/crypto/policy.c, ``ext4_ioctl()``; reference fscrypt.md section 1.5.
"""

from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier
from blkcrypto.fs.fscrypt.key_entry import KeyStatusReport, RemovalFlags
from blkcrypto.fs.fscrypt.policy import Context, Policy, parse_context, parse_policy
from blkcrypto.fs.fscrypt.validate import check_supported
from blkcrypto.fs.smallfs.disk import ROOT_INO
from blkcrypto.fs.smallfs.errors import (
    BufferTooSmall,
    KeyRequired,
    NoEntry,
    NoPolicy,
    NoSuchIoctl,
    NotADirectory,
    NotEmpty,
    NotOwner,
    OperationNotPermitted,
    OperationNotSupported,
    PolicyExists,
    PolicyIsNotV1,
)
from blkcrypto.fs.smallfs.file import OpenFile
from blkcrypto.fs.smallfs.incore import Incore
from blkcrypto.fs.smallfs.mount import Mount


def check_ioctl(mount: Mount) -> None:
    """Whether the filesystem answers encryption ioctls at all.

    Raises:
        NoSuchIoctl: this type of filesystem has none (ENOTTY).
        OperationNotSupported: the feature is off (EOPNOTSUPP).
    """
    if not mount.has_ioctls:
        raise NoSuchIoctl("this filesystem type has no encryption")
    if not mount.has_encryption:
        raise OperationNotSupported("the filesystem's encryption feature is off")


def _inode(file: OpenFile) -> Incore:
    if file.inode.disk.kind is InodeKind.SPECIAL:
        raise NoSuchIoctl("a special file passes ioctls to its driver")
    check_ioctl(file.mount)
    return file.inode


def set_policy(file: OpenFile, policy_struct: bytes, caller: Caller = ROOT) -> None:
    """``FS_IOC_SET_ENCRYPTION_POLICY`` on an open directory.

    Raises:
        PolicyVersionUnknown, NotOwner, ReadOnlyMount, PolicyExists, NotADirectory, NoEntry, NotEmpty,
        UnsupportedPolicy, KeyRequired, OperationNotPermitted: the first that holds, in this order.
    """
    inode, mount = _inode(file), file.mount
    policy = parse_policy(policy_struct)
    if not caller.owns(inode.disk.uid):
        raise NotOwner("only the owner may set an encryption policy")
    mount.want_write()
    if inode.disk.context is not None:
        if mount.policy_of(inode) != policy:
            raise PolicyExists("the directory has another encryption policy")
        return
    if inode.disk.kind is not InodeKind.DIRECTORY:
        raise NotADirectory("a policy is set on a directory")
    if not inode.disk.nlink:
        raise NoEntry("the directory was removed")
    if not inode.disk.is_empty:
        raise NotEmpty("a policy is set on an empty directory")
    check_supported(policy, mount.fs, casefolded=inode.disk.is_casefolded)
    _check_claim(mount, policy, caller)
    if inode.disk.ino == ROOT_INO:
        raise OperationNotPermitted("the root directory cannot be encrypted")
    inode.disk.context = Context(policy, mount.nonce()).to_bytes()


def _check_claim(mount: Mount, policy: Policy, caller: Caller) -> None:
    if policy.version == 1 or caller.cap_fowner:
        return
    if not mount.keyring.has_claim(KeySpecifier.of_policy(policy), caller):
        raise KeyRequired("a user sets only policies whose key that user added")


def get_policy(file: OpenFile) -> Policy:
    """The policy of an open inode.

    Raises:
        NoPolicy: not encrypted (ENODATA).
        ContextUnrecognised: EINVAL.
    """
    inode = _inode(file)
    if inode.disk.context is None:
        raise NoPolicy("the inode is not encrypted")
    return parse_context(inode.disk.context).policy


def get_policy_v1(file: OpenFile) -> bytes:
    """``FS_IOC_GET_ENCRYPTION_POLICY``: the 12-byte struct.

    Raises:
        PolicyIsNotV1: EINVAL; and as ``get_policy``.
    """
    policy = get_policy(file)
    if policy.version != 1:
        raise PolicyIsNotV1("use FS_IOC_GET_ENCRYPTION_POLICY_EX")
    return policy.to_bytes()


def get_policy_ex(file: OpenFile, policy_size: int = 24) -> bytes:
    """``FS_IOC_GET_ENCRYPTION_POLICY_EX``: the struct of either version.

    Raises:
        BufferTooSmall: EOVERFLOW; and as ``get_policy``.
    """
    data = get_policy(file).to_bytes()
    if len(data) > policy_size:
        raise BufferTooSmall(f"the policy has {len(data)} bytes, the buffer {policy_size}")
    return data


def get_nonce(file: OpenFile) -> bytes:
    """``FS_IOC_GET_ENCRYPTION_NONCE``; raises as ``get_policy``."""
    inode = _inode(file)
    if inode.disk.context is None:
        raise NoPolicy("the inode is not encrypted")
    return parse_context(inode.disk.context).nonce


def set_casefold(file: OpenFile, caller: Caller = ROOT) -> None:
    """``FS_IOC_SETFLAGS`` with ``FS_CASEFOLD_FL``: an empty directory shall disregard case.

    Raises:
        ReadOnlyMount, NotOwner, KeyRequired, CasefoldNeedsV2, NoSuchMasterKey, OperationNotSupported,
        NotADirectory, NotEmpty: the first that holds, in this order.
    """
    inode, mount = file.inode, file.mount
    mount.want_write()
    if not caller.owns(inode.disk.uid):
        raise NotOwner("only the owner may change an inode's flags")
    if inode.disk.is_casefolded:
        return
    info = mount.require_key(inode)
    if info is not None:
        mount.crypto.start_casefolding(info)
    if not mount.has_casefold:
        raise OperationNotSupported("the filesystem's casefold feature is off")
    if inode.disk.kind is not InodeKind.DIRECTORY:
        raise NotADirectory("only directories are casefolded")
    if not inode.disk.is_empty:
        raise NotEmpty("only an empty directory can be made casefolded")
    inode.disk.directory.casefolded = True


def add_key(mount: Mount, arg: AddKeyArg, caller: Caller = ROOT) -> KeySpecifier:
    """``FS_IOC_ADD_ENCRYPTION_KEY``; raises as ``check_ioctl`` and ``FsKeyring.add``."""
    check_ioctl(mount)
    return mount.keyring.add(arg, caller, mount.process_keys)


def remove_key(
    mount: Mount, spec: KeySpecifier, caller: Caller = ROOT, *, all_users: bool = False
) -> RemovalFlags:
    """``FS_IOC_REMOVE_ENCRYPTION_KEY`` and its ALL_USERS form; raises as ``FsKeyring.remove``."""
    check_ioctl(mount)
    return mount.keyring.remove(spec, caller, all_users=all_users)


def key_status(mount: Mount, spec: KeySpecifier, caller: Caller = ROOT) -> KeyStatusReport:
    """``FS_IOC_GET_ENCRYPTION_KEY_STATUS``; raises as ``check_ioctl``."""
    check_ioctl(mount)
    return mount.keyring.status(spec, caller)
