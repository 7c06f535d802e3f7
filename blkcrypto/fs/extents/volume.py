"""A mounted filesystem with extents: its cached inodes, and what removal of a key asks of it.

Rules (reference fscrypt.md sections 5.3, 5.4, 6.1):

- An inode stays cached, with its loaded extents, until it is evicted; not while it is open or dirty.
- Eviction first evicts the extents' keys from the devices, then lets go of the master key.
- Removal under the heavyweight design writes back once more before it begins, and afterwards makes every
  inode forget its loaded extents, open or not.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.errors import NoSuchFile
from blkcrypto.fs.extents.checksums import key_flags
from blkcrypto.fs.extents.designs import CloneCheck
from blkcrypto.fs.extents.disk import ExtentDisk, Subvolume
from blkcrypto.fs.extents.errors import KeyRequired
from blkcrypto.fs.extents.extent_io import ExtentIo
from blkcrypto.fs.extents.incore import Incore
from blkcrypto.fs.extents.items import INODE_ITEM, InodeItem
from blkcrypto.fs.extents.keyring import ExtentKeyring
from blkcrypto.fs.extents.keys import ExtentKeys, btrfs_like, check_extent_policy, names_policy
from blkcrypto.fs.extents.writeback import Writeback
from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.derive import PolicyNeedsRawKey, check_master_key
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, AddKeyFlags, KeySpecifier
from blkcrypto.fs.fscrypt.key_entry import MasterKeyEntry, RemovalFlags
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES, INODE_INFO_BYTES
from blkcrypto.fs.fscrypt.names import NameCipher
from blkcrypto.fs.fscrypt.policy import Policy, parse_context
from blkcrypto.fs.store import BlockStore


class Volume:
    """One mount.

    Args:
        disk: what to mount.
        store: takes the blocks.
        rng: of nonces and IVs.
        uuid: the filesystem's.
        checksums: over ciphertext, for every block written.
        clone_check: what a clone compares; None for what the design does.

    Attributes:
        io: between extents and store.
        keys: of extents.
        keyring: the filesystem's master keys.
        writeback: from dirty pages to extents.
    """

    def __init__(
        self,
        disk: ExtentDisk,
        store: BlockStore,
        rng: np.random.Generator,
        *,
        uuid: bytes = bytes(16),
        checksums: bool = True,
        clone_check: CloneCheck | None = None,
    ) -> None:
        self.disk = disk
        self.design = disk.design
        self.store = store
        self.fs = btrfs_like(uuid)
        self.clone_check = clone_check or self.design.clone_check
        self.random = rng.bytes
        self.keyring = ExtentKeyring(
            self.fs, self, evict_key=store.evict_key, keeps_secret=self.design.keeps_secret
        )
        self.keys = ExtentKeys(
            self.design,
            self.fs,
            self.keyring,
            flags=key_flags(checksums=checksums),
            evict_key=store.evict_key,
        )
        self.io = ExtentIo(disk, store, self.keys, self.fs, checksums=checksums)
        self.writeback = Writeback(disk, self.io, self.keys, self.random)
        self._cache: dict[tuple[int, int], Incore] = {}
        self._by_uid: dict[int, Incore] = {}
        self._dirty: dict[int, Incore] = {}
        self._uids = 0

    def inode(self, subvolume: Subvolume, ino: int) -> Incore:
        """The inode, cached from now on.

        Raises:
            ContextUnrecognised: EINVAL.
        """
        found = self._cache.get((subvolume.number, ino))
        if found is None:
            item = subvolume.tree.get((ino, INODE_ITEM, 0))
            if not isinstance(item, InodeItem):
                raise NoSuchFile(f"subvolume {subvolume.number} has no inode {ino}")
            policy = parse_context(item.context).policy if item.context else None
            self._uids += 1
            found = Incore(self._uids, subvolume, ino, item, policy)
            self._cache[subvolume.number, ino] = self._by_uid[found.uid] = found
        return found

    def new_inode(self, subvolume: Subvolume, item: InodeItem) -> Incore:
        """A new inode in the tree and the cache."""
        ino = subvolume.next_ino
        subvolume.next_ino += 1
        subvolume.tree.put((ino, INODE_ITEM, 0), item)
        return self.inode(subvolume, ino)

    def change(self, inode: Incore, item: InodeItem) -> None:
        """Write a changed inode item."""
        inode.item = item
        inode.subvolume.tree.put((inode.ino, INODE_ITEM, 0), item)

    def set_size(self, inode: Incore, size: int) -> None:
        """The file ends at ``size``."""
        if size != inode.item.size:
            self.change(inode, replace(inode.item, size=size))

    def mark_dirty(self, inode: Incore, block: int) -> None:
        """A cached block of the file is to be written back."""
        inode.dirty[block] = None
        self._dirty[inode.uid] = inode

    def unlock(self, inode: Incore) -> None:
        """Take the inode's master key, if it is encrypted and has not got it yet.

        Raises:
            ExtentPolicyUnsupported, UnsupportedPolicy: EINVAL.
            KeyRequired, MasterKeyTooShort: ENOKEY.
        """
        if inode.policy is None or inode.entry is not None:
            return
        check_extent_policy(self.design, inode.policy, self.fs)
        entry = self.entry_for(inode.policy)
        policy = names_policy(inode.policy)
        check_master_key(policy, entry.secret, policy.filenames if inode.item.is_dir else policy.contents)
        if inode.item.is_dir:
            nonce = parse_context(inode.item.context).nonce
            inode.names = NameCipher(policy, entry.secret, self.fs, ino=inode.ino, nonce=nonce)
        else:
            self.keys.prepare_inode(inode.policy, entry)
        entry.unlock(inode.uid)
        inode.entry = entry

    def entry_for(self, policy: Policy) -> MasterKeyEntry:
        """The present master key of ``policy``.

        Raises:
            KeyRequired: ENOKEY.
        """
        entry = self.keyring.find(KeySpecifier.of_policy(policy))
        if entry is None or not entry.present:
            raise KeyRequired(f"key {policy.master_key.hex()} is not here")
        return entry

    def add_key(self, arg: AddKeyArg, caller: Caller = ROOT) -> KeySpecifier:
        """``FS_IOC_ADD_ENCRYPTION_KEY``; raises as ``FsKeyring.add``.

        Raises:
            PolicyNeedsRawKey: a hardware-wrapped key, which no design for extents takes (EINVAL).
        """
        if arg.flags & AddKeyFlags.HW_WRAPPED:
            raise PolicyNeedsRawKey(
                "extents have keys of their own: a hardware-wrapped key cannot serve them"
            )
        return self.keyring.add(arg, caller)

    def remove_key(
        self, spec: KeySpecifier, caller: Caller = ROOT, *, all_users: bool = False
    ) -> RemovalFlags:
        """``FS_IOC_REMOVE_ENCRYPTION_KEY``; raises as ``FsKeyring.remove``."""
        if self.design.holds_master_key:
            # What is dirty needs new extents, and those need the key: its last chance.  What fails here fails
            # again when the removal itself writes back, which reports it.
            with suppress(BlkCryptoError):
                self.sync_filesystem()
        return self.keyring.remove(spec, caller, all_users=all_users)

    def sync_filesystem(self) -> None:
        """Write back every dirty inode; an inode that fails stays dirty, and the first failure is raised."""
        failure: BlkCryptoError | None = None
        for inode in tuple(self._dirty.values()):
            try:
                self.writeback.write_back(inode)
            except BlkCryptoError as error:
                failure = failure or error
            else:
                del self._dirty[inode.uid]
        if failure is not None:
            raise failure

    def evict_unlocked(self, inos: Iterable[int]) -> None:
        """Evict inodes that nothing holds; of the others, forget extents that hold the key.

        Negative numbers are extents', which their inodes forget.
        """
        for uid in inos:
            inode = self._by_uid.get(uid)
            if inode is None:
                continue
            if not inode.busy:
                self.evict(inode)
            elif self.design.holds_master_key:
                self.forget_extents(inode)

    def forget_extents(self, inode: Incore) -> None:
        """The hook of the heavyweight design: drop loaded extents, so that they hold the key no more."""
        for info in inode.take_infos():
            self.keys.drop(info)

    def evict(self, inode: Incore) -> None:
        """The inode leaves the cache: its extents' keys, then its hold on the master key, then its pages."""
        del self._cache[inode.subvolume.number, inode.ino]
        del self._by_uid[inode.uid]
        self._dirty.pop(inode.uid, None)
        self.forget_extents(inode)
        if inode.entry is not None:
            entry, inode.entry, inode.names = inode.entry, None, None
            entry.lock(inode.uid)
        inode.pages.clear()
        inode.dirty.clear()

    def drop_caches(self) -> None:
        """Write back, then evict every inode that nothing holds."""
        self.sync_filesystem()
        for inode in tuple(self._cache.values()):
            if not inode.busy:
                self.evict(inode)

    def unmount(self) -> None:
        """Write back what can be written, evict every inode, remove every key.

        Raises:
            BlkCryptoError: something could not be written, and is lost now.
        """
        failure: BlkCryptoError | None = None
        try:
            self.sync_filesystem()
        except BlkCryptoError as error:
            failure = error
        for inode in tuple(self._cache.values()):
            self.evict(inode)
        self.keyring.unmount()
        if failure is not None:
            raise failure

    def check_policy(self, policy: Policy) -> None:
        """Whether directories may get ``policy``: the checks of ``FS_IOC_SET_ENCRYPTION_POLICY`` on it.

        Raises:
            ExtentPolicyUnsupported, UnsupportedPolicy: EINVAL.
        """
        check_extent_policy(self.design, policy, self.fs)

    @property
    def cached(self) -> tuple[Incore, ...]:
        """Cached inodes, oldest first."""
        return tuple(self._cache.values())

    @property
    def in_memory_bytes(self) -> int:
        """Encryption state of cached inodes and loaded extents, by the design's sizes."""
        unlocked = [inode for inode in self._cache.values() if inode.entry is not None]
        infos = sum(len(inode.infos) for inode in unlocked)
        entries = {id(inode.entry): inode.entry for inode in unlocked if inode.entry is not None}
        shared = sum(len(entry.secret.shared_keys) for entry in entries.values())
        return (
            len(unlocked) * INODE_INFO_BYTES
            + infos * self.design.memory_per_extent_bytes
            + shared * BLK_CRYPTO_KEY_BYTES
        )
