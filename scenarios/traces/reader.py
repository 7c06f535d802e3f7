"""Open a trace, get batches of I/Os."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from blkcrypto.base.errors import BadInput
from scenarios.files.nearest import nearest
from scenarios.traces import parquet
from scenarios.traces.batch import CompletionBatch, TraceBatch
from scenarios.traces.columns import parse_columns
from scenarios.traces.detect import detect
from scenarios.traces.errors import TraceError
from scenarios.traces.formats import FORMATS, MAPPED_TABLE, Format
from scenarios.traces.order import (
    OrderRules,
    TimeBackwards,
    ZeroSize,
    batches,
    good_rows,
    sorted_rows,
)
from scenarios.traces.parsing import Job, RowReader
from scenarios.traces.rows import Rows
from scenarios.traces.source import Source
from scenarios.traces.table import table_reader
from scenarios.traces.tally import Tally
from scenarios.traces.volumes import VolumeFilter

_SHOWN_VOLUMES: Final = 20


class TraceReader:
    """One reading of one trace, from front to back.  Use ``open_trace``.

    Attributes:
        format: name of the format, a key of ``FORMATS``.
        counts: what was dropped or changed so far, by the names of ``COUNTS``; complete when the batches are.
        file_names: files of a file-based log, in the order of their first use; grows while reading.
        names_files: rows are for files of their own instead of for a device.
        volumes: devices or volumes the trace has rows for so far, and their rows; empty when it tells none.
    """

    def __init__(
        self,
        source: Source,
        row: Format,
        read: RowReader,
        *,
        skip_bad_lines: bool,
        limit: int | None,
        volume: str | None,
        sort_window: int | None,
        rules: OrderRules,
    ) -> None:
        self.format = row.name
        self.names_files = row.names_files or (row.name == "parquet" and parquet.names_files(source))
        self._tally = Tally()
        self._source = source
        self._read = read
        self._skip_bad_lines = skip_bad_lines
        self._limit = limit
        self._volume = volume
        self._rules = rules
        self._window = row.sort_window if sort_window is None else sort_window
        self._started = False

    @property
    def counts(self) -> dict[str, int]:
        """See the class."""
        return self._tally.counts

    @property
    def file_names(self) -> list[str]:
        """See the class."""
        return self._tally.file_names

    @property
    def volumes(self) -> dict[str, int]:
        """See the class."""
        return self._tally.volumes

    def batches(self) -> Iterator[TraceBatch]:
        """The trace's I/Os, at most ``BATCH_ROWS`` at a time, none of the batches empty.

        Raises:
            TraceError: a bad line or damaged data, after the I/Os before it; or there is no I/O at all.
        """
        rows = sorted_rows(self._rows(completions=False), self._tally, window=self._window)
        found = self._limit == 0
        for batch in batches(rows, self._tally, rules=self._rules, name=self._source.name, limit=self._limit):
            found = True
            yield batch
        if not found:
            raise TraceError(f"no I/O in it{self._what_there_is()}", where=self._source.name)

    def _what_there_is(self) -> str:
        if self._volume is not None and self.volumes:
            return f" for volume {self._volume!r}: it has {', '.join(sorted(self.volumes)[:_SHOWN_VOLUMES])}"
        counts = [f"{name} {count}" for name, count in self.counts.items() if count]
        return f": {', '.join(counts)}" if counts else ""

    def completions(self) -> Iterator[CompletionBatch]:
        """The I/Os whose completion was recorded, instead of ``batches()``; ``limit`` does not apply.

        Raises:
            TraceError: a bad line or damaged data, after the I/Os before it.
        """
        origin_ns: int | None = None
        for rows in self._rows(completions=True):
            if len(rows) and rows.latency_ns is not None:
                origin_ns = int(rows.time_ns[0]) if origin_ns is None else origin_ns
                yield CompletionBatch(
                    time_ns=rows.time_ns - origin_ns,
                    op=rows.op,
                    sector=rows.sector,
                    nbytes=rows.nbytes,
                    stream=rows.stream,
                    latency_ns=rows.latency_ns,
                )

    def _rows(self, *, completions: bool) -> Iterator[Rows]:
        if self._started:
            raise RuntimeError("a trace is read once: open it again")
        self._started = True
        job = Job(
            source=self._source,
            tally=self._tally,
            skip_bad_lines=self._skip_bad_lines,
            completions=completions,
            volumes=VolumeFilter(self._tally, self._volume),
        )
        return good_rows(
            self._read(job),
            self._tally,
            skip_bad_lines=self._skip_bad_lines,
            zero_size=self._rules.zero_size,
            name=self._source.name,
        )

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_trace(
    source: str | Path,
    *,
    format: str | None = None,  # noqa: A002  (as the option is called)
    columns: str | None = None,
    skip_bad_lines: bool = False,
    limit: int | None = None,
    volume: str | None = None,
    sort_window: int | None = None,
    begin_ns: int = 0,
    end_ns: int | None = None,
    time_backwards: TimeBackwards = "clamp",
    zero_size: ZeroSize = "drop",
) -> TraceReader:
    """Open a trace: a file or ``-`` for standard input, plain or compressed by gzip, xz or zstd.

    Args:
        source: where it is.
        format: a key of ``FORMATS``; detected from the content when None.
        columns: a column map (see ``columns.py``); the trace is then a table in text.
        skip_bad_lines: count bad lines and go on, instead of stopping at the first.
        limit: the most I/Os to read.
        volume: of a trace of several devices or volumes, the one to read, as the trace spells it.
        sort_window: rows within which to sort by time; None for the format's own, 0 for none.
        begin_ns, end_ns: part of the trace to read, in time since its first I/O; None for its end.  Times of
            the batches count from ``begin_ns``.
        time_backwards: what happens to an I/O earlier than one before it (``order.py``, rule 4).
        zero_size: whether an I/O of no bytes is an error.

    Raises:
        TraceError: the file cannot be read, or its format is not recognised.
        BadInput: no such format, or a column map that makes no sense.
    """
    mapped = parse_columns(columns) if columns is not None else None
    if format is not None and format not in FORMATS:
        raise BadInput(f"there is no format {format!r}{nearest(format, FORMATS)}", where="--format")
    if mapped is not None and format not in (None, MAPPED_TABLE):
        raise BadInput(f"a column map is for --format {MAPPED_TABLE}, not {format}", where="--columns")
    if mapped is None and format == MAPPED_TABLE:
        raise BadInput(f"--format {MAPPED_TABLE} needs a column map", where="--columns")
    opened = Source(source)
    try:
        row = FORMATS[MAPPED_TABLE] if mapped else FORMATS[format] if format else detect(opened)
        read = table_reader(mapped) if mapped else row.read
        assert read is not None
        return TraceReader(
            opened,
            row,
            read,
            skip_bad_lines=skip_bad_lines,
            limit=limit,
            volume=volume,
            sort_window=sort_window,
            rules=OrderRules(
                time_backwards=time_backwards, zero_size=zero_size, begin_ns=begin_ns, end_ns=end_ns
            ),
        )
    except BaseException:
        opened.close()
        raise
