"""IV generators of dm-crypt: from sector numbers to IVs.

Source: drivers/md/dm-crypt.c; reference fscrypt.md section 8.2.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.crypto.blockcipher import Algorithm, BlockCipher
from blkcrypto.crypto.buffers import U8Array, U64Array

_AES_BLOCK_SHIFT: Final = 4

IvGenerator = Callable[[U64Array, int], U8Array]


def _little(values: U64Array, iv_bytes: int) -> U8Array:
    ivs = np.zeros((len(values), iv_bytes), dtype=np.uint8)
    ivs[:, :8] = values.astype("<u8").view(np.uint8).reshape(-1, 8)
    return ivs


def _big(values: U64Array, iv_bytes: int) -> U8Array:
    ivs = np.zeros((len(values), iv_bytes), dtype=np.uint8)
    ivs[:, -8:] = values.astype(">u8").view(np.uint8).reshape(-1, 8)
    return ivs


def _plain(sectors: U64Array, iv_bytes: int) -> U8Array:
    return _little(sectors & np.uint64(0xFFFFFFFF), iv_bytes)


def _benbi(sectors: U64Array, iv_bytes: int) -> U8Array:
    return _big((sectors << np.uint64(SECTOR_SHIFT - _AES_BLOCK_SHIFT)) + np.uint64(1), iv_bytes)


def _null(sectors: U64Array, iv_bytes: int) -> U8Array:
    return np.zeros((len(sectors), iv_bytes), dtype=np.uint8)


#: IV modes that need neither key nor options: ``(uint64[n] sectors, iv_bytes) -> uint8[n, iv_bytes]``.
IV_GENERATORS: Final[Mapping[str, IvGenerator]] = {
    "plain": _plain,
    "plain64": _little,
    "plain64be": _big,
    "benbi": _benbi,
    "null": _null,
}


class Eboiv:
    """``eboiv``: the byte offset, encrypted under the volume key."""

    __slots__ = ("_cipher", "_unit_bytes")

    def __init__(self, key: bytes, unit_bytes: int) -> None:
        self._cipher = BlockCipher(Algorithm.AES, key)
        self._unit_bytes = unit_bytes

    def __call__(self, sectors: U64Array, iv_bytes: int) -> U8Array:
        """As an entry of ``IV_GENERATORS``."""
        ivs = _little(sectors * np.uint64(self._unit_bytes), iv_bytes)
        self._cipher.encrypt(ivs.reshape(-1), ivs.reshape(-1))
        return ivs

    def wipe(self) -> None:
        """Drop the key."""
        self._cipher.wipe()
