"""Rows on their way from a parser to the order rules, and the bad lines found among them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from blkcrypto.base.errors import at_line
from blkcrypto.base.units import SECTOR_BYTES, SECTOR_SHIFT
from scenarios.traces.batch import NO_FILE, Int32, Int64, UInt8
from scenarios.traces.errors import Problem
from scenarios.traces.fields import Bool, Column
from scenarios.traces.lines import LINE_LIMIT, PAD, Block
from scenarios.traces.tally import Tally

UNKNOWN_STREAM: Final = -1
UNKNOWN_LATENCY: Final = -1
# Linux addresses a block device with loff_t.
LARGEST_BYTES: Final = 2**63 - 1
_SHOWN_BYTES: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """I/Os as a parser found them: in the trace's order, times not yet in order, all of the same length.

    Attributes:
        time_ns: ``int64``, from any origin.
        op: ``uint8``, ``ReqOp`` numbers.
        sector: ``int64``.
        nbytes: ``int64``.
        stream: ``int32``.
        file: ``int32``.
        latency_ns: ``int64`` from issue to completion, ``UNKNOWN_LATENCY`` where not recorded; None when the
            trace has no such times.
        problem: the first bad line among these rows.
        bad_lines: number of bad lines among them.
    """

    time_ns: Int64
    op: UInt8
    sector: Int64
    nbytes: Int64
    stream: Int32
    file: Int32
    latency_ns: Int64 | None = None
    problem: Problem | None = None
    bad_lines: int = 0

    def __len__(self) -> int:
        return len(self.time_ns)

    def take(self, which: Bool | Int64 | slice) -> Self:
        """Some of the rows, without their bad lines."""
        latency = None if self.latency_ns is None else self.latency_ns[which]
        return type(self)(
            time_ns=self.time_ns[which],
            op=self.op[which],
            sector=self.sector[which],
            nbytes=self.nbytes[which],
            stream=self.stream[which],
            file=self.file[which],
            latency_ns=latency,
        )

    def with_problem(self, problem: Problem | None, bad_lines: int) -> Self:
        """The same rows, and what was bad among the lines they came from."""
        return replace(self, problem=problem, bad_lines=bad_lines)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """The rows of all ``parts``, in order, without their bad lines; all or none have latencies."""
        latencies = [part.latency_ns for part in parts if part.latency_ns is not None]
        return cls(
            time_ns=np.concatenate([part.time_ns for part in parts]),
            op=np.concatenate([part.op for part in parts]),
            sector=np.concatenate([part.sector for part in parts]),
            nbytes=np.concatenate([part.nbytes for part in parts]),
            stream=np.concatenate([part.stream for part in parts]),
            file=np.concatenate([part.file for part in parts]),
            latency_ns=np.concatenate(latencies) if latencies else None,
        )


def no_files(count: int) -> Int32:
    """The ``file`` column of a trace that addresses a device."""
    return np.full(count, NO_FILE, dtype=np.int32)


def to_sectors(offset_bytes: Int64, nbytes: Int64, tally: Tally) -> tuple[Int64, Int64]:
    """Sector and length of byte ranges, widened to the sectors they touch; an empty range stays empty."""
    mask = SECTOR_BYTES - 1
    unaligned = ((offset_bytes | nbytes) & mask).astype(bool)
    if not unaligned.any():
        return offset_bytes >> SECTOR_SHIFT, nbytes
    tally.add("unaligned", int(np.count_nonzero(unaligned & (nbytes > 0))))
    sector = offset_bytes >> SECTOR_SHIFT
    end = (offset_bytes + nbytes + mask) >> SECTOR_SHIFT
    return sector, np.where(nbytes > 0, (end - sector) << SECTOR_SHIFT, 0)


Forgive = Callable[[bytes], str | None]
"""Given a line that is no row: None when it is bad; else its count's name, empty when it needs none."""


class Findings:
    """Which rows of a block are good, and what is wrong with the others.

    A row's first finding counts.  Lines are told apart only at the end, so good blocks cost nothing.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.good: Bool = np.ones(len(block), dtype=bool)
        self._found: dict[int, tuple[str, int, int]] = {}
        if np.any(block.ends - block.starts > LINE_LIMIT):
            self.require(
                block.ends - block.starts <= LINE_LIMIT, f"the line is longer than {LINE_LIMIT} bytes"
            )

    def require(self, good: Bool, what: str, column: Column | None = None, rows: Int64 | None = None) -> None:
        """Rows (all, or ``rows``) for which ``good`` is false are bad, because ``what``, at ``column``."""
        if good.all():
            return
        for index in np.flatnonzero(~good).tolist():
            row = index if rows is None else int(rows[index])
            if self.good[row]:
                start, end = (0, 0) if column is None else (int(column.start[index]), int(column.end[index]))
                self._found[row] = (what, start, end)
        self.good[np.flatnonzero(~good) if rows is None else rows[~good]] = False

    def settle(self, used: Bool, forgive: Forgive, tally: Tally) -> tuple[Bool, Problem | None, int]:
        """Tell harmless lines from bad ones.

        Args:
            used: rows that are I/Os, if good.
            forgive: knows the harmless lines of the format.
            tally: gets the harmless lines' counts.

        Returns:
            which rows are good I/Os; the first bad line; the number of bad lines.
        """
        kept = used & self.good
        problem: Problem | None = None
        bad_lines = 0
        for row in sorted(self._found):
            name = forgive(self.block.line(row))
            if name is not None:
                if name:
                    tally.add(name)
                continue
            bad_lines += 1
            if problem is None:
                problem = Problem(*self._described(row), rows_before=int(np.count_nonzero(kept[:row])))
        return kept, problem, bad_lines

    def _described(self, row: int) -> tuple[str, str]:
        what, start, end = self._found[row]
        line = self.block.line_number(row)
        if end <= start:
            column = None if start <= PAD else start - int(self.block.starts[row]) + 1
            return what, at_line(self.block.name, line, column if column and column > 0 else None)
        shown = self.block.bytes_at(start, min(end, start + _SHOWN_BYTES)).decode("utf-8", "backslashreplace")
        column = start - int(self.block.starts[row]) + 1
        return f"{what}: {shown!r}", at_line(self.block.name, line, column)


def nothing_is_harmless(_line: bytes) -> None:
    """The ``Forgive`` of a format whose every line is a row."""
