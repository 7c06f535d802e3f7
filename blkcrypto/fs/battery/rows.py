"""Every design that is tried, one row each: how to make it, and what it cannot do.

Names are those of ``keys.design`` in scenarios; a design with two users (inline data), two types of key, or a
mount option that counts (UBIFS) has two rows, the second with the difference in brackets.
"""

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from blkcrypto.fs.authenticated import unit_medium as sealed
from blkcrypto.fs.battery import fs_layer_media as fs_layer
from blkcrypto.fs.battery.policies import PolicySubject
from blkcrypto.fs.battery.subject import Limits, Subject
from blkcrypto.fs.battery.unit_files import UnitSubject
from blkcrypto.fs.battery.unit_medium import UnitMedium
from blkcrypto.fs.ext4_2014.packet import UserKey
from blkcrypto.fs.ext4_2014.subject import Ext42014Subject
from blkcrypto.fs.extents.designs import EXTENT_DESIGNS
from blkcrypto.fs.extents.subject import ExtentSubject
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.inline_data.region import ALTERNATIVES
from blkcrypto.fs.inline_data.subject import InlineSubject
from blkcrypto.fs.inline_data.volume import ext4_layout, f2fs_layout
from blkcrypto.fs.keysetup_io.makers import MAKERS
from blkcrypto.fs.keysetup_io.unit_medium import ExtentUnits
from blkcrypto.fs.stacked import unit_media as mapped
from blkcrypto.fs.stacked.ecryptfs_subject import EcryptfsSubject

MASTER_KEY: Final = bytes(range(64))
WRAPPED_KEY: Final = bytes(range(40, 88))
HARDWARE_KEY: Final = bytes(range(32))
VOLUME_KEY: Final = bytes(range(64, 128))
SEAL_KEY: Final = bytes(range(128, 160))
MAC_KEY: Final = bytes(range(160, 192))
USER: Final = UserKey("0123456789abcdef", bytes(range(192, 256)))
TOKEN: Final = {bytes(range(8)): bytes(range(100, 164))}

Maker = Callable[[np.random.Generator], Subject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A design on trial.

    Attributes:
        name: of the row.
        make: a fresh subject, its key not there; nonces and other randomness come from the generator.
        limits: what the design cannot do.
        models_names: whether names are as the design has them; else they are in clear, or not on the device.
    """

    name: str
    make: Maker
    limits: Limits = field(default_factory=Limits)
    models_names: bool = True


_SECTOR_BOUND: Final = "the IV is the sector number: ciphertext that moves is noise"
_SEAL_BOUND: Final = "the position is authenticated: a seal that moves does not open"
_TREE_BOUND: Final = "data could move, but the root that says where is under a MAC, whose key is needed"
_HIDDEN: Final = "metadata is encrypted as well: without the key there are no files"

_WHOLE_DEVICE: Final = Limits(
    without={"move": _SECTOR_BOUND, "delete without the key": _HIDDEN}, no_key=errno.EIO
)
# By its name in clear a file is not found; by its no-key name it is, and does not open (ENOKEY).
_NAMES_HIDDEN: Final = Limits(no_key=errno.ENOENT)


def _units(medium: Callable[[np.random.Generator], UnitMedium]) -> Maker:
    return lambda rng: UnitSubject(medium(rng))


def _policies() -> Iterator[Row]:
    flags = {
        "fscrypt-per-file": PolicyFlags(0),
        "fscrypt-direct-key": PolicyFlags.DIRECT_KEY,
        "fscrypt-iv-ino-lblk-64": PolicyFlags.IV_INO_LBLK_64,
        "fscrypt-iv-ino-lblk-32": PolicyFlags.IV_INO_LBLK_32,
    }
    for name, flag in flags.items():
        yield Row(name=name, make=partial(PolicySubject, name, flag, MASTER_KEY), limits=_NAMES_HIDDEN)
        if name.startswith("fscrypt-iv-ino-lblk"):
            make = partial(PolicySubject, name, flag, WRAPPED_KEY, hardware_key=HARDWARE_KEY)
            yield Row(name=f"{name} (hw-wrapped)", make=make, limits=_NAMES_HIDDEN)
    yield Row(name="ubifs-like", make=_units(partial(fs_layer.ubifs_units, MASTER_KEY)))
    checked = partial(fs_layer.ubifs_units, MASTER_KEY, chk_data_crc=True)
    yield Row(name="ubifs-like (chk_data_crc)", make=_units(checked))
    yield Row(name="cephfs-like", make=_units(partial(fs_layer.ceph_units, MASTER_KEY)))


def _extents() -> Iterator[Row]:
    for name, design in EXTENT_DESIGNS.items():
        yield Row(name=name, make=partial(ExtentSubject, design, MASTER_KEY))
    for name in MAKERS:
        yield Row(name=name, make=_units(partial(ExtentUnits, name, MASTER_KEY)), models_names=False)


def _inline_data() -> Iterator[Row]:
    for alternative in ALTERNATIVES:
        name = f"inline-data-{alternative.lower()}"
        for user, layout in (("", f2fs_layout()), (" (ext4-like)", ext4_layout())):
            make = partial(InlineSubject, alternative, layout, MASTER_KEY)
            yield Row(name=name + user, make=make, models_names=False)


def _stacked() -> Iterator[Row]:
    for name, medium in {
        "dm-crypt": lambda _rng: mapped.dm_crypt(VOLUME_KEY),
        "dm-inlinecrypt": lambda _rng: mapped.dm_inlinecrypt(VOLUME_KEY),
        "dm-default-key": lambda rng: mapped.dm_default_key(VOLUME_KEY, MASTER_KEY, rng),
    }.items():
        yield Row(name=name, make=_units(medium), limits=_WHOLE_DEVICE)
    yield Row(name="ecryptfs", make=partial(EcryptfsSubject, TOKEN))
    yield Row(
        name="ext4-2014-multi-user",
        make=partial(Ext42014Subject, USER),
        limits=Limits(no_key=errno.ENOENT),  # no packet for a key of the keyring
    )


def _authenticated() -> Iterator[Row]:
    in_place, tree = Limits(without={"move": _SEAL_BOUND}), Limits(without={"move": _TREE_BOUND})
    device = Limits(without={"move": _SEAL_BOUND, "delete without the key": _HIDDEN})
    for name, limits, medium in (
        ("aead-table", in_place, partial(sealed.aead_table, SEAL_KEY)),
        ("aead-integrity", device, partial(sealed.aead_integrity, SEAL_KEY)),
        ("aead-tree-unit", tree, partial(sealed.aead_tree_unit, SEAL_KEY, MAC_KEY)),
        ("aead-tree-extent", tree, partial(sealed.aead_tree_extent, MASTER_KEY, MAC_KEY)),
    ):
        hidden = "delete without the key" in limits.without
        yield Row(name=name, make=_units(medium), limits=limits, models_names=hidden)


ROWS: Final[Mapping[str, Row]] = {
    row.name: row for rows in (_policies, _extents, _inline_data, _stacked, _authenticated) for row in rows()
}
UNENCRYPTED: Final = Row(name="none", make=_units(lambda _rng: fs_layer.PlainUnits()))
"""To compare with; it does not pass."""
