"""What happened while a trace was read, besides its rows.

Every rule that drops or changes something has one row here, and its count is part of the result: a number
that is not zero tells that the replay is not the recording to the letter.
"""

from typing import Final

COUNTS: Final = {
    "bad_lines": "lines or records that could not be read, skipped because --skip-bad-lines was given",
    "damaged_stream": "1 when data broke off or a record was cut short, and --skip-bad-lines was given",
    "time_backwards": "I/Os earlier than the one before them, moved to its time",
    "before_range": "I/Os before the time range, dropped",
    "reordered": "I/Os put back into time order within the sorting window",
    "zero_size": "reads, writes and discards of no bytes, dropped",
    "unaligned": "I/Os not on 512-byte borders, widened to the sectors they touch",
    "other_ops": "operations the block layer does not encrypt, queue or flush, dropped",
    "other_volumes": "I/Os of another volume than the chosen one, dropped",
    "events_not_used": "events that are no arrivals (other events, file actions, messages), passed over",
    "lost_events": "marks in the trace that say events were lost while recording",
    "repeated_headers": "header lines after the first; the clock goes on where it was",
    "summary_lines": "lines of the tool's own summary, passed over",
    "unpaired": "completions without a recorded issue (only when completions are read)",
}
"""Name of a count -> what it counts."""


class Tally:
    """Counts and names one reader collects."""

    __slots__ = ("counts", "file_names", "volumes")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.file_names: list[str] = []
        self.volumes: dict[str, int] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Count ``count`` more of ``name``, a row of ``COUNTS``."""
        self.counts[name] += count
