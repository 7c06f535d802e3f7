"""Symlinks: an encrypted one has a key of its own for its target.

Rules (``fscrypt_prepare_symlink()``, ``fscrypt_get_symlink()``, fs/crypto/hooks.c; reference fscrypt.md
section 4):

- The target is padded and encrypted as a name is, with two bytes of length before it; so the longest is
  shorter than without encryption.
- Without the key the target reads as a no-key name.
"""

from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.names import NameTooLong, encode_symlink, split_symlink, symlink_disk_bytes
from blkcrypto.fs.fscrypt.nokey import NokeyName
from blkcrypto.fs.smallfs.errors import NoEntry, NotASymlink
from blkcrypto.fs.smallfs.incore import Incore
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.namei import add_name, existing, free_name, new_inode

_PATH_MAX = 4096


def symlink(mount: Mount, target: bytes, path: str, caller: Caller = ROOT) -> Incore:
    """Make a symlink; an encrypted one is encrypted with its own key.

    Raises:
        NoEntry: an empty target.
        NameTooLong: a target that does not fit a block.
    """
    if not target:
        raise NoEntry("an empty symlink target")
    if len(target) >= _PATH_MAX:
        raise NameTooLong(f"a path of {len(target)} bytes")
    found = free_name(mount, path)
    parent = mount.require_key(found.directory)
    room = mount.fs.block_size
    if parent is not None:
        symlink_disk_bytes(parent.policy, len(target), room)
    elif len(target) >= room:
        raise NameTooLong(f"a symlink target of {len(target)} bytes: at most {room - 1}")
    inode = new_inode(mount, found.directory, InodeKind.SYMLINK, caller)
    names = None if inode.info is None else inode.info.names
    inode.disk.symlink = target if names is None else encode_symlink(names, target, room)
    add_name(mount, found, inode)
    return inode


def readlink(mount: Mount, path: str) -> bytes:
    """A symlink's target; without the key, its no-key form.

    Raises:
        NotASymlink: EINVAL; and as ``existing``.
    """
    inode = existing(mount, path)
    if inode.disk.kind is not InodeKind.SYMLINK:
        raise NotASymlink(f"{path!r} is not a symlink")
    if inode.disk.context is None:
        return inode.disk.symlink
    ciphertext = split_symlink(inode.disk.symlink)
    info = mount.info(inode, allow_unsupported=True)
    if info is None or info.names is None:
        return NokeyName.of(ciphertext).encode().encode()
    return info.names.decrypt(ciphertext)
