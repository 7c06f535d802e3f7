"""UBIFS and CephFS as the battery tries them, and no encryption at all, to compare with."""

import struct
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from blkcrypto.fs.battery.subject import Loot
from blkcrypto.fs.battery.unit_medium import Blocks
from blkcrypto.fs.fs_layer import CephLikeFile, DataNode, FsLayerCipher, UbifsLikeFile
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ceph_like, ubifs_like
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.names import NameCipher
from blkcrypto.fs.fscrypt.policy import NONCE_BYTES, Policy

UNIT_BYTES: Final = 4096
_UUID: Final = bytes(16)
_INO: Final = 64  # neither the default policy's key nor its IV depends on it
_NODE = struct.Struct("<IIBI")  # size, compressed size, whether compressed, CRC


class Units(Protocol):
    """How a filesystem lays out one unit of a file."""

    def encrypt(self, cipher: FsLayerCipher, index: int, data: bytes) -> Loot:
        """A unit as the device has it."""

    def decrypt(self, cipher: FsLayerCipher, index: int, stored: Loot) -> bytes:
        """Its contents."""

    def mend(self, stored: Loot) -> Loot:
        """With every unkeyed checksum made to fit."""


class UbifsNodes:
    """A data node for each unit; its header is beside the ciphertext.

    Args:
        chk_data_crc: the mount option.
    """

    def __init__(self, *, chk_data_crc: bool = False) -> None:
        self._chk_data_crc = chk_data_crc

    def encrypt(self, cipher: FsLayerCipher, index: int, data: bytes) -> Loot:
        """See ``Units``."""
        node = UbifsLikeFile(cipher).write_block(index, data)
        return Loot(node.data, _NODE.pack(node.size, node.compressed_size, node.is_compressed, node.crc))

    def decrypt(self, cipher: FsLayerCipher, index: int, stored: Loot) -> bytes:
        """See ``Units``."""
        file = UbifsLikeFile(cipher, chk_data_crc=self._chk_data_crc)
        file.nodes[index] = _node(stored)
        return file.read_block(index)

    def mend(self, stored: Loot) -> Loot:
        """See ``Units``: the node's CRC."""
        node = _node(stored)
        return Loot(
            node.data, _NODE.pack(node.size, node.compressed_size, node.is_compressed, node.right_crc)
        )


def _node(stored: Loot) -> DataNode:
    size, compressed_size, is_compressed, crc = _NODE.unpack(stored.beside)
    return DataNode(size, compressed_size, bool(is_compressed), stored.ciphertext, crc)


class CephBlocks:
    """Fixed blocks, with nothing beside them."""

    def encrypt(self, cipher: FsLayerCipher, index: int, data: bytes) -> Loot:
        """See ``Units``."""
        file = CephLikeFile(cipher)
        file.write(index * UNIT_BYTES, data)
        return Loot(file.blocks[index])

    def decrypt(self, cipher: FsLayerCipher, index: int, stored: Loot) -> bytes:
        """See ``Units``."""
        file = CephLikeFile(cipher)
        file.blocks[index], file.size = stored.ciphertext, (index + 1) * UNIT_BYTES
        return file.read(index * UNIT_BYTES, UNIT_BYTES)

    def mend(self, stored: Loot) -> Loot:
        """See ``Units``: there is no checksum."""
        return stored


class NodeDevice(Blocks):
    """Blocks with something beside each.

    Args:
        layout: makes checksums fit.
    """

    def __init__(self, layout: Units) -> None:
        super().__init__()
        self.beside: dict[int, bytes] = {}
        self._layout = layout

    def put(self, address: int, stored: Loot) -> None:
        """Write a unit."""
        self.blocks[address], self.beside[address] = stored.ciphertext, stored.beside

    def lift(self, address: int) -> Loot:
        """See ``UnitDevice``."""
        return Loot(self.blocks[address], self.beside[address])

    def plant(self, address: int, loot: Loot, *, mend: bool) -> None:
        """See ``UnitDevice``."""
        self.put(address, self._layout.mend(loot) if mend else Loot(loot.ciphertext, self.beside[address]))

    def save(self) -> object:
        """See ``UnitDevice``."""
        return dict(self.blocks), dict(self.beside)

    def restore(self, saved: object) -> None:
        """See ``UnitDevice``."""
        assert isinstance(saved, tuple)
        self.blocks, self.beside = map(dict, saved)


class FsLayerUnits:
    """``UnitMedium`` of a filesystem that encrypts contents itself, under a v2 policy with per-file keys.

    Args:
        name: of the design.
        fs: facts of the filesystem.
        layout: of its units.
        raw_key: the master key.
        rng: of nonces.
    """

    unit_bytes = UNIT_BYTES
    hides_table = False
    copies_on_write = False  # UBIFS writes elsewhere, but clones nothing

    def __init__(
        self,
        name: str,
        fs: FileSystem,
        layout: Units,
        raw_key: bytes,
        rng: np.random.Generator,
    ) -> None:
        self.name = name
        self.device = NodeDevice(layout)
        self._fs = fs
        self._layout = layout
        self._raw_key = raw_key
        self._rng = rng
        self._directory = rng.bytes(NONCE_BYTES)
        self._secret = MasterKey.from_raw(raw_key)
        self._policy = Policy(flags=0, master_key=self._secret.identifier)
        self._secret.wipe_secret()

    def add_key(self) -> None:
        """See ``UnitMedium``."""
        self._secret = MasterKey.from_raw(self._raw_key)

    def remove_key(self) -> None:
        """See ``UnitMedium``."""
        self._secret.wipe_secret()

    def new_head(self) -> bytes:
        """See ``UnitMedium``: the nonce of the file's context."""
        return self._rng.bytes(NONCE_BYTES)

    def stored_name(self, name: str) -> bytes:
        """See ``UnitMedium``.

        Raises:
            SecretWiped: ENOKEY.
        """
        cipher = NameCipher(self._policy, self._secret, self._fs, ino=_INO, nonce=self._directory)
        return cipher.encrypt(name.encode())

    def _cipher(self, head: bytes) -> FsLayerCipher:
        return FsLayerCipher(self._policy, self._secret, self._fs, ino=_INO, nonce=head)

    def write(self, head: bytes, first: int, addresses: Sequence[int], data: bytes) -> list[bytes]:
        """See ``UnitMedium``; raises as ``stored_name``."""
        cipher = self._cipher(head)
        for at, address in enumerate(addresses):
            unit = data[at * UNIT_BYTES : (at + 1) * UNIT_BYTES]
            self.device.put(address, self._layout.encrypt(cipher, first + at, unit))
        return [b""] * len(addresses)

    def read(self, head: bytes, index: int, address: int, label: bytes) -> bytes:
        """See ``UnitMedium``; EUCLEAN and EINVAL for damaged nodes."""
        del label
        unit = self._layout.decrypt(self._cipher(head), index, self.device.lift(address))
        return unit.ljust(UNIT_BYTES, b"\0")


def ubifs_units(raw_key: bytes, rng: np.random.Generator, *, chk_data_crc: bool = False) -> FsLayerUnits:
    """UBIFS-like."""
    nodes = UbifsNodes(chk_data_crc=chk_data_crc)
    return FsLayerUnits("ubifs-like", ubifs_like(_UUID), nodes, raw_key, rng)


def ceph_units(raw_key: bytes, rng: np.random.Generator) -> FsLayerUnits:
    """CephFS-like."""
    return FsLayerUnits("cephfs-like", ceph_like(_UUID), CephBlocks(), raw_key, rng)


class PlainUnits:
    """``UnitMedium`` without encryption."""

    name = "none"
    unit_bytes = UNIT_BYTES
    hides_table = False
    copies_on_write = False

    def __init__(self) -> None:
        self.device = Blocks()

    def add_key(self) -> None:
        """See ``UnitMedium``: there is none."""

    def remove_key(self) -> None:
        """See ``UnitMedium``."""

    def new_head(self) -> bytes:
        """See ``UnitMedium``: nothing."""
        return b""

    def stored_name(self, name: str) -> bytes:
        """See ``UnitMedium``."""
        return name.encode()

    def write(self, head: bytes, first: int, addresses: Sequence[int], data: bytes) -> list[bytes]:
        """See ``UnitMedium``."""
        del head, first
        for at, address in enumerate(addresses):
            self.device.blocks[address] = data[at * UNIT_BYTES : (at + 1) * UNIT_BYTES]
        return [b""] * len(addresses)

    def read(self, head: bytes, index: int, address: int, label: bytes) -> bytes:
        """See ``UnitMedium``."""
        del head, index, label
        return self.device.blocks[address]
