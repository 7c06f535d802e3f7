"""Directories and names of a subvolume: one level of directories, files in them, names encrypted.

Rules (reference fscrypt.md sections 1.5, 4, 5.1):

- A file takes the policy of the directory it is made in; making one needs the directory's key.
- An open file keeps its directory cached, as dentries do: after removal it can be opened again by its name.
- Without the key a directory lists names as stored, and they can be deleted.
- A snapshot shares every inode, name and extent, ciphertext included; it needs no key but for what is dirty.
"""

import hashlib
from collections.abc import Iterator

from blkcrypto.fs.errors import FileExists, NoSuchFile
from blkcrypto.fs.extents import ranges
from blkcrypto.fs.extents.disk import ROOT_INO, Subvolume
from blkcrypto.fs.extents.errors import FileInUse
from blkcrypto.fs.extents.file import ExtentFile, forget_pages, open_inode
from blkcrypto.fs.extents.incore import Incore
from blkcrypto.fs.extents.items import DIR_ITEM, END_OF_FILE, INODE_ITEM, DirItem, InodeItem
from blkcrypto.fs.extents.tree import Key
from blkcrypto.fs.extents.volume import Volume
from blkcrypto.fs.fscrypt.policy import NONCE_BYTES, Context, Policy


def _key(directory: int, stored: bytes) -> Key:
    # 64 bits where btrfs takes 32 and chains what collides.
    return directory, DIR_ITEM, int.from_bytes(hashlib.blake2b(stored, digest_size=8).digest(), "little")


def make_dir(
    volume: Volume, name: str, policy: Policy | None = None, subvolume: Subvolume | None = None
) -> None:
    """A directory in the root, empty, with a policy.

    Raises:
        FileExists: EEXIST.
        ExtentPolicyUnsupported, UnsupportedPolicy: EINVAL.
    """
    where = _subvolume(volume, subvolume)
    key = _key(ROOT_INO, name.encode())
    if where.tree.get(key) is not None:
        raise FileExists(f"{name} exists")
    context = b""
    if policy is not None:
        volume.check_policy(policy)
        context = Context(policy, volume.random(NONCE_BYTES)).to_bytes()
    inode = volume.new_inode(where, InodeItem(0, context, is_dir=True))
    where.tree.put(key, DirItem(name.encode(), inode.ino))


def _subvolume(volume: Volume, subvolume: Subvolume | None) -> Subvolume:
    return volume.disk.subvolumes[0] if subvolume is None else subvolume


def _directory(volume: Volume, where: Subvolume, name: str) -> Incore:
    found = where.tree.get(_key(ROOT_INO, name.encode()))
    if not isinstance(found, DirItem):
        raise NoSuchFile(f"there is no directory {name}")
    return volume.inode(where, found.ino)


def _stored_name(volume: Volume, directory: Incore, name: str) -> bytes:
    volume.unlock(directory)
    return name.encode() if directory.names is None else directory.names.encrypt(name.encode())


def create(
    volume: Volume,
    path: str,
    *,
    subvolume: Subvolume | None = None,
    nocow: bool = False,
    compress: bool = False,
) -> ExtentFile:
    """Make and open ``directory/name``.

    Raises:
        NoSuchFile: ENOENT.
        KeyRequired: ENOKEY.
        FileExists: EEXIST.
    """
    where = _subvolume(volume, subvolume)
    parent, _, name = path.partition("/")
    directory = _directory(volume, where, parent)
    if directory.policy is not None:
        # A new inode needs a present key, also where the directory is unlocked still.
        volume.entry_for(directory.policy)
    stored = _stored_name(volume, directory, name)
    key = _key(directory.ino, stored)
    if where.tree.get(key) is not None:
        raise FileExists(f"{path} exists")
    context = b""
    if directory.policy is not None:
        context = Context(directory.policy, volume.random(NONCE_BYTES)).to_bytes()
    inode = volume.new_inode(where, InodeItem(0, context, nocow, compress))
    where.tree.put(key, DirItem(stored, inode.ino))
    return open_inode(volume, inode, directory)


def lookup(volume: Volume, path: str, subvolume: Subvolume | None = None) -> tuple[Incore, Incore]:
    """The directory and the inode of ``directory/name``.

    Raises:
        NoSuchFile: ENOENT.
        KeyRequired: ENOKEY.
    """
    where = _subvolume(volume, subvolume)
    parent, _, name = path.partition("/")
    directory = _directory(volume, where, parent)
    found = where.tree.get(_key(directory.ino, _stored_name(volume, directory, name)))
    if not isinstance(found, DirItem):
        raise NoSuchFile(f"there is no file {path}")
    return directory, volume.inode(where, found.ino)


def open_file(volume: Volume, path: str, subvolume: Subvolume | None = None) -> ExtentFile:
    """Open ``directory/name``; raises as ``lookup`` and ``Volume.unlock``."""
    directory, inode = lookup(volume, path, subvolume)
    return open_inode(volume, inode, directory)


def stored_names(volume: Volume, directory: str, subvolume: Subvolume | None = None) -> Iterator[bytes]:
    """Names as they are stored; needs no key."""
    where = _subvolume(volume, subvolume)
    ino = _directory(volume, where, directory).ino
    for _, item in where.tree.walk((ino, DIR_ITEM, 0), (ino, DIR_ITEM, END_OF_FILE * 2)):
        if isinstance(item, DirItem):
            yield item.name


def unlink(volume: Volume, path: str, subvolume: Subvolume | None = None) -> None:
    """Delete a file by its name; raises as ``lookup``."""
    parent, _, name = path.partition("/")
    directory = _directory(volume, _subvolume(volume, subvolume), parent)
    unlink_stored(volume, parent, _stored_name(volume, directory, name), subvolume)


def unlink_stored(volume: Volume, directory: str, stored: bytes, subvolume: Subvolume | None = None) -> None:
    """Delete a file by its stored name, with or without the key.

    Raises:
        NoSuchFile: ENOENT.
        FileInUse: deleting an open file is not modelled (EBUSY).
    """
    where = _subvolume(volume, subvolume)
    key = _key(_directory(volume, where, directory).ino, stored)
    found = where.tree.get(key)
    if not isinstance(found, DirItem):
        raise NoSuchFile(f"there is no stored name {stored.hex()}")
    inode = volume.inode(where, found.ino)
    if inode.opens:
        raise FileInUse("close the file before deleting it")
    forget_pages(inode, 0, END_OF_FILE)
    volume.writeback.forget_cut(inode, ranges.cut(where.tree, inode.ino, 0, END_OF_FILE))
    volume.evict(inode)
    where.tree.pop((inode.ino, INODE_ITEM, 0))
    where.tree.pop(key)


def snapshot(volume: Volume, subvolume: Subvolume | None = None) -> Subvolume:
    """A writable snapshot; raises what writing back raises."""
    volume.sync_filesystem()
    return volume.disk.snapshot(_subvolume(volume, subvolume))


def delete_subvolume(volume: Volume, subvolume: Subvolume) -> None:
    """Delete a snapshot; no key is needed.  What no other subvolume shares is freed.

    Raises:
        FileInUse: a file in it is open or dirty (EBUSY).
    """
    if any(inode.busy for inode in volume.cached if inode.subvolume is subvolume):
        raise FileInUse("close and write back its files before deleting a subvolume")
    for inode in volume.cached:
        if inode.subvolume is subvolume:
            volume.evict(inode)
    del volume.disk.subvolumes[subvolume.number]
    subvolume.tree.drop()
