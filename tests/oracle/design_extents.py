"""Ciphertext of one data unit of an extent: HKDF context 9, then the cipher by the letter."""

from tests.oracle.fscrypt_files import hkdf
from tests.oracle.slow_adiantum import adiantum_unit
from tests.oracle.slow_xts import xts_unit


def extent_unit(
    master_key: bytes, nonce: bytes, index: int, plaintext: bytes, mode: str = "AES-256-XTS"
) -> bytes:
    """``index`` is the unit's position in its extent; the modes are XTS and Adiantum."""
    if mode == "Adiantum":
        key = hkdf(master_key, 9, nonce, 32)
        return adiantum_unit(key, index.to_bytes(32, "little"), plaintext, "encrypt")
    key = hkdf(master_key, 9, nonce, 64)
    return xts_unit(key, index.to_bytes(16, "little"), plaintext, "encrypt")
