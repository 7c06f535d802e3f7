"""Tables in text: every format that is one I/O per line and one fact per column.

The format is a ``ColumnMap``, so this is the reader of a dozen published formats and of any other table.
"""

import re
from typing import Final

import numpy as np

from blkcrypto.base.errors import at_line
from scenarios.traces.batch import Int32, Int64, UInt8
from scenarios.traces.columns import (
    FILETIME,
    FILETIME_NS,
    SPELLINGS,
    TIME_DIGITS,
    ColumnMap,
    ColumnUse,
    unit_bytes,
)
from scenarios.traces.errors import TraceError
from scenarios.traces.fields import (
    Bool,
    Column,
    Fields,
    decimal,
    split_delimited,
    split_whitespace,
    whole,
)
from scenarios.traces.lines import Block
from scenarios.traces.ops import IGNORED, UNKNOWN, WORDS, spelled
from scenarios.traces.parsing import Job, RowReader, text_reader
from scenarios.traces.rows import (
    LARGEST_BYTES,
    UNKNOWN_LATENCY,
    UNKNOWN_STREAM,
    Findings,
    Rows,
    no_files,
    to_sectors,
)

_QUOTED: Final = re.compile(rb'"([^"\n]*)"')
_NUMBER: Final = re.compile(r"\+?[0-9.]")
# 100-ns ticks further than this from the first do not fit 63 bits of nanoseconds.
_MAX_TICKS: Final = (2**63 - 1) // FILETIME_NS


def table_reader(columns: ColumnMap) -> RowReader:
    """The row reader for tables of this shape."""
    return text_reader(lambda job: _TableParser(job, columns))


def _split_header(line: bytes, delimiter: str) -> list[str]:
    """Column names of a header line, without quotes."""
    text = line.decode("utf-8", "replace").removeprefix("\ufeff")
    names = text.split() if delimiter == " " else text.split(delimiter)
    return [name.strip().strip('"') for name in names]


class _TableParser:
    def __init__(self, job: Job, columns: ColumnMap) -> None:
        self._job = job
        self._map = columns
        self._header: bytes | None = None
        self._header_seen = False
        self._at: dict[str, int] = {}
        self._first_ticks: int | None = None
        self._ready = False

    def parse(self, block: Block) -> Rows:
        if self._map.delimiter != " ":
            block = _unquoted(block, self._map.delimiter)
        if not self._ready:
            self._find_columns(block)
            self._ready = True
        found = Findings(block)
        fields = (
            split_whitespace(block)
            if self._map.delimiter == " "
            else split_delimited(block, ord(self._map.delimiter))
        )
        reach = (index + 1 if index >= 0 else -index for index in self._at.values())
        needed = max(self._map.least, *reach)
        found.require(fields.count >= needed, f"fewer than {needed} columns")
        return self._rows(block, fields, found)

    def _rows(self, block: Block, fields: Fields, found: Findings) -> Rows:
        time_ns, latency_ns = self._times(block, fields, found)
        op = self._ops(block, fields, found)
        offset, nbytes = self._range(block, fields, found)
        used = found.good & (op != IGNORED)
        self._job.tally.add("other_ops", int(np.count_nonzero(found.good & (op == IGNORED))))
        if "volume" in self._at:
            used = self._job.volumes.keep(block, self._column(fields, "volume"), used)
        if self._job.completions:
            used &= False if latency_ns is None else latency_ns != UNKNOWN_LATENCY
        kept, problem, bad_lines = found.settle(used, self._is_header, self._job.tally)
        sector, nbytes = to_sectors(offset[kept], nbytes[kept], self._job.tally)
        return Rows(
            time_ns=time_ns[kept],
            op=op[kept],
            sector=sector,
            nbytes=nbytes,
            stream=self._streams(block, fields)[kept],
            file=no_files(len(sector)),
            latency_ns=None if latency_ns is None else latency_ns[kept],
            problem=problem,
            bad_lines=bad_lines,
        )

    def _find_columns(self, block: Block) -> None:
        """Decide whether the first line is a header, and resolve names to positions."""
        line = block.line(0)
        names = _split_header(line, self._map.delimiter)
        # A damaged row still has numbers in it, a header has none.
        looks_so = self._map.header is None and not any(_NUMBER.match(name) for name in names)
        if self._map.header or self._map.has_names() or looks_so:
            self._header = line
        for use in self._map.uses.values():
            if use.column:
                index = self._index(use, names, block)
                if index is not None:
                    self._at[use.field] = index

    def _index(self, use: ColumnUse, names: list[str], block: Block) -> int | None:
        if use.position is not None:
            return use.position
        if use.column not in names:
            if use.optional:
                return None
            raise TraceError(
                f"no column is called {use.column!r}: the header has {', '.join(names[:20])}",
                where=at_line(block.name, block.line_number(0)),
            )
        index = names.index(use.column)
        after_free = self._map.free in names and index > names.index(self._map.free)
        return index - len(names) if after_free else index

    def _is_header(self, line: bytes) -> str | None:
        if self._header is None or line != self._header:
            return None
        first, self._header_seen = not self._header_seen, True
        return "" if first else "repeated_headers"

    def _column(self, fields: Fields, field: str) -> Column:
        return fields.column(self._at[field])

    def _times(self, block: Block, fields: Fields, found: Findings) -> tuple[Int64, Int64 | None]:
        column = self._column(fields, "time")
        time_ns, good = self._time(block, column)
        found.require(good, "the time is not a number, or centuries from the first", column)
        latency_ns = self._duration(block, fields, found, "latency")
        if self._map.completion_clock and latency_ns is not None:
            time_ns = time_ns - np.maximum(latency_ns, 0)
            queued = self._duration(block, fields, found, "queued")
            if queued is not None:
                time_ns = time_ns - np.maximum(queued, 0)
        return time_ns, latency_ns

    def _time(self, block: Block, column: Column) -> tuple[Int64, Bool]:
        unit = self._map.uses["time"].unit
        if unit != FILETIME:
            return decimal(block, column, TIME_DIGITS[unit])
        ticks, good = whole(block, column)
        if self._first_ticks is None and good.any():
            self._first_ticks = int(ticks[np.argmax(good)])
        since = ticks - (self._first_ticks or 0)
        good &= (since <= _MAX_TICKS) & (since >= -_MAX_TICKS)
        return since * FILETIME_NS, good

    def _duration(self, block: Block, fields: Fields, found: Findings, field: str) -> Int64 | None:
        if field not in self._at:
            return None
        column = self._column(fields, field)
        unit = self._map.uses[field].unit
        if unit == FILETIME:
            value, good = whole(block, column)
            good &= value <= _MAX_TICKS
            value = value * FILETIME_NS
        else:
            value, good = decimal(block, column, TIME_DIGITS[unit])
        absent = column.length == 0
        found.require(good | absent, f"the {field} is not a number", column)
        return np.where(absent, UNKNOWN_LATENCY, value)

    def _ops(self, block: Block, fields: Fields, found: Findings) -> UInt8:
        use = self._map.uses["op"]
        if not use.column:
            return np.full(len(block), WORDS[use.unit.encode()], dtype=np.uint8)
        column = self._column(fields, "op")
        op = spelled(block, column, SPELLINGS[use.unit])
        found.require(op != UNKNOWN, "the operation is unknown", column)
        return op

    def _range(self, block: Block, fields: Fields, found: Findings) -> tuple[Int64, Int64]:
        nbytes = self._bytes(block, fields, found, "size")
        offset = self._bytes(block, fields, found, "offset")
        found.require(offset <= LARGEST_BYTES - 511 - nbytes, "the I/O ends past 2**63 bytes")
        return offset, nbytes

    def _bytes(self, block: Block, fields: Fields, found: Findings, field: str) -> Int64:
        use = self._map.uses[field]
        unit = unit_bytes(use)
        if not use.column:
            return np.full(len(block), unit, dtype=np.int64)
        column = self._column(fields, field)
        value, good = whole(block, column)
        found.require(good, f"the {field} is not a whole number below 2**63", column)
        limit = (LARGEST_BYTES - 511) // unit
        found.require(value <= limit, f"the {field} is more than 2**63 bytes", column)
        return np.minimum(value, limit) * unit

    def _streams(self, block: Block, fields: Fields) -> Int32:
        field = "stream" if "stream" in self._at else "volume"
        if field not in self._at:
            return np.full(len(block), UNKNOWN_STREAM, dtype=np.int32)
        number, good = whole(block, self._column(fields, field))
        return np.where(good, number & 0x7FFFFFFF, UNKNOWN_STREAM).astype(np.int32)


def _unquoted(block: Block, delimiter: str) -> Block:
    """The block with quoted fields bare; a delimiter inside quotes becomes an underscore."""
    if not np.any(block.text == ord('"')):
        return block
    text = block.text.tobytes()
    bare = _QUOTED.sub(lambda field: field[1].replace(delimiter.encode(), b"_"), text)
    return Block(block.name, np.frombuffer(bare, dtype=np.uint8), block.first_line, block.line_offsets)
