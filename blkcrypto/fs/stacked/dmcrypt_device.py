"""A dm-crypt device over a medium in memory: what is on the medium is what Linux writes.

Rules (drivers/md/dm-crypt.c; reference fscrypt.md section 8.2):

- Everything is encrypted, free space and metadata too; one key (or ``count`` keys) for the device.
- I/O is whole units of ``sector_size``; the device's logical block size says so.
- Discards fail unless the table allows them; allowed, they show which sectors are unused.
- A suspended device whose key was wiped does no I/O until it has its key again.
"""

import errno
from dataclasses import dataclass, field

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.units import SECTOR_BYTES
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.fs.dm_table import DmTable, parse_table
from blkcrypto.fs.stacked.crypt_path import CryptFlag, read_path, split_sectors, write_path
from blkcrypto.fs.stacked.key_count import KeyCountCipher


class Misaligned(BlkCryptoError):
    """A bio that is not whole units, or past the end of the mapping: it ends with an I/O error."""

    errno = errno.EIO


class DiscardNotAllowed(BlkCryptoError):
    """A discard on a table without ``allow_discards``."""

    errno = errno.EOPNOTSUPP


class KeyWiped(BlkCryptoError):
    """The device has no key: I/O waits in Linux, and fails here.  A table without its key cannot resume."""

    errno = errno.EIO


class TargetMismatch(BlkCryptoError):
    """A table of another target."""

    errno = errno.EINVAL


@dataclass(slots=True)
class CryptCounts:
    """What a device did.

    Attributes:
        crypto_calls: data units encrypted or decrypted.
        bounce_bytes: copied because ciphertext needs memory of its own.
        handovers: how often bios changed hands.
        bios: parts submitted to the device below.
    """

    crypto_calls: int = 0
    bounce_bytes: int = 0
    handovers: int = 0
    bios: int = 0


def flags_of(line: str) -> frozenset[CryptFlag]:
    """The flags of a table line.

    Raises:
        TableInvalid: ``parse_table`` refuses the line (EINVAL).
    """
    parse_table(line)
    known = {flag.value: flag for flag in CryptFlag}
    return frozenset(known[option] for option in line.split()[9:] if option in known)


def check_range(table: DmTable, sector: int, nbytes: int) -> None:
    """Refuse what is not whole units inside the mapping.

    Raises:
        Misaligned: EIO.
    """
    if (sector * SECTOR_BYTES | nbytes) % table.sector_size:
        raise Misaligned(f"{nbytes} bytes at sector {sector} are not whole units of {table.sector_size}")
    if not 0 <= sector <= table.length - nbytes // SECTOR_BYTES:
        raise Misaligned(f"{nbytes} bytes at sector {sector} of {table.length} sectors")


@dataclass(slots=True)
class CryptDevice:
    """A mapping.

    Args:
        line: table line of the target ``crypt``.
        medium: the device below, whole sectors.

    Raises:
        TableInvalid, TargetMismatch, BadCipherSpec, WrongKeySize, WeakKey: EINVAL.
        UnknownMode: ENOENT.
    """

    line: str
    medium: bytearray
    counts: CryptCounts = field(default_factory=CryptCounts)
    table: DmTable = field(init=False)
    flags: frozenset[CryptFlag] = field(init=False)
    _cipher: KeyCountCipher | None = field(init=False)

    def __post_init__(self) -> None:
        self.table = parse_table(self.line)
        if self.table.target != "crypt":
            raise TargetMismatch(f"a table of {self.table.target}")
        self.flags = flags_of(self.line)
        self._cipher = self._keyed(self.table.key)

    def _keyed(self, key: bytes) -> KeyCountCipher:
        table = self.table
        return KeyCountCipher(
            table.cipher, key, sector_size=table.sector_size, iv_large_sectors=table.iv_large_sectors
        )

    def _place(self, sector: int, nbytes: int) -> slice:
        start = (self.table.device_start + sector) * SECTOR_BYTES
        return slice(start, start + nbytes)

    def _ready(self) -> KeyCountCipher:
        if self._cipher is None:
            raise KeyWiped("the device's key was wiped: send it the message 'key set'")
        return self._cipher

    def _units(self, data: bytes) -> U8Array:
        return np.frombuffer(data, dtype=np.uint8).reshape(-1, self.table.sector_size)

    def write(self, sector: int, data: bytes) -> None:
        """Write from 512-byte ``sector`` of the mapping on.

        Raises:
            Misaligned, KeyWiped: EIO.
        """
        check_range(self.table, sector, len(data))
        cipher, path = self._ready(), write_path(self.flags)
        for part in split_sectors(len(data) // SECTOR_BYTES, self.table.sector_size):
            nbytes = part * SECTOR_BYTES
            units = self._units(data[:nbytes])
            stored = cipher.encrypt(sector + self.table.iv_offset, units)
            self.medium[self._place(sector, nbytes)] = stored.tobytes()
            self.counts.crypto_calls += len(units)
            self.counts.bounce_bytes += nbytes
            self.counts.handovers += path.handovers
            self.counts.bios += 1
            sector, data = sector + part, data[nbytes:]

    def read(self, sector: int, nbytes: int) -> bytes:
        """Read; a sector never written gives noise.

        Raises:
            Misaligned, KeyWiped: EIO.
        """
        check_range(self.table, sector, nbytes)
        cipher, path = self._ready(), read_path(self.flags)
        out = b""
        for part in split_sectors(nbytes // SECTOR_BYTES, self.table.sector_size):
            units = self._units(bytes(self.medium[self._place(sector, part * SECTOR_BYTES)]))
            out += cipher.decrypt(sector + self.table.iv_offset, units).tobytes()
            self.counts.crypto_calls += len(units)
            self.counts.handovers += path.handovers
            self.counts.bios += 1
            sector += part
        return out

    def discard(self, sector: int, nbytes: int) -> None:
        """Discard; the device below then has zeroes.

        Raises:
            DiscardNotAllowed: EOPNOTSUPP.
            Misaligned: EIO.
        """
        if not self.table.allow_discards:
            raise DiscardNotAllowed("the table has no allow_discards: a discard would show what is unused")
        check_range(self.table, sector, nbytes)
        self.medium[self._place(sector, nbytes)] = bytes(nbytes)

    def wipe_key(self) -> None:
        """The message ``key wipe``: erasing the one key makes the whole device unreadable."""
        if self._cipher is not None:
            self._cipher.wipe()
        self._cipher = None

    def set_key(self, key: bytes) -> None:
        """The message ``key set``.  Any key of the right size is taken: none can be told from a wrong one.

        Raises:
            WrongKeySize, WeakKey: EINVAL.
        """
        self._cipher = self._keyed(key)
