"""Bios as columns, between a layout that places them and the machine that runs them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from hwmodel.clock import Row
from scenarios.placement.layout import PlacedBatch

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

NO_KEY = -1
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads file numbers


def share_of(files: Int64, share: float) -> Bools:
    """Which of ``files`` belong to a ``share`` of all files: always the same ones."""
    spread = (files.astype(np.uint64) * _MIX) >> np.uint64(32)
    chosen: Bools = (files >= 0) & (spread < int(share * (1 << 32)))
    return chosen


@dataclass(slots=True, eq=False)
class Bios:
    """Bios in order of submission, one column per attribute.

    Attributes:
        time_ns, op, sector, nbytes, stream: as in a trace, addresses on the device.
        file: whose data it is; -1 for operations without data.
        unit: index in the file of the first data unit; -1 without a file.
        key: number of the key, -1 for none.
        dun: lowest 64 bits of the first DUN, or what the design's cipher makes the IVs of.
        row: index of the batch's row that the bio came from.
    """

    time_ns: Int64
    op: npt.NDArray[np.uint8]
    sector: Int64
    nbytes: Int64
    stream: npt.NDArray[np.int32]
    file: Int64
    unit: Int64
    key: Int64
    dun: UInt64
    row: Int64

    @classmethod
    def of(cls, placed: PlacedBatch, time_ns: Int64) -> "Bios":
        """Bios without keys yet."""
        count = len(placed)
        return cls(
            time_ns,
            placed.op,
            placed.sector,
            placed.nbytes,
            placed.stream,
            placed.file,
            placed.unit_index,
            np.full(count, NO_KEY, np.int64),
            np.zeros(count, np.uint64),
            placed.row,
        )

    def __len__(self) -> int:
        return len(self.op)

    @property
    def with_data(self) -> Bools:
        """Reads and writes of files."""
        found: Bools = self.file >= 0
        return found

    @property
    def writes(self) -> Bools:
        """Writes of files."""
        found: Bools = self.with_data & (self.op == ReqOp.WRITE)
        return found

    def cut(self, parent: Int64, skipped: Int64, nbytes: Int64, unit_bytes: int) -> "Bios":
        """Parts of these bios, in order.

        Args:
            parent: ``int64[m]``, the bio that each part is of.
            skipped: ``int64[m]``, bytes of the bio before the part; whole data units.
            nbytes: ``int64[m]``, bytes of the part.
            unit_bytes: data unit size.
        """
        units = skipped // unit_bytes
        return Bios(
            self.time_ns[parent],
            self.op[parent],
            self.sector[parent] + (skipped >> SECTOR_SHIFT),
            nbytes,
            self.stream[parent],
            self.file[parent],
            np.where(self.unit[parent] < 0, -1, self.unit[parent] + units),
            self.key[parent],
            self.dun[parent] + units.astype(np.uint64),
            self.row[parent],
        )

    def cut_to(self, longest: int, unit_bytes: int) -> "Bios":
        """Data bios in parts of at most ``longest`` bytes."""
        counts = np.where(self.with_data, -(-self.nbytes // longest), 1)
        if np.all(counts == 1):
            return self
        parent = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        skipped = nth * longest
        rest = self.nbytes[parent] - skipped
        nbytes = np.where(self.with_data[parent], np.minimum(rest, longest), rest)
        return self.cut(parent, skipped, nbytes, unit_bytes)

    def rows(self, first_number: int) -> Iterator[Row]:
        """Rows for the machine, numbered from ``first_number`` on."""
        return zip(
            self.time_ns.tolist(),
            range(first_number, first_number + len(self)),
            self.op.tolist(),
            self.sector.tolist(),
            self.nbytes.tolist(),
            self.key.tolist(),
            self.dun.tolist(),
            self.stream.tolist(),
            strict=True,
        )
