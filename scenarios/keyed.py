"""Pieces with their keys and DUNs: the bios of a run, and the accesses of a keyslot curve."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from scenarios.filekeys import FileKeys
from scenarios.placement.layout import PlacedBatch

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class KeyedBatch:
    """Bios, one numpy column per attribute.

    Attributes:
        placed: where they go.
        key: ``int64``, number of the key, -1 for none.
        dun: ``uint64``, of the first data unit; without meaning where there is no key.
    """

    placed: PlacedBatch
    key: Int64
    dun: UInt64

    @classmethod
    def of(cls, placed: PlacedBatch, keys: FileKeys, unit_bytes: int) -> Self:
        """``placed`` with its keys, and no bio across a wrap of its DUN: ``fscrypt_limit_io_blocks()``."""
        key, dun = keys.look_up(placed.file, placed.unit_index)
        keyed = cls(placed, key, dun)
        return keyed if keys.dun_wraps_at is None else keyed._cut(unit_bytes, keys.dun_wraps_at)

    def _cut(self, unit_bytes: int, wraps_at: int) -> Self:
        placed = self.placed
        before = (wraps_at - self.dun.astype(np.int64)) * unit_bytes
        crosses = (self.key >= 0) & (placed.nbytes > before)
        if not crosses.any():
            return self
        parent = np.repeat(np.arange(len(placed)), 1 + crosses)
        second = np.append(False, parent[1:] == parent[:-1])
        first = crosses[parent] & ~second
        skipped = np.where(second, before[parent], 0)
        nbytes = np.where(first, before[parent], placed.nbytes[parent] - skipped)
        pieces = replace(
            placed,
            row=placed.row[parent],
            time_ns=placed.time_ns[parent],
            op=placed.op[parent],
            sector=placed.sector[parent] + (skipped >> SECTOR_SHIFT),
            nbytes=nbytes,
            file=placed.file[parent],
            unit_index=placed.unit_index[parent] + skipped // unit_bytes,
            stream=placed.stream[parent],
        )
        return type(self)(pieces, self.key[parent], np.where(second, np.uint64(0), self.dun[parent]))
