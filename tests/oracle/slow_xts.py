"""XTS by the letter of IEEE 1619: one data unit, one block at a time, tweaks doubled as integers."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_MASK = (1 << 128) - 1


def _block(
    algorithm: type[algorithms.AES] | type[algorithms.SM4], key: bytes, block: bytes, how: str
) -> bytes:
    cipher = Cipher(algorithm(key), modes.ECB())
    context = cipher.encryptor() if how == "encrypt" else cipher.decryptor()
    return context.update(block)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def xts_unit(
    key: bytes,
    iv: bytes,
    unit: bytes,
    how: str,
    algorithm: type[algorithms.AES] | type[algorithms.SM4] = algorithms.AES,
) -> bytes:
    """``how`` is ``"encrypt"`` or ``"decrypt"``; whole blocks only."""
    half = len(key) // 2
    tweak = int.from_bytes(_block(algorithm, key[half:], iv, "encrypt"), "little")
    out = b""
    for at in range(0, len(unit), 16):
        mask = tweak.to_bytes(16, "little")
        out += _xor(_block(algorithm, key[:half], _xor(unit[at : at + 16], mask), how), mask)
        tweak = (tweak << 1 & _MASK) ^ (0x87 if tweak >> 127 else 0)
    return out
