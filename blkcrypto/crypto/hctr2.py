"""HCTR2 with AES: a wide-block cipher for names.

    MM = M ^ H(T, N);  UU = AES(MM);  S = MM ^ UU ^ L;  V = N ^ XCTR(S);  U = UU ^ H(T, V)

M is the first 16 bytes, N the rest, T the IV, L = AES(1).  H is POLYVAL under AES(0) of a block that tells
the length of T and whether N is whole blocks, then T, then N padded with a 1.

Source: Crowley, Huckleberry and Biggers, "Length-preserving encryption with HCTR2" (2021); crypto/hctr2.c.
"""

from typing import Final

import numpy as np

from blkcrypto.crypto.batch import Kernel
from blkcrypto.crypto.blockcipher import BLOCK_BYTES, Algorithm, BlockCipher
from blkcrypto.crypto.buffers import U8Array, U64Array, WrongDataUnitSize
from blkcrypto.crypto.ivs import Ivs, in_chunks
from blkcrypto.crypto.polyval import Polyval

_TWEAK_BYTES: Final = 32
_CHUNK_BYTES: Final = 1 << 18


class Hctr2Kernel(Kernel):
    """HCTR2 under one AES key of any size."""

    __slots__ = ("_aes", "_mask", "_polyval")

    #: Look-ups keep the interpreter busy: another thread does not pay.
    part_bytes = 1 << 24

    def __init__(self, key: bytes) -> None:
        self._aes = BlockCipher(Algorithm.AES, key)
        constants = np.zeros((2, BLOCK_BYTES), dtype=np.uint8)
        constants[1, 0] = 1
        self._aes.encrypt(constants.reshape(-1), constants.reshape(-1))
        self._polyval = Polyval(constants[0].tobytes())
        self._mask: U64Array = constants[1].view(np.uint64)

    def check_data_unit(self, data_unit_size: int) -> None:
        """One block or more, whole bytes."""
        if data_unit_size < BLOCK_BYTES:
            raise WrongDataUnitSize(f"HCTR2 takes 16 bytes and more, not {data_unit_size}")

    def crypt(self, ivs: Ivs, first: int, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """See ``Kernel.crypt``."""
        for tweaks, part, target in in_chunks(ivs, first, src, out, _CHUNK_BYTES):
            self._chunk(tweaks, part, target, encrypt=encrypt)

    def wipe(self) -> None:
        """Drop the key and what was made from it."""
        self._aes.wipe()
        self._polyval.wipe()
        self._mask = np.zeros_like(self._mask)

    def _chunk(self, tweaks: U8Array, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        units, size = src.shape
        bulk = size - BLOCK_BYTES
        rest = np.zeros((units, -(-bulk // BLOCK_BYTES) * BLOCK_BYTES), dtype=np.uint8)
        rest[:, :bulk] = src[:, BLOCK_BYTES:]
        header = self._hash_header(tweaks, bulk)
        head = np.ascontiguousarray(src[:, :BLOCK_BYTES]).view(np.uint64) ^ self._hash(header, rest, bulk)
        after = np.empty_like(head)
        run = self._aes.encrypt if encrypt else self._aes.decrypt
        run(head.view(np.uint8).reshape(-1), after.view(np.uint8).reshape(-1))
        self._xctr(head ^ after ^ self._mask, rest)
        rest[:, bulk:] = 0
        out[:, :BLOCK_BYTES] = (after ^ self._hash(header, rest, bulk)).view(np.uint8)
        out[:, BLOCK_BYTES:] = rest[:, :bulk]

    def _hash_header(self, tweaks: U8Array, bulk: int) -> U64Array:
        """Hash of the length block and the tweaks: the same before and after."""
        blocks = np.empty((len(tweaks), 1 + _TWEAK_BYTES // BLOCK_BYTES, 2), dtype=np.uint64)
        blocks[:, 0] = (2 * 8 * _TWEAK_BYTES + (3 if bulk % BLOCK_BYTES else 2), 0)
        blocks[:, 1:] = tweaks.view(np.uint64).reshape(len(tweaks), -1, 2)
        return self._polyval.digests(np.zeros((len(tweaks), 2), dtype=np.uint64), blocks)

    def _hash(self, header: U64Array, rest: U8Array, bulk: int) -> U64Array:
        if bulk % BLOCK_BYTES:
            rest = rest.copy()
            rest[:, bulk] = 1
        return self._polyval.digests(header, rest.view(np.uint64).reshape(len(rest), -1, 2))

    def _xctr(self, nonces: U64Array, rest: U8Array) -> None:
        """XOR the key stream in: AES of the block number, from 1, XORed with the nonce."""
        blocks = rest.view(np.uint64).reshape(len(rest), -1, 2)
        stream = np.zeros_like(blocks)
        stream[..., 0] = np.arange(1, blocks.shape[1] + 1, dtype=np.uint64)
        stream ^= nonces[:, np.newaxis]
        flat = stream.view(np.uint8).reshape(-1)
        self._aes.encrypt(flat, flat)
        blocks ^= stream
