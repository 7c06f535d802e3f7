"""Policies along the directory tree: who may stand in whose directory.

Rules (``fscrypt_has_permitted_context()``, fs/crypto/policy.c; reference fscrypt.md sections 1.5, 9.1):

- Only directories, regular files and symlinks are encrypted; other inodes may stand anywhere.
- An unencrypted directory may hold anything.
- An encrypted directory holds only inodes with its own policy; a context that cannot be read has none.
- Link, rename and exchange that would break this: EXDEV.  Opening a file, or looking up a directory or
  symlink, that breaks it already: EPERM.
"""

import enum
import errno

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.policy import Policy


class InodeKind(enum.Enum):
    """What an inode is, as far as encryption cares."""

    REGULAR = "file"
    DIRECTORY = "dir"
    SYMLINK = "symlink"
    SPECIAL = "special"


class PolicyMismatch(BlkCryptoError):
    """Link or rename would put an inode into a directory of another policy."""

    errno = errno.EXDEV


class InconsistentPolicy(BlkCryptoError):
    """An inode stands in a directory of another policy: the filesystem was tampered with."""

    errno = errno.EPERM


class Unreadable(enum.Enum):
    """Stands for the policy of an encrypted inode whose context says nothing."""

    UNREADABLE = enum.auto()


# None: the inode is not encrypted.
InodePolicy = Policy | Unreadable | None


def is_permitted(directory: InodePolicy, child: InodePolicy, kind: InodeKind) -> bool:
    """Whether an inode with policy ``child`` may stand in a directory with policy ``directory``."""
    if kind is InodeKind.SPECIAL or directory is None:
        return True
    return isinstance(directory, Policy) and directory == child


def check_move(directory: InodePolicy, child: InodePolicy, kind: InodeKind) -> None:
    """Link or rename of ``child`` into ``directory``.

    Raises:
        PolicyMismatch: EXDEV.
    """
    if not is_permitted(directory, child, kind):
        raise PolicyMismatch("source and target directory have different encryption policies")


def check_found(directory: InodePolicy, child: InodePolicy, kind: InodeKind) -> None:
    """Opening a regular file, or looking up a directory or symlink, in ``directory``.

    Raises:
        InconsistentPolicy: EPERM.
    """
    if not is_permitted(directory, child, kind):
        raise InconsistentPolicy("this inode's encryption policy is not its directory's")
