"""HCTR2 with bit-by-bit field arithmetic, one data unit at a time, written from the paper."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_POLYNOMIAL = 1 << 128 | 1 << 127 | 1 << 126 | 1 << 121 | 1


def _dot(a: int, b: int) -> int:
    """POLYVAL's product: a * b / x**128."""
    product = 0
    for bit in range(128):
        if a >> bit & 1:
            product ^= b << bit
    for bit in range(128):
        if product >> bit & 1:
            product ^= _POLYNOMIAL << bit
    return product >> 128


def polyval(key: bytes, message: bytes) -> bytes:
    total = 0
    for at in range(0, len(message), 16):
        block = int.from_bytes(message[at : at + 16], "little")
        total = _dot(total ^ block, int.from_bytes(key, "little"))
    return total.to_bytes(16, "little")


def _xor(*parts: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(parts[0], _xor(*parts[1:]), strict=True)) if parts[1:] else parts[0]


def hctr2_unit(key: bytes, tweak: bytes, unit: bytes, how: str) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.ECB())
    aes, inverse = cipher.encryptor().update, cipher.decryptor().update
    hash_key, mask = aes(bytes(16)), aes(b"\1" + bytes(15))

    def hashed(data: bytes) -> bytes:
        rest = len(data) % 16
        length = 2 * 8 * len(tweak) + (3 if rest else 2)
        padded = data + (b"\1" + bytes(15 - rest) if rest else b"")
        return polyval(hash_key, length.to_bytes(16, "little") + tweak + padded)

    head, rest = unit[:16], unit[16:]
    before = _xor(head, hashed(rest))
    after = aes(before) if how == "encrypt" else inverse(before)
    nonce = _xor(before, after, mask)
    stream = b"".join(aes(_xor(nonce, i.to_bytes(16, "little"))) for i in range(1, len(rest) // 16 + 2))
    rest = _xor(rest, stream[: len(rest)]) if rest else b""
    return _xor(after, hashed(rest)) + rest
