"""From a parser's rows to batches: the rules of order and size.

In this order:

1. A bad line is an error, after the rows before it; or it is counted and left out.
2. A flush has sector 0 and no bytes; any other I/O of no bytes is dropped, or is an error (``zero_size``).
3. Within a window of rows, I/Os are put into time order, those of the same instant in the trace's order
   (``reordered``).  Formats written in time order have no window.
4. An I/O earlier than one before it takes that one's time (``clamp``); or it and all that follow move later,
   so that the gaps between them stay (``shift``); or it is an error (``time_backwards``).
5. The first I/O's time becomes 0.
6. I/Os before the range are dropped (``before_range``), and the range's begin becomes 0.  Reading stops at
   the range's end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import BATCH_ROWS, Int64, TraceBatch
from scenarios.traces.errors import TraceError
from scenarios.traces.rows import Rows
from scenarios.traces.tally import Tally

TimeBackwards = Literal["clamp", "shift", "error"]
ZeroSize = Literal["drop", "error"]

_FLUSH: Final = int(ReqOp.FLUSH)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRules:
    """What the rules leave open; times in ns since the trace's first I/O, None for the trace's end."""

    time_backwards: TimeBackwards = "clamp"
    zero_size: ZeroSize = "drop"
    begin_ns: int = 0
    end_ns: int | None = None


def good_rows(
    blocks: Iterable[Rows], tally: Tally, *, skip_bad_lines: bool, zero_size: ZeroSize, name: str
) -> Iterator[Rows]:
    """Rules 1 and 2, for the trace called ``name``.

    Raises:
        TraceError: the trace's first bad line, unless ``skip_bad_lines``; an I/O of no bytes, if that is one.
    """
    for rows in blocks:
        tally.add("bad_lines", rows.bad_lines if skip_bad_lines else 0)
        if rows.problem is not None and not skip_bad_lines:
            yield from _sized(rows.take(slice(0, rows.problem.rows_before)), tally, zero_size, name)
            raise rows.problem.error()
        yield from _sized(rows, tally, zero_size, name)


def _sized(rows: Rows, tally: Tally, zero_size: ZeroSize, name: str) -> Iterator[Rows]:
    flush = rows.op == _FLUSH
    if flush.any():
        rows.sector[flush] = 0
        rows.nbytes[flush] = 0
    empty = (rows.nbytes == 0) & ~flush
    if not empty.any():
        yield rows
    elif zero_size == "drop":
        tally.add("zero_size", int(np.count_nonzero(empty)))
        yield rows.take(~empty)
    else:
        first = int(np.argmax(empty))
        yield rows.take(slice(0, first))
        what = f"an I/O at sector {int(rows.sector[first])} has no bytes and is no flush"
        raise TraceError(f'{what}: zero_size = "drop" leaves such I/Os out', where=name)


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
    """Rules 4 and 5, for the trace called ``name``."""

    def __init__(self, tally: Tally, rule: TimeBackwards = "clamp", name: str = "") -> None:
        self._tally = tally
        self._rule = rule
        self._name = name
        self._origin_ns: int | None = None
        self._last_ns = 0  # as read
        self._given_ns = 0  # as handed out

    def since_first(self, time_ns: Int64) -> Int64:
        """Times since the first of all rows, never decreasing; not empty, in the trace's order.

        Raises:
            TraceError: a time goes backwards and must not.
        """
        if self._origin_ns is None:
            self._origin_ns = self._last_ns = int(time_ns[0])
        given = self._shifted(time_ns) if self._rule == "shift" else self._clamped(time_ns)
        self._given_ns = int(given[-1])
        return given

    def _clamped(self, time_ns: Int64) -> Int64:
        highest = np.maximum.accumulate(np.maximum(time_ns, self._last_ns))
        late = time_ns < highest
        self._tally.add("time_backwards", int(np.count_nonzero(late)))
        if self._rule == "error" and late.any():
            back = int((highest - time_ns)[np.argmax(late)])
            what = f"an I/O is {back} ns earlier than one before it"
            raise TraceError(f"{what}: set sort_window or time_backwards", where=self._name)
        self._last_ns = int(highest[-1])
        return highest - self._origin_ns

    def _shifted(self, time_ns: Int64) -> Int64:
        gaps = np.diff(time_ns, prepend=self._last_ns)
        self._tally.add("time_backwards", int(np.count_nonzero(gaps < 0)))
        self._last_ns = int(time_ns[-1])
        return self._given_ns + np.cumsum(np.maximum(gaps, 0))


def batches(
    blocks: Iterable[Rows], tally: Tally, *, rules: OrderRules, name: str, limit: int | None
) -> Iterator[TraceBatch]:
    """Batches of at most ``BATCH_ROWS``, none of them empty, ``limit`` rows altogether.

    Raises:
        TraceError: a time goes backwards and must not, in the trace called ``name``.
    """
    clock = Clock(tally, rules.time_backwards, name)
    left = limit
    for block in blocks:
        for start in range(0, len(block), BATCH_ROWS):
            # Of rows before the range nobody knows yet which of them the limit counts.
            size = BATCH_ROWS if left is None or rules.begin_ns else min(BATCH_ROWS, left)
            rows = block.take(slice(start, start + size))
            if len(rows):
                time_ns = clock.since_first(rows.time_ns)
                first, end = _in_range(time_ns, rules)
                tally.add("before_range", first)
                past_end = end < len(rows)
                end = end if left is None else min(end, first + left)
                batch = _batch(rows.take(slice(first, end)), time_ns[first:end] - rules.begin_ns)
                if len(batch):
                    yield batch
                if past_end:
                    return
                left = None if left is None else left - len(batch)
            if left == 0:
                return


def _in_range(time_ns: Int64, rules: OrderRules) -> tuple[int, int]:
    """Which of the rows, in time order, lie in the range."""
    first = int(np.searchsorted(time_ns, rules.begin_ns)) if rules.begin_ns else 0
    return first, len(time_ns) if rules.end_ns is None else int(np.searchsorted(time_ns, rules.end_ns))


def _batch(rows: Rows, time_ns: Int64) -> TraceBatch:
    return TraceBatch(
        time_ns=time_ns,
        op=rows.op,
        sector=rows.sector,
        nbytes=rows.nbytes,
        stream=rows.stream,
        file=rows.file,
    )
