"""Whole-device encryption as the battery tries it: a small filesystem above a mapping."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from blkcrypto.base.units import SECTOR_BYTES
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.fs.battery.subject import Loot
from blkcrypto.fs.fscrypt.contents_bio import crypt_ctx
from blkcrypto.fs.fscrypt.filesystem import ext4_like
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.policy import NONCE_BYTES, Policy
from blkcrypto.fs.stacked.dmcrypt_device import CryptDevice, KeyWiped
from blkcrypto.fs.stacked.inline_device import DefaultKeyDevice, InlinecryptDevice
from blkcrypto.fs.store import SoftwareStore

UNIT_BYTES: Final = 4096
_SECTORS: Final = UNIT_BYTES // SECTOR_BYTES
_UNITS: Final = 512


def _line(target: str, key: bytes) -> str:
    """A table as LUKS makes it by default: aes-xts-plain64, units of 512 bytes."""
    return f"0 {_UNITS * _SECTORS} {target} aes-xts-plain64 {key.hex()} 0 8:0 0"


class SectorDevice:
    """The device below a mapping.  Sectors that are zero were not written.

    Attributes:
        data: all of it; dm-crypt's medium.
    """

    def __init__(self) -> None:
        self.data = bytearray(_UNITS * UNIT_BYTES)

    def units(self) -> dict[int, bytes]:
        """See ``UnitDevice``."""
        cut = ((at, self.lift(at).ciphertext) for at in range(_UNITS))
        return {at: unit for at, unit in cut if any(unit)}

    def occupied(self, addresses: Sequence[int]) -> frozenset[int]:
        """See ``UnitDevice``."""
        return frozenset(addresses)

    def lift(self, address: int) -> Loot:
        """See ``UnitDevice``."""
        return Loot(bytes(self.data[address * UNIT_BYTES : (address + 1) * UNIT_BYTES]))

    def plant(self, address: int, loot: Loot, *, mend: bool) -> None:
        """See ``UnitDevice``: there are no checksums."""
        del mend
        self.data[address * UNIT_BYTES : (address + 1) * UNIT_BYTES] = loot.ciphertext

    def save(self) -> object:
        """See ``UnitDevice``."""
        return bytes(self.data)

    def restore(self, saved: object) -> None:
        """See ``UnitDevice``."""
        assert isinstance(saved, bytes)
        self.data[:] = saved


class InlineSectors:
    """``InlineStore`` over the same bytes: encrypts what comes with a context, as hardware would."""

    def __init__(self, device: SectorDevice) -> None:
        self._data = device.data
        self._engine = SoftwareStore(SECTOR_BYTES)

    def write(self, ctx: BioCryptCtx | None, block: int, data: bytes) -> None:
        """See ``InlineStore``."""
        self._engine.write(ctx, block, data)
        at = block * SECTOR_BYTES
        self._data[at : at + len(data)] = self._engine.read(None, block, len(data))

    def read(self, ctx: BioCryptCtx | None, block: int, nbytes: int) -> bytes:
        """See ``InlineStore``."""
        at = block * SECTOR_BYTES
        self._engine.write(None, block, bytes(self._data[at : at + nbytes]))
        return self._engine.read(ctx, block, nbytes)


class Mapping(Protocol):
    """A mapping that has its key.  ``head`` and ``index`` say of which file, ``unit`` where on the device."""

    def write(self, head: bytes, index: int, unit: int, data: bytes) -> None:
        """Write a unit."""

    def read(self, head: bytes, index: int, unit: int) -> bytes:
        """Read one."""


@dataclass(frozen=True, slots=True)
class _Crypt:
    device: CryptDevice

    def write(self, head: bytes, index: int, unit: int, data: bytes) -> None:
        del head, index
        self.device.write(unit * _SECTORS, data)

    def read(self, head: bytes, index: int, unit: int) -> bytes:
        del head, index
        return self.device.read(unit * _SECTORS, UNIT_BYTES)


@dataclass(frozen=True, slots=True)
class _Inlinecrypt:
    device: InlinecryptDevice

    def write(self, head: bytes, index: int, unit: int, data: bytes) -> None:
        del head, index
        self.device.write(None, unit * _SECTORS, data)

    def read(self, head: bytes, index: int, unit: int) -> bytes:
        del head, index
        return self.device.read(None, unit * _SECTORS, UNIT_BYTES)


@dataclass(frozen=True, slots=True)
class _DefaultKey:
    """Metadata without a context; contents with fscrypt's, and the mark.  A nonce serves as inode number."""

    device: DefaultKeyDevice
    setup: KeySetup

    def _ctx(self, head: bytes, index: int) -> BioCryptCtx | None:
        return crypt_ctx(self.setup, int.from_bytes(head), head, index * UNIT_BYTES) if head else None

    def write(self, head: bytes, index: int, unit: int, data: bytes) -> None:
        self.device.write(self._ctx(head, index), unit * _SECTORS, data, skip=bool(head))

    def read(self, head: bytes, index: int, unit: int) -> bytes:
        return self.device.read(self._ctx(head, index), unit * _SECTORS, UNIT_BYTES, skip=bool(head))


class MappedUnits:
    """``UnitMedium`` over a mapping.

    Args:
        name: of the design.
        device: the device below.
        set_up: the mapping with its key.
        new_head: what is stored with a new file.
    """

    unit_bytes = UNIT_BYTES
    hides_table = True
    copies_on_write = False

    def __init__(
        self,
        name: str,
        device: SectorDevice,
        set_up: Callable[[], Mapping],
        new_head: Callable[[], bytes] = bytes,
    ) -> None:
        self.name = name
        self.device = device
        self.new_head = new_head
        self._set_up = set_up
        self._mapping: Mapping | None = None

    def add_key(self) -> None:
        """See ``UnitMedium``."""
        self._mapping = self._set_up()

    def remove_key(self) -> None:
        """See ``UnitMedium``: the mapping goes."""
        self._mapping = None

    def _ready(self) -> Mapping:
        if self._mapping is None:
            raise KeyWiped("the mapping is not set up")
        return self._mapping

    def stored_name(self, name: str) -> bytes:
        """See ``UnitMedium``: the table is encrypted as a whole."""
        return name.encode()

    def write(self, head: bytes, first: int, addresses: Sequence[int], data: bytes) -> list[bytes]:
        """See ``UnitMedium``.

        Raises:
            KeyWiped: EIO.
        """
        for at, unit in enumerate(addresses):
            part = data[at * UNIT_BYTES : (at + 1) * UNIT_BYTES]
            self._ready().write(head, first + at, unit, part)
        return [b""] * len(addresses)

    def read(self, head: bytes, index: int, address: int, label: bytes) -> bytes:
        """See ``UnitMedium``; raises as ``write``."""
        del label
        return self._ready().read(head, index, address)


def dm_crypt(key: bytes) -> MappedUnits:
    """dm-crypt under a volume key of 64 bytes."""
    device = SectorDevice()
    return MappedUnits("dm-crypt", device, lambda: _Crypt(CryptDevice(_line("crypt", key), device.data)))


def dm_inlinecrypt(key: bytes) -> MappedUnits:
    """dm-inlinecrypt under a raw key of 64 bytes."""
    device = SectorDevice()
    line = _line("inlinecrypt", key)
    return MappedUnits(
        "dm-inlinecrypt", device, lambda: _Inlinecrypt(InlinecryptDevice(line, InlineSectors(device)))
    )


def dm_default_key(key: bytes, master_key: bytes, rng: np.random.Generator) -> MappedUnits:
    """default-key under a raw key of 64 bytes, and above it files under a policy with per-file keys."""
    device = SectorDevice()
    below, line = InlineSectors(device), _line("inlinecrypt", key)

    def set_up() -> Mapping:
        secret = MasterKey.from_raw(master_key)
        policy = Policy(flags=0, master_key=secret.identifier)
        setup = KeySetup(policy, secret, ext4_like(bytes(16)))
        return _DefaultKey(DefaultKeyDevice(line, below), setup)

    return MappedUnits("dm-default-key", device, set_up, lambda: rng.bytes(NONCE_BYTES))
