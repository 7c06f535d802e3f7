"""Ciphers of designs whose IVs are not just the DUN: they make IVs of what a bio carries as its DUN.

The byte plane gives every data unit 16 bytes: the unit's number as 8 bytes, little-endian, and zeroes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blkcrypto.crypto.cipher import DataUnitCipher

U8 = npt.NDArray[np.uint8]
Crypt = Callable[[int, U8, U8], U8]

EXTENT_SHIFT: Final = 32
_IV_BYTES: Final = 12
_TAG_BYTES: Final = 16


def numbers_of(ivs: U8) -> npt.NDArray[np.uint64]:
    """Unit numbers: ``uint64[n]`` of ``uint8[n, 16]``."""
    return np.ascontiguousarray(ivs[:, :8]).view("<u8").reshape(-1)


def runs_of(numbers: npt.NDArray[np.uint64]) -> Iterator[tuple[int, slice]]:
    """Runs of consecutive numbers: the first number, and which rows."""
    borders = np.flatnonzero(np.diff(numbers) != 1) + 1
    starts = [0, *borders.tolist()]
    for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):
        yield int(numbers[start]), slice(start, stop)


class RunCipher:
    """A cipher that takes runs of units, as dm-crypt's and eCryptfs's do.

    Args:
        encrypt, decrypt: called with the first number, rows ``uint8[n, unit]``, and where to put the result.
        wipe: drops the key.
    """

    def __init__(self, encrypt: Crypt, decrypt: Crypt, wipe: Callable[[], None]) -> None:
        self._encrypt = encrypt
        self._decrypt = decrypt
        self.wipe = wipe

    def encrypt(self, ivs: U8, src: U8, out: U8 | None = None) -> U8:
        """See ``UnitCipher``."""
        return _by_runs(self._encrypt, ivs, src, out)

    def decrypt(self, ivs: U8, src: U8, out: U8 | None = None) -> U8:
        """See ``UnitCipher``."""
        return _by_runs(self._decrypt, ivs, src, out)


def _by_runs(crypt: Crypt, ivs: U8, src: U8, out: U8 | None) -> U8:
    target = np.empty_like(src) if out is None else out
    for number, rows in runs_of(numbers_of(ivs)):
        crypt(number, src[rows], target[rows])
    return target


class StoredIvCipher:
    """IVs that the filesystem stored with extents: a number is ``extent << 32 | unit in the extent``.

    Args:
        cipher: under the key that all extents share.
        first_duns: by extent, the stored IV as a number; grows while extents are made.
    """

    def __init__(self, cipher: DataUnitCipher, first_duns: Sequence[int]) -> None:
        self._cipher = cipher
        self._first_duns = first_duns
        self.wipe = cipher.wipe

    def _ivs(self, ivs: U8) -> U8:
        size = self._cipher.mode.iv_bytes
        whole = 1 << 8 * size
        mask = (1 << EXTENT_SHIFT) - 1
        made = (
            ((self._first_duns[number >> EXTENT_SHIFT] + (number & mask)) % whole).to_bytes(size, "little")
            for number in numbers_of(ivs).tolist()
        )
        return np.frombuffer(b"".join(made), dtype=np.uint8).reshape(-1, size)

    def encrypt(self, ivs: U8, src: U8, out: U8 | None = None) -> U8:
        """See ``UnitCipher``."""
        return self._cipher.encrypt(self._ivs(ivs), src, out)

    def decrypt(self, ivs: U8, src: U8, out: U8 | None = None) -> U8:
        """See ``UnitCipher``."""
        return self._cipher.decrypt(self._ivs(ivs), src, out)


class SealingCipher:
    """AES-256-GCM for every data unit; IVs and tags are kept here instead of on the medium.

    The byte plane moves data units only.  So the medium holds the ciphertext, and what a design stores beside
    it is remembered by unit number; a unit whose tag does not fit decrypts to zeroes, which is a mismatch.

    Args:
        key: 32 bytes.
        random: draws IVs; None for IV = number, where a key never seals a number twice.

    Attributes:
        draws_ivs: whether IVs are random.
        entries: IV and tag by number.
        refused: units whose tag did not fit.
    """

    def __init__(self, key: bytes, random: Callable[[int], bytes] | None) -> None:
        self._gcm = AESGCM(key)
        self._random = random
        self.draws_ivs = random is not None
        self.entries: dict[int, tuple[bytes, bytes]] = {}
        self.refused = 0

    def encrypt(self, ivs: U8, src: U8, out: U8 | None = None) -> U8:
        """See ``UnitCipher``."""
        target = np.empty_like(src) if out is None else out
        for row, number in enumerate(numbers_of(ivs).tolist()):
            iv = number.to_bytes(_IV_BYTES, "little") if self._random is None else self._random(_IV_BYTES)
            sealed = self._gcm.encrypt(iv, src[row].tobytes(), _position(number))
            target[row] = np.frombuffer(sealed[:-_TAG_BYTES], dtype=np.uint8)
            self.entries[number] = (iv, sealed[-_TAG_BYTES:])
        return target

    def decrypt(self, ivs: U8, src: U8, out: U8 | None = None) -> U8:
        """See ``UnitCipher``."""
        target = np.empty_like(src) if out is None else out
        for row, number in enumerate(numbers_of(ivs).tolist()):
            plain = self._opened(number, src[row].tobytes())
            if plain is None:
                self.refused += 1
                plain = bytes(src.shape[1])
            target[row] = np.frombuffer(plain, dtype=np.uint8)
        return target

    def _opened(self, number: int, sealed: bytes) -> bytes | None:
        # A read may be sent with the key of a write to the same place that is still on its way.
        if number not in self.entries:
            return None
        iv, tag = self.entries[number]
        try:
            return self._gcm.decrypt(iv, sealed + tag, _position(number))
        except InvalidTag:
            return None

    def wipe(self) -> None:
        """Nothing: what is kept here stands for the medium, and the key goes with its owner."""


def _position(number: int) -> bytes:
    return number.to_bytes(8, "little")
