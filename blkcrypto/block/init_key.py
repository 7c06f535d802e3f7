"""Making a key: the checks of ``blk_crypto_init_key()``, in their order.

Every failure is EINVAL; each cause has its own class, so that the first of two faults shows.

There is no range check on ``data_unit_size`` (1, 2 or 2**31 pass), no weak-key check and no look into
a wrapped blob: those show when a slot is programmed.

Source: block/blk-crypto.c; reference block-layer.md section 3.1.
"""

import errno

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.era import NEWEST, KernelProfile
from blkcrypto.block.key import (
    MAX_HW_WRAPPED_KEY_BYTES,
    BlkCryptoKey,
    ConfigFlags,
    CryptoConfig,
    CryptoModeNum,
    KeyType,
)
from blkcrypto.block.modes import MODES, CryptoMode


class InvalidKey(BlkCryptoError):
    """A key that ``blk_crypto_init_key()`` refuses."""

    errno = errno.EINVAL


class UnknownMode(InvalidKey):
    """The mode number has no row."""


class UnknownFlags(InvalidKey):
    """A flag other than ALLOW_HW is set."""


class UnknownKeyType(InvalidKey):
    """Neither raw nor hardware-wrapped, or wrapped on a kernel without wrapped keys."""


class WrongKeySize(InvalidKey):
    """The key's size does not fit its mode and type."""


class WrappedKeyNeedsHardware(InvalidKey):
    """A hardware-wrapped key without ALLOW_HW could never be used."""


class WrongDunBytes(InvalidKey):
    """``dun_bytes`` is 0 or more than the mode's IV."""


class DataUnitSizeNotPowerOfTwo(InvalidKey):
    """The data unit size is not a power of two."""


def _check_size(mode: CryptoMode, raw: bytes, key_type: int, flags: int, era: KernelProfile) -> None:
    if not era.key_types:
        if key_type != KeyType.RAW:
            raise UnknownKeyType(f"Linux {era.name} knows raw keys only")
        # The size is implied by the mode; mode 0 has none.
        if not mode.key_bytes or len(raw) != mode.key_bytes:
            raise WrongKeySize(f"{mode.name or 'mode 0'} takes {mode.key_bytes} bytes of key, not {len(raw)}")
        return
    if key_type == KeyType.RAW:
        if len(raw) != mode.key_bytes:
            raise WrongKeySize(f"{mode.name or 'mode 0'} takes {mode.key_bytes} bytes of key, not {len(raw)}")
    elif key_type == KeyType.HW_WRAPPED:
        if not mode.security_strength_bytes <= len(raw) <= MAX_HW_WRAPPED_KEY_BYTES:
            least = mode.security_strength_bytes
            raise WrongKeySize(f"a wrapped key for {mode.name} has {least} to 128 bytes, not {len(raw)}")
        if era.allow_hw_flag and not flags & ConfigFlags.ALLOW_HW:
            raise WrappedKeyNeedsHardware("a hardware-wrapped key needs ALLOW_HW")
    else:
        raise UnknownKeyType(f"key type {key_type} is neither raw nor hardware-wrapped")


def init_key(
    raw: bytes,
    mode: int,
    *,
    dun_bytes: int,
    data_unit_size: int,
    key_type: int = KeyType.RAW,
    flags: int = ConfigFlags.ALLOW_HW,
    era: KernelProfile = NEWEST,
    label: str = "",
) -> BlkCryptoKey:
    """A key, or why not.

    Args:
        raw: the raw key, or an ephemerally wrapped blob.
        mode: ``CryptoModeNum``; other numbers are refused as the kernel refuses them.
        dun_bytes: how many low bytes of any DUN will ever be non-zero; a promise, not checked later.
        data_unit_size: bytes, a power of two.
        key_type: ``KeyType``.
        flags: ``ConfigFlags``; looked at from 7.3 on.
        era: the kernel whose checks apply.
        label: what reports call the key.

    Raises:
        UnknownMode, UnknownFlags, UnknownKeyType, WrongKeySize, WrappedKeyNeedsHardware, WrongDunBytes,
        DataUnitSizeNotPowerOfTwo: in this order of checks (key type and size are one step), all EINVAL.
    """
    if not 0 <= mode < len(MODES):
        raise UnknownMode(f"there is no crypto mode {mode}: the modes are 1 to {len(MODES) - 1}")
    row = MODES[mode]
    # As plain int: inverting a flag enum drops the bits it does not know.
    if era.allow_hw_flag and flags & ~int(ConfigFlags.ALLOW_HW):
        raise UnknownFlags(f"flags {flags:#x} has bits other than ALLOW_HW (0x1)")
    _check_size(row, raw, key_type, flags, era)
    if not 1 <= dun_bytes <= row.iv_bytes:
        raise WrongDunBytes(f"dun_bytes is 1 to {row.iv_bytes} for {row.name or 'mode 0'}, not {dun_bytes}")
    if data_unit_size <= 0 or data_unit_size & (data_unit_size - 1):
        raise DataUnitSizeNotPowerOfTwo(f"data_unit_size {data_unit_size} is not a power of two")
    config = CryptoConfig(
        crypto_mode=CryptoModeNum(mode),
        data_unit_size=data_unit_size,
        dun_bytes=dun_bytes,
        key_type=KeyType(key_type),
        flags=ConfigFlags(flags) if era.allow_hw_flag else ConfigFlags.ALLOW_HW,
    )
    return BlkCryptoKey(
        crypto_cfg=config, data_unit_size_bits=data_unit_size.bit_length() - 1, raw=raw, owner=label
    )
