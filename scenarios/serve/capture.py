"""What clients asked for, as a trace that ``blkcrypto replay`` reads.

Text as blkparse prints it, one queue event (Q) per request, written as it happens; or Parquet, written when
the server ends.  Addresses are the device's, rounded out to sectors; times are this machine's clock from
the first request on.  Each connection is a process of its own.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

import numpy as np

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import SECTOR_BYTES, SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from scenarios.report.files import check_no_special, check_target
from scenarios.serve.export import Job
from scenarios.serve.protocol import Command, CommandFlags
from scenarios.traces.batch import BATCH_ROWS, NO_FILE, TraceBatch

# A device gets encrypted zeroes as a write like any other.
_OPS: Final[dict[int, tuple[ReqOp, str]]] = {
    Command.READ: (ReqOp.READ, "R"),
    Command.WRITE: (ReqOp.WRITE, "W"),
    Command.WRITE_ZEROES: (ReqOp.WRITE, "W"),
    Command.TRIM: (ReqOp.DISCARD, "D"),
    Command.FLUSH: (ReqOp.FLUSH, "F"),
}
_MAJOR: Final = 43  # nbd
_FLUSH_ROWS: Final = 4096


class Capture:
    """A trace being recorded.

    Args:
        path: ends in ``.parquet``, or is text.
        size: bytes of the device; requests past its end are refused, and not recorded.

    Attributes:
        rows: requests recorded.

    Raises:
        BadInput: it cannot be written.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.rows = 0
        self._size = size
        self._path = path
        self._first_ns = -1
        self._text: TextIO | None = None
        self._unflushed = 0
        self._columns = {name: array("q") for name in ("time_ns", "op", "sector", "nbytes", "stream")}
        check_target(str(path))
        if path.suffix == ".parquet":
            check_no_special(str(path), "Parquet")
            return
        try:
            self._text = path.open("w", encoding="ascii")
        except OSError as error:
            raise BadInput(f"cannot write it: {error.strerror}", where=str(path)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._text is not None:
            self._text.close()
        else:
            from scenarios.traces.parquet import write_parquet

            write_parquet(self._batches(), [], self._path)

    def requests(self, jobs: list[Job], now_ns: int) -> None:
        """Record ``jobs``, which came in together."""
        if self._first_ns < 0:
            self._first_ns = now_ns
        time_ns = now_ns - self._first_ns
        for job in jobs:
            request = job.request
            known = _OPS.get(request.command)
            if known is None:
                continue
            op, letters = known
            first = last = 0
            if op is not ReqOp.FLUSH:
                if not request.length or request.offset + request.length > self._size:
                    continue
                first = request.offset >> SECTOR_SHIFT
                last = -(-(request.offset + request.length) // SECTOR_BYTES)
            self.rows += 1
            if self._text is None:
                row = (time_ns, op, first, last - first << SECTOR_SHIFT, job.stream)
                for column, value in zip(self._columns.values(), row, strict=True):
                    column.append(value)
                continue
            if request.flags & CommandFlags.FUA and op is ReqOp.WRITE:
                letters += "F"
            place = f"{first} + {last - first} [nbd]" if last else "[nbd]"
            seconds, ns = divmod(time_ns, 1_000_000_000)
            when = f"{seconds:5}.{ns:09}"
            self._text.write(
                f"{_MAJOR:3},0    0 {self.rows:8} {when} {job.stream:5}  Q {letters:>3} {place}\n"
            )
        if self._text is not None and self.rows - self._unflushed >= _FLUSH_ROWS:
            self._unflushed = self.rows
            self._text.flush()

    def _batches(self) -> Iterator[TraceBatch]:
        for at in range(0, self.rows, BATCH_ROWS):
            part = {
                name: np.array(column[at : at + BATCH_ROWS], dtype=np.int64)
                for name, column in self._columns.items()
            }
            yield TraceBatch(
                time_ns=part["time_ns"],
                op=part["op"].astype(np.uint8),
                sector=part["sector"],
                nbytes=part["nbytes"],
                stream=part["stream"].astype(np.int32),
                file=np.full(len(part["op"]), NO_FILE, dtype=np.int32),
            )
