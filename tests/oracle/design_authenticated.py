"""GCM by NIST SP 800-38D, from single AES blocks: GHASH bit by bit."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.oracle.fscrypt_files import hkdf

_R = 0xE1 << 120


def _multiply(x: int, y: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (_R if y & 1 else 0)
    return product


def gcm(key: bytes, iv: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """Ciphertext and 16-byte tag, for a 12-byte IV."""
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    h = int.from_bytes(aes.update(bytes(16)), "big")
    out = b""
    for at in range(0, len(plaintext), 16):
        stream = aes.update(iv + (at // 16 + 2).to_bytes(4, "big"))
        out += bytes(a ^ b for a, b in zip(plaintext[at : at + 16], stream, strict=False))
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(out)).to_bytes(8, "big")
    text = aad + bytes(-len(aad) % 16) + out + bytes(-len(out) % 16) + lengths
    digest = 0
    for at in range(0, len(text), 16):
        digest = _multiply(digest ^ int.from_bytes(text[at : at + 16], "big"), h)
    mask = aes.update(iv + b"\0\0\0\x01")
    return out, bytes(a ^ b for a, b in zip(digest.to_bytes(16, "big"), mask, strict=True))


def extent_gcm(master: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """A key of its own (HKDF context 9), IV 0."""
    return gcm(hkdf(master, 9, nonce, 32), bytes(12), aad, plaintext)
