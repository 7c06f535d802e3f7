"""Names: lookup, create, link, rename, unlink, list; with the key and without.

Rules (fs/crypto/hooks.c, fname.c, as ext4 and f2fs call them; reference fscrypt.md sections 1.5, 4):

- With its key, a directory finds and lists plaintext names.  Without, it lists no-key names, and finds only
  those; any other name is not there.
- Removing and examining work without the key.  What puts a name or an inode into an encrypted directory, or
  moves a name that was found without the key, does not.
- A casefolded directory finds names without regard to case; so do those made in it, and names keep theirs.
- New inodes inherit their directory's policy; those that exist must have it already.
"""

from dataclasses import dataclass

from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.inherit import InodeKind, check_found, check_move
from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo
from blkcrypto.fs.fscrypt.names import NAME_MAX, NameTooLong
from blkcrypto.fs.fscrypt.nokey import NokeyName, NoSuchNokeyName, decode_nokey_name
from blkcrypto.fs.fscrypt.policy import Context
from blkcrypto.fs.smallfs.casefold import check_strict, find_folded, name_hashes
from blkcrypto.fs.smallfs.directory import Hashes
from blkcrypto.fs.smallfs.errors import (
    BadDirectoryEntry,
    EntryExists,
    IsADirectory,
    KeyRequired,
    NoEntry,
    NotADirectory,
    NotEmpty,
    OperationNotPermitted,
)
from blkcrypto.fs.smallfs.incore import Incore
from blkcrypto.fs.smallfs.mount import Mount, can_be_encrypted


@dataclass(slots=True, eq=False)
class Found:
    """Where a path leads.

    Attributes:
        parents: directories from the root to the last one.
        name: last component.
        disk_name: as it is, or would be, stored; None when it was looked up without the key and is not there.
        inode: what has the name; None when nothing does.
        nokey: the directory was searched without its key: ``fscrypt_is_nokey_name()``.
        hashes: in a casefolded directory, of the name.
    """

    parents: tuple[Incore, ...]
    name: bytes
    disk_name: bytes | None
    inode: Incore | None
    nokey: bool = False
    hashes: Hashes | None = None

    @property
    def directory(self) -> Incore:
        """The directory that holds, or would hold, the name."""
        return self.parents[-1]


def lookup(mount: Mount, path: str) -> Found:
    """Walk ``path`` from the root; its last component need not exist.

    Raises:
        NoEntry, NotADirectory, NameTooLong, InconsistentPolicy: on the way.
        BlkCryptoError: as ``InodeCrypto.load``.
    """
    parts = [part for part in path.encode("utf-8", "surrogateescape").split(b"/") if part]
    here = mount.root()
    parents = [here]
    if not parts:
        return Found(tuple(parents), b"", None, here)
    for part in parts[:-1]:
        found = _lookup_in(mount, tuple(parents), part)
        if found.inode is None:
            raise NoEntry(f"no {part!r} in inode {here.disk.ino}")
        here = found.inode
        if here.disk.kind is not InodeKind.DIRECTORY:
            raise NotADirectory(f"{part!r} is not a directory")
        parents.append(here)
    return _lookup_in(mount, tuple(parents), parts[-1])


def _lookup_in(mount: Mount, parents: tuple[Incore, ...], name: bytes) -> Found:
    directory = parents[-1]
    if len(name) > NAME_MAX:
        raise NameTooLong(f"a name of {len(name)} bytes: at most {NAME_MAX}")
    if directory.disk.is_casefolded and mount.strict_encoding:
        check_strict(name)
    found = Found(parents, name, None, None)
    info = mount.info(directory, allow_unsupported=True)
    if info is None and directory.disk.context is not None:
        found.nokey = True
        stored = _find_nokey(directory, name)
    else:
        stored = found.disk_name = _disk_name(directory, info, found)
    ino = None if stored is None else directory.disk.entries.get(stored)
    if ino is None:
        return found
    found.disk_name, found.inode = stored, mount.inode(ino)
    kind = found.inode.disk.kind
    if kind in (InodeKind.DIRECTORY, InodeKind.SYMLINK):
        check_found(mount.policy_of(directory), mount.policy_of(found.inode), kind)
    return found


def _disk_name(directory: Incore, info: CryptInfo | None, found: Found) -> bytes:
    """The name on disk that ``found`` matches, or would get."""
    if directory.disk.is_casefolded:
        found.hashes = name_hashes(info, found.name)
        stored = find_folded(directory.disk.directory, info, found.name, found.hashes)
        if stored is not None:
            return stored
    return found.name if info is None or info.names is None else info.names.encrypt(found.name)


def _find_nokey(directory: Incore, name: bytes) -> bytes | None:
    try:
        wanted = decode_nokey_name(name.decode("utf-8", "surrogateescape"))
    except NoSuchNokeyName:
        return None
    if not wanted.rest_sha256:
        return wanted.prefix
    return next((entry for entry in directory.disk.entries if wanted.matches(entry)), None)


def existing(mount: Mount, path: str) -> Incore:
    """The inode at ``path``, symlinks not followed.

    Raises:
        NoEntry: ENOENT; and as ``lookup``.
    """
    found = lookup(mount, path)
    if found.inode is None:
        raise NoEntry(f"no {path!r}")
    return found.inode


def new_inode(mount: Mount, directory: Incore, kind: InodeKind, caller: Caller) -> Incore:
    """A new inode with its directory's policy and a nonce of its own: ``fscrypt_prepare_new_inode()``.

    Raises:
        KeyRequired: the directory's key is not there (ENOKEY).
        BlkCryptoError: as ``InodeCrypto.new``.
    """
    mount.want_write()
    parent = mount.require_key(directory)
    inode = mount.inode(mount.disk.new_inode(kind, caller.fsuid).ino)
    if kind is InodeKind.DIRECTORY and directory.disk.is_casefolded:
        inode.disk.directory.casefolded = True
    if parent is not None and can_be_encrypted(kind):
        context = Context(parent.policy, mount.nonce())
        try:
            inode.info = mount.crypto.new(
                inode.disk.ino,
                kind,
                context,
                casefolded=inode.disk.is_casefolded,
                process_keys=mount.process_keys,
            )
        except Exception:
            inode.disk.nlink = 0
            mount.forget_if_unused(inode)
            raise
        inode.disk.context = context.to_bytes()
    return inode


def add_name(mount: Mount, found: Found, inode: Incore) -> None:
    """Enter ``inode`` under a name that is free; a directory without its key takes no new names."""
    if found.disk_name is None:
        raise KeyRequired("a new name needs the directory's key")
    found.directory.disk.directory.put(found.disk_name, inode.disk.ino, found.hashes)


def free_name(mount: Mount, path: str) -> Found:
    """Where a new name goes.

    Raises:
        EntryExists: EEXIST; and as ``lookup``.
    """
    found = lookup(mount, path)
    if found.inode is not None:
        raise EntryExists(f"{path!r} exists")
    return found


def create(mount: Mount, path: str, kind: InodeKind = InodeKind.REGULAR, caller: Caller = ROOT) -> Incore:
    """Make a file, directory or special inode (``mknod``).

    Raises:
        EntryExists, NoEntry, NameTooLong: as everywhere.
        KeyRequired and what ``InodeCrypto.new`` raises: the directory is encrypted.
    """
    found = free_name(mount, path)
    inode = new_inode(mount, found.directory, kind, caller)
    add_name(mount, found, inode)
    return inode


def readdir(mount: Mount, path: str) -> list[bytes]:
    """Names in a directory, oldest first: plaintext with the key, no-key names without.

    Raises:
        NotADirectory: ENOTDIR.
        CiphertextTooShort: a damaged entry (EUCLEAN).
        BadDirectoryEntry: a name that cannot be one, from a wrong key (EIO).
    """
    inode = existing(mount, path)
    if inode.disk.kind is not InodeKind.DIRECTORY:
        raise NotADirectory(f"{path!r} is not a directory")
    info = mount.info(inode, allow_unsupported=True)
    if inode.disk.context is None:
        return list(inode.disk.entries)
    if info is None or info.names is None:
        hashes = inode.disk.directory.hashes
        return [NokeyName.of(name, *hashes.get(name, ())).encode().encode() for name in inode.disk.entries]
    names = [info.names.decrypt(name) for name in inode.disk.entries]
    if any(not name or b"/" in name for name in names):
        raise BadDirectoryEntry("a decrypted name is empty or holds a slash")
    return names


def link(mount: Mount, old: str, new: str) -> None:
    """Give an inode another name.

    Raises:
        OperationNotPermitted: of a directory (EPERM).
        KeyRequired: into an encrypted directory without its key (ENOKEY).
        PolicyMismatch: into a directory of another policy (EXDEV).
    """
    inode = existing(mount, old)
    found = free_name(mount, new)
    mount.want_write()
    if inode.disk.kind is InodeKind.DIRECTORY:
        raise OperationNotPermitted("a directory has one name only")
    if found.nokey:
        raise KeyRequired("a new name needs the directory's key")
    check_move(mount.policy_of(found.directory), mount.policy_of(inode), inode.disk.kind)
    add_name(mount, found, inode)
    inode.disk.nlink += 1


def unlink(mount: Mount, path: str) -> None:
    """Remove a name; needs no key.

    Raises:
        ReadOnlyMount: before anything is said about the name itself (EROFS).
    """
    found = lookup(mount, path)
    mount.want_write()
    if found.inode is None or found.disk_name is None:
        raise NoEntry(f"no {path!r}")
    if found.inode.disk.kind is InodeKind.DIRECTORY:
        raise IsADirectory(f"{path!r} is a directory")
    remove_entry(mount, found)


def rmdir(mount: Mount, path: str) -> None:
    """Remove an empty directory; needs no key.

    Raises:
        ReadOnlyMount: as for ``unlink``.
    """
    found = lookup(mount, path)
    mount.want_write()
    if found.inode is None or found.disk_name is None:
        raise NoEntry(f"no {path!r}")
    if found.inode.disk.kind is not InodeKind.DIRECTORY:
        raise NotADirectory(f"{path!r} is not a directory")
    if not found.inode.disk.is_empty:
        raise NotEmpty(f"{path!r} has entries")
    remove_entry(mount, found)


def remove_entry(mount: Mount, found: Found) -> None:
    """Take ``found``'s name away from its inode, which goes with its last one."""
    if found.inode is None or found.disk_name is None:
        return
    found.directory.disk.directory.remove(found.disk_name)
    found.inode.disk.nlink -= 1
    mount.forget_if_unused(found.inode)
