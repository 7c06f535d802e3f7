"""Poly1305 as a polynomial hash of many messages of one length under one key, without the final addition.

The hash is linear in the 26-bit limbs of the message blocks: one matrix of the key's powers gives the limbs
of all hashes in one integer product.

Source: RFC 8439 section 2.5; crypto/adiantum.c and crypto/nhpoly1305.c for this use.
"""

from typing import Final

import numpy as np

from blkcrypto.crypto.buffers import U64Array

KEY_BYTES: Final = 16
_PRIME: Final = (1 << 130) - 5
_CLAMP: Final = 0x0FFFFFFC_0FFFFFFC_0FFFFFFC_0FFFFFFF
_LIMBS: Final = 5
_LIMB_BITS: Final = 26
_LIMB_MASK: Final = np.uint64((1 << _LIMB_BITS) - 1)
_SHIFT: Final = np.uint64(_LIMB_BITS)
# Products of 26-bit limbs with limbs times 5, 5 per block: so many of them fit in 64 bits.
_MOST_BLOCKS: Final = 128


class PolyHash:
    """One key; the matrix for the last number of blocks is kept.  Threads may share it."""

    __slots__ = ("_matrix", "_r")

    def __init__(self, key: bytes) -> None:
        self._r = int.from_bytes(key, "little") & _CLAMP
        self._matrix: U64Array = np.empty((_LIMBS, 0), dtype=np.uint64)

    def digests(self, blocks: U64Array) -> U64Array:
        """Hashes modulo 2**128.

        Args:
            blocks: ``uint64[n, k, 2]``, the 16-byte blocks of ``n`` messages as little-endian words.

        Returns:
            ``uint64[2, n]``: low words, high words.
        """
        units, count, _ = blocks.shape
        total = np.zeros((_LIMBS, units), dtype=np.uint64)
        matrix = self._powers(count)
        for at in range(0, count, _MOST_BLOCKS):
            part = _limbs(blocks[:, at : at + _MOST_BLOCKS])
            columns = matrix[:, at * _LIMBS : at * _LIMBS + len(part)]
            total += _carried(columns @ part)
        return _low_128_bits(_carried(total))

    def wipe(self) -> None:
        """Drop the key and its powers."""
        self._r = 0
        self._matrix = np.empty((_LIMBS, 0), dtype=np.uint64)

    def _powers(self, count: int) -> U64Array:
        """``uint64[5, 5 * count]``: limb i of the hash from limb j of block b, at column 5 * b + j."""
        kept = self._matrix
        if kept.shape[1] == _LIMBS * count:
            return kept
        matrix = np.empty((_LIMBS, _LIMBS * count), dtype=np.uint64)
        power = 1
        for block in range(count - 1, -1, -1):
            power = power * self._r % _PRIME
            limbs = [power >> (_LIMB_BITS * limb) & int(_LIMB_MASK) for limb in range(_LIMBS)]
            for j in range(_LIMBS):
                for i in range(_LIMBS):
                    # 2**130 is 5: a product past the last limb comes back five times at the bottom.
                    matrix[i, _LIMBS * block + j] = limbs[i - j] if i >= j else 5 * limbs[i - j + _LIMBS]
        self._matrix = matrix
        return matrix


def _limbs(blocks: U64Array) -> U64Array:
    """``uint64[n, k, 2]`` to ``uint64[5 * k, n]``, each block with the bit past its last byte set."""
    low, high = blocks[..., 0].T, blocks[..., 1].T
    limbs = np.empty((len(low), _LIMBS, low.shape[1]), dtype=np.uint64)
    limbs[:, 0] = low
    limbs[:, 1] = low >> np.uint64(26)
    limbs[:, 2] = low >> np.uint64(52) | high << np.uint64(12)
    limbs[:, 3] = high >> np.uint64(14)
    limbs[:, :4] &= _LIMB_MASK
    limbs[:, 4] = high >> np.uint64(40) | np.uint64(1 << 24)
    return limbs.reshape(-1, low.shape[1])


def _carried(limbs: U64Array) -> U64Array:
    """The same values with limbs of 26 bits, but for a last small carry in limb 1."""
    for first, last in ((0, _LIMBS), (0, 1)):
        for limb in range(first, last):
            carry = limbs[limb] >> _SHIFT
            limbs[limb] &= _LIMB_MASK
            limbs[(limb + 1) % _LIMBS] += carry * np.uint64(5) if limb == _LIMBS - 1 else carry
    return limbs


def _low_128_bits(limbs: U64Array) -> U64Array:
    """Limbs that ``_carried`` left, modulo 2**130 - 5 and then modulo 2**128: ``uint64[2, n]``."""
    limbs = _carried(limbs)
    # A value is the prime or more just when adding 5 carries out of bit 130; then 5 more is the remainder.
    carry = np.full(limbs.shape[1], 5, dtype=np.uint64)
    for limb in limbs:
        carry = (limb + carry) >> _SHIFT
    limbs[0] += carry * np.uint64(5)
    for limb in range(_LIMBS - 1):
        limbs[limb + 1] += limbs[limb] >> _SHIFT
        limbs[limb] &= _LIMB_MASK
    result = np.empty((2, limbs.shape[1]), dtype=np.uint64)
    np.bitwise_or(limbs[0] | limbs[1] << np.uint64(26), limbs[2] << np.uint64(52), out=result[0])
    np.bitwise_or(
        limbs[2] >> np.uint64(12) | limbs[3] << np.uint64(14), limbs[4] << np.uint64(40), out=result[1]
    )
    return result
