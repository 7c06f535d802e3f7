"""Extents with keys of their own, on an image: where each lies, and what the design stores with it.

Rules (btrfs's, as far as a device needs them):

- A write makes a new extent with a new key (or IV) in free units, and the record of it in a log; then it is
  answered.  Until the record is there the old data is: nothing is overwritten in place.
- A record holds the bytes that the design stores with a file extent item, as ``fs.extents`` encodes them.
- The log has two halves.  A full one is condensed into the other, which counts from then on.
- What no extent holds is a hole and reads as zeroes; a discard makes one.
- A unit is free as soon as no extent holds it, where btrfs keeps an extent's units until all are free.

=======  =========================================================================
block    what
=======  =========================================================================
0        superblock
1        which half counts, and its generation
2 ...    two halves of the log
...      units: as many as clients see, and a reserve that a batch of writes needs
=======  =========================================================================

This is bytes in, bytes out; ``device`` does the I/O.
"""

import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.fs.extents.designs import EXTENT_DESIGNS, LIGHT, ExtentDesign
from blkcrypto.fs.extents.disk import ExtentDisk
from blkcrypto.fs.extents.keys import ExtentInfo
from blkcrypto.fs.extents.subject import policy_for
from blkcrypto.fs.extents.volume import Volume
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.policy import IDENTIFIER_BYTES
from blkcrypto.fs.store import SoftwareStore
from scenarios.serve.superblock import BLOCK_BYTES

UNIT_BYTES: Final = 4096
# CRC, generation, first unit, place, units, units of the extent before them, bytes stored, stored
_RECORD = struct.Struct("<IIQQIIB47s")
_RECORDS_PER_SECTOR: Final = 512 // _RECORD.size
_HEAD = struct.Struct("<8sIII")  # magic, generation, half, CRC
_MAGIC: Final = b"extents1"
_HOLE: Final = (1 << 64) - 1
_MOST_RESERVE: Final = 16384
"""Units of a batch of writes: 64 MiB, which is more than a server takes in at once."""


@dataclass(slots=True, eq=False)
class Extent:
    """One extent.

    Attributes:
        unit: first unit, as clients count.
        count: units when it was made.
        place: first unit on the medium.
        stored: what the design stores with it.
        live: units that nothing replaced since.
        info: its key, once it was needed.
    """

    unit: int
    count: int
    place: int
    stored: bytes
    live: int = 0
    info: ExtentInfo | None = None


class Run(NamedTuple):
    """Units in a row of one extent, or of a hole.

    Attributes:
        unit, units: the first as clients count, and how many.
        place: first unit on the medium; meaningless for a hole.
        extent: None for a hole.
    """

    unit: int
    units: int
    place: int
    extent: Extent | None


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where things lie, in bytes, for ``units`` that clients see."""

    units: int

    @property
    def half_sectors(self) -> int:
        """Room of half a log: every unit an extent of its own, and a quarter more to go on from there."""
        return -(-(self.units + self.units // 4 + 1024) // _RECORDS_PER_SECTOR)

    def half_at(self, half: int) -> int:
        """Where a half of the log begins."""
        return 2 * BLOCK_BYTES + half * -(-self.half_sectors * 512 // BLOCK_BYTES) * BLOCK_BYTES

    @property
    def places(self) -> int:
        """Units on the medium."""
        return self.units + min(self.units, _MOST_RESERVE)

    @property
    def data_at(self) -> int:
        """Where units begin."""
        return self.half_at(2)

    @property
    def image_bytes(self) -> int:
        """All of it."""
        return self.data_at + self.places * UNIT_BYTES


class LogDamaged(Exception):
    """The log cannot be read: nothing says any more where data lies."""


class ExtentKeysOf:
    """Contents keys by what is stored with extents: one mount of a filesystem with one master key.

    Args:
        design: a row of ``EXTENT_DESIGNS``, or a variant of key set-up, which has lightweight extents.
        raw_key: the master key.
        rng: of nonces and IVs; never the same again, for extents outlive the server.
    """

    def __init__(self, design: str, raw_key: bytes, rng: np.random.Generator) -> None:
        self.row: ExtentDesign = EXTENT_DESIGNS.get(design, LIGHT)
        self._volume = Volume(ExtentDisk(self.row), SoftwareStore(UNIT_BYTES), rng)
        spec = KeySpecifier(KeySpecType.IDENTIFIER, bytes(IDENTIFIER_BYTES))
        added = self._volume.add_key(AddKeyArg(spec=spec, raw=raw_key, raw_size=len(raw_key)))
        self._policy = policy_for(self.row, added.key)
        self._entry = self._volume.entry_for(self._policy)

    def new(self) -> bytes:
        """What is stored with a new extent."""
        return self._volume.keys.new_context(self._policy, self._volume.random)

    def key_and_dun(self, extent: Extent, inside: int) -> tuple[BlkCryptoKey, int]:
        """Key of ``extent``, set up when it is first needed, and DUN of its unit number ``inside``."""
        if extent.info is None:
            extent.info = self._volume.keys.set_up(self._policy, self._entry, extent.stored)
        dun = extent.info.first_dun + inside
        return extent.info.key, dun % (1 << 8 * self._policy.contents.iv_bytes)

    def drop(self, extent: Extent) -> BlkCryptoKey | None:
        """Forget the key of an extent that is gone; the key, if it was its own."""
        info, extent.info = extent.info, None
        if info is None:
            return None
        self._volume.keys.drop(info)
        return info.key if self.row.key_per_extent else None


class ExtentMap:
    """Which extent holds which unit.

    Args:
        geometry: of the image.
        read: bytes of the image, at an offset; as they were left.
        new: whether the image is new.

    Attributes:
        gone: extents that hold nothing any more, for ``take_gone``.
    """

    def __init__(self, geometry: Geometry, read: Callable[[int, int], bytes], *, new: bool) -> None:
        self._geometry = geometry
        self._extents: dict[int, Extent] = {}
        self._of_unit: npt.NDArray[np.int64] = np.full(geometry.units, -1, dtype=np.int64)
        self._free: npt.NDArray[np.bool_] = np.ones(geometry.places, dtype=np.bool_)
        self._next_free = self._made = 0
        self._generation = self._half = self._sectors = 0
        self._tail: list[bytes] = []
        self._gone: list[Extent] = []
        if not new:
            self._load(read)
        self._gone.clear()

    # Looking up

    def runs(self, unit: int, count: int) -> Iterator[Run]:
        """Extents and holes over ``count`` units from ``unit`` on."""
        part = self._of_unit[unit : unit + count]
        borders = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), count] if count > 1 else [0, 1]
        for start, stop in itertools.pairwise(borders):
            extent = self._extents.get(int(part[start]))
            place = 0 if extent is None else extent.place + unit + start - extent.unit
            yield Run(unit + start, stop - start, place, extent)

    def allocate(self, unit: int, count: int, new: Callable[[], bytes]) -> list[Extent]:
        """Free units for ``count`` units, as few extents as they allow; nothing refers to them yet."""
        made = []
        while count:
            start = self._first_free()
            length = self._free[start : start + count]
            run = int(np.argmin(length)) if not length.all() else len(length)
            self._free[start : start + run] = False
            self._next_free = start + run
            made.append(Extent(unit, run, start, new()))
            unit, count = unit + run, count - run
        return made

    def _first_free(self) -> int:
        """Looked for from where the last run ended, and from the start after that."""
        for start in (self._next_free, 0):
            rest = self._free[start:]
            if rest.size and rest[at := int(np.argmax(rest))]:
                return start + at
        raise AssertionError("the reserve is as large as a batch of writes")

    # Changing

    def abandon(self, extent: Extent) -> None:
        """The write of ``extent`` failed: what was there before stays."""
        self._free[extent.place : extent.place + extent.count] = True

    def insert(self, extents: list[Extent]) -> list[tuple[int, bytes]]:
        """``extents`` hold their units from now on; bytes to write to the image, in order."""
        return self._log([self._record(each, each.unit, each.count, each.place) for each in extents], extents)

    def punch(self, unit: int, count: int) -> list[tuple[int, bytes]]:
        """A hole from now on; bytes to write to the image, in order."""
        hole = Extent(unit, count, _HOLE, b"")
        return self._log([self._record(hole, unit, count, _HOLE)], [hole])

    def take_gone(self) -> list[Extent]:
        """Extents that hold nothing any more since the last call; their keys can go."""
        gone, self._gone = self._gone, []
        return gone

    def _apply(self, extent: Extent) -> None:
        units = self._of_unit[extent.unit : extent.unit + extent.count]
        for run in list(self.runs(extent.unit, extent.count)):
            if run.extent is None:
                continue
            self._free[run.place : run.place + run.units] = True
            run.extent.live -= run.units
            if not run.extent.live:
                del self._extents[int(self._of_unit[run.unit])]
                self._gone.append(run.extent)
        if extent.place == _HOLE:
            units[:] = -1
            return
        self._free[extent.place : extent.place + extent.count] = False
        extent.live = extent.count
        self._extents[self._made] = extent
        units[:] = self._made
        self._made += 1

    # The log

    def _record(self, extent: Extent, unit: int, count: int, place: int) -> bytes:
        stored, skipped = extent.stored, unit - extent.unit
        body = _RECORD.pack(0, self._generation, unit, place, count, skipped, len(stored), stored)
        return zlib.crc32(body[4:]).to_bytes(4, "little") + body[4:]

    def _log(self, records: list[bytes], extents: list[Extent]) -> list[tuple[int, bytes]]:
        for extent in extents:
            self._apply(extent)
        used = self._sectors + (len(self._tail) + len(records)) // _RECORDS_PER_SECTOR + 1
        if used > self._geometry.half_sectors:
            return self._condense()
        at = self._geometry.half_at(self._half) + self._sectors * 512
        return [(at, self._append(records))]

    def _append(self, records: list[bytes]) -> bytes:
        """Whole sectors with ``records``, what the last sector has already before them."""
        records = self._tail + records
        sectors = []
        for at in range(0, len(records), _RECORDS_PER_SECTOR):
            self._tail = records[at : at + _RECORDS_PER_SECTOR]
            sectors.append(b"".join(self._tail).ljust(512, b"\0"))
        full = len(self._tail) == _RECORDS_PER_SECTOR
        self._sectors += len(sectors) - (not full)
        if full:
            self._tail = []
        return b"".join(sectors)

    def _condense(self) -> list[tuple[int, bytes]]:
        """All that counts, into the other half; then the head, which makes it count."""
        self._generation += 1
        self._half ^= 1
        self._sectors, self._tail = 0, []
        records = [
            self._record(run.extent, run.unit, run.units, run.place)
            for run in self.runs(0, self._geometry.units)
            if run.extent is not None
        ]
        return [(self._geometry.half_at(self._half), self._append(records)), (BLOCK_BYTES, self.head())]

    def head(self) -> bytes:
        """The block that says which half counts."""
        body = _HEAD.pack(_MAGIC, self._generation, self._half, 0)
        return _HEAD.pack(_MAGIC, self._generation, self._half, zlib.crc32(body)).ljust(BLOCK_BYTES, b"\0")

    def _load(self, read: Callable[[int, int], bytes]) -> None:
        head = read(BLOCK_BYTES, BLOCK_BYTES)
        _, self._generation, self._half, _ = _HEAD.unpack_from(head)
        if head != self.head() or self._half > 1:
            raise LogDamaged("the block that says which half of the log counts is damaged")
        at = self._geometry.half_at(self._half)
        while self._sectors < self._geometry.half_sectors:
            sector = read(at + self._sectors * 512, 512)
            records = list(self._valid(sector))
            for record in records:
                self._restore(record)
            if len(records) < _RECORDS_PER_SECTOR:
                self._tail = records
                return
            self._sectors += 1

    def _valid(self, sector: bytes) -> Iterator[bytes]:
        """Records of this generation, up to the first that is none: the log's end."""
        for at in range(0, _RECORDS_PER_SECTOR * _RECORD.size, _RECORD.size):
            record = sector[at : at + _RECORD.size]
            checksum, generation = struct.unpack_from("<II", record)
            if generation != self._generation or checksum != zlib.crc32(record[4:]):
                return
            yield record

    def _restore(self, record: bytes) -> None:
        _, _, unit, place, count, skipped, length, stored = _RECORD.unpack(record)
        extent = Extent(unit, count, place, stored[:length])
        self._apply(extent)
        # What is left of an extent counts its DUNs from where the whole one began.
        extent.unit -= skipped
        extent.place -= skipped
