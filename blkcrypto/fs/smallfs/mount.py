"""A mounted small filesystem: what is in memory, and what removal of a key asks of it.

Rules (VFS inode cache as fs/crypto relies on it; reference fscrypt.md sections 5.3, 5.4):

- An inode stays cached, and its key with it, until it is evicted: by removal of its key, by dropping caches,
  or because its last name and last open file are gone.
- It is not evicted while open, dirty, or an ancestor of an open file.
- Dirty pages are written back with the cached key, present or not: nothing acknowledged is lost.
"""

from collections.abc import Collection, Iterable
from typing import Final

import numpy as np

from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.inherit import InodeKind, InodePolicy, Unreadable
from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo, InodeCrypto
from blkcrypto.fs.fscrypt.keyring import FsKeyring
from blkcrypto.fs.fscrypt.modes import ModeNum
from blkcrypto.fs.fscrypt.policy import NONCE_BYTES, ContextUnrecognised, parse_context
from blkcrypto.fs.fscrypt.process_keys import ProcessKeyring
from blkcrypto.fs.fscrypt.quota import KeyQuota
from blkcrypto.fs.smallfs.blocks import FileBlocks
from blkcrypto.fs.smallfs.device import BackingDevice
from blkcrypto.fs.smallfs.disk import ROOT_INO, Disk
from blkcrypto.fs.smallfs.errors import KeyRequired, ReadOnlyMount
from blkcrypto.fs.smallfs.incore import Incore

# A call of the generator costs more than the bytes.
_NONCES_AT_ONCE: Final = 64


class Mount:
    """One mount of a disk.

    Args:
        disk: what to mount.
        fs: facts of the filesystem.
        device: takes its bios, and says what it can encrypt.
        rng: for nonces.
        fs_name: ``ext4`` or ``f2fs``: the prefix of legacy keys.
        has_encryption: whether the filesystem has the feature.
        refuses_misaligned_dio: direct I/O not in whole sectors fails (f2fs); else it is buffered (ext4).
        has_casefold: whether directories may be casefolded.
        strict_encoding: casefolded directories refuse names that are not UTF-8.
        has_ioctls: whether this type of filesystem knows encryption at all.
        read_only: the mount option.
        missing: modes the kernel was built without.
        quota: the machine's keyrings quota.
    """

    def __init__(
        self,
        disk: Disk,
        fs: FileSystem,
        device: BackingDevice,
        rng: np.random.Generator,
        *,
        fs_name: str = "ext4",
        has_encryption: bool = True,
        has_casefold: bool = False,
        strict_encoding: bool = False,
        has_ioctls: bool = True,
        refuses_misaligned_dio: bool = False,
        read_only: bool = False,
        missing: Collection[ModeNum] = (),
        quota: KeyQuota | None = None,
    ) -> None:
        self.disk = disk
        self.fs = fs
        self.device = device
        self.has_encryption = has_encryption
        self.has_casefold = has_casefold
        self.strict_encoding = strict_encoding
        self.has_ioctls = has_ioctls
        self.refuses_misaligned_dio = refuses_misaligned_dio
        self.read_only = read_only
        self.process_keys = ProcessKeyring()
        self.blocks = FileBlocks(disk, fs, device)
        evict_key = self.blocks.evict_key
        self.keyring = FsKeyring(
            fs, self, evict_key=evict_key, derive_sw_secret=device.derive_sw_secret, quota=quota
        )
        self.crypto = InodeCrypto(
            fs,
            fs_name,
            self.keyring,
            start_using_key=device.start_using_key,
            evict_key=evict_key,
            devices=(device.config_supported,),
            missing=missing,
        )
        self._rng = rng
        self._nonces: list[bytes] = []
        self._cache: dict[int, Incore] = {}

    def nonce(self) -> bytes:
        """16 random bytes."""
        if not self._nonces:
            drawn = self._rng.bytes(_NONCES_AT_ONCE * NONCE_BYTES)
            self._nonces = [drawn[at : at + NONCE_BYTES] for at in range(0, len(drawn), NONCE_BYTES)]
        return self._nonces.pop()

    def root(self) -> Incore:
        """The root directory."""
        return self.inode(ROOT_INO)

    def inode(self, ino: int) -> Incore:
        """The inode, cached from now on."""
        found = self._cache.get(ino)
        if found is None:
            found = self._cache[ino] = Incore(self.disk.inodes[ino])
        return found

    def info(self, inode: Incore, *, allow_unsupported: bool = False) -> CryptInfo | None:
        """Encryption state of an encrypted inode, set up if its key is there; else None.

        Raises:
            BlkCryptoError: as ``InodeCrypto.load``.
        """
        if inode.info is None and inode.disk.context is not None:
            inode.info = self.crypto.load(
                inode.disk.ino,
                inode.disk.kind,
                inode.disk.context,
                casefolded=inode.disk.is_casefolded,
                allow_unsupported=allow_unsupported,
                process_keys=self.process_keys,
            )
        return inode.info

    def require_key(self, inode: Incore) -> CryptInfo | None:
        """Encryption state of an inode that needs it; None when the inode is not encrypted.

        Raises:
            KeyRequired: its key is not there (ENOKEY).
            BlkCryptoError: as ``InodeCrypto.load``.
        """
        info = self.info(inode)
        if info is None and inode.disk.context is not None:
            raise KeyRequired(f"the key of inode {inode.disk.ino} is not there")
        return info

    def policy_of(self, inode: Incore) -> InodePolicy:
        """Policy of an inode for comparisons, read from disk if its key is not set up."""
        if inode.disk.context is None:
            return None
        try:
            return parse_context(inode.disk.context).policy
        except ContextUnrecognised:
            return Unreadable.UNREADABLE

    def want_write(self) -> None:
        """Raises ``ReadOnlyMount`` (EROFS) where nothing may be changed."""
        if self.read_only:
            raise ReadOnlyMount("the filesystem is mounted read-only")

    def sync_filesystem(self) -> None:
        """Write back every dirty page of every inode."""
        for inode in tuple(self._cache.values()):
            self.blocks.write_back(inode)

    def evict_unlocked(self, inos: Iterable[int]) -> None:
        """Evict those of ``inos`` that nothing holds."""
        for ino in inos:
            inode = self._cache.get(ino)
            if inode is not None and not inode.busy:
                self.evict(inode)

    def evict(self, inode: Incore) -> None:
        """The inode leaves the cache: first its key, then its pages."""
        del self._cache[inode.disk.ino]
        if inode.info is not None:
            info, inode.info = inode.info, None
            self.crypto.drop(inode.disk.ino, info)
        inode.drop_pages()

    def drop_caches(self) -> None:
        """Write back, then evict every inode that nothing holds."""
        self.sync_filesystem()
        self.evict_unlocked(tuple(self._cache))

    def forget_if_unused(self, inode: Incore) -> None:
        """After its last name or last open file is gone: evict and free a deleted inode."""
        if inode.disk.nlink or inode.opens:
            return
        inode.drop_pages()
        if self._cache.get(inode.disk.ino) is inode:
            self.evict(inode)
        for block in inode.disk.blocks.values():
            self.disk.free(block)
        self.disk.inodes.pop(inode.disk.ino, None)

    def unmount(self) -> None:
        """Write back, evict every inode, then remove every key while the devices are still there."""
        self.sync_filesystem()
        for inode in tuple(self._cache.values()):
            self.evict(inode)
        self.keyring.unmount()

    @property
    def cached(self) -> tuple[Incore, ...]:
        """Cached inodes, oldest first."""
        return tuple(self._cache.values())


_ENCRYPTED_KINDS = frozenset({InodeKind.REGULAR, InodeKind.DIRECTORY, InodeKind.SYMLINK})


def can_be_encrypted(kind: InodeKind) -> bool:
    """Directories, regular files and symlinks; nothing else ever is."""
    return kind in _ENCRYPTED_KINDS
