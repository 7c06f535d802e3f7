"""Addresses to files, and back.

The address space is cut into extents of ``extent_bytes``.  File ``f`` has consecutive *logical* extents, from
the end of file ``f - 1`` on; a seeded bijection (``fragmentation`` of the extents, moved among themselves)
says where on the device each logical extent lies.  So one seed is one layout, every address belongs to one
file, and nothing grows with the number of extents.

Rows become pieces by these rules, each counted:

- Reads and writes are widened to whole data units: that is what is encrypted.
- An address past the last file wraps around.
- A piece never leaves a file or jumps on the device, and has at most ``max_bio_bytes``.
- Discards and the like carry no data, so they have no file: only their addresses are mapped.

Rows can address files instead of the device (``TraceBatch.file``): the layout's own files by number, which is
what the synthetic workload does, or the named files of a trace (``named_files``).  A trace does not say how
large its files are, so a named file grows by regions of ``file_size_bytes``; each takes the next free part of
the address space when it is first touched.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from scenarios import schema
from scenarios.permutation import PartialPermutation
from scenarios.pieces import (
    Bools,
    Int64,
    Pieces,
    cut_at_multiples,
    cut_to_length,
    joined,
    rows_in_several,
    widened_pieces,
)
from scenarios.streams import stream
from scenarios.traces.batch import NO_FILE, TraceBatch

MAX_BIO_BYTES: Final = 1 << 20  # BIO_MAX_VECS pages of 4 KiB
# The boundaries of all files are held as one array.
_MOST_FILES: Final = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedBatch:
    """Pieces of rows, in row order, one numpy column per attribute.

    Attributes:
        row: ``int64``, index of the piece's row in its batch.
        time_ns, op, stream: as the row's.
        sector: ``int64``, first 512-byte sector on the device.
        nbytes: ``int64``, whole data units for reads and writes; 0 for a flush.
        file: ``int64``, the file whose key encrypts the piece; -1 for operations without data.
        unit_index: ``int64``, index within the file of the piece's first data unit; -1 without a file.
        widened, cut, wrapped, empty: rows that were widened, became several pieces, lay past the last file
            or had no bytes (and so have no piece).
    """

    row: Int64
    time_ns: Int64
    op: npt.NDArray[np.uint8]
    sector: Int64
    nbytes: Int64
    file: Int64
    unit_index: Int64
    stream: npt.NDArray[np.int32]
    widened: int
    cut: int
    wrapped: int
    empty: int

    def __len__(self) -> int:
        return len(self.row)


class Layout:
    """Where files lie.  ``build`` makes one.

    Attributes:
        files: number of files.
        covered_bytes: address space that belongs to files.
        counts: rows so far that were widened, cut, wrapped or empty.
    """

    def __init__(
        self, starts: Int64, extent_bytes: int, order: PartialPermutation, *, region_extents: int = 0
    ) -> None:
        self._starts = starts  # int64[files + 1]: first logical extent of each file, and the end
        self._extent_bytes = extent_bytes
        self._order = order
        self.files = len(starts) - 1
        self.covered_bytes = int(starts[-1]) * extent_bytes
        self._region_bytes = region_extents * extent_bytes
        self._regions = _Regions(int(starts[-1]) // region_extents) if region_extents else None
        self.counts = dict.fromkeys(("widened", "cut", "wrapped", "empty"), 0)

    @classmethod
    def build(
        cls, options: schema.Layout, capacity_bytes: int, seed: int, *, named_files: bool = False
    ) -> Self:
        """The layout of ``options`` over a device of ``capacity_bytes``.

        Args:
            named_files: rows name files of a trace (fio's iolog) instead of the device's addresses.

        Raises:
            BadInput: the files do not fit.
        """
        extent = options.extent_bytes
        span = (options.span_bytes or capacity_bytes) // extent
        sizes = _file_extents(options, span, seed)
        if int(sizes.sum()) > span:
            what = f"{len(sizes)} files take {int(sizes.sum()) * extent} bytes of {span * extent}"
            raise BadInput(
                f"{what}: fewer or smaller files, or a larger layout.span_bytes", where="layout.files"
            )
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        order = PartialPermutation(int(starts[-1]), options.fragmentation, stream(seed, "layout.extents"))
        return cls(starts, extent, order, region_extents=_mean_extents(options) if named_files else 0)

    def file_bytes(self, files: Int64) -> Int64:
        """Size of each of ``files``."""
        return (self._starts[files + 1] - self._starts[files]) * self._extent_bytes

    def address(self, files: Int64, offsets: Int64) -> Int64:
        """Device byte address of byte ``offsets[i]`` of file ``files[i]``; offsets are inside their files."""
        extents = self._starts[files] + offsets // self._extent_bytes
        return self._order.forward(extents) * self._extent_bytes + offsets % self._extent_bytes

    def locate(self, addresses: Int64) -> tuple[Int64, Int64]:
        """File and offset of each device byte address below ``covered_bytes``: inverse of ``address``."""
        extents = self._order.inverse(addresses // self._extent_bytes)
        files = np.searchsorted(self._starts, extents, side="right") - 1
        offsets = (extents - self._starts[files]) * self._extent_bytes + addresses % self._extent_bytes
        return files, offsets

    def place(
        self, batch: TraceBatch, data_unit_size: int, max_bio_bytes: int = MAX_BIO_BYTES
    ) -> PlacedBatch:
        """``batch``'s rows as pieces; the module's head has the rules.

        Args:
            data_unit_size: bytes; a divisor of ``extent_bytes`` and of ``max_bio_bytes``.

        Raises:
            BadInput: an I/O is larger than all files together, or named files outgrow the address space.
        """
        data = batch.op <= ReqOp.WRITE
        pieces, widened = widened_pieces(batch, data, data_unit_size)
        kept = len(pieces.row)
        pieces, wrapped = self._mapped(pieces, data[pieces.row])
        pieces = cut_to_length(pieces, max_bio_bytes, data[pieces.row])
        counts = {
            "widened": widened,
            "cut": rows_in_several(pieces),
            "wrapped": wrapped,
            "empty": len(batch) - kept,
        }
        for name, count in counts.items():
            self.counts[name] += count
        return PlacedBatch(
            row=pieces.row,
            time_ns=batch.time_ns[pieces.row],
            op=batch.op[pieces.row],
            sector=pieces.start >> SECTOR_SHIFT,
            nbytes=pieces.nbytes,
            file=pieces.file,
            unit_index=np.where(pieces.offset < 0, -1, pieces.offset // data_unit_size),
            stream=batch.stream[pieces.row],
            **counts,
        )

    def _mapped(self, pieces: Pieces, data: Bools) -> tuple[Pieces, int]:
        """``pieces`` on the device, and how many rows wrapped."""
        named = pieces.file != NO_FILE
        # Without data and without a file the range stays whole: nothing in it needs a key.
        whole = ~named & ~data
        self._check_sizes(pieces.nbytes[~whole])
        pieces, parent = cut_at_multiples(pieces, self._extent_bytes, ~whole)
        whole, named, data = whole[parent], named[parent], data[parent]
        past = np.zeros(len(pieces.row), np.bool_)
        past[whole] = self._clip(pieces, np.flatnonzero(whole))
        past[named] = self._map_files(pieces, np.flatnonzero(named))
        device = ~whole & ~named
        past[device] = self._map_device(pieces, np.flatnonzero(device))
        pieces.file[~data] = pieces.offset[~data] = NO_FILE
        return joined(pieces), len(np.unique(pieces.row[past]))

    def _clip(self, pieces: Pieces, at: Int64) -> Bools:
        """Move ranges ``at`` inside the files; whether each was past their end."""
        past = pieces.start[at] + pieces.nbytes[at] > self.covered_bytes
        pieces.start[at] %= self.covered_bytes
        pieces.nbytes[at] = np.minimum(pieces.nbytes[at], self.covered_bytes - pieces.start[at])
        return past

    def _map_device(self, pieces: Pieces, at: Int64) -> Bools:
        """Find the files of pieces ``at`` device addresses; whether each was past the last file."""
        past = pieces.start[at] >= self.covered_bytes
        pieces.start[at] %= self.covered_bytes
        pieces.file[at], pieces.offset[at] = self.locate(pieces.start[at])
        return past

    def _map_files(self, pieces: Pieces, at: Int64) -> Bools:
        """Find the addresses of pieces ``at`` file positions; whether each was past its file's end."""
        files, offsets = pieces.file[at], pieces.start[at]
        past = np.zeros(len(at), np.bool_)
        if self._regions is not None:
            pieces.offset[at] = offsets
            size = self._region_bytes
            places = self._regions.locate(files, offsets // size) * size + offsets % size
            extents = self._order.forward(places // self._extent_bytes)
            pieces.start[at] = extents * self._extent_bytes + places % self._extent_bytes
            return past
        files = files % self.files
        sizes = self.file_bytes(files)
        past = offsets >= sizes
        pieces.file[at], pieces.offset[at] = files, offsets % sizes
        pieces.start[at] = self.address(files, offsets % sizes)
        return past

    def _check_sizes(self, nbytes: Int64) -> None:
        """No I/O may exceed the space it is cut over: it would be cut without end."""
        largest = int(nbytes.max(initial=0))
        if largest > self.covered_bytes:
            what = f"an I/O of {largest} bytes is larger than all files together ({self.covered_bytes} bytes)"
            raise BadInput(f"{what}: set layout.span_bytes", where="layout")


class _Regions:
    """Which part of the address space each region of a named file has: first touched, first served."""

    __slots__ = ("_at", "_count")

    def __init__(self, count: int) -> None:
        self._count = count
        self._at: dict[tuple[int, int], int] = {}

    def locate(self, files: Int64, numbers: Int64) -> Int64:
        """Place of region ``numbers[i]`` of file ``files[i]``.

        Raises:
            BadInput: no place is left.
        """
        known, index = np.unique(numbers, return_inverse=True)
        _, first, back = np.unique(files * len(known) + index, return_index=True, return_inverse=True)
        places = np.empty(len(first), np.int64)
        # In order of appearance, so that the borders of batches do not matter.
        for at in np.argsort(first).tolist():
            key = (int(files[first[at]]), int(numbers[first[at]]))
            places[at] = self._at.setdefault(key, len(self._at))
        if len(self._at) > self._count:
            what = f"the trace's files need more than {self._count} regions of layout.file_size_bytes"
            raise BadInput(f"{what}: make them smaller, or layout.span_bytes larger", where="layout")
        return places[back]


def _mean_extents(options: schema.Layout) -> int:
    return max(1, round(options.file_size_bytes / options.extent_bytes))


def _file_extents(options: schema.Layout, span: int, seed: int) -> Int64:
    """Sizes of all files in extents: ``options.files`` of them, or as many as fill ``span`` extents."""
    mean = _mean_extents(options)
    count = options.files or max(1, span // mean)
    if count > _MOST_FILES:
        what = f"{count} files are too many (at most {_MOST_FILES}): larger files or a smaller span_bytes"
        raise BadInput(what, where="layout.file_size_bytes")
    if not options.file_size_spread:
        return np.full(count, mean if options.files else min(mean, span), np.int64)
    rng = stream(seed, "layout.sizes")
    sigma = options.file_size_spread
    sizes = np.empty(0, np.int64)
    while count > 0:
        # The mean of a lognormal law is exp(location + sigma**2 / 2).
        drawn = np.rint(rng.lognormal(np.log(mean) - sigma * sigma / 2, sigma, count))
        sizes = np.concatenate((sizes, np.clip(drawn, 1, span).astype(np.int64)))
        count = 0 if options.files else -(-(span - int(sizes.sum())) // mean)
    if options.files:
        return sizes
    ends = np.minimum(np.cumsum(sizes), span)  # the file that reaches the end stops there
    return np.diff(ends[: int(np.searchsorted(ends, span)) + 1], prepend=0)
