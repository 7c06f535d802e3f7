"""Where a scenario's rows come from: a trace reader or a generator, behind one face."""

from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Protocol

from blkcrypto.base.errors import BadInput
from scenarios.files.nearest import nearest
from scenarios.placement.layout import Layout
from scenarios.schema import Scenario
from scenarios.traces.batch import BATCH_ROWS, TraceBatch
from scenarios.traces.completed import LARGEST, WHICH_HAVE_THEM, completed
from scenarios.traces.reader import TraceReader, open_trace
from scenarios.traces.source import STDIN
from scenarios.workload import Workload

_BUILTIN = "builtin:"


class Source(Protocol):
    """Rows for one run, in a single pass.

    Attributes:
        named_files: rows name files of their own instead of addressing a device.
    """

    named_files: bool

    def batches(self, layout: Layout) -> Iterator[TraceBatch]:
        """The rows, in order."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows treated specially so far, by rule."""

    def close(self) -> None:
        """Release what is open."""


class _TraceSource:
    def __init__(self, reader: TraceReader) -> None:
        self._reader = reader
        self.named_files = reader.names_files

    def batches(self, layout: Layout) -> Iterator[TraceBatch]:
        return self._reader.batches()

    @property
    def counts(self) -> Mapping[str, int]:
        return self._reader.counts

    def close(self) -> None:
        self._reader.close()


class _RecordedSource(_TraceSource):
    """Issued I/Os with the times their device took."""

    def __init__(self, reader: TraceReader, limit: int | None) -> None:
        super().__init__(reader)
        self._limit = limit

    def batches(self, layout: Layout) -> Iterator[TraceBatch]:
        whole = completed(self._reader, limit=self._limit or LARGEST)
        if not len(whole):
            raise BadInput(f"the trace has no I/O with a completion {WHICH_HAVE_THEM}", where="run.media")
        for start in range(0, len(whole), BATCH_ROWS):
            yield whole.slice(start, start + BATCH_ROWS)


class _GeneratedSource:
    named_files = False

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.counts: dict[str, int] = {}

    def batches(self, layout: Layout) -> Iterator[TraceBatch]:
        return Workload(self._scenario.workload, layout.file_map, self._scenario.run.seed).batches()

    def close(self) -> None:
        pass


class GivenSource:
    """Batches that the caller has."""

    named_files = False

    def __init__(self, batches: Iterable[TraceBatch]) -> None:
        self._batches = batches
        self.counts: dict[str, int] = {}

    def batches(self, layout: Layout) -> Iterator[TraceBatch]:
        """As given."""
        return iter(self._batches)

    def close(self) -> None:
        """They are the caller's."""


def open_source(scenario: Scenario) -> Source:
    """The source a scenario names.

    Raises:
        BadInput: no such trace, or its format is unknown.
    """
    workload = scenario.workload
    if workload.trace is None:
        return _GeneratedSource(scenario)
    reader = open_trace(
        trace_path(workload.trace),
        format=workload.format,
        columns=workload.columns,
        skip_bad_lines=workload.skip_bad_lines,
        limit=workload.limit,
        volume=workload.volume,
        begin_ns=workload.begin_ns,
        end_ns=workload.end_ns or None,
        sort_window=workload.sort_window,
        time_backwards=workload.time_backwards,
        zero_size=workload.zero_size,
    )
    return _TraceSource(reader) if scenario.run.media == "model" else _RecordedSource(reader, workload.limit)


def check_read_again(scenarios: Iterable[Scenario]) -> None:
    """Refuse what several runs would have to read, but only the first could.

    Raises:
        BadInput: standard input or a pipe is the trace of more than one.
    """
    once: set[str] = set()
    for scenario in scenarios:
        trace = scenario.workload.trace
        if trace is None or not (trace == STDIN or Path(trace).is_fifo()):
            continue
        if trace in once:
            raise BadInput("a pipe can be read only once: save the trace in a file", where=trace)
        once.add(trace)


def trace_path(name: str) -> str:
    """Path of a trace; ``builtin:NAME`` is one shipped with the package.

    Raises:
        BadInput: the package ships no such trace.
    """
    if not name.startswith(_BUILTIN):
        return name
    data = resources.files("scenarios").joinpath("data")
    wanted = name.removeprefix(_BUILTIN)
    shipped = {entry.name: str(entry) for entry in data.iterdir() if entry.name != "README.md"}
    if wanted not in shipped:
        what = f"no trace {wanted!r} is shipped with blkcrypto{nearest(wanted, shipped)}"
        raise BadInput(what, where="workload.trace")
    return shipped[wanted]
