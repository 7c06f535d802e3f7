"""NH, the fast first stage of Adiantum's hash: 1024 message bytes to 32.

Four passes, each over the key four words further on: the 32-bit message words plus key words, multiplied in
pairs and summed modulo 2**64.

Source: Adiantum paper (Crowley and Biggers, 2018) section 2.3; crypto/nhpoly1305.c.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.crypto.buffers import U8Array, U64Array
from blkcrypto.crypto.scratch import scratch

UNIT_BYTES: Final = 1024
_PASSES: Final = 4
_STRIDE_BYTES: Final = 16
_STRIDE_WORDS: Final = _STRIDE_BYTES // 4
KEY_BYTES: Final = UNIT_BYTES + (_PASSES - 1) * _STRIDE_BYTES

_LOW_HALF: Final = np.uint64(0xFFFFFFFF)
_HALF_BITS: Final = np.uint64(32)


class Nh:
    """NH under one key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key: npt.NDArray[np.uint32] = np.frombuffer(key, dtype="<u4").astype(np.uint32)

    def hash(self, messages: U8Array) -> U64Array:
        """NH of every 1024-byte piece of every message; the last piece may be shorter.

        Args:
            messages: ``uint8[n, length]``, C-contiguous, word-aligned, zero-padded to whole 16 bytes.

        Returns:
            ``uint64[n, pieces, 4]``.
        """
        units, length = messages.shape
        whole, rest = divmod(length, UNIT_BYTES)
        out = np.empty((units, whole + (rest > 0), _PASSES), dtype=np.uint64)
        if whole:
            self._passes(messages[:, : whole * UNIT_BYTES].reshape(units, whole, -1), out[:, :whole])
        if rest:
            self._passes(messages[:, np.newaxis, whole * UNIT_BYTES :], out[:, whole:])
        return out

    def wipe(self) -> None:
        """Drop the key."""
        self._key = np.zeros_like(self._key)

    def _passes(self, pieces: U8Array, out: U64Array) -> None:
        words = pieces.view(np.uint32)
        keyed = scratch("nh keyed", *pieces.shape).view(np.uint32)
        pairs = keyed.view(np.uint64)
        low = scratch("nh low", *pieces.shape).view(np.uint64)
        first, second = low[..., 0::2], low[..., 1::2]
        for number in range(_PASSES):
            key = self._key[number * _STRIDE_WORDS :][: words.shape[-1]]
            np.add(words, key, out=keyed)
            np.bitwise_and(pairs, _LOW_HALF, out=low)
            total = np.einsum("...s,...s->...", first, second)
            np.right_shift(pairs, _HALF_BITS, out=low)
            out[..., number] = total + np.einsum("...s,...s->...", first, second)
