"""Sealing a run of blocks: ciphertext of the same length, and an entry that must be kept beside it.

==================  =============================  ===================================================
sealer              entry                          key and IV
==================  =============================  ===================================================
RandomNonceSealer   12 bytes IV, 16 bytes tag      one key; a random IV per seal, limited to 2**32 seals
ExtentKeySealer     16 bytes nonce, 16 bytes tag   a key per seal (HKDF context 9); IV 0
ChecksumSealer      4 bytes CRC-32 of ciphertext   AES-256-XTS, DUN = position: what there is today
==================  =============================  ===================================================

The associated data is the owner and the position, so that a seal opens nowhere else.  dm-crypt's AEAD modes
have no owner, and the IV behind the position.

Deviation: the position counts seals, where dm-crypt counts 512-byte sectors.

Sources: NIST SP 800-38D section 8.3 (2**32 random IVs per key); reference fscrypt.md section 8.5.
"""

import errno
import zlib
from typing import Final, Protocol

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.fs.authenticated.medium import BLOCK_BYTES
from blkcrypto.fs.keysetup_io.master import EXTENT_NONCE_BYTES, ExtentMasterKey

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
IV_BYTES: Final = 12
MAX_RANDOM_IVS: Final = 1 << 32
_CRC_BYTES: Final = 4


class AuthenticationFailed(BlkCryptoError):
    """Tag, checksum or hash does not fit: BLK_STS_PROTECTION, which users see as EILSEQ."""

    errno = errno.EILSEQ


class TooManySeals(BlkCryptoError):
    """A key has sealed as often as its IVs allow: change the key."""

    errno = errno.EOVERFLOW


class SealKeyMissing(BlkCryptoError):
    """The key was wiped."""

    errno = errno.ENOKEY


class Sealer(Protocol):
    """Encrypts with an entry."""

    entry_bytes: int

    def seal(self, owner: bytes, position: int, plain: bytes) -> tuple[bytes, bytes]:
        """Entry and ciphertext; ENOKEY when wiped."""

    def unseal(self, owner: bytes, position: int, entry: bytes, stored: bytes) -> bytes:
        """Plaintext; EILSEQ when something does not fit, ENOKEY when wiped."""

    def forge(self, entry: bytes, stored: bytes) -> bytes:
        """The entry for other ciphertext, as far as somebody without the key can make it."""

    def wipe(self) -> None:
        """Drop the key."""


def associated_data(owner: bytes, position: int) -> bytes:
    """``owner`` (of one length everywhere) and the position as 8 bytes, little-endian."""
    return owner + position.to_bytes(8, "little")


def _open(gcm: AESGCM, iv: bytes, stored: bytes, tag: bytes, aad: bytes) -> bytes:
    try:
        return gcm.decrypt(iv, stored + tag, aad)
    except InvalidTag:
        raise AuthenticationFailed("the tag does not fit the data at this position") from None


class RandomNonceSealer:
    """AES-256-GCM under one key.

    Args:
        key: 32 bytes.
        rng: for IVs.
        max_seals: how often the key may seal.
        binds_position: whether owner and position are associated data; without, seals may be moved.
        binds_iv: whether the IV is associated data too, as dm-crypt has it (the tag covers it anyway).

    Attributes:
        seals: how often the key sealed.
    """

    entry_bytes = IV_BYTES + TAG_BYTES

    def __init__(
        self,
        key: bytes,
        rng: np.random.Generator,
        *,
        max_seals: int = MAX_RANDOM_IVS,
        binds_position: bool = True,
        binds_iv: bool = False,
    ) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"AES-256-GCM takes {KEY_BYTES} bytes of key, not {len(key)}")
        self.seals = 0
        self._gcm: AESGCM | None = AESGCM(key)
        self._rng = rng
        self._max_seals = max_seals
        self._binds_position = binds_position
        self._binds_iv = binds_iv

    def _ready(self) -> AESGCM:
        if self._gcm is None:
            raise SealKeyMissing("the key was wiped")
        return self._gcm

    def _aad(self, owner: bytes, position: int, iv: bytes) -> bytes:
        where = associated_data(owner, position) if self._binds_position else b""
        return where + iv if self._binds_iv else where

    def seal(self, owner: bytes, position: int, plain: bytes) -> tuple[bytes, bytes]:
        """See ``Sealer``; EOVERFLOW past the limit."""
        gcm = self._ready()
        if self.seals >= self._max_seals:
            raise TooManySeals(f"{self.seals} random IVs under one key")
        self.seals += 1
        iv = self._rng.bytes(IV_BYTES)
        sealed = gcm.encrypt(iv, plain, self._aad(owner, position, iv))
        return iv + sealed[-TAG_BYTES:], sealed[:-TAG_BYTES]

    def unseal(self, owner: bytes, position: int, entry: bytes, stored: bytes) -> bytes:
        """See ``Sealer``."""
        iv, tag = entry[:IV_BYTES], entry[IV_BYTES:]
        return _open(self._ready(), iv, stored, tag, self._aad(owner, position, iv))

    def forge(self, entry: bytes, stored: bytes) -> bytes:
        """The same entry: a tag cannot be made without the key."""
        del stored
        return entry

    def wipe(self) -> None:
        """Drop the key."""
        self._gcm = None


class ExtentKeySealer:
    """AES-256-GCM under a key of its own for every seal: a new extent each time.

    Args:
        master: derives the keys.
        rng: for extent nonces.
    """

    entry_bytes = EXTENT_NONCE_BYTES + TAG_BYTES

    def __init__(self, master: ExtentMasterKey, rng: np.random.Generator) -> None:
        self._master = master
        self._rng = rng

    def seal(self, owner: bytes, position: int, plain: bytes) -> tuple[bytes, bytes]:
        """See ``Sealer``."""
        nonce = self._rng.bytes(EXTENT_NONCE_BYTES)
        gcm = AESGCM(self._master.extent_key(nonce, KEY_BYTES))
        sealed = gcm.encrypt(bytes(IV_BYTES), plain, associated_data(owner, position))
        return nonce + sealed[-TAG_BYTES:], sealed[:-TAG_BYTES]

    def unseal(self, owner: bytes, position: int, entry: bytes, stored: bytes) -> bytes:
        """See ``Sealer``."""
        nonce, tag = entry[:EXTENT_NONCE_BYTES], entry[EXTENT_NONCE_BYTES:]
        gcm = AESGCM(self._master.extent_key(nonce, KEY_BYTES))
        return _open(gcm, bytes(IV_BYTES), stored, tag, associated_data(owner, position))

    def forge(self, entry: bytes, stored: bytes) -> bytes:
        """The same entry: a tag cannot be made without the key."""
        del stored
        return entry

    def wipe(self) -> None:
        """Drop the master key's secret."""
        self._master.wipe_secret()


class ChecksumSealer:
    """AES-256-XTS and an unkeyed checksum of the ciphertext: finds damage, and no attacker.

    Deviation: CRC-32, where btrfs has CRC-32C; both are linear and anybody can recompute them.

    Args:
        key: 64 bytes.
    """

    entry_bytes = _CRC_BYTES

    def __init__(self, key: bytes) -> None:
        self._cipher = new_cipher("AES-256-XTS", key)
        self._wiped = False

    def _crypt(self, position: int, data: bytes, *, encrypt: bool) -> bytes:
        if self._wiped:
            raise SealKeyMissing("the key was wiped")
        units = np.frombuffer(data, dtype=np.uint8).reshape(-1, BLOCK_BYTES)
        first = position * len(units)
        crypt = self._cipher.encrypt_run if encrypt else self._cipher.decrypt_run
        return crypt(first, units).tobytes()

    def seal(self, owner: bytes, position: int, plain: bytes) -> tuple[bytes, bytes]:
        """See ``Sealer``."""
        del owner
        stored = self._crypt(position, plain, encrypt=True)
        return zlib.crc32(stored).to_bytes(_CRC_BYTES, "little"), stored

    def unseal(self, owner: bytes, position: int, entry: bytes, stored: bytes) -> bytes:
        """See ``Sealer``."""
        del owner
        if zlib.crc32(stored).to_bytes(_CRC_BYTES, "little") != entry:
            raise AuthenticationFailed("the checksum does not fit the ciphertext")
        return self._crypt(position, stored, encrypt=False)

    def forge(self, entry: bytes, stored: bytes) -> bytes:
        """The right checksum: it has no key."""
        del entry
        return zlib.crc32(stored).to_bytes(_CRC_BYTES, "little")

    def wipe(self) -> None:
        """Drop the key."""
        self._cipher.wipe()
        self._wiped = True
