"""Giving a disk its crypto profile: encryption and integrity exclude each other.

Source: ``blk_crypto_register()``, block/blk-crypto-profile.c, and block/blk-settings.c; reference
block-layer.md section 3.16.
"""

import errno

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.device import Disk
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.profile import CryptoProfile


class IntegrityExcludesCrypto(BlkCryptoError):
    """Limits with integrity metadata on a disk that has a crypto profile."""

    errno = errno.EINVAL


def register_profile(kernel: Kernel, disk: Disk, profile: CryptoProfile) -> bool:
    """Give ``disk`` a profile; False, with a warning and no profile, when it has integrity metadata."""
    if disk.limits.integrity_tag_size:
        kernel.warn(f"{disk.name}: integrity and hardware inline encryption do not go together")
        disk.profile = None
        return False
    disk.profile = profile
    return True


def set_limits(disk: Disk, limits: QueueLimits) -> None:
    """Change the limits of ``disk``.

    Raises:
        IntegrityExcludesCrypto: EINVAL.
    """
    if limits.integrity_tag_size and disk.profile is not None:
        raise IntegrityExcludesCrypto(f"{disk.name} has a crypto profile: it takes no integrity metadata")
    disk.limits = limits
