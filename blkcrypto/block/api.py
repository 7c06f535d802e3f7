"""What users of blk-crypto call: is it supported, start, evict.

Rules (block/blk-crypto.c; reference block-layer.md sections 3.2 to 3.4 and 3.14):

- Starting a key records nothing about the key: it may be repeated and needs no undoing.  It only builds
  the fallback for the key's mode when hardware cannot do it.
- Evicting goes to the device when the device supports the key's configuration, else to the fallback.  It
  must happen for every device the key was used with, before the key is freed.
- Since 6.4 eviction reports nothing; an error is logged.
"""

import errno
from typing import TYPE_CHECKING

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.era import NEWEST, KernelProfile
from blkcrypto.block.key import BlkCryptoKey, CryptoConfig, KeyType

if TYPE_CHECKING:
    from blkcrypto.block.device import BlockDevice
    from blkcrypto.block.kernel import Kernel


class NoHardwareForWrappedKey(BlkCryptoError):
    """A hardware-wrapped key on a device that cannot take it: there is no fallback for those."""

    errno = errno.EOPNOTSUPP


class FallbackNotBuilt(BlkCryptoError):
    """The configuration needs the CPU fallback, which the kernel was built without."""

    errno = errno.ENOPKG


def natively_supported(bdev: "BlockDevice", config: CryptoConfig, era: KernelProfile = NEWEST) -> bool:
    """``blk_crypto_config_supported_natively()``: whether the device's hardware takes ``config``."""
    profile = bdev.disk.profile
    return profile is not None and profile.capabilities.supports(config, era)


def config_supported(kernel: "Kernel", bdev: "BlockDevice", config: CryptoConfig) -> bool:
    """``blk_crypto_config_supported()``: hardware or fallback takes ``config``.  Removed in 7.3.

    Raises:
        AttributeError: the kernel has no such function.
    """
    era = kernel.era
    if not era.has_config_supported:
        raise AttributeError(f"Linux {era.name} has no blk_crypto_config_supported()")
    raw = not era.key_types or config.key_type == KeyType.RAW
    return (kernel.fallback is not None and raw) or natively_supported(bdev, config, era)


def start_using_key(kernel: "Kernel", bdev: "BlockDevice", key: BlkCryptoKey) -> None:
    """``blk_crypto_start_using_key()``: make sure I/O with ``key`` on ``bdev`` can work.

    Raises:
        NoHardwareForWrappedKey: EOPNOTSUPP.
        FallbackNotBuilt: ENOPKG.
        AlgorithmMissing: ENOPKG; or what else kept the fallback from starting, as it is.
    """
    if natively_supported(bdev, key.crypto_cfg, kernel.era):
        return
    if key.crypto_cfg.key_type != KeyType.RAW:
        kernel.warn(f"{bdev.disk.name}: no hardware support for this hardware-wrapped key")
        raise NoHardwareForWrappedKey(f"{bdev.disk.name} does not take {key!r}, and there is no fallback")
    if kernel.fallback is None:
        kernel.warn_once("a key needs the crypto API fallback, which is not built in")
        raise FallbackNotBuilt(f"{bdev.disk.name} does not take {key!r}")
    kernel.fallback.start_using_mode(key.crypto_cfg.crypto_mode)


def evict_key(kernel: "Kernel", bdev: "BlockDevice", key: BlkCryptoKey) -> None:
    """``blk_crypto_evict_key()``: make device or fallback forget ``key``.

    Raises:
        BlkCryptoError: what went wrong, on kernels before 6.4; later ones only log it.
    """
    try:
        if natively_supported(bdev, key.crypto_cfg, kernel.era):
            assert bdev.profile is not None
            bdev.profile.evict_key(key)
        elif kernel.fallback is not None:
            kernel.fallback.evict_key(key)
    except BlkCryptoError as error:
        if not kernel.era.evict_always_unlinks:
            raise
        kernel.warn(f"{bdev.disk.name}: error evicting {key!r}: {error}")
