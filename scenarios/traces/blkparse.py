"""blkparse's default text.

    259,0    1        2     0.000000184 21279  Q  RA 2348060440 + 8 [(null)]
    device   cpu sequence   seconds     pid  event rwbs sector + sectors [process]

Source: blkparse(1), DEFAULT ACTION FORMATTING; ``process_default()`` in blkparse_fmt.c.

Quirks: events of other kinds have other columns after the rwbs; a flush has no sector at all; a passthrough
request shows ``bytes (command)`` instead of ``sector + sectors``; the tool's summary and its list of input
files stand in the same text.
"""

import re
from typing import Final

import numpy as np

from scenarios.traces.batch import UInt8
from scenarios.traces.events import Event, EventChoice, EventColumns, TextEvents
from scenarios.traces.fields import Fields, as_word, head, split_whitespace
from scenarios.traces.lines import Block
from scenarios.traces.parsing import Job, text_reader
from scenarios.traces.rows import Findings, Rows

_KINDS: Final = {b"Q": Event.QUEUE, b"D": Event.ISSUE, b"C": Event.COMPLETE}
# blkparse(1), ACTION IDENTIFIERS, and what newer versions add for zoned devices (Z, ZP, ZU).
_OTHER_KINDS: Final = (
    *(
        b"A",
        b"B",
        b"F",
        b"G",
        b"I",
        b"M",
        b"P",
        b"R",
        b"S",
        b"T",
        b"U",
        b"UT",
        b"X",
        b"m",
        b"Z",
        b"ZP",
        b"ZU",
    ),
)
_SUMMARY: Final = re.compile(
    rb"Input file .* added|CPU ?\d+ \(|Total \(|Throughput \(|Events \(|Skips: |.* \(\d+(, \.\.\.)?\)$"
    rb"| (PC )?(Reads?|Writes?) (Queued|Dispatches|Requeued|Completed|Merges|depth)| IO unplugs"
)
_DEVICE, _TIME, _PID, _EVENT, _RWBS, _SECTOR, _PLUS, _SECTORS = 0, 3, 4, 5, 6, 7, 8, 9


def _forgive(line: bytes) -> str | None:
    return "summary_lines" if _SUMMARY.match(line) else None


class _Parser:
    def __init__(self, job: Job) -> None:
        self._tally = job.tally
        self._choice = EventChoice(completions=job.completions)
        self._events = TextEvents(job, _forgive)

    def parse(self, block: Block) -> Rows:
        found = Findings(block)
        fields = split_whitespace(block)
        kind = self._kinds(block, fields, found)
        used = self._choice.used(kind) & found.good
        self._tally.add("events_not_used", int(np.count_nonzero(found.good & ~used)))
        rows = np.flatnonzero(used)
        # A passthrough request has a command in parentheses after its length, often in several words.
        plus = fields.column(_PLUS, rows)
        return self._events.rows(
            block,
            EventColumns(
                rows=rows,
                kind=kind[rows],
                time=fields.column(_TIME, rows),
                device=fields.column(_DEVICE, rows),
                rwbs=fields.column(_RWBS, rows),
                sector=fields.column(_SECTOR, rows),
                plus=plus,
                sectors=fields.column(_SECTORS, rows),
                passthrough=(head(block, plus) & np.uint64(0xFF)) == ord("("),
                pid=fields.column(_PID, rows),
            ),
            found,
        )

    def _kinds(self, block: Block, fields: Fields, found: Findings) -> UInt8:
        column = fields.column(_EVENT)
        words = head(block, column)
        kind = np.zeros(len(block), dtype=np.uint8)
        known = np.zeros(len(block), dtype=bool)
        for text, event in _KINDS.items():
            known |= (same := words == as_word(text))
            kind[same] = event
        if not known.all():
            for text in _OTHER_KINDS:
                known |= words == as_word(text)
        device = fields.column(_DEVICE)
        first = block.text[device.start]
        known &= (first >= ord("0")) & (first <= ord("9"))
        found.require(known, "not a blkparse line: its sixth column is no event", column)
        return kind


read = text_reader(_Parser)
