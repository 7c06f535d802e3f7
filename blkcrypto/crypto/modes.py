"""The cipher modes of Linux inline and filesystem encryption.

Sources: ``blk_crypto_modes[]``, block/blk-crypto.c; ``fscrypt_modes[]``, fs/crypto/keysetup.c; reference
block-layer.md section 1.2 and fscrypt.md section 1.1.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from blkcrypto.base.errors import BlkCryptoError


class UnknownMode(BlkCryptoError):
    """No cipher of that name: what the crypto API answers when an algorithm is not built in."""

    errno = errno.ENOENT


class WrongKeySize(BlkCryptoError):
    """The raw key has not the size of the mode."""

    errno = errno.EINVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class CipherMode:
    """One mode.

    Attributes:
        name: as in sysfs, where Linux shows it there; otherwise fscrypt's name with its hyphens.
        key_bytes: raw key size.
        iv_bytes: IV size, the length of the DUN the cipher sees.
        security_strength_bytes: the shortest master or wrapped key that is strong enough.
        contents: encrypts data units.
        names: encrypts filenames and symlink targets.
        fscrypt_num: ``FSCRYPT_MODE_*``.
    """

    name: str
    key_bytes: int
    iv_bytes: int
    security_strength_bytes: int
    contents: bool
    names: bool
    fscrypt_num: int


def _row(
    name: str, key_bytes: int, iv_bytes: int, strength: int, *, contents: bool, names: bool, num: int
) -> CipherMode:
    return CipherMode(
        name=name,
        key_bytes=key_bytes,
        iv_bytes=iv_bytes,
        security_strength_bytes=strength,
        contents=contents,
        names=names,
        fscrypt_num=num,
    )


_ROWS = (
    _row("AES-256-XTS", 64, 16, 32, contents=True, names=False, num=1),
    _row("AES-256-CTS-CBC", 32, 16, 32, contents=False, names=True, num=4),
    _row("AES-128-CBC-ESSIV", 16, 16, 16, contents=True, names=False, num=5),
    _row("AES-128-CTS-CBC", 16, 16, 16, contents=False, names=True, num=6),
    _row("SM4-XTS", 32, 16, 16, contents=True, names=False, num=7),
    _row("SM4-CTS-CBC", 16, 16, 16, contents=False, names=True, num=8),
    _row("Adiantum", 32, 32, 32, contents=True, names=True, num=9),
    _row("AES-256-HCTR2", 32, 32, 32, contents=False, names=True, num=10),
)

CIPHER_MODES: Final[Mapping[str, CipherMode]] = MappingProxyType({mode.name: mode for mode in _ROWS})


def mode_named(name: str) -> CipherMode:
    """The row of ``name``.

    Raises:
        UnknownMode: no such row (ENOENT).
    """
    try:
        return CIPHER_MODES[name]
    except KeyError:
        raise UnknownMode(f"no cipher mode {name!r}: one of {', '.join(CIPHER_MODES)}") from None


def check_key_size(mode: CipherMode, key: bytes) -> None:
    """Refuse a raw key that has not the mode's size.

    Raises:
        WrongKeySize: another size (EINVAL).
    """
    if len(key) != mode.key_bytes:
        raise WrongKeySize(f"{mode.name} takes a {mode.key_bytes}-byte key, not {len(key)} bytes")
