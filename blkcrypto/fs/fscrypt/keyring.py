"""The filesystem's keyring: master keys, claims to them, and their way from present to absent.

Rules (fs/crypto/keyring.c; reference fscrypt.md section 5)::

              ADD                      REMOVE, no claim left
    ABSENT ---------> PRESENT ------------------------------> INCOMPLETELY_REMOVED
       ^               |   ^                                        |   |
       |               |   '----------------- ADD ------------------'   |
       '---------------+------------------------------------------------'
         REMOVE with no unlocked inode         the last unlocked inode goes

- An identifier key is removed when its last claim (one per user) goes; a descriptor key has no claims.
- Removal wipes the secret at once, so no further inode unlocks; inodes already unlocked keep their own keys
  and work on.  Removal then writes everything back and evicts what it can; removing again retries that.
- A claim added to an incompletely removed key puts the secret back.
- The last unlocked inode, or the removal itself, destroys the shared keys: every device evicts them first.
"""

import errno
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import MAX_HW_WRAPPED_KEY_BYTES, MAX_RAW_KEY_BYTES, BlkCryptoKey
from blkcrypto.fs.fscrypt.caller import Caller
from blkcrypto.fs.fscrypt.derive import AnyMasterKey
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, AddKeyFlags, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.key_entry import (
    KeyStatus,
    KeyStatusReport,
    MasterKeyEntry,
    NoSuchMasterKey,
    RemovalFlags,
    StatusFlags,
)
from blkcrypto.fs.fscrypt.master_key import MIN_MASTER_KEY_BYTES, MasterKey, MasterKeySizeInvalid
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.fscrypt.process_keys import ProcessKeyring
from blkcrypto.fs.fscrypt.quota import KeyQuota
from blkcrypto.fs.fscrypt.v1_key import MasterKeyV1


class NotPermitted(BlkCryptoError):
    """Only CAP_SYS_ADMIN may add or remove keys by descriptor, or remove other users' claims."""

    errno = errno.EACCES


class AddKeyArgInvalid(BlkCryptoError):
    """Unknown flags, flags with a descriptor, or both a key and a key's serial number."""

    errno = errno.EINVAL


class WrappedKeysUnavailable(BlkCryptoError):
    """Hardware-wrapped keys need the mount option inlinecrypt and a device that takes them."""

    errno = errno.EOPNOTSUPP


class NoClaim(BlkCryptoError):
    """The caller has no claim to the key."""

    errno = errno.ENOKEY


class InodeHost(Protocol):
    """The filesystem, as removal of a key needs it."""

    def sync_filesystem(self) -> None:
        """Write back everything dirty; raises ``BlkCryptoError`` when that fails."""

    def evict_unlocked(self, inos: Iterable[int]) -> None:
        """Drop what can be dropped of these inodes; each one that goes calls ``MasterKeyEntry.lock``."""


class FsKeyring:
    """Master keys of one mounted filesystem.

    Args:
        fs: facts of the filesystem.
        host: its inodes.
        evict_key: evicts a contents key from every device; called before the key is forgotten.
        derive_sw_secret: the device's operation, or None where no device takes wrapped keys.
        quota: the machine's, shared by all its filesystems.
    """

    def __init__(
        self,
        fs: FileSystem,
        host: InodeHost,
        *,
        evict_key: Callable[[BlkCryptoKey], None],
        derive_sw_secret: Callable[[bytes], bytes] | None = None,
        quota: KeyQuota | None = None,
    ) -> None:
        self._fs = fs
        self._host = host
        self._evict_key = evict_key
        self._derive_sw_secret = derive_sw_secret
        self._quota = KeyQuota() if quota is None else quota
        self._entries: dict[KeySpecifier, MasterKeyEntry] = {}

    def find(self, spec: KeySpecifier) -> MasterKeyEntry | None:
        """The key object, present or not."""
        return self._entries.get(spec)

    def entry_for(self, policy: Policy) -> MasterKeyEntry:
        """The present key that ``policy`` names.

        Raises:
            NoSuchMasterKey: there is none, or it was removed (ENOKEY).
        """
        entry = self._entries.get(KeySpecifier.of_policy(policy))
        if entry is None or not entry.present:
            raise NoSuchMasterKey(f"key {policy.master_key.hex()} is not here")
        return entry

    def add(self, arg: AddKeyArg, caller: Caller, process_keys: ProcessKeyring | None = None) -> KeySpecifier:
        """``FS_IOC_ADD_ENCRYPTION_KEY``; the specifier, with the identifier filled in.

        Raises:
            NotPermitted: EACCES.
            AddKeyArgInvalid, MasterKeySizeInvalid: EINVAL.
            NoSuchKey, KeyRevoked, KeyRejected: about the provisioning key.
            WrappedKeysUnavailable: EOPNOTSUPP; what the device raises for a bad blob: EBADMSG.
            KeyQuotaExceeded: EDQUOT.
        """
        by_descriptor = arg.spec.type is KeySpecType.DESCRIPTOR
        if by_descriptor and not caller.cap_sys_admin:
            raise NotPermitted("adding a key by descriptor needs CAP_SYS_ADMIN")
        if arg.flags & ~int(AddKeyFlags.HW_WRAPPED) or (arg.flags and by_descriptor):
            raise AddKeyArgInvalid(f"flags {arg.flags:#x}: only HW_WRAPPED exists, for identifiers")
        raw = _key_bytes(arg, process_keys)
        if by_descriptor:
            self._add_secret(arg.spec, MasterKeyV1(raw, arg.spec.key), None)
            return arg.spec
        secret = self._v2_secret(raw, wrapped=bool(arg.flags))
        spec = KeySpecifier(KeySpecType.IDENTIFIER, secret.identifier)
        self._add_secret(spec, secret, caller)
        return spec

    def _v2_secret(self, raw: bytes, *, wrapped: bool) -> MasterKey:
        if not wrapped:
            return MasterKey.from_raw(raw)
        if not self._fs.inlinecrypt or self._derive_sw_secret is None:
            raise WrappedKeysUnavailable("mount with inlinecrypt, on a device that takes wrapped keys")
        return MasterKey.from_hw_wrapped(raw, self._derive_sw_secret(raw))

    def _add_secret(self, spec: KeySpecifier, secret: AnyMasterKey, claimant: Caller | None) -> None:
        entry = self._entries.get(spec)
        if entry is None:
            if claimant is not None:
                self._quota.charge(claimant.fsuid)
            claims = None if claimant is None else {claimant.fsuid: None}
            self._entries[spec] = MasterKeyEntry(spec, secret, claims=claims, _retire=self._retire)
            return
        if entry.claims is not None and claimant is not None:
            if claimant.fsuid in entry.claims:
                return
            self._quota.charge(claimant.fsuid)
            entry.claims[claimant.fsuid] = None
        if not entry.present:
            entry.secret.put_back(secret)
            entry.present = True

    def remove(self, spec: KeySpecifier, caller: Caller, *, all_users: bool = False) -> RemovalFlags:
        """``FS_IOC_REMOVE_ENCRYPTION_KEY`` and ``..._ALL_USERS``.

        Returns:
            What is left in the way: other users' claims, or files in use.

        Raises:
            NotPermitted: EACCES.
            NoSuchMasterKey, NoClaim: ENOKEY.
            BlkCryptoError: writing back failed; the key is removed all the same.
        """
        if (all_users or spec.type is KeySpecType.DESCRIPTOR) and not caller.cap_sys_admin:
            raise NotPermitted("this removal needs CAP_SYS_ADMIN")
        entry = self._entries.get(spec)
        if entry is None:
            raise NoSuchMasterKey(f"the filesystem has no key {spec.key.hex()}")
        if entry.claims:
            self._drop_claims(entry, caller, all_users=all_users)
            if entry.claims:
                return RemovalFlags.OTHER_USERS
        if entry.present:
            self._initiate_removal(entry)
        return self._evict_files(entry) if entry.unlocked else RemovalFlags.NONE

    def _drop_claims(self, entry: MasterKeyEntry, caller: Caller, *, all_users: bool) -> None:
        claims = entry.claims or {}
        if not all_users and caller.fsuid not in claims:
            raise NoClaim(f"user {caller.fsuid} did not add key {entry.spec.key.hex()}")
        for uid in tuple(claims) if all_users else (caller.fsuid,):
            del claims[uid]
            self._quota.release(uid)

    def _initiate_removal(self, entry: MasterKeyEntry) -> None:
        entry.present = False
        entry.secret.wipe_secret()
        if not entry.active_refs:
            self._retire(entry)

    def _evict_files(self, entry: MasterKeyEntry) -> RemovalFlags:
        failure: BlkCryptoError | None = None
        try:
            self._host.sync_filesystem()
        except BlkCryptoError as error:
            # Evict what can be evicted all the same; the error wins over the flags.
            failure = error
        self._host.evict_unlocked(tuple(entry.unlocked))
        if failure is not None:
            raise failure
        return RemovalFlags.FILES_BUSY if entry.unlocked else RemovalFlags.NONE

    def _retire(self, entry: MasterKeyEntry) -> None:
        """The last active reference is gone: out of the keyring, shared keys out of every device."""
        del self._entries[entry.spec]
        for key in entry.secret.drop_shared_keys():
            self._evict_key(key)

    def status(self, spec: KeySpecifier, caller: Caller) -> KeyStatusReport:
        """``FS_IOC_GET_ENCRYPTION_KEY_STATUS``: an unknown key is absent, not an error."""
        entry = self._entries.get(spec)
        if entry is None:
            return KeyStatusReport(KeyStatus.ABSENT)
        if not entry.present:
            return KeyStatusReport(KeyStatus.INCOMPLETELY_REMOVED)
        claims = entry.claims or {}
        own = StatusFlags.ADDED_BY_SELF if caller.fsuid in claims else StatusFlags.NONE
        return KeyStatusReport(KeyStatus.PRESENT, own, len(claims))

    def has_claim(self, spec: KeySpecifier, caller: Caller) -> bool:
        """Whether the caller added the key: ``fscrypt_verify_key_added()`` without its capability."""
        entry = self._entries.get(spec)
        return entry is not None and caller.fsuid in (entry.claims or {})

    def unmount(self) -> None:
        """Remove every key; the inodes are gone, the devices still there."""
        for entry in tuple(self._entries.values()):
            for uid in tuple(entry.claims or ()):
                self._quota.release(uid)
            if entry.present:
                self._initiate_removal(entry)


_SIZE_LIMITS: Final = {False: MAX_RAW_KEY_BYTES, True: MAX_HW_WRAPPED_KEY_BYTES}


def _key_bytes(arg: AddKeyArg, process_keys: ProcessKeyring | None) -> bytes:
    if arg.key_id:
        if arg.raw_size:
            raise AddKeyArgInvalid("give a key or the serial number of one, not both")
        keys = ProcessKeyring() if process_keys is None else process_keys
        return keys.provisioning(arg.key_id, arg.spec.type, arg.flags)
    largest = _SIZE_LIMITS[bool(arg.flags)]
    if not MIN_MASTER_KEY_BYTES <= arg.raw_size <= largest:
        raise MasterKeySizeInvalid(
            f"a master key of {arg.raw_size} bytes: use {MIN_MASTER_KEY_BYTES} to {largest}"
        )
    return arg.raw
