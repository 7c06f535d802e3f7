"""``blkcrypto convert``: parse, call, print."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blkcrypto.base.errors import BadInput

if TYPE_CHECKING:
    from scenarios.traces.batch import TraceBatch


@click.command("convert", short_help="Write a trace as Parquet, which is quicker to read.")
@click.argument("trace")
@click.argument("out", metavar="OUT.parquet|FOLDER")
@click.option("--format", "format_", metavar="F", help="Format of the trace; detected when left out.")
@click.option("--columns", metavar="MAP", help="Column map of a CSV trace.")
@click.option("--volume", metavar="NAME", help="Of a trace of several devices or volumes, the one to keep.")
@click.option("--skip-bad-lines", is_flag=True, help="Count damaged lines and go on.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N I/Os.")
@click.option(
    "--per-stream",
    is_flag=True,
    help="A file per stream in a new FOLDER; in most formats a stream is a volume.",
)
@click.option("--quiet", "-q", is_flag=True, help="No counts and no progress.")
def convert(
    trace: str,
    out: str,
    format_: str | None,
    columns: str | None,
    volume: str | None,
    skip_bad_lines: bool,
    limit: int | None,
    per_stream: bool,
    quiet: bool,
) -> None:
    """Write a trace's I/Os as Parquet, which is read back much faster and by every data tool.

    TRACE is a file, - for standard input or builtin:NAME.  OUT appears whole or not at all.
    """
    from scenarios.report.files import STDOUT, check_no_special, check_target
    from scenarios.report.progress import progress
    from scenarios.source import trace_path
    from scenarios.traces.parquet import write_parquet, write_parquet_by_stream
    from scenarios.traces.reader import open_trace

    source, target = trace_path(trace), Path(out)
    if out == STDOUT:
        raise BadInput("Parquet goes to a file: name one", where=out)
    check_target(out)
    check_no_special(out, "Parquet")
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise BadInput("this is the trace itself: choose another name", where=out)
    with (
        open_trace(
            source,
            format=format_,
            columns=columns,
            volume=volume,
            skip_bad_lines=skip_bad_lines,
            limit=limit,
        ) as reader,
        progress("rows", limit, quiet=quiet) as bar,
    ):
        rows = _Counted(reader.batches(), bar.advance)
        (write_parquet_by_stream if per_stream else write_parquet)(rows, reader.file_names, target)
    if not quiet:
        written = sorted(target.iterdir()) if per_stream else [target]
        size = f"{sum(file.stat().st_size for file in written):,} bytes"
        kept = f"{rows.count:,} I/Os from {reader.format} in {size}"
        kept += f" of {len(written)} files" if per_stream else ""
        rules = [f"{name} {count:,}" for name, count in reader.counts.items() if count]
        click.echo(", ".join([kept, *rules]))


class _Counted:
    """Batches as they pass, their rows counted and told to ``progress``."""

    def __init__(self, batches: "Iterator[TraceBatch]", progress: Callable[[int], None]) -> None:
        self._batches = batches
        self._progress = progress
        self.count = 0

    def __iter__(self) -> "Iterator[TraceBatch]":
        return self

    def __next__(self) -> "TraceBatch":
        batch = next(self._batches)
        self.count += len(batch)
        self._progress(len(batch))
        return batch
