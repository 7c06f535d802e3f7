"""eCryptfs: files whose ciphertext is ordinary files of a lower filesystem.

Rules (fs/ecryptfs; reference fscrypt.md section 8.3):

- Extent e of 4096 bytes lies at ``header + 4096 * e`` of the lower file, AES-CBC, its IV an MD5 of the root
  IV and e.
- There are no holes: what lies between the old end and a write past it is written as encrypted zeroes.
- Every page is cached twice, as plaintext above and as ciphertext below.
- Deleting, renaming and listing are the lower filesystem's business: no key is needed.
"""

import errno
from collections.abc import Mapping
from typing import Final

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.ecryptfs import EXTENT_BYTES, EcryptfsCipher
from blkcrypto.fs.errors import NoSuchFile
from blkcrypto.fs.stacked.ecryptfs_header import (
    HEADER_BYTES,
    SALT_BYTES,
    build_header,
    parse_header,
    session_key,
)
from blkcrypto.fs.units import pieces

_SESSION_KEY_BYTES: Final = 16
_LONGEST_NAME: Final = 143


class NameTooLong(BlkCryptoError):
    """An encrypted name would not fit the lower filesystem's 255 bytes."""

    errno = errno.ENAMETOOLONG


class StackedFile:
    """An open file: plaintext pages above, the lower file's bytes below.

    Attributes:
        lower: bytes of the lower file.
        size: bytes of plaintext.
        lower_writes: bytes written to the lower file.
    """

    def __init__(self, lower: bytearray, key: bytes) -> None:
        header = parse_header(bytes(lower))
        self.lower = lower
        self.size = header.size
        self.lower_writes = 0
        self._start = header.header_bytes
        self._cipher = EcryptfsCipher(key)
        self._pages: dict[int, bytearray] = {}

    def _page(self, extent: int) -> bytearray:
        page = self._pages.get(extent)
        if page is None:
            at = self._start + extent * EXTENT_BYTES
            stored = np.frombuffer(bytes(self.lower[at : at + EXTENT_BYTES]), dtype=np.uint8).reshape(1, -1)
            plain = self._cipher.decrypt(extent, stored).tobytes() if stored.size else bytes(EXTENT_BYTES)
            page = self._pages[extent] = bytearray(plain)
        return page

    def read(self, pos: int, length: int) -> bytes:
        """Up to ``length`` bytes."""
        end = min(pos + length, self.size)
        if pos >= end:
            return b""
        first, last = pos // EXTENT_BYTES, -(-end // EXTENT_BYTES)
        data = b"".join(self._page(extent) for extent in range(first, last))
        return data[pos - first * EXTENT_BYTES : end - first * EXTENT_BYTES]

    def write(self, pos: int, data: bytes) -> None:
        """Write through to the lower file; a gap before it becomes encrypted zeroes."""
        if pos > self.size:
            self._put(self.size, bytes(pos - self.size))
        self._put(pos, data)

    def _put(self, pos: int, data: bytes) -> None:
        for piece in pieces(pos, data, EXTENT_BYTES):
            self._page(piece.unit)[piece.start : piece.start + len(piece.data)] = piece.data
            self._store(piece.unit)
        self._set_size(max(self.size, pos + len(data)))

    def _store(self, extent: int) -> None:
        at = self._start + extent * EXTENT_BYTES
        plain = np.frombuffer(bytes(self._pages[extent]), dtype=np.uint8).reshape(1, -1)
        self.lower[at : at + EXTENT_BYTES] = self._cipher.encrypt(extent, plain).tobytes()
        self.lower_writes += EXTENT_BYTES

    def _set_size(self, size: int) -> None:
        if size != self.size:
            self.size = size
            self.lower[:8] = size.to_bytes(8, "big")
            self.lower_writes += 8

    def truncate(self, size: int) -> None:
        """Cut off, or grow by encrypted zeroes."""
        if size > self.size:
            self._put(self.size, bytes(size - self.size))
            return
        keep = -(-size // EXTENT_BYTES)
        if size % EXTENT_BYTES:
            page = self._page(keep - 1)
            page[size % EXTENT_BYTES :] = bytes(EXTENT_BYTES - size % EXTENT_BYTES)
            self._store(keep - 1)
        for extent in [extent for extent in self._pages if extent >= keep]:
            del self._pages[extent]
        del self.lower[self._start + keep * EXTENT_BYTES :]
        self._set_size(size)

    def fsync(self) -> None:
        """Nothing: every write went through."""

    @property
    def cached_bytes(self) -> int:
        """Page cache of both layers: each page above has its ciphertext below."""
        return 2 * EXTENT_BYTES * len(self._pages)

    def close(self) -> None:
        """Forget pages and key."""
        self._pages.clear()
        self._cipher.wipe()


class StackedMount:
    """Files of a lower filesystem.

    Args:
        lower: lower files by name; names are not encrypted here.
        keyring: 64-byte wrapping keys by 8-byte signature; new files are wrapped for all of them.
        rng: session keys and markers.
        salt: as the wrapping keys were made with.
        encrypted_names: whether names are limited as when they are encrypted.
    """

    def __init__(
        self,
        lower: dict[str, bytearray],
        keyring: Mapping[bytes, bytes],
        rng: np.random.Generator,
        *,
        salt: bytes = bytes(SALT_BYTES),
        encrypted_names: bool = False,
    ) -> None:
        self.lower = lower
        self.keyring = dict(keyring)
        self._rng = rng
        self._salt = salt
        self._encrypted_names = encrypted_names

    def create(self, name: str) -> StackedFile:
        """A new file.

        Raises:
            NameTooLong: ENAMETOOLONG.
        """
        if self._encrypted_names and len(name.encode()) > _LONGEST_NAME:
            raise NameTooLong(f"{len(name.encode())} bytes; an encrypted name has up to {_LONGEST_NAME}")
        key = self._rng.bytes(_SESSION_KEY_BYTES)
        header = build_header(key, self.keyring, size=0, marker=self._rng.bytes(4), salt=self._salt)
        self.lower[name] = bytearray(header)
        return StackedFile(self.lower[name], key)

    def open(self, name: str) -> StackedFile:
        """Open with a key of the keyring.

        Raises:
            NoSuchFile: ENOENT.
            HeaderInvalid: EINVAL.
            NoMatchingToken: ENOKEY.
        """
        if name not in self.lower:
            raise NoSuchFile(f"no file {name!r}")
        lower = self.lower[name]
        return StackedFile(lower, session_key(bytes(lower[:HEADER_BYTES]), self.keyring))

    def delete(self, name: str) -> None:
        """Delete the lower file; no key is needed.

        Raises:
            NoSuchFile: ENOENT.
        """
        if self.lower.pop(name, None) is None:
            raise NoSuchFile(f"no file {name!r}")
