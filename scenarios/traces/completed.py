"""The I/Os of a trace whose completion was recorded, in the order in which they were issued."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.op import ReqOp
from scenarios.traces.batch import NO_FILE, CompletionBatch, RecordedBatch
from scenarios.traces.reader import TraceReader

LARGEST: Final = 1_000_000
WHICH_HAVE_THEM: Final = "(blkparse, blktrace and ftrace of block_rq_* events have them)"
_MODELLED: Final = (ReqOp.READ, ReqOp.WRITE, ReqOp.FLUSH, ReqOp.DISCARD)
_COLUMNS: Final[dict[str, type[np.generic]]] = {
    "time_ns": np.int64,
    "op": np.uint8,
    "sector": np.int64,
    "nbytes": np.int64,
    "stream": np.int32,
    "latency_ns": np.int64,
}


def completed(
    reader: TraceReader, *, limit: int = LARGEST, progress: Callable[[int], None] | None = None
) -> RecordedBatch:
    """The first ``limit`` completed I/Os, issued from time 0 on; may be none.

    One batch however many they are, as traces have them in order of completion: about 40 bytes each.
    ``progress`` is told how many were just read.
    """
    read: list[CompletionBatch] = []
    count = 0
    for batch in reader.completions():
        batch = _only(batch, np.isin(batch.op, _MODELLED))
        read.append(batch)
        count += len(batch)
        if progress is not None:
            progress(len(batch))
        if count >= limit:
            break
    return _in_order_of_issue(read, min(limit, count))


def _only(batch: CompletionBatch, rows: npt.NDArray[np.bool_]) -> CompletionBatch:
    return replace(batch, **{name: getattr(batch, name)[rows] for name in _COLUMNS})


def _in_order_of_issue(read: list[CompletionBatch], count: int) -> RecordedBatch:
    columns = {
        name: np.concatenate([np.empty(0, dtype), *(getattr(batch, name) for batch in read)])[:count]
        for name, dtype in _COLUMNS.items()
    }
    order = np.argsort(columns["time_ns"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    return RecordedBatch(
        time_ns=columns["time_ns"] - (columns["time_ns"][0] if count else 0),
        op=columns["op"],
        sector=columns["sector"],
        nbytes=columns["nbytes"],
        stream=columns["stream"],
        file=np.full(count, NO_FILE, dtype=np.int32),
        # A clock too coarse to see an I/O take any time still orders it.
        latency_ns=np.maximum(columns["latency_ns"], 1),
    )
