"""Moving and exchanging names.

Rules (``vfs_rename()``, ``__fscrypt_prepare_rename()``, fs/crypto/hooks.c; reference fscrypt.md section 1.5):

- Both names must have been found with their directories' keys, the new one too if nothing has it.
- An inode that changes its directory must fit the new one's policy; in an exchange, both must.
- A whiteout leaves a special inode behind, which is never encrypted.
"""

import enum

from blkcrypto.fs.fscrypt.caller import ROOT
from blkcrypto.fs.fscrypt.inherit import InodeKind, check_move
from blkcrypto.fs.smallfs.errors import (
    EntryExists,
    IntoItself,
    IsADirectory,
    KeyRequired,
    NoEntry,
    NotADirectory,
    NotEmpty,
)
from blkcrypto.fs.smallfs.incore import Incore
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.namei import Found, lookup, new_inode, remove_entry


class RenameFlags(enum.IntFlag):
    """``RENAME_*``."""

    NONE = 0
    NOREPLACE = 1
    EXCHANGE = 2
    WHITEOUT = 4


def rename(mount: Mount, old: str, new: str, flags: RenameFlags = RenameFlags.NONE) -> None:
    """Move a name, replacing what has the new one; or exchange two.

    Raises:
        NoEntry, EntryExists, IsADirectory, NotADirectory, NotEmpty, IntoItself: as everywhere.
        KeyRequired: a name was looked up without its directory's key (ENOKEY).
        PolicyMismatch: into a directory of another policy (EXDEV).
    """
    source, target = lookup(mount, old), lookup(mount, new)
    mount.want_write()
    if source.inode is None:
        raise NoEntry(f"no {old!r}")
    exchanges = bool(flags & RenameFlags.EXCHANGE)
    if source.inode in target.parents or (exchanges and target.inode in source.parents):
        raise IntoItself("a directory cannot move into itself")
    _check_target(source.inode, target, flags)
    if source.nokey or target.nokey:
        raise KeyRequired("moving a name needs both directories' keys")
    if source.directory is not target.directory:
        _check_moves(mount, source, target, flags)
    _move(mount, source, target, flags)


def _check_target(inode: Incore, target: Found, flags: RenameFlags) -> None:
    is_dir = inode.disk.kind is InodeKind.DIRECTORY
    if target.inode is None:
        if flags & RenameFlags.EXCHANGE:
            raise NoEntry("exchange needs two names")
        return
    if flags & RenameFlags.NOREPLACE:
        raise EntryExists("the new name is taken")
    if flags & RenameFlags.EXCHANGE:
        return
    if is_dir and target.inode.disk.kind is not InodeKind.DIRECTORY:
        raise NotADirectory("a directory replaces directories only")
    if not is_dir and target.inode.disk.kind is InodeKind.DIRECTORY:
        raise IsADirectory("only a directory replaces a directory")
    if not target.inode.disk.is_empty:
        raise NotEmpty("the directory to replace has entries")


def _check_moves(mount: Mount, source: Found, target: Found, flags: RenameFlags) -> None:
    if source.inode is not None:
        kind = source.inode.disk.kind
        check_move(mount.policy_of(target.directory), mount.policy_of(source.inode), kind)
    if flags & RenameFlags.EXCHANGE and target.inode is not None:
        kind = target.inode.disk.kind
        check_move(mount.policy_of(source.directory), mount.policy_of(target.inode), kind)


def _move(mount: Mount, source: Found, target: Found, flags: RenameFlags) -> None:
    if source.inode is None or source.disk_name is None or target.disk_name is None:
        raise KeyRequired("moving a name needs both directories' keys")
    if source.inode is target.inode:
        return
    if flags & RenameFlags.EXCHANGE and target.inode is not None:
        source.directory.disk.directory.put(source.disk_name, target.inode.disk.ino)
        target.directory.disk.directory.put(target.disk_name, source.inode.disk.ino)
        return
    whiteout = None
    if flags & RenameFlags.WHITEOUT:
        whiteout = new_inode(mount, source.directory, InodeKind.SPECIAL, ROOT)
    if target.inode is not None:
        remove_entry(mount, target)
    source.directory.disk.directory.remove(source.disk_name)
    target.directory.disk.directory.put(target.disk_name, source.inode.disk.ino, target.hashes)
    if whiteout is not None:
        source.directory.disk.directory.put(source.disk_name, whiteout.disk.ino, source.hashes)
