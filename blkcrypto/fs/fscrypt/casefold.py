"""Keyed hash of names in casefolded directories.

Such a directory finds a name without regard to case, so its hash covers the folded plaintext, and must tell
nothing without the key: SipHash under a key derived from the master key and the directory's nonce.

Source: ``fscrypt_fname_siphash()``, fs/crypto/fname.c; reference fscrypt.md sections 2.1, 2.3.
"""

import unicodedata
from typing import Final

from blkcrypto.crypto.siphash import siphash24
from blkcrypto.fs.fscrypt.master_key import HkdfContext, MasterKey

_SIPHASH_KEY_BYTES: Final = 16
_U32: Final = 0xFFFFFFFF
# Default_Ignorable_Code_Point, ranges that Linux's utf8 tables drop when folding.
_IGNORABLE: Final = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip


def dirhash_key(master_key: MasterKey, nonce: bytes) -> bytes:
    """16-byte SipHash key of the casefolded directory with ``nonce``."""
    return master_key.derive(HkdfContext.DIRHASH_KEY, nonce, _SIPHASH_KEY_BYTES)


def casefold(name: bytes) -> bytes:
    """The form of a UTF-8 name that casefolded directories compare; a name that is not UTF-8 stays as it is.

    Unicode's NFD, ignorables dropped, folded.  Linux's tables are of one Unicode version and Python's of
    another, so letters added since may differ.
    """
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return name
    if text.isascii():
        return text.lower().encode()
    kept = "".join(char for char in unicodedata.normalize("NFD", text) if not _ignorable(ord(char)))
    return unicodedata.normalize("NFD", kept.casefold()).encode()


def _ignorable(point: int) -> bool:
    return any(first <= point <= last for first, last in _IGNORABLE)


def casefold_hash(key: bytes, name: bytes) -> tuple[int, int]:
    """Major and minor hash of a name in a casefolded, encrypted directory; ``key`` by ``dirhash_key``."""
    combined = siphash24(key, casefold(name))
    return (combined >> 32) & ~1, combined & _U32
