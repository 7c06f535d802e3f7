"""Key derivation inside the key-wrapping hardware: NIST SP 800-108 in counter mode with AES-256-CMAC.

Block ``i`` (from 1) is ``CMAC(BE32(i) || label || 00 || context || BE32(output bits))``.  Some hardware feeds
the CMAC input in another order: cut from its end into 16-byte pieces, last piece first.

Source: reference block-layer.md section 5.4; the variants are those of Android's hardware-wrapped-key tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

RAW_KEY_BYTES: Final = 32
INLINE_KEY_BYTES: Final = 64
SW_SECRET_BYTES: Final = 32
_BLOCK_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class KdfVariant:
    """One row: the fixed inputs of a hardware's KDF."""

    name: str
    aliases: tuple[str, ...]
    label: bytes
    inline_context: bytes
    secret_context: bytes
    reorder: bool


@dataclass(frozen=True, slots=True, repr=False)
class HwDerived:
    """What the hardware derives from one raw key.

    Attributes:
        inline_key: 64 bytes; on hardware it never leaves the keyslot.
        sw_secret: 32 bytes, handed to the kernel.
    """

    inline_key: bytes
    sw_secret: bytes


_LABEL = bytes.fromhex("0000400000000000000020")
_INLINE = b"inline encryption key"
_STORAGE = b"inline encryption storagekey ctx"
_RAW_SECRET = b"raw secret" + bytes.fromhex("000000000000000000 0217008050 00000000")
_DERIVE_RAW = b"derive raw secret context abcdef"

_ROWS = (
    KdfVariant(
        name="kdf1",
        aliases=("v1",),
        label=_LABEL,
        inline_context=_INLINE + bytes.fromhex("000000 00000002 43008250 00000000"),
        secret_context=_RAW_SECRET,
        reorder=False,
    ),
    KdfVariant(
        name="kdf2",
        aliases=("legacykdf",),
        label=_LABEL,
        inline_context=_INLINE + bytes.fromhex("000000 00000001 43008218 00000000"),
        secret_context=_RAW_SECRET,
        reorder=False,
    ),
    KdfVariant(
        name="kdf3",
        aliases=("rearranged",),
        label=bytes(32),
        inline_context=_STORAGE + bytes.fromhex("00 00000000 10701872 00000000"),
        secret_context=_DERIVE_RAW,
        reorder=True,
    ),
    KdfVariant(
        name="kdf4",
        aliases=(),
        label=bytes(32),
        inline_context=_STORAGE + bytes.fromhex("00 72187010 00000000 00000000"),
        secret_context=_DERIVE_RAW,
        reorder=False,
    ),
    KdfVariant(
        name="kdf5",
        aliases=(),
        label=bytes(32),
        inline_context=_STORAGE,
        secret_context=_DERIVE_RAW,
        reorder=True,
    ),
)

KDF_VARIANTS: Final[Mapping[str, KdfVariant]] = MappingProxyType(
    {name: row for row in _ROWS for name in (row.name, *row.aliases)}
)


def _prf_input(variant: KdfVariant, counter: int, context: bytes, output_bytes: int) -> bytes:
    fixed = variant.label + b"\0" + context + (8 * output_bytes).to_bytes(4, "big")
    message = counter.to_bytes(4, "big") + fixed
    if not variant.reorder:
        return message
    ends = range(len(message), 0, -_BLOCK_BYTES)
    return b"".join(message[max(0, end - _BLOCK_BYTES) : end] for end in ends)


def _kdf(raw_key: bytes, variant: KdfVariant, context: bytes, output_bytes: int) -> bytes:
    blocks = []
    for counter in range(1, output_bytes // _BLOCK_BYTES + 1):
        prf = CMAC(AES(raw_key))
        prf.update(_prf_input(variant, counter, context, output_bytes))
        blocks.append(prf.finalize())
    return b"".join(blocks)


def derive(raw_key: bytes, variant: str = "kdf1") -> HwDerived:
    """Inline encryption key and software secret of a 32-byte raw hardware key.

    Args:
        raw_key: what unwrapping gives, inside the hardware.
        variant: a name or alias of ``KDF_VARIANTS``.

    Raises:
        ValueError: the key is not 32 bytes, or there is no such variant.
    """
    if len(raw_key) != RAW_KEY_BYTES:
        raise ValueError(f"a raw hardware key has {RAW_KEY_BYTES} bytes, not {len(raw_key)}")
    if variant not in KDF_VARIANTS:
        raise ValueError(f"no hardware KDF {variant!r}: one of {', '.join(KDF_VARIANTS)}")
    row = KDF_VARIANTS[variant]
    return HwDerived(
        inline_key=_kdf(raw_key, row, row.inline_context, INLINE_KEY_BYTES),
        sw_secret=_kdf(raw_key, row, row.secret_context, SW_SECRET_BYTES),
    )
