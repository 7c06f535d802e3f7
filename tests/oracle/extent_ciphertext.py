"""A file read from the bytes on the device, for each key design of extents: literal, a unit at a time.

Shares no code with the product: items by their offsets, keys by ``hmac``, one AES-XTS context for each unit.
"""

import hashlib
import hmac
import zlib
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 4096
Stored = Sequence[tuple[tuple[int, int, int], bytes]]


def hkdf(key: bytes, context: int, info: bytes) -> bytes:
    prk = hmac.new(bytes(64), key, hashlib.sha512).digest()
    return hmac.new(prk, b"fscrypt\0" + bytes([context]) + info + b"\x01", hashlib.sha512).digest()


def key_and_iv(design: str, master_key: bytes, context: bytes) -> tuple[bytes, int]:
    """Contents key, and IV of the extent's first unit as a number."""
    if design == "extents-heavyweight":
        assert len(context) == 40
        return hkdf(master_key, 2, context[24:40]), 0
    if design == "extents-nonce-only":
        assert len(context) == 16
        return hkdf(master_key, 9, context), 0
    if design == "extents-lightweight":
        assert len(context) == 34
        return hkdf(master_key, 9, context[18:34]), 0
    assert design == "extents-iv-from-fs"
    assert len(context) == 16
    return hkdf(master_key, 8, b"\x01"), int.from_bytes(context, "little")


def unit(key: bytes, iv: int, ciphertext: bytes) -> bytes:
    tweak = (iv % 2**128).to_bytes(16, "little")
    return Cipher(algorithms.AES(key), modes.XTS(tweak)).decryptor().update(ciphertext)


def little(data: bytes, start: int, count: int = 8) -> int:
    return int.from_bytes(data[start : start + count], "little")


def file_on_device(
    design: str, master_key: bytes, stored: Stored, ino: int, size: int, medium: Mapping[int, bytes]
) -> bytes:
    """Contents of inode ``ino`` from its items' bytes and the device's blocks."""
    own = {(key[0], key[2]): data for key, data in stored if key[1] == 42}
    contents = bytearray(size + BLOCK)
    for (owner, kind, start), data in stored:
        if owner != ino or kind != 108:
            continue
        context = own[owner, start] if design == "extents-lightweight" else data[53:]
        ram_bytes, compression, prealloc = little(data, 8), data[16], data[20] == 2
        address, disk_bytes = little(data, 21), little(data, 29)
        offset, length = little(data, 37), little(data, 45)
        if prealloc:
            continue
        key, iv = key_and_iv(design, master_key, context)
        if compression:
            first, count = 0, disk_bytes // BLOCK
        else:
            first, count = offset // BLOCK, length // BLOCK
        plain = b"".join(
            unit(key, iv + index, medium[address // BLOCK + index]) for index in range(first, first + count)
        )
        if compression:
            plain = zlib.decompressobj().decompress(plain)
            assert len(plain) == ram_bytes
            plain = plain[offset : offset + length]
        contents[start : start + length] = plain
    return bytes(contents[:size])
