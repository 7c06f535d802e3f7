"""Columns of I/Os: what every trace reader and every synthetic workload hands on."""

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import numpy.typing as npt

BATCH_ROWS: Final = 65_536
"""No batch has more rows: it bounds the memory of everything downstream."""

NO_FILE: Final = -1

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

_DTYPES: Final = {
    "time_ns": np.int64,
    "op": np.uint8,
    "sector": np.int64,
    "nbytes": np.int64,
    "stream": np.int32,
    "file": np.int32,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceBatch:
    """Some consecutive I/Os of a trace, one numpy column per attribute, all of the same length.

    Attributes:
        time_ns: ``int64``, arrival in ns since the trace's first I/O, never decreasing.
        op: ``uint8``, a ``ReqOp`` number.
        sector: ``int64``, first 512-byte sector; 0 for a flush.
        nbytes: ``int64``, a multiple of 512, and 0 for a flush only.
        stream: ``int32``, who did it: pid, job, host or volume; -1 when unknown.
        file: ``int32``, index into ``TraceReader.file_names``; ``sector`` then counts from the start of
            that file.  ``NO_FILE`` when the trace addresses a device.
    """

    time_ns: Int64
    op: UInt8
    sector: Int64
    nbytes: Int64
    stream: Int32
    file: Int32

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            column: npt.NDArray[np.generic] = getattr(self, name)
            assert column.dtype == dtype, f"{name} is {column.dtype}"
            assert column.shape == self.time_ns.shape, f"{name} has another length"

    def __len__(self) -> int:
        return len(self.time_ns)

    def slice(self, start: int, stop: int) -> Self:
        """Rows ``start`` to ``stop`` (exclusive) as views of the same memory."""
        return type(self)(**{name: getattr(self, name)[start:stop] for name in _DTYPES})

    @classmethod
    def empty(cls) -> Self:
        """A batch of no rows."""
        return cls(**{name: np.empty(0, dtype) for name, dtype in _DTYPES.items()})


assert tuple(_DTYPES) == tuple(field.name for field in fields(TraceBatch))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompletionBatch:
    """Some I/Os of a trace that recorded when they completed, to calibrate a device against.

    Attributes:
        time_ns: ``int64``, when the I/O was issued, in ns since the trace's first one; not sorted.
        op: ``uint8``, a ``ReqOp`` number.
        sector: ``int64``, first 512-byte sector.
        nbytes: ``int64``.
        stream: ``int32``, who issued it, as in a ``TraceBatch``.
        latency_ns: ``int64``, from issue to completion.
    """

    time_ns: Int64
    op: UInt8
    sector: Int64
    nbytes: Int64
    stream: Int32
    latency_ns: Int64

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedBatch(TraceBatch):
    """I/Os at the times they were issued, with what their device took for them.

    Attributes:
        latency_ns: ``int64``, from issue to completion.
    """

    latency_ns: Int64

    def slice(self, start: int, stop: int) -> Self:
        """Rows ``start`` to ``stop`` (exclusive) as views of the same memory."""
        columns = (*_DTYPES, "latency_ns")
        return type(self)(**{name: getattr(self, name)[start:stop] for name in columns})
