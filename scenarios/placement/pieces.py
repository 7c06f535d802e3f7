"""Byte ranges cut from rows: widened to data units, cut at borders, joined where they go on.

Columns in, columns out; nothing here knows where files lie.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import NO_FILE, TraceBatch

Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Pieces:
    """Byte ranges of rows, in row order, each column ``int64``.

    Attributes:
        row: index in the batch.
        start: byte address, in the row's own address space until it is mapped, then on the device.
        nbytes: length; 0 for a flush.
        file: file, or -1.
        offset: position in the file, or -1.
    """

    row: Int64
    start: Int64
    nbytes: Int64
    file: Int64
    offset: Int64

    def take(self, which: Bools) -> Self:
        """Some of the pieces."""
        return type(self)(
            self.row[which], self.start[which], self.nbytes[which], self.file[which], self.offset[which]
        )


def widened_pieces(batch: TraceBatch, data: Bools, unit: int) -> tuple[Pieces, int]:
    """One piece per row that does something, those of ``data`` in whole ``unit``s; and how many grew."""
    flush = batch.op == ReqOp.FLUSH
    rows = np.flatnonzero((batch.nbytes > 0) | flush)
    start = np.where(flush, 0, batch.sector << SECTOR_SHIFT)[rows]
    end = start + np.where(flush, 0, batch.nbytes)[rows]
    # By one number at a time: numpy divides by a column of them ten times as slowly.
    first = np.where(data[rows], start // unit * unit, start)
    last = np.where(data[rows], -(-end // unit) * unit, end)
    file = np.where(flush, NO_FILE, batch.file)[rows].astype(np.int64)
    grown = int(np.count_nonzero((first != start) | (last != end)))
    return Pieces(rows, first, last - first, file, np.full(len(rows), -1, np.int64)), grown


def cut_at_multiples(pieces: Pieces, border: int, which: Bools) -> tuple[Pieces, Int64]:
    """``pieces``, those of ``which`` cut at multiples of ``border``; and the index each came from."""
    first = pieces.start // border
    counts = np.where(which, -(-(pieces.start + pieces.nbytes) // border) - first, 1)
    if np.all(counts == 1):
        return pieces, np.arange(len(counts))
    parent = np.repeat(np.arange(len(counts)), counts)
    begin, end = pieces.start[parent], (pieces.start + pieces.nbytes)[parent]
    cell = (first[parent] + _numbers(counts)) * border
    start = np.where(which[parent], np.maximum(begin, cell), begin)
    stop = np.where(which[parent], np.minimum(end, cell + border), end)
    return Pieces(pieces.row[parent], start, stop - start, pieces.file[parent], pieces.offset[parent]), parent


def cut_to_length(pieces: Pieces, longest: int, which: Bools) -> Pieces:
    """``pieces``, those of ``which`` cut into at most ``longest`` bytes, counted from their start."""
    counts = np.where(which, -(-pieces.nbytes // longest), 1)
    if np.all(counts == 1):
        return pieces
    parent = np.repeat(np.arange(len(counts)), counts)
    skipped = _numbers(counts) * longest
    nbytes, offset = pieces.nbytes[parent] - skipped, pieces.offset[parent]
    return Pieces(
        pieces.row[parent],
        pieces.start[parent] + skipped,
        np.where(which[parent], np.minimum(nbytes, longest), nbytes),
        pieces.file[parent],
        np.where(offset < 0, offset, offset + skipped),
    )


def joined(pieces: Pieces) -> Pieces:
    """``pieces``, those of one row joined where address, file and position in the file go on."""
    row, file, offset = pieces.row, pieces.file, pieces.offset
    goes_on = np.zeros(len(row), np.bool_)
    goes_on[1:] = (row[1:] == row[:-1]) & (file[1:] == file[:-1])
    goes_on[1:] &= pieces.start[1:] == pieces.start[:-1] + pieces.nbytes[:-1]
    goes_on[1:] &= (file[1:] < 0) | (offset[1:] == offset[:-1] + pieces.nbytes[:-1])
    heads = np.flatnonzero(~goes_on)
    if len(heads) == len(row):
        return pieces
    return Pieces(
        row[heads], pieces.start[heads], np.add.reduceat(pieces.nbytes, heads), file[heads], offset[heads]
    )


def rows_in_several(pieces: Pieces) -> int:
    """How many rows have more than one piece."""
    row = pieces.row  # in order, so a row's pieces are neighbours
    again = row[1:] == row[:-1]
    again[1:] &= row[2:] != row[:-2]  # count a row at its second piece only
    return int(np.count_nonzero(again))


def _numbers(counts: Int64) -> Int64:
    """``0 .. counts[0] - 1, 0 .. counts[1] - 1, ...``."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1])) - np.repeat(ends - counts, counts)
