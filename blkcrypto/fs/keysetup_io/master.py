"""The master key as extents see it: one derivation, guarded against a wiped secret.

Source: HKDF context 9 of the btrfs series (posted, not merged); reference fscrypt.md sections 2.1, 6.1.
"""

import errno
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.hkdf import HkdfSha512

EXTENT_NONCE_BYTES: Final = 16
_PREFIX: Final = b"fscrypt\0"
_IDENTIFIER: Final = b"\x01"
_PER_EXTENT_ENC_KEY: Final = b"\x09"
_IDENTIFIER_BYTES: Final = 16


class ExtentSecretWiped(BlkCryptoError):
    """The master key's secret is gone: a zero state must never take its place."""

    errno = errno.ENOKEY


class ExtentMasterKey:
    """A raw master key that extents derive from.

    Attributes:
        identifier: 16 bytes.
        derivations: per-extent keys derived so far.
    """

    def __init__(self, raw: bytes) -> None:
        self._hkdf: HkdfSha512 | None = HkdfSha512(raw)
        self.identifier = self._hkdf.expand(_PREFIX + _IDENTIFIER, _IDENTIFIER_BYTES)
        self.derivations = 0

    def extent_key(self, nonce: bytes, length: int) -> bytes:
        """Key of the extent with ``nonce``.

        Raises:
            ExtentSecretWiped: the master key was removed (ENOKEY).
        """
        if self._hkdf is None:
            raise ExtentSecretWiped(f"master key {self.identifier.hex()} was removed")
        self.derivations += 1
        return self._hkdf.expand(_PREFIX + _PER_EXTENT_ENC_KEY + nonce, length)

    def wipe_secret(self) -> None:
        """Forget what derives keys."""
        if self._hkdf is not None:
            self._hkdf.wipe()
        self._hkdf = None
