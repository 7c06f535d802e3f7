"""Formats of fixed-size binary records: each is one numpy dtype and where its facts are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import NS_PER_SECOND, SECTOR_BYTES
from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import Int64, UInt8
from scenarios.traces.errors import Problem
from scenarios.traces.fields import Bool
from scenarios.traces.ops import IGNORED, SCSI
from scenarios.traces.parsing import Job, RowReader, read_pieces
from scenarios.traces.rows import LARGEST_BYTES, UNKNOWN_STREAM, Rows, no_files, to_sectors

_READ_ROWS: Final = 32_768
_MAX_SECTOR: Final = LARGEST_BYTES >> 10
_MAX_TIME_NS: Final = 2**63 - 1
_LOOK_AT: Final = 64
_LARGEST_IO: Final = 1 << 30

Records = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFormat:
    """One format.

    Attributes:
        record: layout of a record.
        time, sector, nbytes: names of its fields.
        tick_ns: unit of ``time`` and ``latency``.
        op: name of the SCSI operation code; empty when every record is a read.
        latency: name of the response time; empty when there is none.
        version: name and value of a field whose high byte must be this; None when there is none.
    """

    record: np.dtype[np.void]
    time: str
    tick_ns: int
    sector: str
    nbytes: str
    op: str = ""
    latency: str = ""
    version: tuple[str, int] | None = None

    def recognises(self, records: Records) -> Bool:
        """Which records can be of this format."""
        good: Bool = records[self.sector] <= _MAX_SECTOR
        good &= records[self.time] <= _MAX_TIME_NS // self.tick_ns
        if self.latency:
            good &= records[self.latency] <= _MAX_TIME_NS // self.tick_ns
        if self.version is not None:
            good &= records[self.version[0]] >> 8 == self.version[1]
        return good


# Source: libCacheSim, traceReader/customizedReader/vscsi.h; times in us, lbn in 512-byte blocks.
VSCSI_1: Final = RecordFormat(
    record=np.dtype("<u4, <u4, <u4, <u2, <u2, <u8, <u8"),
    time="f6",
    tick_ns=1_000,
    sector="f5",
    nbytes="f1",
    op="f3",
    version=("f4", 1),
)
VSCSI_2: Final = RecordFormat(
    record=np.dtype("<u2, <u2, <u4, <u4, <u4, <u8, <u8, <u8"),
    time="f6",
    tick_ns=1_000,
    sector="f5",
    nbytes="f3",
    op="f0",
    latency="f7",
    version=("f1", 2),
)
# Source: libCacheSim, traceReader/customizedReader/oracle/oracleGeneralBin.h: clock time, obj_id, size,
# next_access_vtime.  Of a block trace, obj_id is the block's number.
ORACLE_GENERAL: Final = RecordFormat(
    record=np.dtype("<u4, <u8, <u4, <i8"),
    time="f0",
    tick_ns=NS_PER_SECOND,
    sector="f1",
    nbytes="f2",
)

_SCSI_OPS: Final = np.array([SCSI.get(code, IGNORED) for code in range(256)], dtype=np.uint8)


def record_reader(shape: RecordFormat) -> RowReader:
    """The row reader for records of this shape."""

    def read(job: Job) -> Iterator[Rows]:
        size = shape.record.itemsize
        first, carry = 0, b""
        for data in read_pieces(job, size * _READ_ROWS):
            data = carry + data
            whole = len(data) // size
            yield _rows(np.frombuffer(data, dtype=shape.record, count=whole), shape, job, first)
            first += whole
            carry = data[whole * size :]
        if carry:
            rows = _rows(np.empty(0, dtype=shape.record), shape, job, first)
            yield _cut_short(rows, job, first, size)

    return read


def _rows(records: Records, shape: RecordFormat, job: Job, first: int) -> Rows:
    good = shape.recognises(records)
    op = _ops(records, shape)
    used = good & (op != IGNORED)
    job.tally.add("other_ops", int(np.count_nonzero(good & (op == IGNORED))))
    if job.completions and not shape.latency:
        used[:] = False
    kept = records[used]
    offset = kept[shape.sector].astype(np.int64) * SECTOR_BYTES
    sector, nbytes = to_sectors(offset, kept[shape.nbytes].astype(np.int64), job.tally)
    rows = Rows(
        time_ns=kept[shape.time].astype(np.int64) * shape.tick_ns,
        op=op[used],
        sector=sector,
        nbytes=nbytes,
        stream=np.full(len(kept), UNKNOWN_STREAM, dtype=np.int32),
        file=no_files(len(kept)),
        latency_ns=kept[shape.latency].astype(np.int64) * shape.tick_ns if shape.latency else None,
    )
    if good.all():
        return rows
    bad = int(np.argmin(good))
    where = f"{job.source.name}: record {first + bad + 1}, byte {(first + bad) * shape.record.itemsize}"
    problem = Problem("the record is not of this format", where, int(np.count_nonzero(used[:bad])))
    return rows.with_problem(problem, int(np.count_nonzero(~good)))


def _cut_short(none: Rows, job: Job, index: int, size: int) -> Rows:
    if job.skip_bad_lines:
        job.tally.add("damaged_stream")
        return none
    where = f"{job.source.name}: record {index + 1}, byte {index * size}"
    return none.with_problem(Problem("the last record is cut short", where, rows_before=0), 1)


def _ops(records: Records, shape: RecordFormat) -> UInt8:
    if not shape.op:
        return np.full(len(records), ReqOp.READ, dtype=np.uint8)
    ops: UInt8 = _SCSI_OPS[records[shape.op] & 0xFF]
    return ops


def looks_like(head: bytes, shape: RecordFormat) -> bool:
    """Whether the first bytes can be such records: valid, in time order, with lengths like an I/O's."""
    size = shape.record.itemsize
    count = min(len(head) // size, _LOOK_AT)
    if not count:
        return False
    records = np.frombuffer(head, dtype=shape.record, count=count)
    time: Int64 = records[shape.time].astype(np.int64)
    in_order = np.count_nonzero(time[1:] < time[:-1]) * 10 <= count
    sizes = records[shape.nbytes]
    return bool(shape.recognises(records).all() and in_order and np.all(sizes <= _LARGEST_IO))
