"""POLYVAL of many messages of one length under one key.

Multiplying by a fixed field element is linear: a table for each of the 16 byte positions, made once per key,
turns a product into 16 look-ups, for all messages at once.

Source: RFC 8452 section 3; crypto/polyval.c.
"""

from typing import Final

import numpy as np

from blkcrypto.crypto.buffers import U8Array, U64Array

_BLOCK_BYTES: Final = 16
#: x**128 + x**127 + x**126 + x**121 + 1, bit i of an integer being the coefficient of x**i.
_POLYNOMIAL: Final = 1 << 128 | 1 << 127 | 1 << 126 | 1 << 121 | 1
_TABLE_START: Final = np.arange(_BLOCK_BYTES, dtype=np.intp) * 256


class Polyval:
    """One key."""

    __slots__ = ("_table",)

    def __init__(self, key: bytes) -> None:
        self._table: U64Array = _multiples(int.from_bytes(key, "little"))

    def digests(self, start: U64Array, blocks: U64Array) -> U64Array:
        """Go on hashing.

        Args:
            start: ``uint64[n, 2]``, the hashes so far; zero at first.
            blocks: ``uint64[n, k, 2]``, the next blocks of ``n`` messages as little-endian words.

        Returns:
            ``uint64[n, 2]``.
        """
        state = start
        for block in blocks.transpose(1, 0, 2):
            bytes_of: U8Array = (state ^ block).view(np.uint8)
            looked_up = self._table.take(bytes_of + _TABLE_START, axis=0)
            state = np.bitwise_xor.reduce(looked_up, axis=1)
        return state

    def wipe(self) -> None:
        """Drop the tables."""
        self._table = np.zeros_like(self._table)


def _multiples(key: int) -> U64Array:
    """``uint64[16 * 256, 2]``: byte value b at position p, times the key, times x**-128."""
    factor = key
    for _ in range(128):  # dividing by x, as POLYVAL's product does 128 times
        factor = (factor ^ _POLYNOMIAL if factor & 1 else factor) >> 1
    table = np.zeros((_BLOCK_BYTES, 256, 2), dtype=np.uint64)
    for position in range(_BLOCK_BYTES):
        for bit in range(8):
            words = np.frombuffer(factor.to_bytes(_BLOCK_BYTES, "little"), dtype="<u8")
            table[position, 1 << bit : 2 << bit] = table[position, : 1 << bit] ^ words
            factor <<= 1
            if factor >> 128:
                factor ^= _POLYNOMIAL
    return table.reshape(-1, 2)
