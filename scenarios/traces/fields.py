"""Where the fields of a block's rows are, and what they say.

One tokeniser for text with a delimiter and one for text in white space; then whole columns are read at once,
eight digits per machine word.  Nothing here raises: each function says which rows it could read.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
import numpy.typing as npt

from scenarios.traces.lines import PAD, Block, Int64, UInt64

Bool = npt.NDArray[np.bool_]

_SPACE: Final = 32
_LARGEST: Final = 2**63 - 1
_POW10: Final = np.array([10**power for power in range(19)], dtype=np.int64)
_FLOAT: Final = re.compile(rb"\+?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?")

# Row n keeps the last (or the first) n of a little-endian word's 8 bytes in reading order.
_LAST_BYTES: Final = np.array([(1 << 64) - (1 << (64 - 8 * n)) for n in range(9)], dtype=np.uint64)
_FIRST_BYTES: Final = np.array([(1 << (8 * n)) - 1 for n in range(9)], dtype=np.uint64)
_ZEROS: Final = np.uint64(0x3030303030303030)
_NOT_A_DIGIT: Final = np.uint64(0x7676767676767676)
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_MAX_TOP: Final = 921  # 922e16 and some does not fit 63 bits any more


@dataclass(frozen=True, slots=True)
class Column:
    """One field of every row: ``text[start:end]``; empty where a row lacks the field."""

    start: Int64
    end: Int64

    def take(self, rows: Int64) -> "Column":
        """The fields of some rows."""
        return Column(self.start[rows], self.end[rows])

    @property
    def length(self) -> Int64:
        """Bytes of each field."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a block.

    Attributes:
        start, end: ``int64[fields]``, of all rows' fields in reading order.
        first: ``int64[rows]``, index of each row's first field.
        count: ``int64[rows]``, each row's number of fields.
    """

    start: Int64
    end: Int64
    first: Int64
    count: Int64

    def column(self, index: int | Int64, rows: Int64 | None = None) -> Column:
        """Field ``index`` of all rows, or of ``rows``; counted from the row's end when negative."""
        first = self.first if rows is None else self.first[rows]
        count = self.count if rows is None else self.count[rows]
        at = np.where(np.asarray(index) < 0, count + index, index)
        there = (at >= 0) & (at < count)
        if there.all():
            at = at + first
            return Column(self.start[at], self.end[at])
        start = np.full(len(at), PAD, dtype=np.int64)
        end = start.copy()
        at = (at + first)[there]
        start[there] = self.start[at]
        end[there] = self.end[at]
        return Column(start, end)


def split_delimited(block: Block, delimiter: int) -> Fields:
    """Fields between single ``delimiter`` bytes; spaces around a field do not belong to it."""
    text = block.text
    end = np.flatnonzero((text == delimiter) | (text == ord("\n")))
    last = np.flatnonzero(text[end] == ord("\n"))
    start = np.empty_like(end)
    start[:1] = PAD
    start[1:] = end[:-1] + 1
    first = np.empty_like(last)
    first[:1] = 0
    first[1:] = last[:-1] + 1
    if np.any(text == _SPACE):
        start, end = _trimmed(text, start, end)
    return Fields(start, end, first, last - first + 1)


def _trimmed(text: npt.NDArray[np.uint8], start: Int64, end: Int64) -> tuple[Int64, Int64]:
    while np.any(blank := (text[start] == _SPACE) & (start < end)):
        start = start + blank
    while np.any(blank := (text[end - 1] == _SPACE) & (start < end)):
        end = end - blank
    return start, end


def split_whitespace(block: Block) -> Fields:
    """Fields between runs of white space; every control character is white space."""
    inked = block.text > _SPACE
    edges = np.flatnonzero(inked[1:] != inked[:-1]) + 1
    start, end = edges[::2], edges[1::2]
    first = np.searchsorted(start, block.starts)
    count = np.append(first[1:], len(start)) - first
    return Fields(start, end, first, count)


def whole(block: Block, column: Column) -> tuple[Int64, Bool]:
    """Unsigned decimal numbers.

    Returns:
        ``int64`` values, and which rows are digits only and fit; the value of another row means nothing.
    """
    length = column.length
    longest = int(length.max(initial=0))
    value, bad = _eight_digits(block, column.end, length)
    if longest > 8:
        part, part_bad = _eight_digits(block, column.end - 8, length - 8)
        value += part * 10**8
        bad |= part_bad
    good = (bad == 0) & (length > 0)
    if longest > 16:
        part, part_bad = _eight_digits(block, column.end - 16, length - 16)
        value += part * 10**16
        good &= (part_bad == 0) & (part <= _MAX_TOP) & (length <= 24)
    return value, good


def _eight_digits(block: Block, end: Int64, length: Int64) -> tuple[Int64, UInt64]:
    """The last 8 of ``length`` bytes before ``end`` as a number; and not zero where one is no digit."""
    word = block.words[end - 8]
    word ^= _ZEROS
    word &= _LAST_BYTES.take(length, mode="clip")
    bad = ((word + _NOT_A_DIGIT) | word) & _HIGH_BITS
    # Neighbours are joined three times: 8 x 1 digit, 4 x 2, 2 x 4, 1 x 8.
    word *= np.uint64(10 << 8 | 1)
    word >>= np.uint64(8)
    word &= np.uint64(0x00FF00FF00FF00FF)
    word *= np.uint64(100 << 16 | 1)
    word >>= np.uint64(16)
    word &= np.uint64(0x0000FFFF0000FFFF)
    word *= np.uint64(10000 << 32 | 1)
    word >>= np.uint64(32)
    return word.view(np.int64), bad


def decimal(block: Block, column: Column, digits: int) -> tuple[Int64, Bool]:
    """Unsigned decimal fractions times ``10**digits``, exactly; what is smaller than that is cut off.

    Returns:
        ``int64`` values, and which rows are a number that fits; the value of another row means nothing.
    """
    dot = block.dots[np.searchsorted(block.dots, column.start)]
    point = np.minimum(dot, column.end)
    after = np.minimum(point + 1, column.end)
    kept = np.minimum(after + digits, column.end)
    value, good = whole(block, Column(column.start, point))
    good &= value <= _LARGEST // 10**digits - 1
    fraction, fraction_good = whole(block, Column(after, kept))
    good &= fraction_good | (after == kept)
    if np.any(kept < column.end):
        good &= whole(block, Column(kept, column.end))[1] | (kept == column.end)
    value = value * 10**digits + np.where(after == kept, 0, fraction) * _POW10[digits - (kept - after)]
    if not good.all():
        for row in np.flatnonzero(~good):
            by_hand = _float(block.bytes_at(int(column.start[row]), int(column.end[row])), digits)
            if by_hand is not None:
                value[row], good[row] = by_hand, True
    return value, good


def _float(field: bytes, digits: int) -> int | None:
    """A number as programs print floats (``1.5e-05``, ``.5``), times ``10**digits``."""
    if not _FLOAT.fullmatch(field):
        return None
    value = int(Decimal(field.decode()).scaleb(digits))
    return value if value <= _LARGEST else None


def head(block: Block, column: Column) -> UInt64:
    """The first 8 bytes of each field as a little-endian word, zeros after a shorter one."""
    word: UInt64 = block.words[column.start] & _FIRST_BYTES.take(column.length, mode="clip")
    return word


def as_word(text: bytes) -> np.uint64:
    """What ``head`` gives for a field that says ``text``, of at most 8 bytes."""
    return np.uint64(int.from_bytes(text, "little"))


def says(block: Block, column: Column, text: bytes) -> Bool:
    """Which fields are exactly ``text``."""
    same: Bool = column.length == len(text)
    for at in range(0, len(text), 8):
        part = Column(column.start + at, np.minimum(column.start + at + 8, column.end))
        # A field that ends before ``at`` differs in length anyway; its word must only stay inside the text.
        part = Column(np.minimum(part.start, part.end), part.end)
        same &= head(block, part) == as_word(text[at : at + 8])
    return same
