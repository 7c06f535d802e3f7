"""Errors that the designs' own small volumes share."""

import errno

from blkcrypto.base.errors import BlkCryptoError


class NoSpace(BlkCryptoError):
    """No free block or inode, no free run of that length, or no room for what is to be added."""

    errno = errno.ENOSPC


class NoSuchFile(BlkCryptoError):
    """There is no such name."""

    errno = errno.ENOENT


class FileExists(BlkCryptoError):
    """The name is taken."""

    errno = errno.EEXIST
