"""Where an address lies: which key encrypts it, and with which DUN, by the scenario's layout and key design.

Rules:

- Where key and DUN follow from the address, DUNs follow one another inside an extent of the layout; each
  extent is looked up once, and after that an address costs a dictionary and an addition.
- Where every write makes extents with keys of their own, each transfer asks the design, which is slow.  The
  extents live with the server: what the next one reads of the same image is noise.
- Designs that store something beside data units (tags, inodes with data in them) are refused: an image of
  data units alone has no room for it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.authenticated.designs import DESIGNS as AUTHENTICATED
from blkcrypto.fs.extents.designs import DESIGNS as EXTENTS
from blkcrypto.fs.inline_data.designs import DESIGNS as INLINE_DATA
from blkcrypto.fs.keysetup_io.designs import DESIGNS as KEY_SETUP
from hwmodel.dataplane import UnitCipher
from hwmodel.keywrap import KeyWrapUnit
from scenarios.designs import PLAIN
from scenarios.filekeys import FileKeys
from scenarios.keying.bios import Bios
from scenarios.keying.keyer import Keyer
from scenarios.keying.wiring import wire
from scenarios.placement.layout import Layout
from scenarios.schema import Scenario
from scenarios.traces.batch import NO_FILE, TraceBatch

BESIDE_DATA: Final = frozenset(row.name for row in (*AUTHENTICATED, *INLINE_DATA))
IN_MEMORY: Final = frozenset(row.name for row in (*EXTENTS, *KEY_SETUP))
# IVs that are no DUNs: encrypted before the block layer, whatever the engine.
_OWN_IVS: Final = frozenset(("extents-iv-from-fs",))


class Piece(NamedTuple):
    """Part of a transfer that one bio may carry.

    Attributes:
        offset: device byte address.
        nbytes: whole data units.
        key: None without encryption.
        dun: of the first data unit; 0 without encryption.
    """

    offset: int
    nbytes: int
    key: BlkCryptoKey | None
    dun: int


class Pieces(Protocol):
    """Cuts transfers where the next data unit has another key or no following DUN."""

    def pieces(self, op: ReqOp, offset: int, nbytes: int) -> Iterable[Piece]:
        """The pieces of a read or write of whole data units, in order."""


@dataclass(frozen=True, slots=True)
class Keying:
    """A design, as far as serving it needs.

    Attributes:
        pieces: keys and DUNs.
        cipher_of: the design's own cipher of a key; None for AES-256-XTS with IV = DUN.
        own_ivs: only ``cipher_of`` knows the IVs, so nobody below can encrypt.
    """

    pieces: Pieces
    cipher_of: Callable[[BlkCryptoKey], UnitCipher] | None = None
    own_ivs: bool = False


def keying(scenario: Scenario, layout: Layout, keywrap: KeyWrapUnit | None) -> Keying:
    """The design of a settled ``scenario``.

    Raises:
        BadInput: it keeps something beside its data units.
    """
    design, seed = scenario.keys.design, scenario.run.seed
    if design in BESIDE_DATA:
        what = f"{design} stores more than data units, and an image of those alone has no room for it"
        raise BadInput(f"{what}: choose another design", where="keys.design")
    if design in PLAIN:
        keys = None if design == "none" else FileKeys(scenario.keys, seed=seed, keywrap=keywrap)
        unit = scenario.keys.data_unit_size
        return Keying(ByAddress(scenario, None if keys is None else _Plain(layout, keys, unit)))
    keyer = wire(scenario, layout.file_map.file_bytes, keywrap).keyer
    asked = _Asked(scenario, layout, keyer)
    pieces = asked if design in IN_MEMORY else ByAddress(scenario, asked)
    return Keying(pieces, keyer.cipher_of, design in _OWN_IVS)


class _Extents(Protocol):
    """Looks up whole extents of the layout."""

    wraps_at: int

    def extent(self, offset: int, nbytes: int) -> tuple[BlkCryptoKey | None, int]:
        """Key, and DUN of the first data unit, not yet wrapped."""


class _Plain:
    """Policies of fscrypt."""

    def __init__(self, layout: Layout, keys: FileKeys, unit_bytes: int) -> None:
        self._map = layout.file_map
        self._keys = keys
        self._unit = unit_bytes
        self.wraps_at = keys.dun_wraps_at or 0

    def extent(self, offset: int, nbytes: int) -> tuple[BlkCryptoKey | None, int]:
        del nbytes
        files, offsets = self._map.locate(np.array([offset]))
        numbers, duns = self._keys.look_up(files, offsets // self._unit)
        return self._keys.objects[int(numbers[0])], int(duns[0])


class _Asked:
    """A design that is asked about each transfer."""

    wraps_at = 0

    def __init__(self, scenario: Scenario, layout: Layout, keyer: Keyer) -> None:
        self._unit = scenario.keys.data_unit_size
        self._layout = layout
        self._keyer = keyer

    def pieces(self, op: ReqOp, offset: int, nbytes: int) -> Iterator[Piece]:
        one = TraceBatch(
            time_ns=np.zeros(1, np.int64),
            op=np.array([op], np.uint8),
            sector=np.array([offset >> SECTOR_SHIFT]),
            nbytes=np.array([nbytes]),
            stream=np.zeros(1, np.int32),
            file=np.array([NO_FILE], np.int32),
        )
        placed = self._layout.place(one, self._unit)
        bios = self._keyer.keyed(Bios.of(placed, placed.time_ns))
        columns = (bios.sector.tolist(), bios.nbytes.tolist(), bios.key.tolist(), bios.dun.tolist())
        for sector, size, number, dun in zip(*columns, strict=True):
            key = self._keyer.objects[number] if number >= 0 else None
            yield Piece(sector << SECTOR_SHIFT, size, key, dun)

    def extent(self, offset: int, nbytes: int) -> tuple[BlkCryptoKey | None, int]:
        first = next(self.pieces(ReqOp.READ, offset, nbytes))
        return first.key, first.dun


class ByAddress:
    """Addresses to keys and DUNs, remembered by extent.

    Args:
        scenario: says how large extents and data units are.
        extents: looks up what is not known yet; None without encryption.
    """

    def __init__(self, scenario: Scenario, extents: _Extents | None) -> None:
        self._lookup = extents
        self._extent_bytes = scenario.layout.extent_bytes
        self._unit_bytes = scenario.keys.data_unit_size
        self._extents: dict[int, tuple[BlkCryptoKey | None, int]] = {}
        self._wraps_at = 0 if extents is None else extents.wraps_at

    def pieces(self, op: ReqOp, offset: int, nbytes: int) -> list[Piece]:
        """See ``Pieces``."""
        del op
        found = []
        while nbytes > 0:
            extent, within = divmod(offset, self._extent_bytes)
            known = self._extents.get(extent)
            key, dun = self._look_up(extent) if known is None else known
            size = self._extent_bytes - within
            if key is not None:
                dun += within // self._unit_bytes
                if self._wraps_at:
                    dun %= self._wraps_at
                    size = min(size, (self._wraps_at - dun) * self._unit_bytes)
            if nbytes < size:
                size = nbytes
            found.append(Piece(offset, size, key, dun))
            offset += size
            nbytes -= size
        return found

    def _look_up(self, extent: int) -> tuple[BlkCryptoKey | None, int]:
        size = self._extent_bytes
        found = (None, 0) if self._lookup is None else self._lookup.extent(extent * size, size)
        self._extents[extent] = found
        return found
