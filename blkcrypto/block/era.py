"""Kernel versions, as rows of what changed between them.

A scenario names a version; code asks for a feature, never for a version.

Source: reference block-layer.md, the version map, sections 3.7, 3.14, 3.17 and 4.6.
"""

import enum
from dataclasses import dataclass, replace
from typing import Final

from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import BlkStatus


class FallbackPlace(enum.Enum):
    """Where the CPU fallback takes a bio."""

    INSIDE = "inside the block layer, wherever a bio reaches a device"
    ABOVE = "above the block layer, once, by the submitter"


class AlignmentCheck(enum.Enum):
    """Where segments are checked for data unit alignment."""

    AT_SUBMISSION = "before anything else, for every single-page segment"
    WHERE_USED = "in the split loop (hardware), at the segment (fallback)"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProfile:
    """One kernel version.  Features, each with the version that brought it, are false before it.

    Attributes:
        name: the version as people write it.
        fallback: where the CPU fallback sits; above the block layer since 7.0.
        alignment_check: follows the place of the fallback.
        misaligned_status: of a misaligned bio; the 5.x code said I/O error.
        bounce_pages: pages preallocated for the fallback's ciphertext.
        bulk_bounce: bounce pages are taken all or nothing (7.0), not one by one.
        sync_ciphers_only: the fallback takes no asynchronous cipher (7.0).
        slot_held_during_submit: a fallback write keeps its slot until its ciphertext is submitted (7.0).
        fallback_checks_config: the fallback asks its profile for the config; 7.3 only asks for a raw key.
        release_before_callback: a keyslot is released before the bios of its request complete (6.4).
        evict_always_unlinks: eviction returns nothing and unlinks the key in any case (6.4).
        evict_skips_unstarted_modes: eviction from the fallback ends early when the mode never started.
        key_types: raw and hardware-wrapped keys are told apart, and the three ioctls exist (6.15).
        allow_hw_flag: hardware is used only on request (7.3).
        has_config_supported: ``blk_crypto_config_supported()`` exists (until 7.2).
        has_sysfs: ``queue/crypto/`` exists (5.18).
        dm_passes_crypto: names of the dm targets that pass encrypted bios on.
    """

    name: str
    fallback: FallbackPlace = FallbackPlace.INSIDE
    alignment_check: AlignmentCheck = AlignmentCheck.AT_SUBMISSION
    misaligned_status: BlkStatus = BlkStatus.INVAL
    bounce_pages: int = 32
    bulk_bounce: bool = False
    sync_ciphers_only: bool = False
    slot_held_during_submit: bool = False
    fallback_checks_config: bool = True
    release_before_callback: bool = True
    evict_always_unlinks: bool = True
    evict_skips_unstarted_modes: bool = False
    key_types: bool = False
    allow_hw_flag: bool = False
    has_config_supported: bool = True
    has_sysfs: bool = True
    dm_passes_crypto: frozenset[str] = frozenset({"linear", "flakey"})


_V5_8: Final = KernelProfile(
    name="5.8",
    misaligned_status=BlkStatus.IOERR,
    release_before_callback=False,
    evict_always_unlinks=False,
    has_sysfs=False,
)
_V5_18: Final = replace(_V5_8, name="5.18", has_sysfs=True)
_V6_4: Final = replace(
    _V5_18,
    name="6.4",
    misaligned_status=BlkStatus.INVAL,
    release_before_callback=True,
    evict_always_unlinks=True,
)
_V6_12: Final = replace(_V6_4, name="6.12", evict_skips_unstarted_modes=True)
_V6_15: Final = replace(_V6_4, name="6.15", key_types=True)
_V7_0: Final = replace(
    _V6_15,
    name="7.0",
    fallback=FallbackPlace.ABOVE,
    alignment_check=AlignmentCheck.WHERE_USED,
    bounce_pages=256,
    bulk_bounce=True,
    sync_ciphers_only=True,
    slot_held_during_submit=True,
)
_V7_2: Final = replace(
    _V7_0, name="7.2", dm_passes_crypto=frozenset({"linear", "flakey", "striped", "thin", "thin-pool"})
)
_V7_3: Final = replace(
    _V7_2, name="7.3", allow_hw_flag=True, has_config_supported=False, fallback_checks_config=False
)

KERNELS: Final = {
    row.name: row
    for row in (
        _V5_8,
        replace(_V5_8, name="5.16"),
        _V5_18,
        _V6_4,
        _V6_12,
        _V6_15,
        replace(_V6_15, name="6.16"),
        replace(_V6_15, name="6.18"),
        replace(_V6_15, name="6.19"),
        _V7_0,
        _V7_2,
        _V7_3,
    )
}
NEWEST: Final = _V7_3


def kernel_profile(name: str, *, where: str = "kernel") -> KernelProfile:
    """The row called ``name``.

    Raises:
        BadInput: there is no such row; the message lists those there are.
    """
    row = KERNELS.get(name)
    if row is None:
        raise BadInput(
            f"{name!r} is not a kernel this tool knows: use one of {', '.join(KERNELS)}", where=where
        )
    return row
