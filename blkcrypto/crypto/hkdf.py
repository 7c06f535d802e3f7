"""HKDF-SHA512 (RFC 5869) as fscrypt uses it: no salt, extracted once, expanded often.

Source: fs/crypto/hkdf.c; reference fscrypt.md section 2.1.
"""

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.hmac import HMAC

HASH_BYTES: Final = 64
_LARGEST_OUTPUT: Final = 255 * HASH_BYTES


class HkdfSha512:
    """One extracted key.  Only the keyed HMAC state is kept, not the input key."""

    __slots__ = ("_prk",)

    def __init__(self, ikm: bytes, *, salt: bytes = b"") -> None:
        """Extract: ``PRK = HMAC-SHA512(salt, ikm)``; no salt means 64 zero bytes."""
        extract = HMAC(salt or bytes(HASH_BYTES), SHA512())
        extract.update(ikm)
        self._prk: HMAC | None = HMAC(extract.finalize(), SHA512())

    def expand(self, info: bytes, length: int) -> bytes:
        """``length`` bytes of output for ``info``.

        Raises:
            ValueError: more than 255 hash lengths were asked for, or the key was wiped.
        """
        if self._prk is None:
            raise ValueError("this key was wiped: derive before wiping")
        if not 0 <= length <= _LARGEST_OUTPUT:
            raise ValueError(f"HKDF-SHA512 gives 0 to {_LARGEST_OUTPUT} bytes, not {length}")
        okm = block = b""
        for counter in range(1, -(-length // HASH_BYTES) + 1):
            keyed = self._prk.copy()
            keyed.update(block + info + bytes([counter]))
            block = keyed.finalize()
            okm += block
        return okm[:length]

    def wipe(self) -> None:
        """Drop the keyed state; deriving from it afterwards is refused, never done with a zero key."""
        self._prk = None
