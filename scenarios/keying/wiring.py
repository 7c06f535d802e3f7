"""Which parts make up each design, and its bios, ready for the machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec.structs import replace

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.fs.authenticated.medium import BLOCK_BYTES
from blkcrypto.fs.authenticated.seal import IV_BYTES, TAG_BYTES
from blkcrypto.fs.ext4_2014.designs import on_disk_bytes_per_file
from blkcrypto.fs.extents.designs import EXTENT_DESIGNS, LIGHT
from blkcrypto.fs.stacked.crypt_path import DEFAULT_MAX_BYTES, CryptFlag, Where, read_path, write_path
from blkcrypto.fs.stacked.ecryptfs_header import HEADER_BYTES
from hwmodel.clock import Row
from hwmodel.companions import DesignWork, Queues
from hwmodel.dataplane import VerifyingPlane
from hwmodel.device import Device
from hwmodel.keywrap import KeyWrapUnit
from scenarios.keying.bios import Bios, Int64
from scenarios.keying.device_keys import DefaultKeyKeyer, DeviceKeyer
from scenarios.keying.extent_keys import ExtentKeyer
from scenarios.keying.extent_setup import SetupRules
from scenarios.keying.inline_data import InlineDataKeyer, Region
from scenarios.keying.keyer import FileBytes, Keyer
from scenarios.keying.metadata import (
    ENTRY_OF_EXTENT,
    FirstTouch,
    Metadata,
    PartialBlocks,
    Place,
    TagTable,
    TagTree,
    nothing_more,
    units_on_device,
)
from scenarios.keying.per_file import FscryptKeyer, RandomFileKeyer
from scenarios.keying.plane import DesignPlane
from scenarios.keying.reflinks import ReflinkKeyer
from scenarios.keying.setup import Prices
from scenarios.placement.layout import PlacedBatch
from scenarios.schema import Scenario
from scenarios.traces.batch import TraceBatch

# Of AES-256-XTS on the same CPU.
CIPHER_PERCENT: Final = {
    "cbc": (40, "assumption: CBC encrypts block after block, though it decrypts them side by side"),
    "gcm": (80, "assumption: AES-CTR and GHASH take turns in the same pipeline"),
}


@dataclass(slots=True)
class Wired:
    """A design in a run.

    Attributes:
        keyer: keys and DUNs.
        metadata: I/O of its own; None where there is none.
        work: shared with the machine.
        device: with the design's cipher on the host's CPUs.
        regions: data that is encrypted beside the data path.
        assumptions: figures that it rests on, one line each.
        entry_bytes: stored beside every data unit.
        draws_ivs: whether IVs are random, so that ciphertext depends on the order of writes.
    """

    keyer: Keyer
    metadata: Metadata | None
    work: DesignWork
    device: Device
    regions: list[Region]
    assumptions: tuple[str, ...]
    entry_bytes: int = 0
    draws_ivs: bool = False
    bios_made: int = 0
    _batch: TraceBatch | None = None
    _unit: int = 4096

    def rows(self, placed: PlacedBatch, time_ns: Int64, batch: TraceBatch) -> Iterator[Row]:
        """Rows for the machine, of one batch."""
        self._batch = batch
        bios = self.keyer.keyed(Bios.of(placed, time_ns))
        first = self.bios_made
        self.keyer.charge(bios, first, self.work)
        self.bios_made += len(bios)
        return bios.rows(first) if self.metadata is None else self.metadata.rows(bios, first)

    def plane(self, plane: VerifyingPlane) -> DesignPlane:
        """``plane`` as the design needs it."""
        return DesignPlane(plane, self.regions)

    @property
    def filesystem(self) -> ReflinkKeyer | None:
        """The filesystem that makes the rows itself; None where they come from a workload."""
        return self.keyer if isinstance(self.keyer, ReflinkKeyer) else None

    def key_numbers(self, placed: PlacedBatch) -> Int64:
        """Numbers of the keys that bios use, in order; -1 without."""
        return self.keyer.keyed(Bios.of(placed, placed.time_ns)).key

    @property
    def tag_bytes(self) -> int:
        """Stored beside the data units of the files touched."""
        return self.keyer.footprint().data_bytes // self._unit * self.entry_bytes

    def partial(self, row: int) -> tuple[bool, bool]:
        """Whether a row of the batch covers only a part of its first and of its last unit."""
        assert self._batch is not None, "bios come from a batch"
        start = int(self._batch.sector[row]) << SECTOR_SHIFT
        end = start + int(self._batch.nbytes[row])
        return bool(start % self._unit), bool(end % self._unit)


@dataclass(frozen=True, slots=True)
class Site:
    """What the parts need to know of the run.

    Attributes:
        scenario: settled.
        file_bytes: sizes of files.
        keywrap: the device's unit, or None.
    """

    scenario: Scenario
    file_bytes: FileBytes
    keywrap: KeyWrapUnit | None

    @property
    def place(self) -> Place:
        """Where metadata lies."""
        return Place(self.scenario.device.media.capacity_bytes.value)

    @property
    def prices(self) -> Prices:
        """Of key set-up."""
        return Prices(self.scenario.design, self.scenario.device.host.setkey_ns.value)

    @property
    def cache_blocks(self) -> int:
        """Blocks of tags in memory."""
        return self.scenario.design.tag_cache_bytes // BLOCK_BYTES


_NO_QUEUES: Final = Queues()


@dataclass(frozen=True, slots=True)
class _Parts:
    keyer: Keyer
    metadata: Metadata | None = None
    cipher: str = "xts"
    hashed_ivs: bool = False
    queues: Queues = _NO_QUEUES
    uses: tuple[str, ...] = ()
    regions: tuple[Region, ...] | list[Region] = ()
    entry_bytes: int = 0
    draws_ivs: bool = False


def _fscrypt(site: Site, *, own_cipher: bool) -> FscryptKeyer:
    return FscryptKeyer(site.scenario, site.prices, site.file_bytes, site.keywrap, own_cipher=own_cipher)


def _extents(site: Site) -> _Parts:
    row = EXTENT_DESIGNS.get(site.scenario.keys.design, LIGHT)
    rules = SetupRules(site.scenario.keys.design, row, site.scenario, site.prices)
    uses = ("hkdf_ns", "alloc_cipher_ns") if row is LIGHT else ("hkdf_ns",)
    return _Parts(ExtentKeyer(site.scenario, site.file_bytes, row=row, rules=rules), uses=uses)


def _reflinks(site: Site) -> _Parts:
    return _Parts(ReflinkKeyer(site.scenario, site.prices), uses=("hkdf_ns",))


def _inline_data(site: Site) -> _Parts:
    files = _fscrypt(site, own_cipher=False)
    host = site.scenario.device.host
    keyer = InlineDataKeyer(site.scenario, files, site.prices, site.place, host, site.keywrap)
    return _Parts(keyer, keyer, uses=("hkdf_ns", "alloc_cipher_ns"), regions=keyer.regions)


def _ext4_2014(site: Site) -> _Parts:
    keyer = RandomFileKeyer(site.scenario, site.prices, site.file_bytes, ecryptfs=False)
    blocks = -(-on_disk_bytes_per_file(site.scenario.design.users) // BLOCK_BYTES)
    return _Parts(keyer, FirstTouch(site.place, blocks), uses=("unwrap_ns", "alloc_cipher_ns"))


def _ecryptfs(site: Site) -> _Parts:
    keyer = RandomFileKeyer(site.scenario, site.prices, site.file_bytes, ecryptfs=True)
    metadata = FirstTouch(site.place, HEADER_BYTES // BLOCK_BYTES)
    uses = ("unwrap_ns", "alloc_cipher_ns", "iv_ns")
    return _Parts(keyer, metadata, cipher="cbc", hashed_ivs=True, uses=uses)


def crypt_flags(text: str) -> frozenset[CryptFlag]:
    """``design.crypt_flags`` as flags of a table.

    Raises:
        ValueError: no such flag.
    """
    return frozenset(CryptFlag(word) for word in text.split("+") if word not in ("", "none"))


def dm_spec(iv_mode: str) -> str:
    """The cipher specification of a table with ``iv_mode``: XTS, or CBC where the IV mode is for that."""
    return f"aes-{'cbc' if iv_mode.startswith(('essiv', 'eboiv')) else 'xts'}-{iv_mode}"


def _dm_crypt(site: Site) -> _Parts:
    design = site.scenario.design
    flags = crypt_flags(design.crypt_flags)
    write, read = write_path(flags), read_path(flags)
    spec = dm_spec(design.iv_mode)
    keyer = DeviceKeyer(site.scenario, site.file_bytes, None, longest=DEFAULT_MAX_BYTES, table=spec)
    cbc = "cbc" in spec
    queues = Queues(
        write_worker=write.crypt is Where.KCRYPTD,
        write_thread=write.submit is Where.DMCRYPT_WRITE,
        read_worker=read.crypt is not Where.COMPLETION,
        bound=write.bound,
    )
    uses = ("iv_ns",) if cbc else ()
    return _Parts(keyer, cipher="cbc" if cbc else "xts", hashed_ivs=cbc, queues=queues, uses=uses)


def _dm_inlinecrypt(site: Site) -> _Parts:
    return _Parts(DeviceKeyer(site.scenario, site.file_bytes, site.keywrap))


def _default_key(site: Site) -> _Parts:
    files = _fscrypt(site, own_cipher=False)
    return _Parts(DefaultKeyKeyer(site.scenario, files, site.keywrap), uses=("hkdf_ns",))


def _aead_table(site: Site) -> _Parts:
    scenario = site.scenario
    keyer = DeviceKeyer(scenario, site.file_bytes, None, sealed=True)
    journal = scenario.keys.design == "aead-integrity"
    unit = scenario.keys.data_unit_size
    table = TagTable(site.place, unit, site.cache_blocks, journal=journal)
    return _Parts(keyer, table, cipher="gcm", entry_bytes=IV_BYTES + TAG_BYTES, draws_ivs=True)


def _aead_tree_unit(site: Site) -> _Parts:
    scenario = site.scenario
    unit = scenario.keys.data_unit_size
    tree = TagTree(
        site.place,
        seals=scenario.device.media.capacity_bytes.value // unit,
        entry_bytes=IV_BYTES + TAG_BYTES,
        covered=units_on_device(unit),
        also_read=nothing_more,
        cache_blocks=site.cache_blocks,
        commit_bios=scenario.design.commit_bios,
    )
    keyer = DeviceKeyer(scenario, site.file_bytes, None, sealed=True)
    return _Parts(keyer, tree, cipher="gcm", entry_bytes=8 + IV_BYTES + TAG_BYTES, draws_ivs=True)


def _aead_tree_extent(site: Site) -> _Parts:
    scenario = site.scenario
    rules = SetupRules(scenario.keys.design, LIGHT, scenario, site.prices)
    keyer = ExtentKeyer(scenario, site.file_bytes, rules=rules, unsealing_rate=_rate(scenario, "gcm"))
    tree = TagTree(
        site.place,
        seals=scenario.device.media.capacity_bytes.value // scenario.design.key_extent_bytes,
        entry_bytes=ENTRY_OF_EXTENT,
        covered=keyer.sealed_extent,
        also_read=keyer.rest_of_extent,
        cache_blocks=site.cache_blocks,
        commit_bios=scenario.design.commit_bios,
    )
    return _Parts(keyer, tree, cipher="gcm", uses=("hkdf_ns",))


def _fs_layer(site: Site) -> _Parts:
    return _Parts(_fscrypt(site, own_cipher=True), uses=("hkdf_ns", "alloc_cipher_ns"))


_MAKERS: Final[dict[str, Callable[[Site], _Parts]]] = {
    "ubifs-like": _fs_layer,
    "cephfs-like": _fs_layer,
    **dict.fromkeys(EXTENT_DESIGNS, _extents),
    **{f"key-setup-v{number}": _extents for number in range(1, 7)},
    **{f"inline-data-a{number}": _inline_data for number in range(5)},
    "ext4-2014-multi-user": _ext4_2014,
    "ecryptfs": _ecryptfs,
    "dm-crypt": _dm_crypt,
    "dm-inlinecrypt": _dm_inlinecrypt,
    "dm-default-key": _default_key,
    "aead-table": _aead_table,
    "aead-integrity": _aead_table,
    "aead-tree-unit": _aead_tree_unit,
    "aead-tree-extent": _aead_tree_extent,
}


def wire(scenario: Scenario, file_bytes: FileBytes, keywrap: KeyWrapUnit | None) -> Wired:
    """The design of a settled ``scenario``, which is not a plain one."""
    site = Site(scenario, file_bytes, keywrap)
    make = _reflinks if scenario.workload.access == "reflinks" else _MAKERS[scenario.keys.design]
    parts = make(site)
    device, assumed = _with_cipher(scenario, parts)
    wired = Wired(
        parts.keyer,
        parts.metadata,
        DesignWork(queues=parts.queues),
        device,
        parts.regions if isinstance(parts.regions, list) else list(parts.regions),
        (*assumed, *_assumed_options(scenario, parts.uses)),
        parts.entry_bytes,
        parts.draws_ivs,
        _unit=scenario.keys.data_unit_size,
    )
    if scenario.keys.design == "cephfs-like":
        wired.metadata = PartialBlocks(scenario.keys.data_unit_size, wired.partial)
    return wired


def _rate(scenario: Scenario, cipher: str) -> int:
    percent = scenario.design.cipher_percent or CIPHER_PERCENT[cipher][0]
    return max(1, scenario.device.host.cipher_per_s.value * percent // 100)


def _with_cipher(scenario: Scenario, parts: _Parts) -> tuple[Device, tuple[str, ...]]:
    """The device with the design's cipher on its host, and what that assumes."""
    device, design = scenario.device, scenario.design
    percent, source = CIPHER_PERCENT.get(parts.cipher, (100, ""))
    if design.cipher_percent:
        percent, source = design.cipher_percent, ""
    host = device.host
    rate = replace(host.cipher_per_s, value=max(1, host.cipher_per_s.value * percent // 100))
    call = replace(host.cipher_ns, value=host.cipher_ns.value + (design.iv_ns if parts.hashed_ivs else 0))
    changed = replace(device, host=replace(host, cipher_per_s=rate, cipher_ns=call))
    return changed, (f"design.cipher_percent = {percent} ({source})",) if source else ()


_OPTION_SOURCES: Final = {
    "hkdf_ns": "two SHA-512 compressions and the calls around them",
    "alloc_cipher_ns": "an allocation and a look-up by name, the module loaded",
    "unwrap_ns": "two HMAC-SHA512, one HMAC-SHA1 and an AES key schedule",
    "iv_ns": "an MD5 of 32 bytes, or an AES block with its call",
}


def _assumed_options(scenario: Scenario, uses: tuple[str, ...]) -> Iterator[str]:
    for name in uses:
        value = getattr(scenario.design, name)
        yield f"design.{name} = {value / 1000:g} us (assumption: {_OPTION_SOURCES[name]})"


def any_size(size: int) -> FileBytes:
    """Sizes of files that nobody knows: as large as a region."""
    return lambda files: np.full(len(files), size, np.int64)
