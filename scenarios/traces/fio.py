"""fio's I/O logs, versions 2 and 3 (``write_iolog``, ``read_iolog``).

    fio version 3 iolog
    193 /mnt/data/db.0.0 read 6070272 4096
    us  file             action offset length

Source: fio HOWTO, TRACE FILE FORMAT; iolog.c (3.38).

Rules:

- Version 3: every line begins with a time in microseconds; ``wait`` is not allowed and is passed over.
- Version 2: lines have no time; ``wait N`` lets N microseconds pass, those below 100 none.
- ``sync`` and ``datasync`` are flushes, ``trim`` is a discard, offsets are bytes in the file.
- fio appends to an existing log, header included.  After such a header the clock goes on from the latest time
  before it.
"""

import itertools
from typing import Final

import numpy as np

from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import NO_FILE, Int32, Int64, UInt8
from scenarios.traces.fields import Bool, Column, Fields, says, split_whitespace, whole
from scenarios.traces.lines import Block
from scenarios.traces.ops import IGNORED, UNKNOWN, by_table, spelled
from scenarios.traces.parsing import Job, text_reader
from scenarios.traces.rows import (
    LARGEST_BYTES,
    UNKNOWN_STREAM,
    Findings,
    Rows,
    nothing_is_harmless,
    to_sectors,
)
from scenarios.traces.tally import Tally

_FILE_ACTION: Final = 200
_WAIT: Final = 201
_ACTIONS: Final = by_table(
    {
        b"read": ReqOp.READ,
        b"write": ReqOp.WRITE,
        b"trim": ReqOp.DISCARD,
        b"sync": ReqOp.FLUSH,
        b"datasync": ReqOp.FLUSH,
        b"syncfs": IGNORED,
        b"add": _FILE_ACTION,
        b"open": _FILE_ACTION,
        b"close": _FILE_ACTION,
        b"unlink": _FILE_ACTION,
        b"wait": _WAIT,
    }
)
_LONG_IGNORED: Final = b"sync_file_range"
_US: Final = 1_000
_SHORTEST_WAIT_US: Final = 100
_MAX_US: Final = (2**63 - 1) // _US // 4


class _Parser:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._version = 0
        self._base_us = 0
        self._latest_us = 0
        self._files = _FileNames(job.tally)

    def parse(self, block: Block) -> Rows:
        found = Findings(block)
        fields = split_whitespace(block)
        header = self._headers(block, fields)
        version = self._versions(block, fields, header, found)
        action_at = np.where(version == 3, 2, 1)
        action = self._actions(block, fields, action_at, header, found)
        time_us = self._times(block, fields, header, version, action, found)
        used = found.good & (action <= max(ReqOp))
        sector, nbytes = self._ranges(block, fields, action_at, used, found)
        used &= found.good
        self._count(found.good & ~header, action)
        kept, problem, bad_lines = found.settle(used, nothing_is_harmless, self._job.tally)
        rows = Rows(
            time_ns=time_us * _US,
            op=action,
            sector=sector,
            nbytes=nbytes,
            stream=np.full(len(block), UNKNOWN_STREAM, dtype=np.int32),
            file=self._files.indices(block, fields.column(action_at - 1), kept),
        )
        if self._job.completions:
            kept = np.zeros_like(kept)
        return rows.take(kept).with_problem(problem, bad_lines)

    def _headers(self, block: Block, fields: Fields) -> Bool:
        header = says(block, fields.column(0), b"fio") & says(block, fields.column(1), b"version")
        header &= says(block, fields.column(3), b"iolog") & (fields.count == 4)
        return header

    def _versions(self, block: Block, fields: Fields, header: Bool, found: Findings) -> Int64:
        """The log version each row is written in."""
        number, good = whole(block, fields.column(2))
        known = good & ((number == 2) | (number == 3))
        found.require(known | ~header, "only versions 2 and 3 of fio's log are known", fields.column(2))
        at = np.flatnonzero(header & known)
        self._job.tally.add("repeated_headers", len(at) - (self._version == 0 and len(at) > 0))
        versions = np.concatenate([[self._version], number[at]])
        version: Int64 = versions[np.cumsum(header & known)]
        self._version = int(versions[-1])
        found.require(
            (version > 0) | header, "no 'fio version 2 iolog' or 'fio version 3 iolog' before this line"
        )
        return version

    def _actions(
        self, block: Block, fields: Fields, action_at: Int64, header: Bool, found: Findings
    ) -> UInt8:
        column = fields.column(action_at)
        action = spelled(block, column, _ACTIONS)
        action[says(block, column, _LONG_IGNORED)] = IGNORED
        found.require((action != UNKNOWN) | header, "the action is unknown", column)
        action[header] = IGNORED
        return action

    def _times(
        self, block: Block, fields: Fields, header: Bool, version: Int64, action: UInt8, found: Findings
    ) -> Int64:
        """Microseconds since the first log began."""
        stamp, good = whole(block, fields.column(0))
        timed = (version == 3) & ~header
        found.require(
            (good & (stamp < _MAX_US)) | ~timed,
            "the time is not a whole number below 2**63",
            fields.column(0),
        )
        waiting = (version == 2) & ~header & (action == _WAIT)
        wait, good = whole(block, fields.column(2))
        found.require(
            (good & (wait < _MAX_US)) | ~waiting,
            "the wait is not a whole number below 2**63",
            fields.column(2),
        )
        wait = np.where(waiting & found.good & (wait >= _SHORTEST_WAIT_US), wait, 0)
        stamp = np.where(timed & found.good, stamp, 0)
        time = np.empty(len(block), dtype=np.int64)
        borders = [0, *np.flatnonzero(header).tolist(), len(block)]
        for start, end in itertools.pairwise(borders):
            if start < end:
                self._segment(time[start:end], stamp[start:end], wait[start:end], restart=bool(header[start]))
        return time

    def _segment(self, time: Int64, stamp: Int64, wait: Int64, *, restart: bool) -> None:
        if restart:
            self._base_us = self._latest_us
        self._base_us = min(self._base_us, _MAX_US)
        waited = np.minimum(np.cumsum(np.minimum(wait, _MAX_US // len(wait))), _MAX_US)
        time[:] = self._base_us + stamp + waited
        self._latest_us = max(self._latest_us, int(time.max()))
        self._base_us += int(waited[-1])

    def _ranges(
        self, block: Block, fields: Fields, action_at: Int64, used: Bool, found: Findings
    ) -> tuple[Int64, Int64]:
        values: list[Int64] = []
        for place, what in ((1, "offset"), (2, "length")):
            column = fields.column(action_at + place)
            value, good = whole(block, column)
            found.require(good | ~used, f"the {what} is not a whole number below 2**63", column)
            values.append(np.where(good & used, value, 0))
        offset, nbytes = values
        found.require(offset <= LARGEST_BYTES - 511 - nbytes, "the I/O ends past 2**63 bytes")
        inside = found.good & used
        return to_sectors(np.where(inside, offset, 0), np.where(inside, nbytes, 0), self._job.tally)

    def _count(self, good: Bool, action: UInt8) -> None:
        passed_over = (action == _FILE_ACTION) | (action == _WAIT)
        self._job.tally.add("events_not_used", int(np.count_nonzero(good & passed_over)))
        self._job.tally.add("other_ops", int(np.count_nonzero(good & (action == IGNORED))))


class _FileNames:
    """File names -> their indices in ``tally.file_names``, in order of first use."""

    def __init__(self, tally: Tally) -> None:
        self._names = tally.file_names
        self._index: dict[bytes, int] = {}

    def indices(self, block: Block, column: Column, used: Bool) -> Int32:
        """``int32`` indices, ``NO_FILE`` where not ``used``."""
        file = np.full(len(block), NO_FILE, dtype=np.int32)
        rows = np.flatnonzero(used)
        spans = zip(column.start[rows].tolist(), column.end[rows].tolist(), strict=True)
        text = block.text.tobytes()
        file[rows] = [self._known(text[start:end]) for start, end in spans]
        return file

    def _known(self, name: bytes) -> int:
        index = self._index.get(name)
        if index is None:
            index = self._index[name] = len(self._names)
            self._names.append(name.decode("utf-8", "surrogateescape"))
        return index


read = text_reader(_Parser)
