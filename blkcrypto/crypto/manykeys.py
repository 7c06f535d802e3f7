"""Batches in which every few data units have another key, as random I/O to many files makes them.

Of XTS only the two AES calls know the key.  So each key's part takes one call for its first tweaks and one
for its blocks, while everything else is done for all keys at once.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, Protocol, cast

import numpy as np

from blkcrypto.crypto.batch import BatchCipher
from blkcrypto.crypto.blockcipher import BLOCK_BYTES
from blkcrypto.crypto.buffers import U8Array, U64Array, WrongBuffer
from blkcrypto.crypto.xts import XtsKernel, tweaks_of_blocks

# With fewer data units numpy's fixed costs weigh more than a context for each.
_FEWEST_UNITS: Final = 8


class GroupCipher(Protocol):
    """What is asked of a cipher: data units ``uint8[n, du]`` with IVs ``uint8[n, iv_bytes]``."""

    def encrypt(self, ivs: U8Array, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Ciphertext."""

    def decrypt(self, ivs: U8Array, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Plaintext."""


Group = tuple[GroupCipher | None, int]


def crypt_groups(
    groups: Sequence[Group],
    ivs: U8Array,
    src: U8Array,
    out: U8Array | None = None,
    *,
    encrypt: bool,
    tweaks: U64Array | None = None,
) -> U64Array | None:
    """Encrypt or decrypt data units, each group of rows with a cipher of its own.

    Args:
        groups: ciphers and for how many rows each, in the order of the rows; None leaves them as they are.
        ivs: ``uint8[n, iv_bytes]``, C-contiguous.
        src: ``uint8[n, data_unit_size]``, C-contiguous and word-aligned; working memory is twice as much,
            so the caller splits what would not stay in the cache.
        out: where to, an array like ``src`` and disjoint from it, or ``src`` itself; None means that too.
        tweaks: what the last call gave, if that was for the same groups and IVs.

    Returns:
        Tweaks for a next call, valid until this thread runs XTS for anything else; None where there are none
        that serve all rows.

    Raises:
        WrongBuffer: the groups have more or fewer rows than ``src``.
    """
    if sum(count for _, count in groups) != len(src):
        raise WrongBuffer(f"groups of {[count for _, count in groups]} rows for {len(src)} data units")
    if out is None:
        out = src
    at = 0
    used = None
    for is_xts, members in groupby(groups, lambda group: _is_xts(group[0])):
        alike = list(members)
        stop = at + sum(count for _, count in alike)
        part = slice(at, stop)
        if is_xts and stop - at >= _FEWEST_UNITS and src.shape[1] % BLOCK_BYTES == 0:
            used = _crypt_joined(alike, ivs[part], src[part], out[part], encrypt=encrypt, tweaks=tweaks)
        else:
            _crypt_each(alike, ivs[part], src[part], out[part], encrypt=encrypt)
        at = stop
    return used if used is not None and len(used) == len(src) else None


def _is_xts(cipher: GroupCipher | None) -> bool:
    return isinstance(cipher, BatchCipher) and isinstance(cipher.kernel, XtsKernel)


def _crypt_each(groups: Iterable[Group], ivs: U8Array, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
    at = 0
    for cipher, count in groups:
        part = slice(at, at + count)
        if cipher is not None:
            work = cipher.encrypt if encrypt else cipher.decrypt
            work(ivs[part], src[part], out[part])
        else:
            out[part] = src[part]
        at += count


def _crypt_joined(
    groups: Sequence[Group],
    ivs: U8Array,
    src: U8Array,
    out: U8Array,
    *,
    encrypt: bool,
    tweaks: U64Array | None,
) -> U64Array:
    kernels = [(cast(XtsKernel, cast(BatchCipher, cipher).kernel), count) for cipher, count in groups]
    mask = _tweaks(kernels, ivs, src.shape[1]) if tweaks is None else tweaks
    words, blocks = out.view(np.uint64), out.reshape(-1)
    np.bitwise_xor(src.view(np.uint64), mask, out=words)
    at = 0
    for kernel, count in kernels:
        part = blocks[at : at + count * out.shape[1]]
        kernel.data.crypt(part, part, encrypt=encrypt)
        at += part.size
    np.bitwise_xor(words, mask, out=words)
    return mask


def _tweaks(kernels: Iterable[tuple[XtsKernel, int]], ivs: U8Array, data_unit_size: int) -> U64Array:
    """Of all blocks: ``uint64[n, data_unit_size / 8]``."""
    first = ivs.reshape(-1).copy()
    at = 0
    for kernel, count in kernels:
        part = first[at : at + count * BLOCK_BYTES]
        kernel.tweak.crypt(part, part, encrypt=True)
        at += part.size
    return tweaks_of_blocks(first.view(np.uint64).reshape(-1, 2), data_unit_size)
