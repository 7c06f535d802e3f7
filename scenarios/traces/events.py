"""Block-layer events: which of them are the arrivals of a replay, and how issue and completion are paired.

Rules:

- Arrivals are the queue events (Q, ``block_bio_queue``).  A trace without them, recorded with a mask, has its
  issue events (D, ``block_rq_issue``) instead.  The first block of lines that has either decides.
- A preflush without data is a flush; one with data is the write it comes with.
- Completions are paired with the last issue of the same device and sector (D to C).
"""

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import Int64, UInt8
from scenarios.traces.fields import Bool, Column, decimal, head, says, whole
from scenarios.traces.lines import Block, UInt64
from scenarios.traces.ops import IGNORED, UNKNOWN, rwbs, spelled
from scenarios.traces.parsing import Job
from scenarios.traces.rows import LARGEST_BYTES, UNKNOWN_STREAM, Findings, Forgive, Rows, no_files
from scenarios.traces.tally import Tally

_MAX_SECTOR: Final = LARGEST_BYTES >> SECTOR_SHIFT + 1
# Issues whose completion was never recorded are forgotten, oldest first.
_MAX_OPEN: Final = 100_000


class Event(enum.IntEnum):
    """What readers tell apart."""

    OTHER = 0
    QUEUE = 1
    ISSUE = 2
    COMPLETE = 3


class EventChoice:
    """Which events become rows."""

    def __init__(self, *, completions: bool) -> None:
        self._completions = completions
        self._arrival: Event | None = None

    def used(self, kind: UInt8) -> Bool:
        """Which events are needed, by their ``Event`` numbers."""
        if self._completions:
            both: Bool = (kind == Event.ISSUE) | (kind == Event.COMPLETE)
            return both
        if self._arrival is None:
            for event in (Event.QUEUE, Event.ISSUE):
                if np.any(kind == event):
                    self._arrival = event
                    break
        used: Bool = kind == (self._arrival or Event.QUEUE)
        return used


@dataclass(frozen=True, slots=True, kw_only=True)
class EventColumns:
    """Where the facts of some events stand in the text, one entry per event.

    Attributes:
        rows: index of each event's row in its block.
        kind: its ``Event`` number.
        time, device, rwbs: as they stand.
        sector, plus, sectors: ``123 + 8``; ``plus`` says something else when the event has no data.
        passthrough: events of a request that is a command of the device, not of the medium.
        pid: the process; may be empty.
    """

    rows: Int64
    kind: UInt8
    time: Column
    device: Column
    rwbs: Column
    sector: Column
    plus: Column
    sectors: Column
    passthrough: Bool
    pid: Column


class TextEvents:
    """Turns the columns of a text format's events into rows."""

    def __init__(self, job: Job, forgive: Forgive) -> None:
        self._job = job
        self._forgive = forgive
        self._pairing = Pairing(job.tally)

    def rows(self, block: Block, events: EventColumns, found: Findings) -> Rows:
        """The events' rows; ``found`` knows of bad lines already, and gets to know of more."""
        rows = events.rows
        time_ns, good = decimal(block, events.time, 9)
        found.require(good, "the time is not a number of seconds", events.time, rows)
        op = spelled(block, events.rwbs, rwbs)
        found.require(op != UNKNOWN, "the operation (rwbs) is unknown", events.rwbs, rows)
        op[events.passthrough] = IGNORED
        sector, nbytes = self._range(block, events, found, op != IGNORED)
        preflush = (head(block, events.rwbs) & np.uint64(0xFF)) == ord("F")
        op[(nbytes == 0) & preflush & (op != IGNORED)] = ReqOp.FLUSH
        pid, has_pid = whole(block, events.pid)
        table = Rows(
            time_ns=time_ns,
            op=op,
            sector=sector,
            nbytes=nbytes,
            stream=np.where(has_pid, pid & 0x7FFFFFFF, UNKNOWN_STREAM).astype(np.int32),
            file=no_files(len(rows)),
        )
        good = found.good[rows]
        self._job.tally.add("other_ops", int(np.count_nonzero(good & (op == IGNORED))))
        at = np.flatnonzero(self._job.volumes.keep(block, events.device, good & (op != IGNORED)))
        if self._job.completions:
            table, which = self._pairing.pair(table.take(at), events.kind[at], head(block, events.device)[at])
            at = at[which]
        else:
            table = table.take(at)
        used = np.zeros(len(block), dtype=bool)
        used[rows[at]] = True
        _, problem, bad_lines = found.settle(used, self._forgive, self._job.tally)
        return table.with_problem(problem, bad_lines)

    def _range(
        self, block: Block, events: EventColumns, found: Findings, wanted: Bool
    ) -> tuple[Int64, Int64]:
        has_data = says(block, events.plus, b"+") & wanted
        count, count_good = whole(block, events.sectors)
        found.require(
            count_good | ~has_data,
            "the number of sectors is not a whole number below 2**63",
            events.sectors,
            events.rows,
        )
        sector, sector_good = whole(block, events.sector)
        # An event without data shows sector 0 or 2**64 - 1, depending on the kernel.
        has_data &= (count != 0) | ~count_good
        found.require(
            sector_good | ~has_data,
            "the sector is not a whole number below 2**63",
            events.sector,
            events.rows,
        )
        fits = (count <= _MAX_SECTOR) & (sector <= _MAX_SECTOR)
        found.require(fits | ~has_data, "the I/O ends past 2**63 bytes", events.sector, events.rows)
        has_data &= fits
        return np.where(has_data, sector, 0), np.where(has_data, count << SECTOR_SHIFT, 0)


class Pairing:
    """Open issues, by device and sector."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._open: dict[tuple[int, int], tuple[int, int, int, int]] = {}

    def pair(self, rows: Rows, kind: UInt8, device: UInt64 | Int64) -> tuple[Rows, Int64]:
        """The I/Os that complete among ``rows``, at the time of their issue, and which rows complete them."""
        done: list[tuple[int, ...]] = []
        events = zip(
            kind.tolist(),
            device.tolist(),
            rows.sector.tolist(),
            rows.time_ns.tolist(),
            rows.op.tolist(),
            rows.nbytes.tolist(),
            rows.stream.tolist(),
            strict=True,
        )
        for at, (event, disk, sector, time_ns, op, nbytes, who) in enumerate(events):
            if event == Event.ISSUE:
                self._open[disk, sector] = (time_ns, op, nbytes, who)
                if len(self._open) > _MAX_OPEN:
                    del self._open[next(iter(self._open))]
            elif issued := self._open.pop((disk, sector), None):
                done.append((at, sector, time_ns - issued[0], *issued))
            else:
                self._tally.add("unpaired")
        # Who completes an I/O is an interrupt; who issued it is of interest.
        columns = np.array(done, dtype=np.int64).reshape(-1, 7).T.copy()
        which, sectors, latency, time, op_, sizes, stream = columns
        table = Rows(
            time_ns=time,
            op=op_.astype(np.uint8),
            sector=sectors,
            nbytes=sizes,
            stream=stream.astype(np.int32),
            file=no_files(len(which)),
            latency_ns=latency,
        )
        return table, which
