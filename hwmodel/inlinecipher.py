"""The cipher that an inline engine makes of a key."""

from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.modes import MODES
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from hwmodel.keywrap import KeyWrapUnit


def inline_cipher(key: BlkCryptoKey, unit: KeyWrapUnit | None) -> DataUnitCipher:
    """The cipher that ``key`` gives; ``unit`` unwraps, and derives what software cannot."""
    raw = key.raw
    if key.crypto_cfg.key_type is KeyType.HW_WRAPPED:
        assert unit is not None, "a wrapped key exists only where a unit wrapped it"
        raw = unit.inline_key(raw)
    return new_cipher(MODES[key.crypto_cfg.crypto_mode].name, raw)
