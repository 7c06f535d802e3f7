"""AES-256-XTS one data unit at a time, straight from the DUN: what any medium must hold.

Uses OpenSSL through ``cryptography``, one context per data unit, and nothing of ours.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def ciphertext(key: bytes, first_dun: int, plaintext: bytes, data_unit_size: int) -> bytes:
    """Every data unit with its own tweak: the low 128 bits of its DUN, little-endian."""
    out = []
    for number in range(len(plaintext) // data_unit_size):
        dun = (first_dun + number) % 2**256
        tweak = dun.to_bytes(32, "little")[:16]
        encryptor = Cipher(algorithms.AES(key), modes.XTS(tweak)).encryptor()
        unit = plaintext[number * data_unit_size : (number + 1) * data_unit_size]
        out.append(encryptor.update(unit) + encryptor.finalize())
    return b"".join(out)
