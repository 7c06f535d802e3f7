"""The crypto modes blk-crypto knows, by number.

Sizes are facts of the cipher and live in ``blkcrypto.crypto.modes``; the numbers are the block layer's.

Source: ``blk_crypto_modes[]``, block/blk-crypto.c; reference block-layer.md section 1.2.
"""

from dataclasses import dataclass
from typing import Final

from blkcrypto.block.key import CryptoModeNum
from blkcrypto.crypto.modes import mode_named


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptoMode:
    """One row of the table.

    Attributes:
        num: index in the table.
        name: as in sysfs, and as ``blkcrypto.crypto`` names its ciphers.
        key_bytes: of the raw key.
        security_strength_bytes: least size of a wrapped key.
        iv_bytes: how much of the little-endian DUN the cipher gets.
    """

    num: CryptoModeNum
    name: str = ""
    key_bytes: int = 0
    security_strength_bytes: int = 0
    iv_bytes: int = 0


def _row(num: CryptoModeNum, name: str) -> CryptoMode:
    cipher = mode_named(name)
    return CryptoMode(
        num=num,
        name=name,
        key_bytes=cipher.key_bytes,
        security_strength_bytes=cipher.security_strength_bytes,
        iv_bytes=cipher.iv_bytes,
    )


MODES: Final = (
    CryptoMode(num=CryptoModeNum.INVALID),
    _row(CryptoModeNum.AES_256_XTS, "AES-256-XTS"),
    _row(CryptoModeNum.AES_128_CBC_ESSIV, "AES-128-CBC-ESSIV"),
    _row(CryptoModeNum.ADIANTUM, "Adiantum"),
    _row(CryptoModeNum.SM4_XTS, "SM4-XTS"),
)
"""Indexed by mode number."""

REAL_MODES: Final = MODES[1:]
"""The rows a key can use: all but INVALID."""
