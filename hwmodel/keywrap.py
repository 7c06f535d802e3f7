"""The key-wrapping unit: secure hardware that knows raw keys so that software need not.

Wrapping is private to the hardware.  Ours is AES-256-GCM with a random nonce; what the blob is for
(long-term or ephemeral) is authenticated with it, so one is never taken for the other.  The long-term
wrapping key stays with the device, the ephemeral one lives for one boot.

A blob: magic and kind (8 bytes), nonce (12), wrapped key (32), tag (16), then zeroes up to the device's blob
size, which is the same for both kinds (Qualcomm HWKM: 68 bytes in version 1, 100 in version 2).

Source: reference block-layer.md sections 5.1 and 5.4; drivers/soc/qcom/ice.c for the sizes.
"""

import errno
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.hwkdf import derive

HW_RAW_KEY_BYTES: Final = 32
_LONG_TERM: Final = b"BLKC-lt\0"
_EPHEMERAL: Final = b"BLKC-eph"
_NONCE_BYTES: Final = 12
_WRAPPED_BYTES: Final = HW_RAW_KEY_BYTES + 16
MIN_BLOB_BYTES: Final = 8 + _NONCE_BYTES + _WRAPPED_BYTES


class BadWrappedKey(BlkCryptoError):
    """The blob is damaged, of the wrong kind, or from another device or boot."""

    errno = errno.EBADMSG


class BadRawKeySize(BlkCryptoError):
    """Hardware keys are 32 bytes of raw material."""

    errno = errno.EINVAL


class KeyWrapUnit:
    """One device's unit.

    Args:
        rng: makes wrapping keys, nonces and generated keys; a seeded run has seeded secrets.
        blob_bytes: size of every blob, at least ``MIN_BLOB_BYTES``.
        kdf: hardware KDF variant, see ``blkcrypto.crypto.hwkdf``.
    """

    def __init__(self, rng: np.random.Generator, *, blob_bytes: int, kdf: str = "kdf1") -> None:
        if blob_bytes < MIN_BLOB_BYTES:
            raise ValueError(f"a blob needs {MIN_BLOB_BYTES} bytes, not {blob_bytes}")
        self._rng = rng
        self._blob_bytes = blob_bytes
        self._kdf = kdf
        self._long_term = AESGCM(rng.bytes(32))
        self._ephemeral = AESGCM(rng.bytes(32))

    def import_key(self, raw: bytes) -> bytes:
        """Long-term blob of ``raw`` (32 bytes).

        Raises:
            BadRawKeySize: another size (EINVAL).
        """
        if len(raw) != HW_RAW_KEY_BYTES:
            raise BadRawKeySize(f"the key has {len(raw)} bytes: this hardware imports {HW_RAW_KEY_BYTES}")
        return self._wrap(self._long_term, _LONG_TERM, raw)

    def generate_key(self) -> bytes:
        """Long-term blob of a new key that software never saw."""
        return self._wrap(self._long_term, _LONG_TERM, self._rng.bytes(HW_RAW_KEY_BYTES))

    def prepare_key(self, lt_key: bytes) -> bytes:
        """Ephemeral blob, good until the next boot.

        Raises:
            BadWrappedKey: not an intact long-term blob of this device (EBADMSG).
        """
        return self._wrap(self._ephemeral, _EPHEMERAL, self._unwrap(self._long_term, _LONG_TERM, lt_key))

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        """The 32-byte software secret.

        Raises:
            BadWrappedKey: not an intact ephemeral blob of this boot (EBADMSG).
        """
        return derive(self._unwrap(self._ephemeral, _EPHEMERAL, eph_key), self._kdf).sw_secret

    def inline_key(self, eph_key: bytes) -> bytes:
        """The 64-byte AES-256-XTS key for a keyslot: unwrapped and derived inside the hardware.

        Raises:
            BadWrappedKey: not an intact ephemeral blob of this boot (EBADMSG).
        """
        return derive(self._unwrap(self._ephemeral, _EPHEMERAL, eph_key), self._kdf).inline_key

    def reboot(self) -> None:
        """A new boot: every ephemeral blob is worthless from here on."""
        self._ephemeral = AESGCM(self._rng.bytes(32))

    def factory_reset(self) -> None:
        """A new device: every blob is worthless from here on."""
        self._long_term = AESGCM(self._rng.bytes(32))
        self.reboot()

    def _wrap(self, wrapper: AESGCM, kind: bytes, raw: bytes) -> bytes:
        nonce = self._rng.bytes(_NONCE_BYTES)
        blob = kind + nonce + wrapper.encrypt(nonce, raw, kind)
        return blob.ljust(self._blob_bytes, b"\0")

    def _unwrap(self, wrapper: AESGCM, kind: bytes, blob: bytes) -> bytes:
        nonce, wrapped = blob[8 : 8 + _NONCE_BYTES], blob[8 + _NONCE_BYTES : MIN_BLOB_BYTES]
        padding = blob[MIN_BLOB_BYTES:]
        if len(blob) != self._blob_bytes or blob[:8] != kind or padding.strip(b"\0"):
            raise BadWrappedKey(f"not an {kind[5:].strip(bytes(1)).decode()} key blob of this device")
        try:
            return wrapper.decrypt(nonce, wrapped, kind)
        except InvalidTag:
            raise BadWrappedKey("the key blob is damaged, or from another device or boot") from None
