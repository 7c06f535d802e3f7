"""The battery's subjects beside their oracles: what the device must hold, and what it holds."""

import numpy as np

from blkcrypto.fs.battery import rows
from blkcrypto.fs.battery.policies import PolicySubject
from blkcrypto.fs.battery.subject import Place, Subject
from blkcrypto.fs.battery.unit_files import UnitSubject
from blkcrypto.fs.ext4_2014.subject import Ext42014Subject
from blkcrypto.fs.extents.subject import ExtentSubject
from blkcrypto.fs.inline_data.subject import InlineSubject
from blkcrypto.fs.inline_data.volume import FLAG_INLINE
from blkcrypto.fs.smallfs import namei
from blkcrypto.fs.stacked.ecryptfs_subject import EcryptfsSubject
from tests.oracle import battery_units as oracle
from tests.oracle import design_inline_data, extent_ciphertext
from tests.oracle.battery_units import Stored
from tests.oracle.fscrypt_files import Subject as Inode

UUID = bytes(range(16))
SIGNATURE, WRAPPING_KEY = next(iter(rows.TOKEN.items()))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def stored(subject: Subject, place: Place) -> Stored:
    """What the device holds."""
    loot = subject.lift(place)
    return Stored(loot.ciphertext, loot.beside)


def expected(subject: Subject, place: Place, data: bytes) -> Stored:
    """What the device must hold for a unit of a file with contents ``data``."""
    if isinstance(subject, UnitSubject):
        return _of_units(subject, place, data)
    plain = data[place.unit * 4096 : (place.unit + 1) * 4096].ljust(4096, b"\0")
    if isinstance(subject, PolicySubject):
        inode = next(i for i in subject.disk.inodes.values() if i.ino == ino_of(subject, place.path))
        assert inode.context is not None
        hardware_key = rows.HARDWARE_KEY if subject.is_wrapped else b""
        return oracle.policy_unit(
            subject.name, rows.MASTER_KEY, UUID, inode.ino, inode.context, place.unit, plain, hardware_key
        )
    if isinstance(subject, InlineSubject):
        return _of_inline(subject, place, data, plain)
    if isinstance(subject, Ext42014Subject):
        packets = subject.volume.root_packet(subject.volume.stat(place.path))
        return oracle.page_2014(packets, rows.USER.key, rows.USER.signature, place.unit, plain)
    assert isinstance(subject, EcryptfsSubject)
    return oracle.ecryptfs_extent(
        bytes(subject.lower[place.path]), WRAPPING_KEY, SIGNATURE, place.unit, plain
    )


def ino_of(subject: PolicySubject, path: str) -> int:
    return namei.existing(subject.mount, f"d/{path}").disk.ino


def _of_inline(subject: InlineSubject, place: Place, data: bytes, plain: bytes) -> Stored:
    ino = subject.inos[place.path]
    record = subject.volume.load(ino)
    inode = Inode(rows.MASTER_KEY, 0, UUID, ino, record.context[24:40])
    if record.flags & FLAG_INLINE:
        return Stored(design_inline_data.region(subject.alternative.name, inode, data))
    return Stored(oracle.file_key_unit(rows.MASTER_KEY, inode.nonce, place.unit, plain))


def _of_units(subject: UnitSubject, place: Place, data: bytes) -> Stored:
    size, name = subject.medium.unit_bytes, subject.name
    plain = data[place.unit * size : (place.unit + 1) * size].ljust(size, b"\0")
    file = subject.files[subject.medium.stored_name(place.path)]
    address, label = file.units[place.unit]
    if name.startswith("key-setup-"):
        return oracle.extent_of_unit(rows.MASTER_KEY, label, plain)
    if name.startswith("aead-"):
        key = rows.MASTER_KEY if name == "aead-tree-extent" else rows.SEAL_KEY
        return oracle.seal(name, key, subject.lift(place).beside, address, plain)
    if name == "ubifs-like":
        return oracle.ubifs_node(rows.MASTER_KEY, file.head, place.unit, plain)
    if name in ("cephfs-like", "dm-default-key"):
        return Stored(oracle.file_key_unit(rows.MASTER_KEY, file.head, place.unit, plain))
    assert name in ("dm-crypt", "dm-inlinecrypt")
    return oracle.dm_unit(rows.VOLUME_KEY, address, plain)


def extents_file(subject: ExtentSubject, path: str) -> bytes:
    """A file as the oracle reads it from items and blocks."""
    file = subject.open(path)
    file.close()
    items = subject.disk.stored_items(subject.disk.subvolumes[0])
    return extent_ciphertext.file_on_device(
        subject.name, rows.MASTER_KEY, items, file.inode.ino, file.size, subject.store.medium
    )
