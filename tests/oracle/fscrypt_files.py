"""What must lie on disk for an encrypted file or name: literal, one data unit at a time.

Shares no code with the product: keys by ``hmac``, SipHash and IVs by hand, AES by one context for each unit.
"""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

MASK = 2**64 - 1
KEY_BYTES = {1: 64, 4: 32, 5: 16, 6: 16}


@dataclass(frozen=True)
class Subject:
    """Everything a data unit's ciphertext depends on, besides its index and plaintext."""

    master_key: bytes
    flags: int
    uuid: bytes
    ino: int
    nonce: bytes
    version: int = 2
    hw_raw_key: bytes = b""


def hkdf(key: bytes, context: int, info: bytes, length: int) -> bytes:
    prk = hmac.new(bytes(64), key, hashlib.sha512).digest()
    return hmac.new(prk, b"fscrypt\0" + bytes([context]) + info + b"\x01", hashlib.sha512).digest()[:length]


def hw_kdf(raw: bytes, context: bytes, length: int) -> bytes:
    label = bytes.fromhex("0000400000000000000020")
    out = b""
    for counter in range(1, length // 16 + 1):
        mac = CMAC(algorithms.AES(raw))
        tail = (8 * length).to_bytes(4, "big")
        mac.update(counter.to_bytes(4, "big") + label + b"\0" + context + tail)
        out += mac.finalize()
    return out


def inline_key(raw: bytes) -> bytes:
    context = b"inline encryption key" + bytes.fromhex("000000000000024300825000000000")
    return hw_kdf(raw, context, 64)


def sw_secret(raw: bytes) -> bytes:
    context = b"raw secret" + bytes.fromhex("000000000000000000021700805000000000")
    return hw_kdf(raw, context, 32)


def rotate(word: int, bits: int) -> int:
    return (word << bits | word >> 64 - bits) & MASK


def siphash(key: bytes, message: bytes) -> int:
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    a, b = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    c, d = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) % 256])
    words = [int.from_bytes(padded[at : at + 8], "little") for at in range(0, len(padded), 8)]
    steps = [(word, 2) for word in words] + [(None, 4)]
    for word, rounds in steps:
        if word is None:
            c ^= 0xFF
        else:
            d ^= word
        for _ in range(rounds):
            a = (a + b) & MASK
            b = rotate(b, 13) ^ a
            a = rotate(a, 32)
            c = (c + d) & MASK
            d = rotate(d, 16) ^ c
            a = (a + d) & MASK
            d = rotate(d, 21) ^ a
            c = (c + b) & MASK
            b = rotate(b, 17) ^ c
            c = rotate(c, 32)
        if word is not None:
            a ^= word
    return a ^ b ^ c ^ d


def inode_key(subject: Subject, mode: int) -> bytes:
    size = KEY_BYTES[mode]
    if subject.hw_raw_key and mode == 1:
        return inline_key(subject.hw_raw_key)
    if subject.version == 1:
        aes = Cipher(algorithms.AES(subject.nonce), modes.ECB()).encryptor()
        return aes.update(subject.master_key[:size])
    if subject.flags & 0x08:
        return hkdf(subject.master_key, 4, bytes([mode]) + subject.uuid, size)
    if subject.flags & 0x10:
        return hkdf(subject.master_key, 6, bytes([mode]) + subject.uuid, size)
    return hkdf(subject.master_key, 2, subject.nonce, size)


def iv(subject: Subject, index: int) -> bytes:
    if subject.flags & 0x08:
        return index.to_bytes(4, "little") + subject.ino.to_bytes(4, "little") + bytes(8)
    if subject.flags & 0x10:
        hashed = siphash(hkdf(subject.master_key, 7, b"", 16), subject.ino.to_bytes(8, "little"))
        return ((hashed + index) % 2**32).to_bytes(4, "little") + bytes(12)
    return index.to_bytes(8, "little") + bytes(8)


def contents_unit(subject: Subject, mode: int, index: int, plaintext: bytes) -> bytes:
    """Ciphertext of data unit ``index``."""
    key = inode_key(subject, mode)
    if mode == 1:
        return Cipher(algorithms.AES(key), modes.XTS(iv(subject, index))).encryptor().update(plaintext)
    essiv = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.ECB()).encryptor()
    return (
        Cipher(algorithms.AES(key), modes.CBC(essiv.update(iv(subject, index)))).encryptor().update(plaintext)
    )


def name(subject: Subject, mode: int, plain: bytes) -> bytes:
    """Ciphertext of a name in the directory ``subject``: CBC, ciphertext stealing, last blocks swapped."""
    padding = 4 << (subject.flags & 3)
    size = min(-(-max(16, len(plain)) // padding) * padding, 255)
    padded = plain.ljust(-(-size // 16) * 16, b"\0")
    key = inode_key(subject, mode)
    blocks = Cipher(algorithms.AES(key), modes.CBC(iv(subject, 0))).encryptor().update(padded)
    if size > 16:
        blocks = blocks[:-32] + blocks[-16:] + blocks[-32:-16]
    return blocks[:size]
