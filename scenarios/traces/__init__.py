"""I/O traces in, column batches out: one reader per format, all behind ``open_trace``."""

from scenarios.traces.batch import BATCH_ROWS, NO_FILE, CompletionBatch, TraceBatch
from scenarios.traces.errors import TraceError
from scenarios.traces.reader import TraceReader, open_trace

__all__ = [
    "BATCH_ROWS",
    "NO_FILE",
    "CompletionBatch",
    "TraceBatch",
    "TraceError",
    "TraceReader",
    "open_trace",
]
