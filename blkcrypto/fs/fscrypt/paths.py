"""Who encrypts a regular file's contents.

=============================  ==================================  ==================================
kernel                         without ``inlinecrypt``             with ``inlinecrypt``
=============================  ==================================  ==================================
up to 7.2                      the filesystem itself               blk-crypto if every device or its
                                                                   fallback takes the config, else
                                                                   the filesystem, without error
7.3 and later                  blk-crypto, key kept from hardware  blk-crypto, hardware allowed
filesystems that make no bios  the filesystem itself               the filesystem itself
=============================  ==================================  ==================================

The choice depends on static facts only and never changes what is on disk.

Source: ``fscrypt_select_encryption_impl()``, fs/crypto/inline_crypt.c; reference fscrypt.md sections 0, 3.5.
"""

import enum
import errno
from collections.abc import Callable, Sequence

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.policy import IvScheme


class WrappedKeyNeedsInlineEncryption(BlkCryptoError):
    """A hardware-wrapped key, where the filesystem itself would have to encrypt."""

    errno = errno.EINVAL


class ContentsPath(enum.Enum):
    """Who encrypts."""

    FS_LAYER = "fs-layer"
    BLK_CRYPTO = "blk-crypto"


def select_path(
    fs: FileSystem,
    scheme: IvScheme,
    config: CryptoConfig,
    devices: Sequence[Callable[[CryptoConfig], bool]],
) -> ContentsPath:
    """Path of a regular file whose contents keys have ``config``.

    Args:
        fs: facts of the filesystem.
        scheme: of the file's policy.
        config: what its contents keys ask for.
        devices: for every device below the filesystem, whether it or its fallback supports a config.

    Raises:
        WrappedKeyNeedsInlineEncryption: a wrapped key, but the filesystem would have to encrypt (EINVAL).
    """
    if _uses_blk_crypto(fs, scheme, config, devices):
        return ContentsPath.BLK_CRYPTO
    if config.key_type is KeyType.HW_WRAPPED:
        raise WrappedKeyNeedsInlineEncryption(
            "a hardware-wrapped key needs inlinecrypt and a device that supports its mode"
        )
    return ContentsPath.FS_LAYER


def _uses_blk_crypto(
    fs: FileSystem,
    scheme: IvScheme,
    config: CryptoConfig,
    devices: Sequence[Callable[[CryptoConfig], bool]],
) -> bool:
    if not fs.is_block_based or config.crypto_mode is CryptoModeNum.INVALID:
        return False
    if config.key_type is KeyType.HW_WRAPPED and not fs.inlinecrypt:
        return False
    if fs.always_blk_crypto:
        return True
    if not fs.inlinecrypt:
        return False
    # Some callers ask about mergeability once per page, which the 2**32 wrap inside a page would break.
    if scheme is IvScheme.IV_INO_LBLK_32 and fs.block_size != fs.page_size:
        return False
    return all(supports(config) for supports in devices)
