"""dm-crypt's IVs and eCryptfs's files by hand, one unit at a time."""

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.oracle.slow_cbc import cbc_encrypt
from tests.oracle.slow_xts import xts_unit


def dm_iv(mode: str, sector: int, key: bytes) -> bytes:
    """IV of one 512-byte sector number, as the table of reference fscrypt.md section 8.2 says."""
    if mode == "plain":
        return (sector % 2**32).to_bytes(16, "little")
    if mode == "plain64":
        return sector.to_bytes(16, "little")
    if mode == "plain64be":
        return sector.to_bytes(16, "big")
    if mode == "benbi":
        return (32 * sector + 1).to_bytes(16, "big")
    if mode == "null":
        return bytes(16)
    secret = hashlib.sha256(key).digest() if mode == "essiv:sha256" else key
    number = sector if mode == "essiv:sha256" else sector * 512
    block = number.to_bytes(16, "little")
    return Cipher(algorithms.AES(secret), modes.ECB()).encryptor().update(block)


def dm_sector(chain: str, mode: str, key: bytes, sector: int, plaintext: bytes) -> bytes:
    """Ciphertext of a unit whose IV counts ``sector``."""
    iv = dm_iv(mode, sector, key)
    if chain == "xts":
        return xts_unit(key, iv, plaintext, "encrypt")
    return cbc_encrypt(algorithms.AES(key), iv, plaintext)


def ecryptfs_iv(key: bytes, extent: int) -> bytes:
    root = hashlib.md5(key, usedforsecurity=False).digest()
    text = str(extent).encode()
    return hashlib.md5(root + text + bytes(16 - len(text)), usedforsecurity=False).digest()


def ecryptfs_session_key(lower: bytes, wrapping_key: bytes, signature: bytes) -> bytes:
    """Walks the packets: 0x8c length body, 0xed length body."""
    at = 26
    while lower[at] == 0x8C:
        body = lower[at + 2 : at + 2 + lower[at + 1]]
        at += 2 + lower[at + 1]
        found = lower[at + 2 : at + 2 + lower[at + 1]][-8:]
        at += 2 + lower[at + 1]
        if found == signature:
            return Cipher(algorithms.AES(wrapping_key[:16]), modes.ECB()).decryptor().update(body[13:])
    raise AssertionError("no packet for that signature")


def ecryptfs_extent(key: bytes, extent: int, plaintext: bytes) -> bytes:
    return cbc_encrypt(algorithms.AES(key), ecryptfs_iv(key, extent), plaintext)
