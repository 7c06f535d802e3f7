"""Data unit numbers.

A DUN is an ``int`` in ``0 <= dun < 2**256``.  Linux keeps it as four 64-bit limbs, least significant
first (``u64 bc_dun[BLK_CRYPTO_DUN_ARRAY_SIZE]``); the two forms convert here.

Rules (block/blk-crypto.c; reference block-layer.md sections 3.8 and 3.9):

- Incrementing past the last limb wraps silently.
- Two runs are contiguous when the second begins where the first ends; an end of exactly ``2**256``
  is not contiguous with 0.
- Advancing by bytes counts whole data units only: part of a unit does not move the DUN.
- The IV is the limbs little-endian, cut to the mode's IV size.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

DUN_LIMBS: Final = 4
DUN_BYTES: Final = 8 * DUN_LIMBS
_MODULUS: Final = 1 << (8 * DUN_BYTES)
_LIMB_MASK: Final = (1 << 64) - 1

Limbs = tuple[int, int, int, int]


def to_limbs(dun: int) -> Limbs:
    """The kernel's array form, least significant limb first."""
    return (dun & _LIMB_MASK, dun >> 64 & _LIMB_MASK, dun >> 128 & _LIMB_MASK, dun >> 192 & _LIMB_MASK)


def from_limbs(limbs: Limbs) -> int:
    """Inverse of ``to_limbs``."""
    return limbs[0] | limbs[1] << 64 | limbs[2] << 128 | limbs[3] << 192


def increment(dun: int, units: int) -> int:
    """DUN ``units`` data units later; wraps past 2**256 as ``bio_crypt_dun_increment()`` does."""
    return (dun + units) % _MODULUS


def is_contiguous(first_dun: int, units: int, next_dun: int) -> bool:
    """Whether ``next_dun`` follows a run of ``units``: ``bio_crypt_dun_is_contiguous()``."""
    return first_dun + units == next_dun


def advance(dun: int, nbytes: int, data_unit_size_bits: int) -> int:
    """DUN after moving ``nbytes`` on; part of a data unit is dropped (``__bio_crypt_advance()``)."""
    return increment(dun, nbytes >> data_unit_size_bits)


def duns_to_ivs(first_dun: int, count: int, *, iv_bytes: int) -> npt.NDArray[np.uint8]:
    """IVs of ``count`` consecutive data units.

    Args:
        first_dun: DUN of the first data unit, ``0 <= first_dun < 2**256``.
        iv_bytes: IV length of the crypto mode, 1 to 32; higher DUN bytes are cut off, as Linux does.

    Returns:
        ``uint8[count, iv_bytes]``, C-contiguous, little-endian; DUNs wrap at 2**256.

    Source: ``blk_crypto_dun_to_iv()``, block/blk-crypto-fallback.c.
    """
    limbs = np.empty((count, DUN_LIMBS), dtype="<u8")
    low = first_dun & _LIMB_MASK
    limbs[:, 0] = np.arange(count, dtype=np.uint64) + np.uint64(low)
    high = to_limbs(first_dun)[1:]
    limbs[:, 1:] = high
    if low + count - 1 > _LIMB_MASK:  # the run crosses a 64-bit limb: the rows past it carry
        carried = (1 << 64) - low
        limbs[carried:, 1:] = to_limbs((first_dun + carried) % _MODULUS)[1:]
    return np.ascontiguousarray(limbs.view(np.uint8)[:, :iv_bytes])
