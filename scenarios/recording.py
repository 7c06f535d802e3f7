"""What a trace recorded of its device: when each I/O was issued and when it completed.

A part of it is held back: a model is fitted to the rest and then judged by the part it has not seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BadInput
from blkcrypto.block.op import ReqOp
from scenarios.source import trace_path
from scenarios.traces.batch import CompletionBatch, Int64, UInt8
from scenarios.traces.reader import open_trace

HoldBack = Literal["alternate", "last"]
Bools = npt.NDArray[np.bool_]

LARGEST_RECORDING: Final = 1_000_000
SMALLEST_RECORDING: Final = 100
_BLOCKS: Final = 32
_MODELLED: Final = (ReqOp.READ, ReqOp.WRITE, ReqOp.FLUSH, ReqOp.DISCARD)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """I/Os in the order they were issued, one column per attribute.

    Attributes:
        name: of the trace.
        issued_ns, done_ns: ``int64``, issue and completion, in ns since the first issue.
        op: ``uint8``, a ``ReqOp`` number.
        sector, nbytes: ``int64``, 512-byte sector and bytes.
        held_back: the I/Os a fit may not use.
        held_back_as: which these are.
    """

    name: str
    issued_ns: Int64
    done_ns: Int64
    op: UInt8
    sector: Int64
    nbytes: Int64
    held_back: Bools
    held_back_as: HoldBack

    def __len__(self) -> int:
        return len(self.issued_ns)

    @property
    def latency_ns(self) -> Int64:
        """From issue to completion."""
        return self.done_ns - self.issued_ns

    @property
    def in_flight(self) -> Int64:
        """Of each I/O, how many others were in flight when it was issued."""
        finished = np.searchsorted(np.sort(self.done_ns), self.issued_ns, side="right")
        others: Int64 = np.maximum(np.arange(len(self), dtype=np.int64) - finished, 0)
        return others

    def take(self, rows: Bools) -> "Recording":
        """Only these."""
        columns = ("issued_ns", "done_ns", "op", "sector", "nbytes", "held_back")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    @property
    def settled(self) -> Bools:
        """What a fit may judge by: all that is not held back, but for the beginning of each block.

        A block begins while unseen requests are in flight, which are over after the longest latency seen in
        the blocks.  At least three quarters of each block are left.
        """
        fitted = ~self.held_back
        starts = np.flatnonzero(fitted & np.concatenate(([True], self.held_back[:-1])))
        ends = np.flatnonzero(fitted & np.concatenate((self.held_back[1:], [True]))) + 1
        settling_ns = int(self.latency_ns[fitted].max())
        judged = fitted.copy()
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            after = int(np.searchsorted(self.issued_ns[start:end], self.issued_ns[start] + settling_ns))
            judged[start : start + min(after, (end - start) // 4)] = False
        return judged

    @property
    def fitted_to(self) -> str:
        """What a fit uses, for the source of a figure."""
        if self.held_back_as == "last":
            return f"fitted to {self.name} rows 1-{len(self) - int(self.held_back.sum())}"
        return f"fitted to {self.name} rows 1-{len(self)} but every second of {_BLOCKS} blocks"


def held_back_rows(count: int, how: HoldBack) -> Bools:
    """``bool[count]``: the second half, or every second of 32 equal blocks."""
    rows = np.arange(count)
    held: Bools = rows >= count // 2 if how == "last" else rows * _BLOCKS // max(count, 1) % 2 == 1
    return held


def read_recording(
    trace: str,
    *,
    format: str | None = None,  # noqa: A002  (as the option is called)
    columns: str | None = None,
    volume: str | None = None,
    skip_bad_lines: bool = False,
    limit: int = LARGEST_RECORDING,
    hold_back: HoldBack = "alternate",
    progress: Callable[[int], None] | None = None,
) -> Recording:
    """The completed I/Os of a trace.

    Args:
        limit: the most to read, which bounds memory (about 40 bytes each).
        hold_back: ``alternate`` blocks judge the model under the same load; the ``last`` half also judges
            whether the device was the same in both halves.
        progress: told how many were just read.

    Raises:
        BadInput: the trace cannot be read, or has too few completions.
    """
    read: list[CompletionBatch] = []
    count = 0
    path = trace_path(trace)
    with open_trace(
        path, format=format, columns=columns, volume=volume, skip_bad_lines=skip_bad_lines
    ) as reader:
        for batch in reader.completions():
            batch = _only(batch, np.isin(batch.op, _MODELLED))
            read.append(batch)
            count += len(batch)
            if progress is not None:
                progress(len(batch))
            if count >= limit:
                break
    if count < SMALLEST_RECORDING:
        what = f"{count} I/Os with a completion: a fit and its check need at least {SMALLEST_RECORDING}"
        raise BadInput(f"{what} (blkparse, blktrace and ftrace of block_rq_* events have them)", where=path)
    name = "standard input" if path == "-" else path.rsplit("/", 1)[-1]
    return _recording(read, name, limit, hold_back)


def _only(batch: CompletionBatch, rows: Bools) -> CompletionBatch:
    columns = ("time_ns", "op", "sector", "nbytes", "latency_ns")
    return replace(batch, **{name: getattr(batch, name)[rows] for name in columns})


def _recording(read: list[CompletionBatch], name: str, limit: int, how: HoldBack) -> Recording:
    """Batches together, in order of issue: traces have them in order of completion."""
    count = min(limit, sum(map(len, read)))
    issued = np.concatenate([batch.time_ns for batch in read])[:count]
    order = np.argsort(issued, kind="stable")
    issued = issued[order] - issued[order[0]]
    latency = np.concatenate([batch.latency_ns for batch in read])[order]
    return Recording(
        name=name,
        issued_ns=issued,
        # A clock too coarse to see an I/O take any time still orders it.
        done_ns=issued + np.maximum(latency, 1),
        op=np.concatenate([batch.op for batch in read])[order],
        sector=np.concatenate([batch.sector for batch in read])[order],
        nbytes=np.concatenate([batch.nbytes for batch in read])[order],
        held_back=held_back_rows(count, how),
        held_back_as=how,
    )
