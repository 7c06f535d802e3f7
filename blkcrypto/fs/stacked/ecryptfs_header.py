"""The header of an eCryptfs file: 8192 bytes before its contents, or a ``user.ecryptfs`` xattr.

======  =====  ==================================================================================
offset  size   holds
======  =====  ==================================================================================
0       8      plaintext size, big-endian
8       8      marker: a random word, and the same xor 0x3c81b7f5
16      4      version 3 (1 byte), then flags: 2 is encrypted
20      4      extent size, 4096
24      2      extents of the header: 2
26      ...    per wrapping key a tag 3 and a tag 11 packet of RFC 2440; the rest is zero
======  =====  ==================================================================================

Tag 3 (0x8c): version 4, cipher code, S2K 3, hash 1 (MD5), salt (8), iterations, the session key encrypted
with AES-ECB under the first bytes of the wrapping key.  Tag 11 (0xed): binary, name ``_CONSOLE``, date 0, and
the 8-byte signature of the wrapping key.

Source: fs/ecryptfs/{crypto,keystore}.c; reference fscrypt.md section 8.3.
"""

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blkcrypto.base.errors import BlkCryptoError

HEADER_BYTES: Final = 8192
SIGNATURE_BYTES: Final = 8
SALT_BYTES: Final = 8
XATTR_NAME: Final = "user.ecryptfs"
_MARKER: Final = 0x3C81B7F5
_VERSION: Final = 3
_FLAG_ENCRYPTED: Final = 2
_EXTENT_BYTES: Final = 4096
_FIXED = struct.Struct(">QII4sIH")
_FIXED_BYTES: Final = 26
_TAG_3: Final = 0x8C
_TAG_11: Final = 0xED
_TAG_3_OVERHEAD: Final = 5 + SALT_BYTES
_TAG_11_HEAD: Final = b"\x62\x08_CONSOLE\0\0\0\0"
_CIPHER_CODES: Final = {16: 7, 32: 9}
_KEY_BYTES: Final = {code: size for size, code in _CIPHER_CODES.items()}
_HASH_ITERATIONS: Final = 0x60


class HeaderInvalid(BlkCryptoError):
    """No eCryptfs header, or a damaged one."""

    errno = errno.EINVAL


class NoMatchingToken(BlkCryptoError):
    """No wrapping key in the keyring has a signature of the header's."""

    errno = errno.ENOKEY


class TooManyTokens(BlkCryptoError):
    """More packets than the header has room for."""

    errno = errno.EINVAL


@dataclass(frozen=True, slots=True)
class Header:
    """A header taken apart.

    Attributes:
        size: bytes of plaintext.
        header_bytes: where contents begin.
        tokens: encrypted session keys by signature.
    """

    size: int
    header_bytes: int
    tokens: Mapping[bytes, bytes]


def _ecb(wrapping_key: bytes, data: bytes, *, encrypt: bool) -> bytes:
    cipher = Cipher(algorithms.AES(wrapping_key[: len(data)]), modes.ECB())
    return (cipher.encryptor() if encrypt else cipher.decryptor()).update(data)


def _token(session_key: bytes, signature: bytes, wrapping_key: bytes, salt: bytes) -> bytes:
    wrapped = _ecb(wrapping_key, session_key, encrypt=True)
    head = bytes((4, _CIPHER_CODES[len(session_key)], 3, 1))
    tag3 = head + salt + bytes((_HASH_ITERATIONS,)) + wrapped
    tag11 = _TAG_11_HEAD + signature
    return bytes((_TAG_3, len(tag3))) + tag3 + bytes((_TAG_11, len(tag11))) + tag11


def build_header(
    session_key: bytes, wrapping_keys: Mapping[bytes, bytes], *, size: int, marker: bytes, salt: bytes
) -> bytes:
    """8192 bytes.

    Args:
        session_key: the file's key, 16 or 32 bytes.
        wrapping_keys: 64-byte keys by 8-byte signature.
        size: bytes of plaintext.
        marker: 4 random bytes.
        salt: 8 bytes, as the wrapping keys were made with.

    Raises:
        TooManyTokens: EINVAL.
    """
    word = int.from_bytes(marker, "big")
    version_and_flags = bytes((_VERSION, 0, 0, _FLAG_ENCRYPTED))
    extents = HEADER_BYTES // _EXTENT_BYTES
    fixed = _FIXED.pack(size, word, word ^ _MARKER, version_and_flags, _EXTENT_BYTES, extents)
    tokens = (_token(session_key, signature, key, salt) for signature, key in wrapping_keys.items())
    header = fixed + b"".join(tokens)
    if len(header) >= HEADER_BYTES:
        raise TooManyTokens(f"{len(wrapping_keys)} wrapping keys do not fit the header")
    return header.ljust(HEADER_BYTES, b"\0")


def parse_header(data: bytes) -> Header:
    """A header; needs no key.

    Raises:
        HeaderInvalid: EINVAL.
    """
    if len(data) < _FIXED_BYTES:
        raise HeaderInvalid(f"{len(data)} bytes are no header")
    size, first, second, version, extent_bytes, extents = _FIXED.unpack_from(data)
    if first ^ _MARKER != second or version[0] != _VERSION or extent_bytes != _EXTENT_BYTES:
        raise HeaderInvalid("no marker, or another version or extent size")
    header_bytes = extents * extent_bytes
    if header_bytes < _EXTENT_BYTES * 2:
        raise HeaderInvalid(f"a header of {header_bytes} bytes")
    return Header(size, header_bytes, _parse_tokens(data[_FIXED_BYTES:header_bytes]))


def _parse_tokens(data: bytes) -> dict[bytes, bytes]:
    tokens: dict[bytes, bytes] = {}
    at = 0
    while at < len(data) and data[at]:
        tag3, at = _packet(data, at, _TAG_3)
        tag11, at = _packet(data, at, _TAG_11)
        wrapped = tag3[_TAG_3_OVERHEAD:]
        if len(wrapped) != _KEY_BYTES.get(tag3[1]) or tag3[0] != 4:
            raise HeaderInvalid("a tag 3 packet of another version, cipher or size")
        if tag11[: len(_TAG_11_HEAD)] != _TAG_11_HEAD:
            raise HeaderInvalid("a tag 11 packet of other contents")
        tokens[tag11[len(_TAG_11_HEAD) :]] = wrapped
    if not tokens:
        raise HeaderInvalid("no authentication token")
    return tokens


def _packet(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """Body of the packet at ``at``, and where the next one begins."""
    least = {_TAG_3: _TAG_3_OVERHEAD, _TAG_11: len(_TAG_11_HEAD) + SIGNATURE_BYTES}[tag]
    if at + 2 > len(data) or data[at] != tag:
        raise HeaderInvalid(f"no packet of tag {tag:#x}")
    size = data[at + 1]
    body = data[at + 2 : at + 2 + size]
    if size >= 192 or len(body) != size or size < least:
        raise HeaderInvalid(f"a packet of tag {tag:#x} with {size} bytes")
    return body, at + 2 + size


def session_key(data: bytes, keyring: Mapping[bytes, bytes]) -> bytes:
    """The file's key.

    Args:
        data: the header.
        keyring: 64-byte wrapping keys by signature.

    Raises:
        HeaderInvalid: EINVAL.
        NoMatchingToken: ENOKEY.
    """
    for signature, wrapped in parse_header(data).tokens.items():
        key = keyring.get(signature)
        if key is not None:
            # Nothing authenticates the packet: a wrong key gives a wrong session key, not an error.
            return _ecb(key, wrapped, encrypt=False)
    raise NoMatchingToken("no wrapping key here fits the file's tokens")
