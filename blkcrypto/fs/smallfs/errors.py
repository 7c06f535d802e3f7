"""Errors of the virtual filesystem: what any filesystem answers, encrypted or not."""

import errno

from blkcrypto.base.errors import BlkCryptoError


class NoEntry(BlkCryptoError):
    """There is no such name."""

    errno = errno.ENOENT


class EntryExists(BlkCryptoError):
    """The name is taken."""

    errno = errno.EEXIST


class PolicyExists(BlkCryptoError):
    """The directory has another encryption policy already."""

    errno = errno.EEXIST


class NotADirectory(BlkCryptoError):
    """The operation needs a directory."""

    errno = errno.ENOTDIR


class IsADirectory(BlkCryptoError):
    """The operation does not work on a directory."""

    errno = errno.EISDIR


class NotEmpty(BlkCryptoError):
    """The directory has entries."""

    errno = errno.ENOTEMPTY


class NotOwner(BlkCryptoError):
    """Only the owner may set a policy."""

    errno = errno.EACCES


class OperationNotPermitted(BlkCryptoError):
    """Not on this kind of inode."""

    errno = errno.EPERM


class ReadOnlyMount(BlkCryptoError):
    """The filesystem is mounted read-only."""

    errno = errno.EROFS


class OperationNotSupported(BlkCryptoError):
    """The filesystem cannot do this, or not on an encrypted file."""

    errno = errno.EOPNOTSUPP


class NoSuchIoctl(BlkCryptoError):
    """This kind of inode or filesystem has no such ioctl."""

    errno = errno.ENOTTY


class NoPolicy(BlkCryptoError):
    """The inode is not encrypted."""

    errno = errno.ENODATA


class PolicyIsNotV1(BlkCryptoError):
    """The old ioctl knows v1 policies only."""

    errno = errno.EINVAL


class BufferTooSmall(BlkCryptoError):
    """The policy does not fit the caller's buffer."""

    errno = errno.EOVERFLOW


class KeyRequired(BlkCryptoError):
    """The inode's key is not there."""

    errno = errno.ENOKEY


class BadDirectoryEntry(BlkCryptoError):
    """A decrypted name is empty or holds a slash: wrong key, or damage."""

    errno = errno.EIO


class InvalidOffset(BlkCryptoError):
    """An offset, a length or a buffer that is not aligned."""

    errno = errno.EINVAL


class IntoItself(BlkCryptoError):
    """A directory would move into itself."""

    errno = errno.EINVAL


class NotASymlink(BlkCryptoError):
    """Only symlinks have a target."""

    errno = errno.EINVAL


class IoFailed(BlkCryptoError):
    """The block layer ended a bio with an error."""

    errno = errno.EIO


class NoSpace(BlkCryptoError):
    """No block is free."""

    errno = errno.ENOSPC
