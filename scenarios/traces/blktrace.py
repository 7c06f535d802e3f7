"""blktrace's binary records.

Source: include/uapi/linux/blktrace_api.h: ``struct blk_io_trace`` (version 7, 48 bytes) and ``struct
blk_io_trace2`` (version 8, 64 bytes), each followed by ``pdu_len`` bytes; the magic tells the byte order.

Quirks: one file per CPU, written as buffers fill, so times need sorting; notifications (process names,
messages) are records too, with times of their own.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_BYTES
from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import Int32, Int64, UInt8
from scenarios.traces.errors import Problem
from scenarios.traces.events import Event, EventChoice, Pairing
from scenarios.traces.fields import Bool
from scenarios.traces.ops import IGNORED
from scenarios.traces.parsing import Job, read_pieces
from scenarios.traces.rows import LARGEST_BYTES, Rows, no_files, to_sectors

_BLOCK_BYTES: Final = 1 << 20
_MAGIC: Final = 0x65617400
_KINDS: Final = np.zeros(256, dtype=np.uint8)
_KINDS[[1, 7, 8]] = [Event.QUEUE, Event.ISSUE, Event.COMPLETE]  # __BLK_TA_QUEUE, _ISSUE, _COMPLETE

# enum blktrace_cat, shifted by BLK_TC_SHIFT
_TC_WRITE: Final = 1 << 17
_TC_FLUSH: Final = 1 << 18
_TC_FS: Final = 1 << 24
_TC_PC: Final = 1 << 25
_TC_NOTIFY: Final = 1 << 26
_TC_DISCARD: Final = 1 << 29
_MINOR_BITS: Final = 20
_MAX_SECTOR: Final = LARGEST_BYTES >> 10


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of the record."""

    record: np.dtype[np.void]
    pdu_len_at: int
    pdu_len: struct.Struct


def _version(order: str, action: str, pad: int) -> _Version:
    record = np.dtype(
        [
            ("magic", f"{order}u4"),
            ("sequence", f"{order}u4"),
            ("time", f"{order}u8"),
            ("sector", f"{order}u8"),
            ("bytes", f"{order}u4"),
            *((("action", f"{order}u4"), ("pid", f"{order}u4")) if action == "u4" else ()),
            *((("pid", f"{order}u4"), ("action", f"{order}u8")) if action == "u8" else ()),
            ("device", f"{order}u4"),
            ("cpu", f"{order}u4"),
            ("error", f"{order}u2"),
            ("pdu_len", f"{order}u2"),
            ("pad", f"V{pad}"),
        ]
    )
    offset = record.fields["pdu_len"][1] if record.fields else 0
    return _Version(record, offset, struct.Struct(f"{order}H"))


_VERSIONS: Final = {
    (_MAGIC | version).to_bytes(4, "little" if order == "<" else "big"): _version(order, action, pad)
    for order in "<>"
    for version, action, pad in ((7, "u4", 0), (8, "u8", 12))
}


def is_blktrace(head: bytes) -> bool:
    """Whether a file that begins so is a blktrace file."""
    return head[:4] in _VERSIONS


def read(job: Job) -> Iterator[Rows]:
    """Rows of a blktrace file."""
    parser = _Parser(job)
    offset, index, carry = 0, 0, b""
    for data in read_pieces(job, _BLOCK_BYTES):
        data = carry + data
        starts, used, bad = _record_starts(data, parser.magic)
        yield parser.parse(data, starts)
        offset += used
        index += len(starts)
        carry = data[used:]
        if bad:
            yield parser.broken(bad, index, offset)
            return
    if carry:
        yield parser.broken("the last record is cut short", index, offset)


def _record_starts(data: bytes, magic: bytes) -> tuple[list[int], int, str]:
    """Where whole records begin, where the first that is not whole begins, and what is wrong with it."""
    version = _VERSIONS.get(magic)
    if version is None:
        return [], 0, "not a blktrace record: its magic number is wrong"
    size, length_at, length = version.record.itemsize, version.pdu_len_at, version.pdu_len.unpack_from
    starts: list[int] = []
    at, end = 0, len(data)
    while at + size <= end:
        if data[at : at + 4] != magic:
            return starts, at, "the record's magic number is wrong"
        after = at + size + length(data, at + length_at)[0]
        if after > end:
            break
        starts.append(at)
        at = after
    return starts, at, ""


class _Parser:
    def __init__(self, job: Job) -> None:
        self._job = job
        self.magic = job.source.peek(4)
        self._choice = EventChoice(completions=job.completions)
        self._pairing = Pairing(job.tally)
        self._devices: dict[int, int] = {}
        self._device_names: list[str] = []

    def broken(self, what: str, index: int, offset: int) -> Rows:
        """No rows, and a problem: records cannot be found again after a bad one."""
        where = f"{self._job.source.name}: record {index + 1}, byte {offset}"
        if self._job.skip_bad_lines:
            self._job.tally.add("damaged_stream")
            return _no_rows()
        return _no_rows().with_problem(Problem(what, where, rows_before=0), 1)

    def parse(self, data: bytes, starts: list[int]) -> Rows:
        if not starts:
            return _no_rows()
        table = _records(data, starts, _VERSIONS[self.magic].record)
        action = table["action"].astype(np.int64)
        kind = np.where(action & _TC_NOTIFY, Event.OTHER, _KINDS[action & 0xFF]).astype(np.uint8)
        used = self._choice.used(kind)
        self._job.tally.add("events_not_used", int(np.count_nonzero(~used)))
        events, action, kind = table[used], action[used], kind[used]
        op = _ops(action, events["bytes"])
        self._job.tally.add("other_ops", int(np.count_nonzero(op == IGNORED)))
        volume = self._device_ids(events["device"])
        keep = self._job.volumes.keep_named(self._device_names, volume, op != IGNORED)
        rows = _rows(events[keep], op[keep], self._job)
        if not self._job.completions:
            return rows
        return self._pairing.pair(rows, kind[keep], volume[keep].astype(np.int64))[0]

    def _device_ids(self, device: npt.NDArray[np.uint32]) -> Int32:
        numbers, which = np.unique(device, return_inverse=True)
        for number in numbers.tolist():
            if number not in self._devices:
                self._devices[number] = len(self._device_names)
                self._device_names.append(f"{number >> _MINOR_BITS},{number & ((1 << _MINOR_BITS) - 1)}")
        ids = np.array([self._devices[number] for number in numbers.tolist()], dtype=np.int32)
        return ids[which]


def _records(data: bytes, starts: list[int], record: np.dtype[np.void]) -> npt.NDArray[np.void]:
    size = record.itemsize
    text = np.frombuffer(data, dtype=np.uint8)
    overlapping = np.lib.stride_tricks.sliding_window_view(text, size)
    return np.ascontiguousarray(overlapping[np.array(starts)]).view(record).reshape(-1)


def _ops(action: Int64, nbytes: npt.NDArray[np.uint32]) -> UInt8:
    op = np.where(action & _TC_WRITE, ReqOp.WRITE, ReqOp.READ).astype(np.uint8)
    op[(action & _TC_DISCARD) != 0] = ReqOp.DISCARD
    op[((action & _TC_FLUSH) != 0) & (nbytes == 0)] = ReqOp.FLUSH
    op[(action & _TC_PC) != 0] = IGNORED
    return op


def _rows(events: npt.NDArray[np.void], op: UInt8, job: Job) -> Rows:
    sector = events["sector"].astype(np.int64)
    nbytes = events["bytes"].astype(np.int64)
    # A flush may show sector 2**64 - 1; no device reaches past 2**63 bytes.
    fits: Bool = (sector >= 0) & (sector <= _MAX_SECTOR)
    sector, nbytes = to_sectors(np.where(fits, sector, 0) * SECTOR_BYTES, nbytes, job.tally)
    return Rows(
        time_ns=events["time"].astype(np.int64),
        op=op,
        sector=sector,
        nbytes=nbytes,
        stream=events["pid"].astype(np.int32),
        file=no_files(len(events)),
    )


def _no_rows() -> Rows:
    empty = np.empty(0, dtype=np.int64)
    return Rows(
        time_ns=empty,
        op=empty.astype(np.uint8),
        sector=empty,
        nbytes=empty,
        stream=empty.astype(np.int32),
        file=no_files(0),
        latency_ns=None,
    )
