"""CBC and CTS-CBC by definition: one block after the other, each through ECB."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_Algorithm = algorithms.AES | algorithms.SM4


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def cbc_encrypt(algorithm: _Algorithm, iv: bytes, unit: bytes) -> bytes:
    out = b""
    for at in range(0, len(unit), 16):
        iv = Cipher(algorithm, modes.ECB()).encryptor().update(_xor(unit[at : at + 16], iv))
        out += iv
    return out


def cts_encrypt(algorithm: _Algorithm, iv: bytes, name: bytes) -> bytes:
    """RFC 3962: zero-pad, CBC, swap the last two blocks, cut the new last one."""
    padded = name + bytes(-len(name) % 16)
    blocks = [cbc_encrypt(algorithm, iv, padded)[at : at + 16] for at in range(0, len(padded), 16)]
    if len(blocks) == 1:
        return blocks[0]
    blocks[-2:] = [blocks[-1], blocks[-2]]
    return b"".join(blocks)[: len(name)]
