"""Keys as the block layer sees them.

A ``BlkCryptoKey`` is an identity: the keyslot manager and the merge rules compare objects, never
bytes, so equality here is object identity.  Bytes are never shown in a repr.

Source: include/linux/blk-crypto.h; reference block-layer.md sections 1.1, 1.2, 2.1, 2.2.
"""

import enum
from dataclasses import dataclass
from typing import Final

MAX_RAW_KEY_BYTES: Final = 64
MAX_HW_WRAPPED_KEY_BYTES: Final = 128
SW_SECRET_BYTES: Final = 32


class KeyType(enum.IntFlag):
    """``enum blk_crypto_key_type``; a profile's ``key_types_supported`` is a mask of these."""

    # As in ``ReqFlags``: asked for every bio.
    __and__ = int.__and__  # type: ignore[assignment]  # an int where IntFlag promises a member
    __rand__ = int.__rand__  # type: ignore[assignment]  # the same

    RAW = 1
    HW_WRAPPED = 2


class ConfigFlags(enum.IntFlag):
    """``blk_crypto_config.flags`` (7.3+)."""

    __and__ = int.__and__  # type: ignore[assignment]  # as in ``KeyType``
    __rand__ = int.__rand__  # type: ignore[assignment]  # the same

    NONE = 0
    ALLOW_HW = 1


class CryptoModeNum(enum.IntEnum):
    """``enum blk_crypto_mode_num``."""

    INVALID = 0
    AES_256_XTS = 1
    AES_128_CBC_ESSIV = 2
    ADIANTUM = 3
    SM4_XTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptoConfig:
    """``struct blk_crypto_config``.  ``dun_bytes`` is a promise that nobody checks during I/O."""

    crypto_mode: CryptoModeNum
    data_unit_size: int
    dun_bytes: int
    key_type: KeyType = KeyType.RAW
    flags: ConfigFlags = ConfigFlags.ALLOW_HW


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BlkCryptoKey:
    """``struct blk_crypto_key``: build one with ``init_key``, which validates in Linux's order.

    The owner evicts it from every device it was used with, then forgets it.

    Attributes:
        crypto_cfg: how the key is used.
        data_unit_size_bits: log2 of the data unit size.
        raw: the raw key, or the ephemerally wrapped blob.
        owner: whose key it is, for reports; an inode number, or words.  Carries no secret.
    """

    crypto_cfg: CryptoConfig
    data_unit_size_bits: int
    raw: bytes
    owner: str | int = ""

    @property
    def label(self) -> str:
        """What reports call the key: made on demand, as there may be a million keys."""
        return f"inode {self.owner}" if isinstance(self.owner, int) else self.owner

    def __repr__(self) -> str:
        cfg = self.crypto_cfg
        return f"<BlkCryptoKey {self.label or hex(id(self))} {cfg.crypto_mode.name} {cfg.key_type.name}>"
