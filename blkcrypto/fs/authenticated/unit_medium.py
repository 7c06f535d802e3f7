"""Authenticated contents as the battery tries them: a small filesystem whose units are seals."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from blkcrypto.fs.authenticated.attacks import SealedStore
from blkcrypto.fs.authenticated.in_place import Geometry, InPlaceStore
from blkcrypto.fs.authenticated.medium import BLOCK_BYTES, Medium
from blkcrypto.fs.authenticated.seal import ExtentKeySealer, RandomNonceSealer, SealKeyMissing
from blkcrypto.fs.authenticated.tree import TreeStore
from blkcrypto.fs.battery.subject import Loot
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey

_SEALS: Final = 96
_EXTENT_BLOCKS: Final = 4


class SealDevice:
    """``UnitDevice`` of sealed blocks; addresses of units are numbers of seals.

    Args:
        blocks: of the medium.
        mount: mounts it with a fresh sealer.
    """

    def __init__(self, blocks: int, mount: Callable[[Medium], SealedStore]) -> None:
        self.medium = Medium(blocks)
        self.mount = mount

    def units(self) -> dict[int, bytes]:
        """See ``UnitDevice``: all blocks that are not zero, entries and tree nodes too."""
        data = self.medium.data
        cut = (
            (at, bytes(data[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES])) for at in range(self.medium.blocks)
        )
        return {at: block for at, block in cut if any(block)}

    def occupied(self, addresses: Sequence[int]) -> frozenset[int]:
        """See ``UnitDevice``."""
        store = self.mount(self.medium)
        starts = (store.data_offset(seal) // BLOCK_BYTES for seal in addresses)
        return frozenset(start + at for start in starts for at in range(store.seal_blocks))

    def lift(self, address: int) -> Loot:
        """See ``UnitDevice``."""
        entry, stored = self.mount(self.medium).extract(address)
        return Loot(stored, entry)

    def plant(self, address: int, loot: Loot, *, mend: bool) -> None:
        """See ``UnitDevice``."""
        store = self.mount(self.medium)
        if mend:
            store.implant(address, store.sealer.forge(loot.beside, loot.ciphertext), loot.ciphertext)
        else:
            start = store.data_offset(address)
            self.medium.data[start : start + len(loot.ciphertext)] = loot.ciphertext

    def save(self) -> object:
        """See ``UnitDevice``."""
        return bytes(self.medium.data)

    def restore(self, saved: object) -> None:
        """See ``UnitDevice``."""
        assert isinstance(saved, bytes)
        self.medium.data[:] = saved


class SealedUnits:
    """``UnitMedium`` over sealed blocks.

    Args:
        name: of the design.
        device: formatted.
        unit_bytes: contents of a seal.
        hides_table: whether the filesystem's own metadata is sealed too.
    """

    copies_on_write = False  # where a seal lies is the store's business, below the addresses seen here

    def __init__(
        self, name: str, device: SealDevice, *, unit_bytes: int = BLOCK_BYTES, hides_table: bool = False
    ) -> None:
        self.name = name
        self.device = device
        self.unit_bytes = unit_bytes
        self.hides_table = hides_table
        self._store: SealedStore | None = None

    def _ready(self) -> SealedStore:
        if self._store is None:
            raise SealKeyMissing("the key is not here")
        return self._store

    def add_key(self) -> None:
        """See ``UnitMedium``; EILSEQ where the mount finds the medium changed."""
        self._store = self.device.mount(self.device.medium)

    def remove_key(self) -> None:
        """See ``UnitMedium``."""
        if self._store is not None:
            self._store.sealer.wipe()
        self._store = None

    def new_head(self) -> bytes:
        """See ``UnitMedium``: nothing."""
        return b""

    def stored_name(self, name: str) -> bytes:
        """See ``UnitMedium``: only contents are modelled."""
        return name.encode()

    def write(self, head: bytes, first: int, addresses: Sequence[int], data: bytes) -> list[bytes]:
        """See ``UnitMedium``.

        Raises:
            SealKeyMissing: ENOKEY.
        """
        del head, first
        for at, seal in enumerate(addresses):
            self._ready().write(seal, data[at * self.unit_bytes : (at + 1) * self.unit_bytes])
        return [b""] * len(addresses)

    def read(self, head: bytes, index: int, address: int, label: bytes) -> bytes:
        """See ``UnitMedium``; EILSEQ when it is not authentic."""
        del head, index, label
        return self._ready().read(address)


def aead_table(key: bytes, rng: np.random.Generator) -> SealedUnits:
    """Tags in a table on the same device."""
    device = SealDevice(2 * _SEALS, lambda medium: InPlaceStore(medium, RandomNonceSealer(key, rng), _SEALS))
    return SealedUnits("aead-table", device)


def aead_integrity(key: bytes, rng: np.random.Generator) -> SealedUnits:
    """dm-crypt's AEAD over dm-integrity: all of the device, no owner."""

    def mount(medium: Medium) -> InPlaceStore:
        sealer = RandomNonceSealer(key, rng, binds_iv=True)
        return InPlaceStore(medium, sealer, _SEALS, geometry=Geometry.INTEGRITY_DEVICE, owner=b"")

    return SealedUnits("aead-integrity", SealDevice(2 * _SEALS, mount), hides_table=True)


def aead_tree_unit(key: bytes, mac_key: bytes, rng: np.random.Generator) -> SealedUnits:
    """A tag for every unit, in a checksum tree."""
    device = SealDevice(
        2 * _SEALS, lambda medium: TreeStore(medium, RandomNonceSealer(key, rng), _SEALS, mac_key)
    )
    TreeStore.mkfs(device.medium, mac_key)
    return SealedUnits("aead-tree-unit", device)


def aead_tree_extent(master_key: bytes, mac_key: bytes, rng: np.random.Generator) -> SealedUnits:
    """A key and a tag for every extent of four blocks, in a checksum tree."""

    def mount(medium: Medium) -> TreeStore:
        sealer = ExtentKeySealer(ExtentMasterKey(master_key), rng)
        return TreeStore(medium, sealer, _SEALS, mac_key, seal_blocks=_EXTENT_BLOCKS)

    device = SealDevice(2 * _SEALS * _EXTENT_BLOCKS, mount)
    TreeStore.mkfs(device.medium, mac_key)
    return SealedUnits("aead-tree-extent", device, unit_bytes=_EXTENT_BLOCKS * BLOCK_BYTES)
