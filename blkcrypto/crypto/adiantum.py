"""Adiantum: a wide-block cipher, so that every bit of a data unit depends on every other.

    P_M = P_R + H(T, P_L);  C_M = AES(P_M);  C_L = P_L ^ XChaCha(C_M || 1);  C_R = C_M - H(T, C_L)

R is the last 16 bytes of a data unit, L the rest, T its IV.  H is Poly1305 of the length and T, plus Poly1305
of NH of the message, modulo 2**128.

Source: Crowley and Biggers, "Adiantum: length-preserving encryption for entry-level processors" (2018);
crypto/adiantum.c.
"""

from typing import Final

import numpy as np

from blkcrypto.crypto import nh, poly1305
from blkcrypto.crypto.batch import Kernel
from blkcrypto.crypto.blockcipher import BLOCK_BYTES, Algorithm, BlockCipher, KeyWiped
from blkcrypto.crypto.buffers import U8Array, U64Array, WrongDataUnitSize
from blkcrypto.crypto.chacha import NONCE_BYTES, xchacha_streams
from blkcrypto.crypto.ivs import Ivs, in_chunks
from blkcrypto.crypto.scratch import scratch

_AES_KEY_BYTES: Final = 32
_TWEAK_BYTES: Final = 32
# The subkeys are the key stream of this nonce; a data unit's nonce has its 1 behind C_M, so they never meet.
_SUBKEY_NONCE: Final = b"\x01" + bytes(NONCE_BYTES - 1)
_CHUNK_BYTES: Final = 1 << 20


class AdiantumKernel(Kernel):
    """Adiantum under one key; ``rounds`` is 12 in fscrypt, 20 is known to dm-crypt."""

    __slots__ = ("_aes", "_key", "_nh", "_poly_message", "_poly_tweak", "_rounds")

    #: Many short numpy calls: threads queue for the interpreter lock until parts are this large.
    part_bytes = 1 << 22

    def __init__(self, key: bytes, *, rounds: int = 12) -> None:
        self._key: bytes | None = key
        self._rounds = rounds
        sizes = (_AES_KEY_BYTES, poly1305.KEY_BYTES, poly1305.KEY_BYTES, nh.KEY_BYTES)
        nonce = np.frombuffer(_SUBKEY_NONCE, dtype=np.uint8).reshape(1, -1)
        stream = xchacha_streams(key, nonce, sum(sizes), rounds=rounds)[0].tobytes()
        ends = np.cumsum(sizes).tolist()
        aes, tweak, message, nh_key = (
            stream[end - size : end] for end, size in zip(ends, sizes, strict=True)
        )
        self._aes = BlockCipher(Algorithm.AES, aes)
        self._poly_tweak = poly1305.PolyHash(tweak)
        self._poly_message = poly1305.PolyHash(message)
        self._nh = nh.Nh(nh_key)

    def check_data_unit(self, data_unit_size: int) -> None:
        """One block or more, whole bytes."""
        if data_unit_size < BLOCK_BYTES:
            raise WrongDataUnitSize(f"Adiantum takes data units of 16 bytes and more, not {data_unit_size}")

    def crypt(self, ivs: Ivs, first: int, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """See ``Kernel.crypt``."""
        for tweaks, part, target in in_chunks(ivs, first, src, out, _CHUNK_BYTES):
            self._chunk(tweaks, part, target, encrypt=encrypt)

    def wipe(self) -> None:
        """Drop the key and all subkeys."""
        self._key = None
        for part in (self._aes, self._poly_tweak, self._poly_message, self._nh):
            part.wipe()

    def _chunk(self, tweaks: U8Array, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        if self._key is None:
            raise KeyWiped("this cipher's key was wiped")
        units, size = src.shape
        bulk = size - BLOCK_BYTES
        left = scratch("adiantum left", units, -(-bulk // BLOCK_BYTES) * BLOCK_BYTES)
        left[:, :bulk] = src[:, :bulk]
        left[:, bulk:] = 0
        right = np.ascontiguousarray(src[:, bulk:]).view(np.uint64).T
        header = self._hash_header(tweaks, bulk)
        middle = _add(right, _add(header, self._hash_message(left)))
        nonces = np.zeros((units, NONCE_BYTES), dtype=np.uint8)
        nonces[:, BLOCK_BYTES] = 1
        before, after = _to_bytes(middle), np.empty((units, BLOCK_BYTES), dtype=np.uint8)
        run = self._aes.encrypt if encrypt else self._aes.decrypt
        run(before.reshape(-1), after.reshape(-1))
        nonces[:, :BLOCK_BYTES] = after if encrypt else before
        stream = xchacha_streams(self._key, nonces, bulk, rounds=self._rounds)
        np.bitwise_xor(left[:, :bulk], stream[:, :bulk], out=left[:, :bulk])
        end = _subtract(after.view(np.uint64).T, _add(header, self._hash_message(left)))
        out[:, :bulk] = left[:, :bulk]
        out[:, bulk:] = _to_bytes(end)

    def _hash_header(self, tweaks: U8Array, bulk: int) -> U64Array:
        blocks = np.empty((len(tweaks), 1 + _TWEAK_BYTES // BLOCK_BYTES, 2), dtype=np.uint64)
        blocks[:, 0] = (8 * bulk, 0)
        blocks[:, 1:] = tweaks.view(np.uint64).reshape(len(tweaks), -1, 2)
        return self._poly_tweak.digests(blocks)

    def _hash_message(self, left: U8Array) -> U64Array:
        return self._poly_message.digests(self._nh.hash(left).reshape(len(left), -1, 2))


def _add(a: U64Array, b: U64Array) -> U64Array:
    """``a + b`` modulo 2**128 on ``uint64[2, n]``."""
    total = a + b
    total[1] += total[0] < a[0]
    return total


def _subtract(a: U64Array, b: U64Array) -> U64Array:
    """``a - b`` modulo 2**128 on ``uint64[2, n]``."""
    rest = a - b
    rest[1] -= a[0] < b[0]
    return rest


def _to_bytes(words: U64Array) -> U8Array:
    """``uint64[2, n]`` to ``uint8[n, 16]``."""
    return np.ascontiguousarray(words.T).view(np.uint8)
