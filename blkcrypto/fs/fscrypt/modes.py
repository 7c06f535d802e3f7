"""Encryption modes of fscrypt: numbers, sizes, and which pairs a policy may use.

Sources: include/uapi/linux/fscrypt.h, ``fscrypt_modes[]`` in fs/crypto/keysetup.c,
``fscrypt_valid_enc_modes_v1()``/``_v2()`` in fs/crypto/policy.c; reference fscrypt.md sections 1.1, 1.2.
"""

import enum
from dataclasses import dataclass
from typing import Final

from blkcrypto.block.key import CryptoModeNum


class ModeNum(enum.IntEnum):
    """``FSCRYPT_MODE_*``.  2 and 3 are reserved; 7 and 8 were Speck once."""

    AES_256_XTS = 1
    AES_256_CTS = 4
    AES_128_CBC = 5
    AES_128_CTS = 6
    SM4_XTS = 7
    SM4_CTS = 8
    ADIANTUM = 9
    AES_256_HCTR2 = 10


@dataclass(frozen=True, slots=True)
class FscryptMode:
    """One row of ``fscrypt_modes[]``.

    Attributes:
        number: as stored in policies.
        name: as the ciphers of ``blkcrypto.crypto`` are called.
        key_bytes: size of the key the cipher takes.
        security_strength_bytes: least master key size of a v2 policy.
        iv_bytes: IV size of the cipher.
        blk_crypto_mode: counterpart in the block layer, ``INVALID`` where it has none.
    """

    number: ModeNum
    name: str
    key_bytes: int
    security_strength_bytes: int
    iv_bytes: int
    blk_crypto_mode: CryptoModeNum = CryptoModeNum.INVALID


_ROWS = (
    FscryptMode(ModeNum.AES_256_XTS, "AES-256-XTS", 64, 32, 16, CryptoModeNum.AES_256_XTS),
    FscryptMode(ModeNum.AES_256_CTS, "AES-256-CTS-CBC", 32, 32, 16),
    FscryptMode(ModeNum.AES_128_CBC, "AES-128-CBC-ESSIV", 16, 16, 16, CryptoModeNum.AES_128_CBC_ESSIV),
    FscryptMode(ModeNum.AES_128_CTS, "AES-128-CTS-CBC", 16, 16, 16),
    FscryptMode(ModeNum.SM4_XTS, "SM4-XTS", 32, 16, 16, CryptoModeNum.SM4_XTS),
    FscryptMode(ModeNum.SM4_CTS, "SM4-CTS-CBC", 16, 16, 16),
    FscryptMode(ModeNum.ADIANTUM, "Adiantum", 32, 32, 32, CryptoModeNum.ADIANTUM),
    FscryptMode(ModeNum.AES_256_HCTR2, "AES-256-HCTR2", 32, 32, 32),
)

FSCRYPT_MODES: Final[dict[int, FscryptMode]] = {row.number: row for row in _ROWS}

VALID_PAIRS_V1: Final = frozenset(
    {
        (ModeNum.AES_256_XTS, ModeNum.AES_256_CTS),
        (ModeNum.AES_128_CBC, ModeNum.AES_128_CTS),
        (ModeNum.ADIANTUM, ModeNum.ADIANTUM),
    }
)
VALID_PAIRS_V2: Final = VALID_PAIRS_V1 | {
    (ModeNum.AES_256_XTS, ModeNum.AES_256_HCTR2),
    (ModeNum.SM4_XTS, ModeNum.SM4_CTS),
}
