"""No-key names: what a directory lists while its key is absent, and how lookups find them again.

Rules (fs/crypto/fname.c; reference fscrypt.md section 4):

- The name is base64url without padding of: the directory hash and minor hash of the entry, four
  little-endian bytes each, then the ciphertext, if it has at most 149 bytes.
- A longer ciphertext is replaced by its first 149 bytes and the SHA-256 of the rest, 189 bytes together,
  so a no-key name never exceeds 252 characters.
- Symlink targets use the same form with both hashes 0.
- What does not decode to such a structure is no name at all: ENOENT.
"""

import base64
import binascii
import errno
import hashlib
from dataclasses import dataclass
from typing import Final

from blkcrypto.base.errors import BlkCryptoError

_PREFIX_BYTES: Final = 149
_HASHES_BYTES: Final = 8
_SHA256_BYTES: Final = 32
_LONG_BYTES: Final = _HASHES_BYTES + _PREFIX_BYTES + _SHA256_BYTES
_ALPHABET: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class NoSuchNokeyName(BlkCryptoError):
    """The text is not a no-key name, so no entry can have it."""

    errno = errno.ENOENT


@dataclass(frozen=True, slots=True)
class NokeyName:
    """A decoded no-key name: ``struct fscrypt_nokey_name``.

    Attributes:
        dir_hash: directory hash of the entry.
        minor_hash: its minor hash, 0 on filesystems without one.
        prefix: the ciphertext, or its first 149 bytes.
        rest_sha256: SHA-256 of what follows the prefix; empty when nothing does.
    """

    dir_hash: int
    minor_hash: int
    prefix: bytes
    rest_sha256: bytes = b""

    @classmethod
    def of(cls, ciphertext: bytes, dir_hash: int = 0, minor_hash: int = 0) -> "NokeyName":
        """The name of an entry with this ciphertext."""
        rest = ciphertext[_PREFIX_BYTES:]
        digest = hashlib.sha256(rest).digest() if rest else b""
        return cls(dir_hash, minor_hash, ciphertext[:_PREFIX_BYTES], digest)

    def encode(self) -> str:
        """The listed name, at most 252 characters."""
        hashes = self.dir_hash.to_bytes(4, "little") + self.minor_hash.to_bytes(4, "little")
        data = hashes + self.prefix + self.rest_sha256
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

    def matches(self, ciphertext: bytes) -> bool:
        """Whether an entry with this ciphertext is the one meant: ``fscrypt_match_name()``."""
        if not self.rest_sha256:
            return ciphertext == self.prefix
        rest = ciphertext[_PREFIX_BYTES:]
        return (
            bool(rest)
            and ciphertext[:_PREFIX_BYTES] == self.prefix
            and hashlib.sha256(rest).digest() == self.rest_sha256
        )


def decode_nokey_name(name: str) -> NokeyName:
    """What a lookup without the key looks for.

    Raises:
        NoSuchNokeyName: not base64url, or not of a possible length (ENOENT).
    """
    data = _base64url_decode(name)
    size = len(data)
    if size <= _HASHES_BYTES or (size > _HASHES_BYTES + _PREFIX_BYTES and size != _LONG_BYTES):
        raise NoSuchNokeyName(f"{name!r} does not decode to a no-key name")
    return NokeyName(
        int.from_bytes(data[:4], "little"),
        int.from_bytes(data[4:8], "little"),
        data[_HASHES_BYTES : _HASHES_BYTES + _PREFIX_BYTES],
        data[_HASHES_BYTES + _PREFIX_BYTES :],
    )


def _base64url_decode(name: str) -> bytes:
    """Strict base64url: no padding, no other characters, unused bits zero."""
    text = name.encode("utf-8", "surrogateescape")
    if _ALPHABET.issuperset(text) and len(text) % 4 != 1:
        try:
            data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
        except binascii.Error:
            data = b""
        if base64.urlsafe_b64encode(data).rstrip(b"=") == text:
            return data
    raise NoSuchNokeyName(f"{name!r} is not base64url")
