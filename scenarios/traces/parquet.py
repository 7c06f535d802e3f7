"""Batches in a Parquet file: read back in no time, and open to every data tool.

Columns: ``time_ns`` Int64, ``op`` UInt8, ``sector`` Int64, ``nbytes`` Int64, ``stream`` Int32, ``file``
String, null when the trace addresses a device.  ``stream`` and ``file`` may be missing.  Needs the extra
``trace`` (polars), which is imported only here and only when used.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from blkcrypto.base.errors import BadInput
from blkcrypto.block.op import ReqOp
from scenarios.report.files import part_path, real_path
from scenarios.traces.batch import BATCH_ROWS, NO_FILE, Int32, TraceBatch
from scenarios.traces.errors import Problem, TraceError
from scenarios.traces.parsing import Job
from scenarios.traces.rows import LARGEST_BYTES, UNKNOWN_STREAM, Rows
from scenarios.traces.source import Source
from scenarios.traces.with_polars import need_polars, polars_errors, polars_path

if TYPE_CHECKING:
    import polars as pl

MAGIC: Final = b"PAR1"
_NUMBERS: Final = ("time_ns", "op", "sector", "nbytes", "stream")
_REQUIRED: Final = frozenset(("time_ns", "op", "sector", "nbytes"))
# Polars writes row groups of about this size; slices of a part of one would decode it several times.
_SLICE_ROWS: Final = 4 * BATCH_ROWS


def write_parquet(batches: Iterator[TraceBatch], file_names: list[str], out: Path) -> None:
    """Write batches as they come, in constant memory.

    Args:
        batches: from a reader or a workload.
        file_names: the reader's; may grow while ``batches`` runs.
        out: the file, replaced when it exists.

    Raises:
        BadInput: polars is not installed, or ``out`` cannot be written.
    """
    out = real_path(out)
    part = part_path(out)
    part.unlink(missing_ok=True)  # of a process that was killed
    try:
        _sink(batches, file_names, part, str(out))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def write_parquet_by_stream(batches: Iterator[TraceBatch], file_names: list[str], folder: Path) -> None:
    """Write a file per stream, ``folder/STREAM.parquet``, each in the order of ``batches``.

    Args:
        folder: must not exist; it appears whole or not at all.

    Raises:
        BadInput: polars is not installed or too old, or ``folder`` exists or cannot be written.
    """
    need_polars()
    import polars as pl

    if folder.exists():
        raise BadInput("it exists: name a new folder", where=str(folder))
    if not hasattr(pl, "PartitionBy"):
        raise BadInput(f"a file per stream needs a newer polars than {pl.__version__}", where=str(folder))
    part = part_path(folder)
    _remove(part)  # of a process that was killed
    part.mkdir()
    whole_streams = pl.PartitionBy(
        part,
        key="stream",
        include_key=True,
        approximate_bytes_per_file=None,
        file_path_provider=lambda file: f"{file.partition_keys['stream'][0]}.parquet",
    )
    try:
        _sink(batches, file_names, whole_streams, str(folder))
        part.replace(folder)
    finally:
        _remove(part)


def _remove(folder: Path) -> None:
    """Remove ``folder``, in which polars' threads may still be making files after an error."""
    for _ in range(100):
        if not folder.exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def _sink(
    batches: Iterator[TraceBatch], file_names: list[str], target: "Path | pl.PartitionBy", name: str
) -> None:
    """Write to what is called ``name``."""
    need_polars()
    import polars as pl
    from polars.io.plugins import register_io_source

    schema = {
        "time_ns": pl.Int64,
        "op": pl.UInt8,
        "sector": pl.Int64,
        "nbytes": pl.Int64,
        "stream": pl.Int32,
        "file": pl.String,
    }

    failed: list[Exception] = []

    def frames(
        _columns: list[str] | None, _where: pl.Expr | None, _rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        try:
            for batch in batches:
                names = pl.Series([*file_names, None], dtype=pl.String)
                columns = {name: getattr(batch, name) for name in _NUMBERS}
                columns["file"] = names.gather(np.where(batch.file < 0, len(names) - 1, batch.file))
                yield pl.DataFrame(columns, schema=schema)
        except Exception as error:  # polars would turn it into one of its own
            failed.append(error)
            raise

    try:
        register_io_source(frames, schema=schema).sink_parquet(target)
    except polars_errors() as error:
        if failed:
            raise failed[0] from None
        raise BadInput(f"cannot write it: {error}", where=name) from None


def names_files(source: Source) -> bool:
    """Whether the first row of a Parquet file names a file; False when it cannot be read."""
    need_polars()
    import polars as pl

    try:
        first = pl.scan_parquet(_path(source)).head(1).collect()
    except polars_errors():
        return False
    return "file" in first.columns and bool(first["file"].is_not_null().any())


def _path(source: Source) -> str:
    if source.path is None or source.compression:
        raise TraceError(
            "Parquet is read from a file of its own, neither compressed nor from standard input",
            where=source.name,
        )
    return polars_path(source.path)


def read(job: Job) -> Iterator[Rows]:
    """Rows of a Parquet file."""
    need_polars()
    import polars as pl

    path = _path(job.source)
    files = _FileIndex(job.tally.file_names)
    try:
        table = pl.scan_parquet(path)
        _check_columns(table.collect_schema(), job.source.name)
        first = 0
        while len(part := table.slice(first, _SLICE_ROWS).collect()):
            yield _rows(part, files, job, first)
            first += len(part)
    except polars_errors() as error:
        raise TraceError(f"the Parquet file is damaged ({error})", where=job.source.name) from None


def _check_columns(schema: "pl.Schema", name: str) -> None:
    wrong = [column for column in _NUMBERS if column in schema and not schema[column].is_integer()]
    if missing := sorted(_REQUIRED - set(schema)):
        raise TraceError(f"no column {', '.join(missing)}: it has {', '.join(schema)}", where=name)
    if wrong:
        raise TraceError(f"column {', '.join(wrong)} does not hold whole numbers", where=name)


def _rows(part: "pl.DataFrame", files: "_FileIndex", job: Job, first: int) -> Rows:
    import polars as pl

    valid = pl.Series(np.ones(len(part), dtype=bool))
    for column, low, high in (
        ("time_ns", -LARGEST_BYTES // 2, LARGEST_BYTES // 2),
        ("sector", 0, LARGEST_BYTES >> 10),
        ("nbytes", 0, LARGEST_BYTES >> 1),
    ):
        valid &= part[column].is_between(low, high).fill_null(False)
    valid &= part["op"].is_in(list(ReqOp)).fill_null(False)
    good = valid.to_numpy()
    whole = part if good.all() else part.filter(valid)
    stream = np.full(len(whole), UNKNOWN_STREAM, dtype=np.int32)
    if "stream" in whole.columns:
        stream = whole["stream"].fill_null(UNKNOWN_STREAM).to_numpy().astype(np.int32)
    rows = Rows(
        time_ns=whole["time_ns"].to_numpy().astype(np.int64),
        op=whole["op"].to_numpy().astype(np.uint8),
        sector=whole["sector"].to_numpy().astype(np.int64),
        nbytes=whole["nbytes"].to_numpy().astype(np.int64),
        stream=stream,
        file=files.indices(whole["file"])
        if "file" in whole.columns
        else np.full(len(whole), NO_FILE, np.int32),
    )
    if job.completions:
        rows = rows.take(slice(0, 0))
    if good.all():
        return rows
    bad = int(np.argmin(good))
    problem = Problem("the row is no I/O", f"{job.source.name}: row {first + bad + 1}", rows_before=bad)
    return rows.with_problem(problem, int(np.count_nonzero(~good)))


class _FileIndex:
    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._index: dict[str | None, int] = {None: NO_FILE}

    def indices(self, column: "pl.Series") -> Int32:
        if column.null_count() == len(column):  # a trace of a device
            return np.full(len(column), NO_FILE, dtype=np.int32)
        for name in column.unique(maintain_order=True).to_list():
            if name not in self._index:
                self._index[name] = len(self._names)
                self._names.append(str(name))
        return np.array([self._index[name] for name in column.to_list()], dtype=np.int32)
