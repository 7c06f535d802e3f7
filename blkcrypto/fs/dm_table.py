"""Tables of the device-mapper targets that encrypt a whole device: dm-crypt and dm-inlinecrypt.

A line is ``start length crypt|inlinecrypt cipher key iv_offset device device_start [count option ...]``.

Rules (drivers/md/dm-crypt.c, dm-inlinecrypt.c; reference fscrypt.md 8.2, block-layer.md 3.17):

- ``sector_size`` is 512, 1024, 2048 or 4096; ``iv_offset`` is a multiple of it.
- IVs count 512-byte sectors, or with ``iv_large_sectors`` units of ``sector_size``.
- dm-crypt encrypts for itself.  dm-inlinecrypt gives every bio a context: AES-256-XTS with one key, DUN =
  ``(iv_offset + sector) / sector_size``; larger sectors need ``iv_large_sectors``.
"""

import errno
from dataclasses import dataclass
from typing import Final, Literal, cast

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.key import BlkCryptoKey, CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.crypto.dmcrypt import DmCipher

_SECTOR_SIZES: Final = (512, 1024, 2048, 4096)
_INLINE_CIPHER: Final = "aes-xts-plain64"
_INLINE_KEY_BYTES: Final = 64
_KEY_TYPES: Final = {"raw": KeyType.RAW, "hw-wrapped": KeyType.HW_WRAPPED}
_FLAG_OPTIONS: Final = {
    "crypt": {
        "allow_discards", "same_cpu_crypt", "submit_from_crypt_cpus", "high_priority", "no_read_workqueue",
        "no_write_workqueue", "iv_large_sectors",
    },
    "inlinecrypt": {"allow_discards", "iv_large_sectors"},
}  # fmt: skip


class TableInvalid(BlkCryptoError):
    """The target refuses the table."""

    errno = errno.EINVAL


class WrappedKeysUnavailable(BlkCryptoError):
    """The device below takes no hardware-wrapped keys."""

    errno = errno.EOPNOTSUPP


@dataclass(frozen=True, slots=True, kw_only=True)
class DmTable:
    """One table line.

    Attributes:
        target: which target.
        length: of the mapping, in 512-byte sectors.
        cipher: specification, e.g. ``aes-xts-plain64``.
        key: volume key, or wrapped blob.
        iv_offset: added to a sector before its IV is made, in 512-byte sectors.
        device_start: where the mapping begins on the device, in 512-byte sectors.
        sector_size: bytes encrypted as one.
        iv_large_sectors: IVs count units of ``sector_size``.
        key_type: of dm-inlinecrypt.
        allow_discards: pass discards on.
    """

    target: Literal["crypt", "inlinecrypt"]
    length: int
    cipher: str
    key: bytes
    iv_offset: int
    device_start: int
    sector_size: int = 512
    iv_large_sectors: bool = False
    key_type: KeyType = KeyType.RAW
    allow_discards: bool = False

    @property
    def sector_shift(self) -> int:
        """log2 of 512-byte sectors in one ``sector_size``."""
        return self.sector_size.bit_length() - 1 - SECTOR_SHIFT


def parse_table(line: str) -> DmTable:
    """Read and check a table line.

    Raises:
        TableInvalid: EINVAL.
    """
    fields = line.split()
    if len(fields) < 8 or fields[2] not in _FLAG_OPTIONS:
        raise TableInvalid(f"not a crypt or inlinecrypt table: {len(fields)} fields")
    target = cast(Literal["crypt", "inlinecrypt"], fields[2])
    flags, values = _options(target, fields[8:])
    try:
        length, iv_offset, device_start = int(fields[1]), int(fields[5]), int(fields[7])
        key = bytes.fromhex("" if fields[4] == "-" else fields[4])
        sector_size = int(values.pop("sector_size", "512"))
    except ValueError as error:
        raise TableInvalid(f"not a number, or not a key in hex: {error}") from error
    key_type = values.pop("keytype", "raw")
    if sector_size not in _SECTOR_SIZES or values or key_type not in _KEY_TYPES:
        raise TableInvalid(f"sector_size {sector_size}, keytype {key_type}, unknown options {list(values)}")
    table = DmTable(
        target=target,
        length=length,
        cipher=fields[3],
        key=key,
        iv_offset=iv_offset,
        device_start=device_start,
        sector_size=sector_size,
        iv_large_sectors="iv_large_sectors" in flags,
        key_type=_KEY_TYPES[key_type],
        allow_discards="allow_discards" in flags,
    )
    _check(table)
    return table


def _options(target: str, fields: list[str]) -> tuple[set[str], dict[str, str]]:
    """Options without and with a value; the first field counts them."""
    options = fields[1:]
    if fields and fields[0] != str(len(options)):
        raise TableInvalid(f"{len(options)} options, but the table says {fields[0]}")
    flags = {option for option in options if ":" not in option}
    values = dict(option.split(":", 1) for option in options if ":" in option)
    unknown = flags - _FLAG_OPTIONS[target]
    if unknown or ("keytype" in values and target == "crypt"):
        raise TableInvalid(f"unknown options {sorted(unknown) or ['keytype']}")
    return flags, values


def _check(table: DmTable) -> None:
    if (table.iv_offset | table.length) & ((1 << table.sector_shift) - 1):
        raise TableInvalid(f"iv_offset and length are multiples of sector_size {table.sector_size}")
    if table.target == "inlinecrypt":
        _check_inline(table)


def _check_inline(table: DmTable) -> None:
    if table.cipher != _INLINE_CIPHER:
        raise TableInvalid(f"dm-inlinecrypt knows {_INLINE_CIPHER} only, not {table.cipher}")
    if table.key_type is KeyType.RAW and len(table.key) != _INLINE_KEY_BYTES:
        raise TableInvalid(f"a raw key has {_INLINE_KEY_BYTES} bytes, not {len(table.key)}")
    if table.sector_shift and not table.iv_large_sectors:
        raise TableInvalid("a sector_size above 512 needs iv_large_sectors")


class DmCrypt:
    """A dm-crypt mapping: encrypts in software.

    Raises:
        BadCipherSpec, WrongKeySize, WeakKey: EINVAL.
        UnknownMode: ENOENT.
    """

    def __init__(self, table: DmTable) -> None:
        self.table = table
        self._cipher = DmCipher(
            table.cipher,
            table.key,
            sector_size=table.sector_size,
            iv_large_sectors=table.iv_large_sectors,
        )
        self.encrypt = self._cipher.encrypt
        self.decrypt = self._cipher.decrypt

    def iv_sector(self, sector: int) -> int:
        """What ``encrypt`` and ``decrypt`` take for a sector of the mapping."""
        return sector + self.table.iv_offset


class DmInlinecrypt:
    """A dm-inlinecrypt mapping: one key, a context for every bio.

    Args:
        table: of this target.
        takes_wrapped: whether the device below takes hardware-wrapped keys.

    Raises:
        WrappedKeysUnavailable: EOPNOTSUPP.
    """

    def __init__(self, table: DmTable, *, takes_wrapped: bool = False) -> None:
        if table.key_type is KeyType.HW_WRAPPED and not takes_wrapped:
            raise WrappedKeysUnavailable("the device takes raw keys only")
        largest = (table.iv_offset + table.length - 1) >> table.sector_shift
        config = CryptoConfig(
            crypto_mode=CryptoModeNum.AES_256_XTS,
            data_unit_size=table.sector_size,
            dun_bytes=max(1, -(-largest.bit_length() // 8)),
            key_type=table.key_type,
        )
        self.table = table
        self.key = BlkCryptoKey(config, table.sector_size.bit_length() - 1, table.key, "dm-inlinecrypt")

    def crypt_ctx(self, sector: int) -> BioCryptCtx:
        """Context of a bio that begins at 512-byte ``sector`` of the mapping.

        Raises:
            TableInvalid: not on a sector_size border; the target ends such a bio with an I/O error.
        """
        if sector & ((1 << self.table.sector_shift) - 1):
            raise TableInvalid(f"sector {sector} is inside a unit of {self.table.sector_size} bytes")
        return BioCryptCtx(self.key, (self.table.iv_offset + sector) >> self.table.sector_shift)
