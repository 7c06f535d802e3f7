"""What a device can encrypt, and how capabilities combine.

A capability set is a mask of data unit sizes per mode (bit value = size in bytes), the widest DUN and
the key types.

Source: block/blk-crypto-profile.c; reference block-layer.md sections 2.5, 3.2 and 3.16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blkcrypto.block.era import NEWEST, KernelProfile
from blkcrypto.block.key import ConfigFlags, CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.block.modes import MODES

ALL_SIZES: Final = 0xFFFFFFFF
UINT_MAX: Final = 0xFFFFFFFF
NO_KEY_TYPES: Final = KeyType(0)
ALL_KEY_TYPES: Final = KeyType.RAW | KeyType.HW_WRAPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """One capability set.

    Attributes:
        modes_supported: per mode number, the mask of data unit sizes; index 0 (INVALID) included.
        max_dun_bytes: DUNs ``0 .. 2**(8 * max_dun_bytes) - 1``.
        key_types: mask of ``KeyType``.
    """

    modes_supported: tuple[int, ...] = (0,) * len(MODES)
    max_dun_bytes: int = 0
    key_types: KeyType = NO_KEY_TYPES

    def supports(self, config: CryptoConfig, era: KernelProfile = NEWEST) -> bool:
        """Whether hardware with this set takes ``config``; the checks are in Linux's order."""
        if era.allow_hw_flag and not config.flags & ConfigFlags.ALLOW_HW:
            return False
        if not self.modes_supported[config.crypto_mode] & config.data_unit_size:
            return False
        if self.max_dun_bytes < config.dun_bytes:
            return False
        return not era.key_types or bool(self.key_types & config.key_type)

    @property
    def has_modes(self) -> bool:
        """Whether any mode is left."""
        return any(self.modes_supported)


NOTHING: Final = Capabilities()
EVERYTHING: Final = Capabilities(
    modes_supported=(ALL_SIZES,) * len(MODES),
    max_dun_bytes=UINT_MAX,
    key_types=KeyType.RAW | KeyType.HW_WRAPPED,
)


def capabilities(
    modes: Mapping[CryptoModeNum, int], *, max_dun_bytes: int, key_types: KeyType = KeyType.RAW
) -> Capabilities:
    """A set from a mapping of mode to mask; modes not named are not supported."""
    return Capabilities(
        modes_supported=tuple(modes.get(row.num, 0) for row in MODES),
        max_dun_bytes=max_dun_bytes,
        key_types=key_types,
    )


def intersect(parent: Capabilities, child: Capabilities | None) -> Capabilities:
    """What both can do; a child without a profile leaves nothing."""
    if child is None:
        return NOTHING
    return Capabilities(
        modes_supported=tuple(
            a & b for a, b in zip(parent.modes_supported, child.modes_supported, strict=True)
        ),
        max_dun_bytes=min(parent.max_dun_bytes, child.max_dun_bytes),
        key_types=KeyType(parent.key_types & child.key_types),
    )


def has_capabilities(target: Capabilities | None, reference: Capabilities | None) -> bool:
    """Whether ``target`` can do all that ``reference`` can; None is a queue without a profile."""
    if reference is None:
        return True
    if target is None:
        return False
    return (
        all(
            not ref & ~got for got, ref in zip(target.modes_supported, reference.modes_supported, strict=True)
        )
        and target.max_dun_bytes >= reference.max_dun_bytes
        and not reference.key_types & ~target.key_types
    )
