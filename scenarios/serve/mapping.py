"""Where an address lies: which key encrypts it, with which DUN, and where on the medium, by the key design.

Rules:

- Where key and DUN follow from the address, DUNs follow one another inside an extent of the layout; each
  extent is looked up once, and after that an address costs a dictionary and an addition.
- Where every write makes extents with keys of their own (``extents-*``, ``key-setup-*``), ``extents`` says
  where they lie, and has a log of them on the medium.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from hwmodel.dataplane import UnitCipher
from hwmodel.keywrap import KeyWrapUnit
from scenarios.designs import PLAIN
from scenarios.filekeys import FileKeys
from scenarios.keying.bios import Bios
from scenarios.keying.keyer import Keyer
from scenarios.keying.wiring import wire
from scenarios.placement.layout import Layout
from scenarios.schema import Scenario
from scenarios.serve.extents import UNIT_BYTES, Extent, ExtentKeysOf, ExtentMap, Geometry, Run
from scenarios.traces.batch import NO_FILE, TraceBatch

HOLE: Final = -1


class Piece(NamedTuple):
    """Part of a transfer that one bio may carry.

    Attributes:
        offset: byte address, as clients count.
        nbytes: whole data units.
        key: None without encryption.
        dun: of the first data unit; 0 without encryption.
        place: byte address on the medium; ``HOLE`` for zeroes that lie nowhere.
    """

    offset: int
    nbytes: int
    key: BlkCryptoKey | None
    dun: int
    place: int


class Pieces(Protocol):
    """Cuts transfers where the next data unit has another key or no following DUN."""

    def pieces(self, op: ReqOp, offset: int, nbytes: int) -> Iterable[Piece]:
        """The pieces of a read or write of whole data units, in order."""


@dataclass(frozen=True, slots=True)
class Keying:
    """A design whose keys and DUNs follow from the address, as far as serving it needs.

    Attributes:
        pieces: keys and DUNs.
        cipher_of: the design's own cipher of a key; None for AES-256-XTS with IV = DUN.
    """

    pieces: Pieces
    cipher_of: Callable[[BlkCryptoKey], UnitCipher] | None = None


def keying(scenario: Scenario, layout: Layout, keywrap: KeyWrapUnit | None) -> Keying:
    """The design of a settled ``scenario``."""
    design, seed = scenario.keys.design, scenario.run.seed
    if design in PLAIN:
        keys = None if design == "none" else FileKeys(scenario.keys, seed=seed, keywrap=keywrap)
        unit = scenario.keys.data_unit_size
        return Keying(ByAddress(scenario, None if keys is None else _Plain(layout, keys, unit)))
    keyer = wire(scenario, layout.file_map.file_bytes, keywrap).keyer
    return Keying(ByAddress(scenario, _Asked(scenario, layout, keyer)), keyer.cipher_of)


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
    """Other designs: asked once for each extent of the layout."""

    wraps_at = 0

    def __init__(self, scenario: Scenario, layout: Layout, keyer: Keyer) -> None:
        self._unit = scenario.keys.data_unit_size
        self._layout = layout
        self._keyer = keyer

    def extent(self, offset: int, nbytes: int) -> tuple[BlkCryptoKey | None, int]:
        one = TraceBatch(
            time_ns=np.zeros(1, np.int64),
            op=np.array([ReqOp.READ], np.uint8),
            sector=np.array([offset >> SECTOR_SHIFT]),
            nbytes=np.array([nbytes]),
            stream=np.zeros(1, np.int32),
            file=np.array([NO_FILE], np.int32),
        )
        placed = self._layout.place(one, self._unit)
        bios = self._keyer.keyed(Bios.of(placed, placed.time_ns))
        number = int(bios.key[0])
        return self._keyer.objects[number] if number >= 0 else None, int(bios.dun[0])


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
            key, dun = self._extents.get(extent) or self._look_up(extent)
            size = self._extent_bytes - within
            if key is not None:
                dun += within // self._unit_bytes
                if self._wraps_at:
                    dun %= self._wraps_at
                    size = min(size, (self._wraps_at - dun) * self._unit_bytes)
            if nbytes < size:
                size = nbytes
            found.append(Piece(offset, size, key, dun, offset))
            offset += size
            nbytes -= size
        return found

    def _look_up(self, extent: int) -> tuple[BlkCryptoKey | None, int]:
        size = self._extent_bytes
        found = (None, 0) if self._lookup is None else self._lookup.extent(extent * size, size)
        self._extents[extent] = found
        return found


class InExtents:
    """Extents with keys of their own.

    Args:
        extents: which holds what.
        keys: of extents.
        geometry: of the image.
        longest: bytes of the longest extent; they end where the layout's do, so that none has two files.
    """

    def __init__(self, extents: ExtentMap, keys: ExtentKeysOf, geometry: Geometry, longest: int) -> None:
        self._map = extents
        self._keys = keys
        self._data_at = geometry.data_at
        self._longest = longest
        self._bio_bytes = keys.row.bio_blocks * UNIT_BYTES or longest
        self._fresh: dict[int, list[Extent]] = {}

    def pieces(self, op: ReqOp, offset: int, nbytes: int) -> Iterable[Piece]:
        """See ``Pieces``: a write goes to new extents, which count once ``settle`` is told it went well."""
        fresh = self._fresh.setdefault(offset, []) if op is ReqOp.WRITE else []
        end = offset + nbytes
        while offset < end:
            size = min(end - offset, self._longest - offset % self._longest)
            unit, count = offset // UNIT_BYTES, size // UNIT_BYTES
            if op is ReqOp.WRITE:
                made = self._map.allocate(unit, count, self._keys.new)
                fresh += made
                runs: Iterable[Run] = (Run(each.unit, each.count, each.place, each) for each in made)
            else:
                runs = self._map.runs(unit, count)
            for run in runs:
                yield from self._bios(run)
            offset += size

    def _bios(self, run: Run) -> Iterable[Piece]:
        for at in range(0, run.units * UNIT_BYTES, self._bio_bytes):
            offset, size = run.unit * UNIT_BYTES + at, min(self._bio_bytes, run.units * UNIT_BYTES - at)
            if run.extent is None:
                yield Piece(offset, size, None, 0, HOLE)
                continue
            key, dun = self._keys.key_and_dun(run.extent, run.unit - run.extent.unit + at // UNIT_BYTES)
            yield Piece(offset, size, key, dun, self._data_at + run.place * UNIT_BYTES + at)

    def settle(self, done: Sequence[tuple[int, bool]]) -> list[tuple[int, bytes]]:
        """Writes ended, each from an offset and well or not: what to write to the log, in order."""
        good: list[Extent] = []
        for offset, well in done:
            for extent in self._fresh.pop(offset, ()):
                if well:
                    good.append(extent)
                else:
                    self._map.abandon(extent)
        return self._map.insert(good) if good else []

    def punch(self, offset: int, nbytes: int) -> list[tuple[int, bytes]]:
        """A hole: what to write to the log, in order."""
        return self._map.punch(offset // UNIT_BYTES, nbytes // UNIT_BYTES)

    def dead_keys(self) -> list[BlkCryptoKey]:
        """Keys of extents that hold nothing any more since the last call."""
        dropped = (self._keys.drop(extent) for extent in self._map.take_gone())
        return [key for key in dropped if key is not None]
