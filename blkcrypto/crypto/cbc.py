"""CBC and ECB over batches of data units.

CBC encryption is a chain inside a data unit, so the batch runs across data units: block 0 of all of them in
one call, then block 1 ...  Decryption is one call for everything.

Source: crypto/cbc.c, crypto/ecb.c.
"""

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from blkcrypto.crypto.batch import Kernel
from blkcrypto.crypto.blockcipher import BLOCK_BYTES, Algorithm, BlockCipher
from blkcrypto.crypto.buffers import U8Array, WrongDataUnitSize
from blkcrypto.crypto.ivs import Ivs
from blkcrypto.crypto.scratch import scratch
from blkcrypto.crypto.single import CONTEXT_NS, PerUnit

# Data units that are chained at once: some cache lines of each of them stay in the cache.
_CHUNK_UNITS: Final = 2048
_UNCHAIN_BYTES: Final = 1 << 19

# When a batch pays against a context for each data unit, by measured costs.
_BLOCK_NS: Final = 1500
_CHAIN_NS_PER_KIB: Final = 600  # what OpenSSL's chain takes longer than the batch
_UNCHAIN_NS: Final = 14_000  # the same calls when decrypting, per batch


class CbcKernel(Kernel):
    """CBC with a fixed key."""

    __slots__ = ("_cipher", "_single")

    part_bytes = 1 << 20

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        self._cipher = BlockCipher(algorithm, key)
        cipher = algorithms.AES if algorithm is Algorithm.AES else algorithms.SM4
        self._single = PerUnit(cipher(key), modes.CBC)

    def check_data_unit(self, data_unit_size: int) -> None:
        """Whole blocks."""
        check_whole_blocks("CBC", data_unit_size)

    def crypt(self, ivs: Ivs, first: int, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """See ``Kernel.crypt``."""
        units, size = src.shape
        if not _batch_pays(units, size, encrypt=encrypt):
            self._single.crypt(ivs, first, src, out, encrypt=encrypt)
            return
        rows = np.ascontiguousarray(ivs.rows(first, first + units))
        run, step = self._unchain, max(1, _UNCHAIN_BYTES // size)
        if encrypt:
            run, step = self._chain, _CHUNK_UNITS
        for at in range(0, units, step):
            part = slice(at, at + step)
            run(rows[part], src[part], out[part])

    def wipe(self) -> None:
        """Drop the key and its contexts."""
        self._cipher.wipe()
        self._single.wipe()

    def _chain(self, ivs: U8Array, src: U8Array, out: U8Array) -> None:
        units, size = src.shape
        group = _group_blocks(size)
        # Block j of every data unit side by side; the copies move whole groups, then whole blocks.
        rows = scratch("cbc rows", units, group * BLOCK_BYTES)
        by_block = scratch("cbc by block", group + 1, units * BLOCK_BYTES)
        group_item, groups_in, groups_out = (a.view(f"V{group * BLOCK_BYTES}") for a in (rows, src, out))
        block_item, blocks = rows.view("V16").T, by_block[1:].view("V16")
        words = list(by_block.view(np.uint64))
        steps = list(zip(words[1:], words[:-1], by_block[1:], strict=True))
        by_block[-1] = ivs.reshape(-1)
        with self._cipher.borrowed(encrypt=True) as run:
            for at in range(size // (group * BLOCK_BYTES)):
                by_block[0] = by_block[-1]
                np.copyto(group_item[:, 0], groups_in[:, at])
                np.copyto(blocks, block_item)
                for block, before, row in steps:
                    np.bitwise_xor(block, before, out=block)
                    run(row, row)
                np.copyto(block_item, blocks)
                np.copyto(groups_out[:, at], group_item[:, 0])

    def _unchain(self, ivs: U8Array, src: U8Array, out: U8Array) -> None:
        chain = scratch("cbc rows", len(src), src.shape[1] + BLOCK_BYTES)
        chain[:, :BLOCK_BYTES] = ivs
        chain[:, BLOCK_BYTES:] = src
        plain = scratch("cbc by block", *src.shape)
        np.copyto(plain, src)
        self._cipher.decrypt(plain.reshape(-1), plain.reshape(-1))
        np.bitwise_xor(plain.view(np.uint64), chain.view(np.uint64)[:, :-2], out=plain.view(np.uint64))
        np.copyto(out, plain)


class EcbKernel(Kernel):
    """Each block by itself, IVs unused: dm-crypt's ``aes-ecb``."""

    __slots__ = ("_cipher",)

    part_bytes = 1 << 20

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        self._cipher = BlockCipher(algorithm, key)

    def check_data_unit(self, data_unit_size: int) -> None:
        """Whole blocks."""
        check_whole_blocks("ECB", data_unit_size)

    def crypt(self, ivs: Ivs, first: int, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """See ``Kernel.crypt``."""
        work = src.copy()
        flat = work.reshape(-1)
        if encrypt:
            self._cipher.encrypt(flat, flat)
        else:
            self._cipher.decrypt(flat, flat)
        np.copyto(out, work)

    def wipe(self) -> None:
        """Drop the key and its contexts."""
        self._cipher.wipe()


def check_whole_blocks(mode: str, data_unit_size: int) -> None:
    """Refuse a data unit that is not one block or more, all whole.

    Raises:
        WrongDataUnitSize: EINVAL.
    """
    if data_unit_size < BLOCK_BYTES or data_unit_size % BLOCK_BYTES:
        raise WrongDataUnitSize(
            f"{mode} takes data units of whole 16-byte blocks, not {data_unit_size} bytes"
        )


def _batch_pays(units: int, size: int, *, encrypt: bool) -> bool:
    if not encrypt:
        return units * CONTEXT_NS > _UNCHAIN_NS
    return units * (CONTEXT_NS + size * _CHAIN_NS_PER_KIB // 1024) > _BLOCK_NS * (size // BLOCK_BYTES)


def _group_blocks(size: int) -> int:
    """Blocks that are brought together at a time: whole cache lines, and few pages, where the size allows."""
    return next(blocks for blocks in (16, 4, 1) if size % (blocks * BLOCK_BYTES) == 0)
