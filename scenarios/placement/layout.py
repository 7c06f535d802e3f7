"""The rows of a trace on the files of a layout.

Where files lie is an allocation as a filesystem makes it (``blkcrypto.fs.allocation``), from a scenario's
options; one seed is one layout.  Rows become pieces by these rules, each counted:

- Reads and writes are widened to whole data units: that is what is encrypted.
- An address past the last file wraps around (or is left out, or is an error: ``past_end``).
- A piece never leaves a file or jumps on the device, and has at most ``max_bio_bytes``.
- Of a share of the files (``sample_files``), chosen by hashing their numbers, nothing else is kept.
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
from blkcrypto.fs.allocation.file_map import FileMap
from blkcrypto.fs.allocation.regions import Regions, RegionsExhausted
from scenarios import schema
from scenarios.placement.filesample import FileSample
from scenarios.placement.pieces import (
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
    """Rows on files.  ``build`` makes one.

    Args:
        file_map: where the files lie.
        regions: for rows that name files of a trace, which part of the map each region of such a file has.

    Attributes:
        file_map: as given.
        counts: rows so far that were widened, cut, wrapped or empty; pieces that were left out for lying past
            the end or in a file that is not in the sample.
    """

    def __init__(
        self,
        file_map: FileMap,
        regions: Regions | None = None,
        *,
        past_end: schema.PastEnd = "wrap",
        sample: FileSample | None = None,
    ) -> None:
        self.file_map = file_map
        self._regions = regions
        self._past_end = past_end
        self._sample = sample
        self.counts = dict.fromkeys(("widened", "cut", "wrapped", "empty", "past_end", "not_sampled"), 0)

    @classmethod
    def build(
        cls,
        options: schema.Layout,
        capacity_bytes: int,
        seed: int,
        *,
        named_files: bool = False,
        sample_files: float = 1.0,
    ) -> Self:
        """The layout of ``options`` over a device of ``capacity_bytes``.

        Args:
            named_files: rows name files of a trace (fio's iolog) instead of the device's addresses.
            sample_files: share of the files to keep.

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
        file_map = FileMap(sizes, extent, options.fragmentation, stream(seed, "layout.extents"))
        regions = None
        if named_files:
            region = _mean_extents(options) * extent
            regions = Regions(file_map.covered_bytes // region, region)
        sample = FileSample(sample_files, stream(seed, "layout.sample")) if sample_files < 1 else None
        return cls(file_map, regions, past_end=options.past_end, sample=sample)

    def place(
        self, batch: TraceBatch, data_unit_size: int, max_bio_bytes: int = MAX_BIO_BYTES
    ) -> PlacedBatch:
        """``batch``'s rows as pieces; the module's head has the rules.

        Args:
            data_unit_size: bytes; a divisor of ``extent_bytes`` and of ``max_bio_bytes``.

        Raises:
            BadInput: an I/O is larger than all files together, or past the end where that is an error; or
                named files outgrow the address space.
        """
        data = batch.op <= ReqOp.WRITE
        pieces, widened = widened_pieces(batch, data, data_unit_size)
        kept = len(pieces.row)
        pieces, wrapped = self._mapped(pieces, data[pieces.row])
        if self._sample is not None:
            pieces = self._kept("not_sampled", pieces, self._sample.has(pieces.file))
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
        pieces, parent = cut_at_multiples(pieces, self.file_map.extent_bytes, ~whole)
        whole, named, data = whole[parent], named[parent], data[parent]
        if self._past_end != "wrap":
            inside = self._inside(pieces, named)
            pieces = self._kept("past_end", pieces, inside)
            whole, named, data = whole[inside], named[inside], data[inside]
        past = np.zeros(len(pieces.row), np.bool_)
        past[whole] = self._clip(pieces, np.flatnonzero(whole))
        past[named] = self._map_files(pieces, np.flatnonzero(named))
        device = ~whole & ~named
        past[device] = self._map_device(pieces, np.flatnonzero(device))
        pieces.file[~data] = pieces.offset[~data] = NO_FILE
        return joined(pieces), len(np.unique(pieces.row[past]))

    def _kept(self, rule: str, pieces: Pieces, which: Bools) -> Pieces:
        """The pieces of ``which``, the others counted."""
        self.counts[rule] += int(np.count_nonzero(~which))
        return pieces.take(which)

    def _inside(self, pieces: Pieces, named: Bools) -> Bools:
        """Which pieces begin before the end of the files, or of their own file.

        Raises:
            BadInput: one does not, and must.
        """
        end = np.full(len(pieces.row), self.file_map.covered_bytes)
        if self._regions is None:
            end[named] = self.file_map.file_bytes(pieces.file[named] % self.file_map.files)
        else:
            end[named] = np.iinfo(np.int64).max  # a named file grows
        inside: Bools = pieces.start < end
        if self._past_end == "error" and not inside.all():
            first = int(np.argmin(inside))
            what = f"an I/O at byte {int(pieces.start[first])} is past the end ({int(end[first])})"
            raise BadInput(
                f"{what}: a larger layout.span_bytes, or another past_end", where="layout.past_end"
            )
        return inside

    def _clip(self, pieces: Pieces, at: Int64) -> Bools:
        """Move ranges ``at`` inside the files; whether each was past their end."""
        covered = self.file_map.covered_bytes
        past = pieces.start[at] + pieces.nbytes[at] > covered
        pieces.start[at] %= covered
        pieces.nbytes[at] = np.minimum(pieces.nbytes[at], covered - pieces.start[at])
        return past

    def _map_device(self, pieces: Pieces, at: Int64) -> Bools:
        """Find the files of pieces ``at`` device addresses; whether each was past the last file."""
        past = pieces.start[at] >= self.file_map.covered_bytes
        pieces.start[at] %= self.file_map.covered_bytes
        pieces.file[at], pieces.offset[at] = self.file_map.locate(pieces.start[at])
        return past

    def _map_files(self, pieces: Pieces, at: Int64) -> Bools:
        """Find the addresses of pieces ``at`` file positions; whether each was past its file's end."""
        files, offsets = pieces.file[at], pieces.start[at]
        if self._regions is not None:
            pieces.offset[at] = offsets
            pieces.start[at] = self.file_map.device(_region_places(self._regions, files, offsets))
            return np.zeros(len(at), np.bool_)
        files = files % self.file_map.files
        sizes = self.file_map.file_bytes(files)
        pieces.file[at], pieces.offset[at] = files, offsets % sizes
        pieces.start[at] = self.file_map.address(files, offsets % sizes)
        return offsets >= sizes

    def _check_sizes(self, nbytes: Int64) -> None:
        """No I/O may exceed the space it is cut over: it would be cut without end."""
        largest = int(nbytes.max(initial=0))
        covered = self.file_map.covered_bytes
        if largest > covered:
            what = f"an I/O of {largest} bytes is larger than all files together ({covered} bytes)"
            raise BadInput(f"{what}: set layout.span_bytes", where="layout")


def _region_places(regions: Regions, files: Int64, offsets: Int64) -> Int64:
    try:
        return regions.locate(files, offsets)
    except RegionsExhausted as error:
        what = f"the trace's {error}: a smaller layout.file_size_bytes or a larger layout.span_bytes"
        raise BadInput(what, where="layout") from None


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
