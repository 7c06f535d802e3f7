"""What all parsers share: the options a trace was opened with, and the loop from blocks to rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from scenarios.traces.errors import TraceError
from scenarios.traces.lines import Block, read_blocks
from scenarios.traces.rows import Rows
from scenarios.traces.source import Source
from scenarios.traces.tally import Tally
from scenarios.traces.volumes import VolumeFilter

# A block's columns stay in the processor's cache, and numpy's fixed costs are spread over thousands of lines.
_TEXT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One reading of one trace.

    Attributes:
        source: its bytes.
        tally: where counts and names go.
        skip_bad_lines: bad lines are counted instead of being errors.
        completions: rows are wanted for I/Os whose completion was recorded, instead of for arrivals.
        volumes: which volume's rows are wanted.
    """

    source: Source
    tally: Tally
    skip_bad_lines: bool
    completions: bool
    volumes: VolumeFilter


RowReader = Callable[[Job], Iterator[Rows]]
"""What a format is, to the rest: a generator of rows, lazily, in the trace's order."""


class TextParser(Protocol):
    """Reads blocks of one trace, in order; may keep state from one to the next."""

    def parse(self, block: Block) -> Rows:
        """The block's rows, and the first of its bad lines."""


def text_reader(new_parser: Callable[[Job], TextParser]) -> RowReader:
    """A row reader for a text format."""

    def read(job: Job) -> Iterator[Rows]:
        parser = new_parser(job)
        for block in read_blocks(job.source.name, read_pieces(job, _TEXT_BYTES)):
            yield parser.parse(block)

    return read


def read_pieces(job: Job, size: int) -> Iterator[bytes]:
    """The trace's bytes, ``size`` at a time; fewer at the end and before damage.

    Raises:
        TraceError: the stream is damaged; when bad lines are skipped, that is counted and ends the trace.
    """
    try:
        while data := job.source.read(size):
            yield data
    except TraceError:
        if not job.skip_bad_lines:
            raise
        job.tally.add("damaged_stream")
