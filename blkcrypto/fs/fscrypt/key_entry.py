"""One master key in the filesystem's keyring: its state, its claims, the inodes it unlocked.

Source: ``struct fscrypt_master_key``, fs/crypto/fscrypt_private.h; reference fscrypt.md section 5.1.
"""

import enum
import errno
from collections.abc import Callable
from dataclasses import dataclass, field

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.derive import AnyMasterKey
from blkcrypto.fs.fscrypt.key_args import KeySpecifier


class NoSuchMasterKey(BlkCryptoError):
    """The filesystem does not have the key, or it was removed."""

    errno = errno.ENOKEY


class KeyStatus(enum.IntEnum):
    """``FSCRYPT_KEY_STATUS_*``."""

    ABSENT = 1
    PRESENT = 2
    INCOMPLETELY_REMOVED = 3


class StatusFlags(enum.IntFlag):
    """``FSCRYPT_KEY_STATUS_FLAG_*``."""

    NONE = 0
    ADDED_BY_SELF = 1


class RemovalFlags(enum.IntFlag):
    """``FSCRYPT_KEY_REMOVAL_STATUS_FLAG_*``."""

    NONE = 0
    FILES_BUSY = 1
    OTHER_USERS = 2


@dataclass(frozen=True, slots=True)
class KeyStatusReport:
    """What ``FS_IOC_GET_ENCRYPTION_KEY_STATUS`` returns."""

    status: KeyStatus
    flags: StatusFlags = StatusFlags.NONE
    user_count: int = 0


@dataclass(slots=True, eq=False)
class MasterKeyEntry:
    """``struct fscrypt_master_key``: a key of the filesystem, and who uses it.

    Attributes:
        spec: its name.
        secret: what keys derive from; wiped, but kept, once the key is removed.
        present: whether new inodes may be unlocked.
        claims: users who added it; None for a descriptor key.
        unlocked: inode numbers whose keys are set up, oldest first.
    """

    spec: KeySpecifier
    secret: AnyMasterKey
    present: bool = True
    claims: dict[int, None] | None = None
    unlocked: dict[int, None] = field(default_factory=dict)
    _retire: Callable[["MasterKeyEntry"], None] = field(kw_only=True)

    @property
    def active_refs(self) -> int:
        """One while present, and one for every unlocked inode."""
        return self.present + len(self.unlocked)

    def unlock(self, ino: int) -> None:
        """Inode ``ino`` has its key set up.

        Raises:
            NoSuchMasterKey: the key was removed (ENOKEY).
        """
        if not self.present:
            raise NoSuchMasterKey(f"key {self.spec.key.hex()} was removed")
        self.unlocked[ino] = None

    def lock(self, ino: int) -> None:
        """Inode ``ino`` left the cache; its own key is evicted already."""
        del self.unlocked[ino]
        if not self.active_refs:
            self._retire(self)
