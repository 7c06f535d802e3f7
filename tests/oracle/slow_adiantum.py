"""Adiantum with Python integers, one data unit at a time, written from the paper."""

from itertools import pairwise

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_P = (1 << 130) - 5
_U32 = 0xFFFFFFFF
_CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
_COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def _words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def _quarter(x: list[int], a: int, b: int, c: int, d: int) -> None:
    for to, by, turned, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[to] = x[to] + x[by] & _U32
        mixed = x[turned] ^ x[to]
        x[turned] = (mixed << bits | mixed >> 32 - bits) & _U32


def _permuted(state: list[int], rounds: int) -> list[int]:
    x = list(state)
    for _ in range(rounds // 2):
        for lanes in _COLUMNS + _DIAGONALS:
            _quarter(x, *lanes)
    return x


def xchacha(key: bytes, nonce: bytes, nbytes: int, rounds: int) -> bytes:
    constants = _words(b"expand 32-byte k")
    first = _permuted(constants + _words(key) + _words(nonce[:16]), rounds)
    subkey = first[:4] + first[12:]
    stream = b""
    for counter in range(-(-nbytes // 64)):
        start = [*constants, *subkey, counter, 0, *_words(nonce[16:])]
        end = _permuted(start, rounds)
        stream += b"".join((a + b & _U32).to_bytes(4, "little") for a, b in zip(start, end, strict=True))
    return stream[:nbytes]


def _poly1305(key: bytes, message: bytes) -> int:
    r = int.from_bytes(key, "little") & _CLAMP
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at : at + 16] + b"\1", "little")) * r % _P
    return total % (1 << 128)


def _nh(key: list[int], message: bytes) -> bytes:
    m = _words(message + bytes(-len(message) % 16))
    sums = b""
    for offset in (0, 4, 8, 12):
        total = 0
        for at in range(0, len(m), 4):
            k = key[offset + at : offset + at + 4]
            x = [m[at + i] + k[i] & _U32 for i in range(4)]
            total += x[0] * x[2] + x[1] * x[3]
        sums += (total % (1 << 64)).to_bytes(8, "little")
    return sums


def adiantum_unit(key: bytes, tweak: bytes, unit: bytes, how: str, rounds: int = 12) -> bytes:
    stream = xchacha(key, b"\1" + bytes(23), 32 + 16 + 16 + 1072, rounds)
    aes, poly_tweak, poly_message, nh = (stream[a:b] for a, b in pairwise((0, 32, 48, 64, len(stream))))
    left, right = unit[:-16], int.from_bytes(unit[-16:], "little")
    header = (8 * len(left)).to_bytes(16, "little") + tweak

    def hashed(data: bytes) -> int:
        pieces = [_nh(_words(nh), data[at : at + 1024]) for at in range(0, len(data), 1024)]
        return _poly1305(poly_tweak, header) + _poly1305(poly_message, b"".join(pieces))

    cipher = Cipher(algorithms.AES(aes), modes.ECB())
    middle = ((right + hashed(left)) % (1 << 128)).to_bytes(16, "little")
    other = (cipher.encryptor() if how == "encrypt" else cipher.decryptor()).update(middle)
    nonce = (other if how == "encrypt" else middle) + b"\1" + bytes(7)
    left = bytes(a ^ b for a, b in zip(left, xchacha(key, nonce, len(left), rounds), strict=True))
    right = (int.from_bytes(other, "little") - hashed(left)) % (1 << 128)
    return left + right.to_bytes(16, "little")
