"""Plaintext of a file in an image, from the image's bytes and the record of one golden case: literally.

Every data unit on its own: key by ``hmac``, IV by hand, one cipher context.  Nothing of ext4 is parsed: the
record says in which blocks the file lies.
"""

import hashlib
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.oracle.fscrypt_files import hkdf, siphash
from tests.oracle.slow_adiantum import adiantum_unit
from tests.oracle.slow_xts import xts_unit

XTS, CBC_ESSIV, SM4_XTS, ADIANTUM = 1, 5, 7, 9
KEY_BYTES = {XTS: 64, CBC_ESSIV: 16, SM4_XTS: 32, ADIANTUM: 32}


def contents_key(case: dict[str, Any], nonce: bytes) -> bytes:
    policy, master_key = case["policy"], bytes.fromhex(case["master_key"])
    mode = policy["contents_mode"]
    size = KEY_BYTES[mode]
    if policy["version"] == 1:
        if policy["direct_key"]:
            return master_key[:size]
        return Cipher(algorithms.AES(nonce), modes.ECB()).encryptor().update(master_key[:size])
    uuid = bytes.fromhex(case["fs"]["uuid"])
    if policy["direct_key"]:
        return hkdf(master_key, 3, bytes([mode]), size)
    if policy["iv_ino_lblk_64"]:
        return hkdf(master_key, 4, bytes([mode]) + uuid, size)
    if policy["iv_ino_lblk_32"]:
        return hkdf(master_key, 6, bytes([mode]) + uuid, size)
    return hkdf(master_key, 2, nonce, size)


def unit_iv(case: dict[str, Any], ino: int, nonce: bytes, index: int) -> bytes:
    policy = case["policy"]
    if policy["iv_ino_lblk_64"]:
        return index.to_bytes(4, "little") + ino.to_bytes(4, "little") + bytes(24)
    if policy["iv_ino_lblk_32"]:
        hash_key = hkdf(bytes.fromhex(case["master_key"]), 7, b"", 16)
        hashed = siphash(hash_key, ino.to_bytes(8, "little"))
        return ((hashed + index) % 2**32).to_bytes(4, "little") + bytes(28)
    return index.to_bytes(8, "little") + (nonce if policy["direct_key"] else bytes(16)) + bytes(8)


def decrypt_unit(mode: int, key: bytes, iv: bytes, unit: bytes) -> bytes:
    if mode == XTS:
        return Cipher(algorithms.AES(key), modes.XTS(iv[:16])).decryptor().update(unit)
    if mode == CBC_ESSIV:
        essiv = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.ECB()).encryptor()
        return Cipher(algorithms.AES(key), modes.CBC(essiv.update(iv[:16]))).decryptor().update(unit)
    if mode == SM4_XTS:
        return xts_unit(key, iv[:16], unit, "decrypt", algorithms.SM4)
    return adiantum_unit(key, iv, unit, "decrypt")


def plaintext(image: bytes, case: dict[str, Any], item: dict[str, Any]) -> bytes:
    """The file ``item`` of ``case``: holes are zeroes, and what lies past its end is cut off."""
    block_size, unit_size = case["fs"]["block_size"], case["policy"]["data_unit_size"]
    nonce = bytes.fromhex(item["nonce"])
    key = contents_key(case, nonce)
    out = bytearray(item["size"] + block_size)
    for run in item["runs"]:
        for at in range(0, run["count"] * block_size, unit_size):
            pos, disk = run["lblk"] * block_size + at, run["pblk"] * block_size + at
            iv = unit_iv(case, item["ino"], nonce, pos // unit_size)
            unit = decrypt_unit(case["policy"]["contents_mode"], key, iv, image[disk : disk + unit_size])
            out[pos : pos + unit_size] = unit
    return bytes(out[: item["size"]])
