"""What a trace recorded of its device: when each I/O was issued and when it completed.

A part of it is held back: a model is fitted to the rest and then judged by the part it has not seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BadInput
from scenarios.source import trace_path
from scenarios.traces.batch import Int64, RecordedBatch, UInt8
from scenarios.traces.completed import LARGEST, WHICH_HAVE_THEM, completed
from scenarios.traces.reader import open_trace

HoldBack = Literal["alternate", "last"]
Bools = npt.NDArray[np.bool_]

SMALLEST_RECORDING: Final = 100
_BLOCKS: Final = 32


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
    limit: int = LARGEST,
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
    path = trace_path(trace)
    with open_trace(
        path, format=format, columns=columns, volume=volume, skip_bad_lines=skip_bad_lines
    ) as reader:
        done = completed(reader, limit=limit, progress=progress)
    if len(done) < SMALLEST_RECORDING:
        what = f"{len(done)} I/Os with a completion: a fit and its check need at least {SMALLEST_RECORDING}"
        raise BadInput(f"{what} {WHICH_HAVE_THEM}", where=path)
    name = "standard input" if path == "-" else path.rsplit("/", 1)[-1]
    return _recording(done, name, hold_back)


def _recording(done: RecordedBatch, name: str, how: HoldBack) -> Recording:
    return Recording(
        name=name,
        issued_ns=done.time_ns,
        done_ns=done.time_ns + done.latency_ns,
        op=done.op,
        sector=done.sector,
        nbytes=done.nbytes,
        held_back=held_back_rows(len(done), how),
        held_back_as=how,
    )
