"""Per-bio records: who listens to them, and keeping them in a file.

A record is what ``hwmodel.request.RECORD`` names: one row of ``int64`` per finished bio.  A machine hands
them out in batches, in the order of completion; ``scenarios.run.run(sinks=...)`` passes them on.
"""

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BadInput
from hwmodel.request import RECORD
from scenarios.report.files import STDOUT, check_no_special, check_target, lock, part_path, real_path
from scenarios.traces.with_polars import need_polars, polars_errors, polars_path

if TYPE_CHECKING:
    import polars as pl

Records = npt.NDArray[np.int64]
COLUMN: Final = {name: index for index, name in enumerate(RECORD)}

# Held in memory before a part is written: 36 MB.
_PART_RECORDS: Final = 1 << 18


class RecordSink(Protocol):
    """Whoever wants to see each finished bio."""

    def add(self, records: Records) -> None:
        """Take ``int64[n, RECORD_WIDTH]`` in completion order, ``n > 0``.  Not to be changed or kept."""


class ParquetRecords:
    """Writes records to a Parquet file, in bounded memory.  Needs the extra ``trace`` (polars).

    A context: the file appears whole when it ends well, and not at all otherwise.  Columns are those of
    ``RECORD``, all Int64, in completion order.

    Raises:
        BadInput: polars is not installed, or ``target`` cannot be written; says so before the run.
    """

    def __init__(self, target: str) -> None:
        if target == STDOUT:
            raise BadInput("Parquet goes to a file: name one", where="--parquet")
        check_target(target)
        check_no_special(target, "Parquet")
        need_polars()
        self._target = real_path(target)
        self._folder = part_path(self._target)
        self._pending: list[Records] = []
        self._pending_records = 0
        self._parts: list[Path] = []

    def __enter__(self) -> Self:
        # Parts lie beside the result, where there is room for it.  polars joins them without reading all.
        # Whatever is in their folder is of a run that was killed, or locked by one that is not.
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._locked = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise BadInput(f"cannot write it: {error.strerror}", where=str(self._target)) from None
        try:
            lock(self._locked, str(self._target))
        except BadInput:
            os.close(self._locked)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._locked)

    def add(self, records: Records) -> None:
        """Take a batch of records."""
        self._pending.append(records.copy())
        self._pending_records += len(records)
        if self._pending_records >= _PART_RECORDS:
            self._write_part()

    def _write_part(self) -> None:
        import polars as pl

        records = np.concatenate(self._pending) if self._pending else np.zeros((0, len(RECORD)), np.int64)
        part = self._folder / f"{len(self._parts):08}.parquet"
        try:
            pl.from_numpy(records, schema=dict.fromkeys(RECORD, pl.Int64)).write_parquet(part)
        except polars_errors() as error:
            raise BadInput(f"cannot write it: {error}", where=str(self._target)) from None
        self._parts.append(part)
        self._pending.clear()
        self._pending_records = 0

    def _finish(self) -> None:
        import polars as pl

        if self._pending or not self._parts:
            self._write_part()
        whole = self._parts[0]
        try:
            if len(self._parts) > 1:
                whole = self._folder / "whole.parquet"
                pl.scan_parquet(self._parts).sink_parquet(whole)
            whole.replace(self._target)
        except polars_errors() as error:
            raise BadInput(f"cannot write it: {error}", where=str(self._target)) from None


def scan_records(file: str) -> "pl.LazyFrame":
    """Records that ``ParquetRecords`` wrote, not read yet.

    Raises:
        BadInput: polars is not installed, or the file holds no records.
    """
    need_polars()
    import polars as pl

    try:
        records = pl.scan_parquet(polars_path(file), glob=False)
        schema = records.collect_schema()
    except polars_errors() as error:
        raise BadInput(f"cannot read it as Parquet: {str(error).splitlines()[0]}", where=file) from None
    missing = [name for name in RECORD if name not in schema]
    if missing:
        what = f"holds no bio records, which `run --parquet` writes: no column {', '.join(missing[:3])}"
        raise BadInput(what, where=file)
    return records
