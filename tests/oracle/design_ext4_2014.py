"""The 2014 packets, read and written by hand: hmac, AES-CTR from single blocks, no struct."""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.oracle.slow_xts import xts_unit


def keys(wrapping_key: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """Encryption key and integrity key."""
    enc = hmac.new(wrapping_key, nonce + b"e", hashlib.sha512).digest()[:32]
    return enc, hmac.new(wrapping_key, nonce + b"i", hashlib.sha512).digest()[:12]


def ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    counter, out = int.from_bytes(iv, "big"), b""
    while len(out) < len(data):
        out += aes.update((counter % 2**128).to_bytes(16, "big"))
        counter += 1
    return bytes(a ^ b for a, b in zip(data, out, strict=False))


def packet(data_key: bytes, wrapping_key: bytes, signature: str, nonce: bytes, iv: bytes) -> bytes:
    enc, integrity = keys(wrapping_key, nonce)
    payload = b"\0\0\0\x01" + data_key + bytes(12) + b"\0\0\0\x40"
    head = b"\0\0\0\x93\0" + signature.encode() + b"\0" + nonce
    tail = iv + ctr(enc, iv, payload)
    mac = hmac.new(integrity, head + b"i" + tail, hashlib.sha1).digest()[:12]
    return head + b"\0" + tail + mac


def data_key(root_packet: bytes, wrapping_key: bytes, signature: str) -> bytes:
    """The data key for ``signature``; its MAC must fit."""
    for at in range(5, len(root_packet), 147):
        one = root_packet[at : at + 147]
        if one[5:21].decode() == signature:
            enc, integrity = keys(wrapping_key, one[22:34])
            mac = hmac.new(integrity, one[:34] + b"i" + one[35:135], hashlib.sha1).digest()[:12]
            assert mac == one[135:147]
            return ctr(enc, one[35:51], one[51:135])[4:68]
    raise AssertionError(f"no packet for {signature}")


def page(key: bytes, index: int, plaintext: bytes) -> bytes:
    """Ciphertext of one page."""
    return xts_unit(key, index.to_bytes(8, "little") + bytes(8), plaintext, "encrypt")
