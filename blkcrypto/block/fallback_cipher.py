"""Encrypting the memory of a bio on the CPU, a whole chunk in one batch.

Rules (block/blk-crypto-fallback.c; reference block-layer.md sections 4.2 and 4.4):

- Every single-page segment has offset and length on data units; kernels from 7.0 look here, so a data unit
  larger than a page is never possible.  Nothing is encrypted of a chunk with a misaligned segment.
- Data units have consecutive DUNs; what the cipher refuses is an I/O error.

Pages of any keys are encrypted or decrypted together, as long as mode and data unit size are the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bvec import BIO_MAX_VECS, PAGE_BYTES, U8, BioVec
from blkcrypto.block.fallback_slots import FallbackEngine
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.pages import Page
from blkcrypto.crypto.cipher import DataUnitCipher
from blkcrypto.crypto.gather import Gathered


def misaligned(parts: Sequence[BioVec], data_unit_size: int) -> bool:
    """Whether a segment begins or ends inside a data unit."""
    bits = 0
    for part in parts:
        bits |= part.address | part.length
    return bool(bits & (data_unit_size - 1))


def crypt(
    parts: Sequence[BioVec], key: BlkCryptoKey, dun: int, cipher: DataUnitCipher, *, encrypt: bool
) -> tuple[BlkStatus, U8 | None]:
    """Encrypt or decrypt a run of segments into fresh memory.

    Args:
        parts: segments in order; whole data units.
        key: says how large those are.
        dun: of the first.
        cipher: holds the key.
        encrypt: the direction.

    Returns:
        The status, and ``uint8[sum of lengths]`` or None when there is no payload or the cipher refused.
    """
    payload = [part.data for part in parts if part.data is not None]
    if len(payload) != len(parts):
        return BlkStatus.OK, None
    source = payload[0] if len(payload) == 1 else np.concatenate(payload)
    units = source.reshape(-1, key.crypto_cfg.data_unit_size)
    try:
        done = (cipher.encrypt_run if encrypt else cipher.decrypt_run)(dun, units)
    except BlkCryptoError:
        return BlkStatus.IOERR, None
    return BlkStatus.OK, done.reshape(-1)


class KeyedPage(NamedTuple):
    """A page whose key is in a keyslot that is held."""

    page: Page
    slot: int
    cipher: DataUnitCipher


def in_slot(engine: FallbackEngine, page: Page, others: Sequence[KeyedPage]) -> KeyedPage | None:
    """``page`` with its keyslot; None when that is not there at once, or it cannot join ``others``."""
    key = page.key
    if key is None or (others and not _same_batch(others[-1].page.key, key)):
        return None
    grant = engine.profile.hit(key)
    return None if grant is None else KeyedPage(page, grant.slot, engine.slots.cipher(grant.slot))


def _same_batch(first: BlkCryptoKey | None, second: BlkCryptoKey) -> bool:
    if first is None or first is second:
        return first is not None
    one, other = first.crypto_cfg, second.crypto_cfg
    return one.crypto_mode == other.crypto_mode and one.data_unit_size == other.data_unit_size


def crypt_together(pages: Sequence[KeyedPage], *, encrypt: bool) -> list[U8] | None:
    """What encrypting or decrypting ``pages`` gives, in fresh memory; None when a cipher refused."""
    (first, _, cipher), runs = pages[0], [(cipher, page.dun, len(page.data)) for page, _, cipher in pages]
    assert first.key is not None
    gathered = Gathered(runs, first.key.crypto_cfg.data_unit_size, cipher.mode.iv_bytes)
    for part, (page, _, _) in zip(gathered.parts, pages, strict=True):
        part[:] = page.data
    try:
        gathered.crypt(encrypt=encrypt)
    except BlkCryptoError:
        return None
    return gathered.parts


def fallback_chunks(
    nbytes: int, *, page_bytes: int = PAGE_BYTES, offset: int = 0, max_pages: int = BIO_MAX_VECS
) -> list[int]:
    """Bytes per ciphertext bio of one write, for models without memory.

    Args:
        nbytes: size of the write, at least 1.
        page_bytes: page size of the kernel.
        offset: of the first byte in its page; the rest of the memory follows page by page.
        max_pages: single-page segments in one ciphertext bio.
    """
    first = min(nbytes, max_pages * page_bytes - offset)
    whole, last = divmod(nbytes - first, max_pages * page_bytes)
    return [first, *[max_pages * page_bytes] * whole, *([last] if last else [])]
