"""What a copy-on-write filesystem with encrypted extents answers; one class per cause."""

import errno

from blkcrypto.base.errors import BlkCryptoError


class ExtentPolicyUnsupported(BlkCryptoError):
    """The key design does not take policies of this version, or with this flag."""

    errno = errno.EINVAL


class ExtentContextInvalid(BlkCryptoError):
    """An extent's context has the wrong length or version: damage, or another design's filesystem."""

    errno = errno.EINVAL


class ExtentContextMismatch(BlkCryptoError):
    """An extent names another master key or mode than the inode that refers to it."""

    errno = errno.EINVAL


class CloneMismatch(BlkCryptoError):
    """A clone between files that may not share extents."""

    errno = errno.EINVAL


class InvalidRange(BlkCryptoError):
    """A range that is empty, unaligned, or past what it may cover."""

    errno = errno.EINVAL


class RangeOperationRefused(BlkCryptoError):
    """Collapsing or inserting a range of an encrypted file."""

    errno = errno.EOPNOTSUPP


class CiphertextNotVisible(BlkCryptoError):
    """Checksums cover ciphertext, which hardware that encrypts in line never shows."""

    errno = errno.EOPNOTSUPP


class BioTooLarge(BlkCryptoError):
    """A checksummed bio with more segments than one bounce bio holds; it cannot be split."""

    errno = errno.EIO


class ChecksumMismatch(BlkCryptoError):
    """Ciphertext that does not have the checksum stored for it."""

    errno = errno.EIO


class KeyRequired(BlkCryptoError):
    """The inode's master key is not there."""

    errno = errno.ENOKEY


class FileInUse(BlkCryptoError):
    """An open or dirty file stands in the way."""

    errno = errno.EBUSY
