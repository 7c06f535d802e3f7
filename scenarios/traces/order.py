"""From a parser's rows to batches: the rules of order and size.

In this order:

1. A bad line is an error, after the rows before it; or it is counted and left out.
2. A flush has sector 0 and no bytes; any other I/O of no bytes is dropped (``zero_size``).
3. Within a window of rows, I/Os are put into time order, those of the same instant in the trace's order
   (``reordered``).  Formats written in time order have no window.
4. An I/O earlier than one before it takes that one's time (``time_backwards``).
5. The first I/O's time becomes 0.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import BATCH_ROWS, Int64, TraceBatch
from scenarios.traces.rows import Rows
from scenarios.traces.tally import Tally

_FLUSH: Final = int(ReqOp.FLUSH)


def good_rows(blocks: Iterable[Rows], tally: Tally, *, skip_bad_lines: bool) -> Iterator[Rows]:
    """Rules 1 and 2.

    Raises:
        TraceError: the trace's first bad line, unless ``skip_bad_lines``.
    """
    for rows in blocks:
        tally.add("bad_lines", rows.bad_lines if skip_bad_lines else 0)
        if rows.problem is not None and not skip_bad_lines:
            yield _sized(rows.take(slice(0, rows.problem.rows_before)), tally)
            raise rows.problem.error()
        yield _sized(rows, tally)


def _sized(rows: Rows, tally: Tally) -> Rows:
    flush = rows.op == _FLUSH
    if flush.any():
        rows.sector[flush] = 0
        rows.nbytes[flush] = 0
    empty = (rows.nbytes == 0) & ~flush
    if not empty.any():
        return rows
    tally.add("zero_size", int(np.count_nonzero(empty)))
    return rows.take(~empty)


def sorted_rows(blocks: Iterable[Rows], tally: Tally, *, window: int) -> Iterator[Rows]:
    """Rule 3: rows up to ``window`` rows away from their place are put there."""
    if window <= 1:
        yield from blocks
        return
    held: list[Rows] = []
    count = 0
    for rows in blocks:
        held.append(rows)
        count += len(rows)
        # Sorting twice the window at a time keeps the cost per row constant.
        if count >= 2 * window:
            ordered = _in_order(Rows.joined(held), tally)
            yield ordered.take(slice(0, count - window))
            held, count = [ordered.take(slice(count - window, None))], window
    if held:
        yield _in_order(Rows.joined(held), tally)


def _in_order(rows: Rows, tally: Tally) -> Rows:
    late = rows.time_ns[1:] < np.maximum.accumulate(rows.time_ns)[:-1]
    if not late.any():
        return rows
    tally.add("reordered", int(np.count_nonzero(late)))
    return rows.take(np.argsort(rows.time_ns, kind="stable"))


class Clock:
    """Rules 4 and 5."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._origin_ns: int | None = None
        self._last_ns = 0

    def since_first(self, time_ns: Int64) -> Int64:
        """Times since the first of all rows, never decreasing; not empty, in the trace's order."""
        if self._origin_ns is None:
            self._origin_ns = self._last_ns = int(time_ns[0])
        highest = np.maximum.accumulate(np.maximum(time_ns, self._last_ns))
        self._tally.add("time_backwards", int(np.count_nonzero(time_ns < highest)))
        self._last_ns = int(highest[-1])
        return highest - self._origin_ns


def batches(blocks: Iterable[Rows], tally: Tally, *, limit: int | None) -> Iterator[TraceBatch]:
    """Batches of at most ``BATCH_ROWS``, none of them empty, ``limit`` rows altogether."""
    clock = Clock(tally)
    left = limit
    for block in blocks:
        for start in range(0, len(block), BATCH_ROWS):
            size = BATCH_ROWS if left is None else min(BATCH_ROWS, left)
            rows = block.take(slice(start, start + size))
            if len(rows):
                yield TraceBatch(
                    time_ns=clock.since_first(rows.time_ns),
                    op=rows.op,
                    sector=rows.sector,
                    nbytes=rows.nbytes,
                    stream=rows.stream,
                    file=rows.file,
                )
            if left is not None:
                left -= len(rows)
                if left == 0:
                    return
