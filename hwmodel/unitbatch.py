"""Bios that wait for their bytes, and what can be done for many of their data units at once.

Units are independent, but for one rule: a read sees the write before it.  So a batch is worked off in phases:
all reads of units as they were before, then the first write of each unit that is written, then the reads
after that, and so on.  Within a phase order does not matter, and units are sorted by key.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from hwmodel.request import WRITE

_IV_BYTES: Final = 16  # of AES-256-XTS; every design's DUN fits its lower half
#: A DUN's part in the IV.
DUN_MASK: Final = (1 << 64) - 1

Ints = npt.NDArray[np.int64]

#: Packs a bio that waits: sector, bytes, DUN & DUN_MASK, operation (READ or WRITE), and its key's number.
pack_bio: Final = Struct("=qqQqq").pack
_PACKED: Final = 5


class Bios(NamedTuple):
    """Some bios, in the order in which they completed; all columns have one length.

    Attributes:
        sector, nbytes: ``int64``.
        dun: ``uint64``, of the first data unit.
        op: ``uint8``, a ``ReqOp`` number.
        key: ``int64``, a number in ``keys``.
        keys: None for plaintext.
    """

    sector: Ints
    nbytes: Ints
    dun: npt.NDArray[np.uint64]
    op: npt.NDArray[np.uint8]
    key: Ints
    keys: Sequence[BlkCryptoKey | None]

    @classmethod
    def unpacked(cls, packed: bytes | bytearray, keys: Sequence[BlkCryptoKey | None]) -> "Bios":
        """Columns of what ``pack_bio`` packed, one after another."""
        rows = np.frombuffer(packed, dtype=np.int64).reshape(-1, _PACKED)
        sector, nbytes, dun, op, key = rows.T
        return cls(sector, nbytes, dun.view(np.uint64), op.astype(np.uint8), key, keys)

    def part(self, begin: int, end: int) -> "Bios":
        """Those from ``begin`` to before ``end``."""
        at = slice(begin, end)
        return Bios(self.sector[at], self.nbytes[at], self.dun[at], self.op[at], self.key[at], self.keys)


@dataclass(frozen=True, slots=True)
class Part:
    """Some units of a phase.

    Attributes:
        at: ``int64[n]``, which units of the batch.
        by_key: the keys in the order of ``at``, and how many units each has.
    """

    at: Ints
    by_key: list[tuple[BlkCryptoKey | None, int]]


class Batch:
    """Every data unit of some bios, in the order of the bios.

    Attributes:
        bio: ``int64[n]``, position of the unit's bio.
        units: ``int64[n]``, number on the device.
        ivs: ``uint8[n, 16]``.
        write: ``bool[n]``, or read.
    """

    __slots__ = ("_bios", "_key", "_keys", "bio", "ivs", "units", "write")

    def __init__(self, bios: Bios, unit_bytes: int) -> None:
        counts = bios.nbytes // unit_bytes
        first = (bios.sector << SECTOR_SHIFT) // unit_bytes
        bio = self.bio = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(bio)) - (np.cumsum(counts) - counts)[bio]
        self.units = first[bio] + within
        self.write = (bios.op == WRITE)[bio]
        self.ivs = np.zeros((len(bio), _IV_BYTES), dtype=np.uint8)
        self.ivs.view("<u8")[:, 0] = bios.dun[bio] + within.astype(np.uint64)
        self._key = bios.key[bio]
        self._keys = bios.keys
        self._bios = len(counts)

    def __len__(self) -> int:
        return len(self.units)

    def phases(self, but: Ints) -> Iterator[tuple[bool, Ints]]:
        """Whether a phase writes, and its units, sorted by key; without the accesses ``but``."""
        todo = np.ones(len(self), dtype=np.bool_)
        todo[but] = False
        if not todo.any():
            return
        if self._bios == 1:  # which accesses each of its units once
            yield bool(self.write[0]), np.flatnonzero(todo)
            return
        # Reads that follow k writes of their unit, the write after them, reads that follow k + 1 writes ...
        number = 2 * self._writes_before() + self.write
        order = np.lexsort((self._key, number))
        order = order[todo[order]]
        for phase in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
            yield bool(self.write[phase[0]]), phase

    def _writes_before(self) -> Ints:
        """Writes of each unit before this access to it: ``int64[n]``."""
        counts: Ints = np.zeros(len(self), dtype=np.int64)
        order = np.argsort(self.units, kind="stable")
        units = self.units[order]
        begins = np.append(True, units[1:] != units[:-1])
        if not begins.all():
            writes = self.write[order].astype(np.int64)
            before = np.cumsum(writes) - writes
            counts[order] = before - np.repeat(
                before[begins], np.diff(np.append(np.flatnonzero(begins), len(self)))
            )
        return counts

    def first_accesses(self, of: Ints) -> tuple[Ints, Ints]:
        """Those of the accesses ``of``, in order, that are the first to their unit: reads, and writes.

        Both are sorted as ``phases`` sorts what comes first, and are thus the order in which they are made.
        """
        if self._bios == 1:
            first = of
        else:
            first = np.sort(of[np.unique(self.units[of], return_index=True)[1]])
            first = first[np.argsort(self._key[first], kind="stable")]
        write = self.write[first]
        return first[~write], first[write]

    def parts(self, of: Ints, most: int) -> Iterator[Part]:
        """``of``, sorted by key, in parts of at most ``most`` units."""
        if not len(of):
            return
        numbers = self._key[of]
        ends = np.append(np.flatnonzero(np.diff(numbers)) + 1, len(of))
        begin = start = 0  # of the part, and of what it does not have yet
        by_key: list[tuple[BlkCryptoKey | None, int]] = []
        for end, number in zip(ends.tolist(), numbers[ends - 1].tolist(), strict=True):
            key = self._keys[number]
            while end - begin > most:
                if begin + most > start:
                    by_key.append((key, begin + most - start))
                yield Part(of[begin : begin + most], by_key)
                begin = start = begin + most
                by_key = []
            by_key.append((key, end - start))
            start = end
        yield Part(of[begin:], by_key)
