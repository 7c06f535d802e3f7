"""SipHash-2-4, 64-bit: fscrypt's inode hash and directory hash.

Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012); reference fscrypt.md section 2.3.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

KEY_BYTES: Final = 16
_MASK: Final = (1 << 64) - 1
_INIT: Final = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)

U64Array = npt.NDArray[np.uint64]


def _initial_state(key: bytes) -> tuple[int, int, int, int]:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a SipHash key has {KEY_BYTES} bytes, not {len(key)}")
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    return k0 ^ _INIT[0], k1 ^ _INIT[1], k0 ^ _INIT[2], k1 ^ _INIT[3]


def _rotl(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK


def _rounds(state: tuple[int, int, int, int], count: int) -> tuple[int, int, int, int]:
    v0, v1, v2, v3 = state
    for _ in range(count):
        v0 = (v0 + v1) & _MASK
        v1 = _rotl(v1, 13) ^ v0
        v0 = _rotl(v0, 32)
        v2 = (v2 + v3) & _MASK
        v3 = _rotl(v3, 16) ^ v2
        v0 = (v0 + v3) & _MASK
        v3 = _rotl(v3, 21) ^ v0
        v2 = (v2 + v1) & _MASK
        v1 = _rotl(v1, 17) ^ v2
        v2 = _rotl(v2, 32)
    return v0, v1, v2, v3


def siphash24(key16: bytes, message: bytes) -> int:
    """SipHash-2-4 of ``message``: an ``int`` below 2**64.

    Args:
        key16: two little-endian 64-bit words.
    """
    v0, v1, v2, v3 = _initial_state(key16)
    whole = len(message) - len(message) % 8
    last = message[whole:].ljust(7, b"\0") + bytes([len(message) & 0xFF])
    for at in range(0, whole + 8, 8):
        word = int.from_bytes(message[at : at + 8] if at < whole else last, "little")
        v0, v1, v2, v3 = _rounds((v0, v1, v2, v3 ^ word), 2)
        v0 ^= word
    v0, v1, v2, v3 = _rounds((v0, v1, v2 ^ 0xFF, v3), 4)
    return v0 ^ v1 ^ v2 ^ v3


def _rotl_array(words: U64Array, bits: int) -> U64Array:
    return words << np.uint64(bits) | words >> np.uint64(64 - bits)


def _rounds_array(v: list[U64Array], count: int) -> None:
    for _ in range(count):
        v[0] = v[0] + v[1]
        v[1] = _rotl_array(v[1], 13) ^ v[0]
        v[0] = _rotl_array(v[0], 32)
        v[2] = v[2] + v[3]
        v[3] = _rotl_array(v[3], 16) ^ v[2]
        v[0] = v[0] + v[3]
        v[3] = _rotl_array(v[3], 21) ^ v[0]
        v[2] = v[2] + v[1]
        v[1] = _rotl_array(v[1], 17) ^ v[2]
        v[2] = _rotl_array(v[2], 32)


def siphash24_u64(key16: bytes, values: U64Array) -> U64Array:
    """``siphash24(key16, value.to_bytes(8, "little"))`` for every value: ``uint64[n] -> uint64[n]``.

    fscrypt hashes inode numbers this way and keeps the low 32 bits.
    """
    words = np.ascontiguousarray(values, dtype=np.uint64)
    v = [np.full(words.shape, word, dtype=np.uint64) for word in _initial_state(key16)]
    for word in (words, np.full(words.shape, 8 << 56, dtype=np.uint64)):
        v[3] = v[3] ^ word
        _rounds_array(v, 2)
        v[0] = v[0] ^ word
    v[2] = v[2] ^ np.uint64(0xFF)
    _rounds_array(v, 4)
    result: U64Array = v[0] ^ v[1] ^ v[2] ^ v[3]
    return result
