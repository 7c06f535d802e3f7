"""Block events as ftrace prints them.

    fio-24376   [000] .....  2171.400646: block_bio_queue: 7,0 RS 37352 + 8 [fio]
    process-pid [cpu] flags  seconds      event            device rwbs sector + sectors [process]

Read from tracefs (``trace``, ``trace_pipe``), from ``trace-cmd report`` and from ``perf script``, which put
fewer columns before the time.  Source: ``print_lat_fmt()`` and its neighbours, kernel/trace/trace_output.c;
include/trace/events/block.h (6.18).

Quirks: process names may contain spaces, so columns are counted from the event's name; request events have
the length in bytes and the command between rwbs and sector, and in newer kernels the I/O priority after the
sectors.
"""

import re
from typing import Final

import numpy as np

from scenarios.traces.batch import Int64, UInt8
from scenarios.traces.events import Event, EventChoice, EventColumns, TextEvents
from scenarios.traces.fields import Bool, Column, Fields, as_word, says, split_whitespace
from scenarios.traces.lines import Block
from scenarios.traces.parsing import Job, text_reader
from scenarios.traces.rows import Findings, Rows

# Event -> its number, and how many fields after its name the sector stands.
_EVENTS: Final = {
    b"block_bio_queue:": (Event.QUEUE, 3),
    b"block_rq_issue:": (Event.ISSUE, 5),
    b"block_rq_complete:": (Event.COMPLETE, 4),
}
_PERF_PREFIX: Final = b"block:"
_SECTOR_AFTER: Final = np.zeros(len(Event), dtype=np.int64)
for _event, _fields in _EVENTS.values():
    _SECTOR_AFTER[_event] = _fields
_COLON: Final = ord(":")
_LOST: Final = re.compile(rb"\s*(CPU:\s*\d+ \[LOST|.*\[LOST \d+ EVENTS\])")
_NO_EVENT: Final = re.compile(
    rb"\s*(<stack trace>|=> |cpus=\d|CPU \d+ is empty|trace-cmd |version = |\[|  ?[0-9a-f]{8,} )"
)
_MAX_PID_DIGITS: Final = 10


def _forgive(line: bytes) -> str | None:
    if _LOST.match(line):
        return "lost_events"
    return "events_not_used" if _NO_EVENT.match(line) else None


class _Parser:
    def __init__(self, job: Job) -> None:
        self._tally = job.tally
        self._choice = EventChoice(completions=job.completions)
        self._events = TextEvents(job, _forgive)

    def parse(self, block: Block) -> Rows:
        found = Findings(block)
        fields = split_whitespace(block)
        name_at, kind = _named_events(block, fields, found)
        used = self._choice.used(kind) & found.good
        self._tally.add("events_not_used", int(np.count_nonzero(found.good & ~used)))
        rows = np.flatnonzero(used)
        name = name_at[rows]
        time = fields.column(name - 1, rows)
        found.require(block.text[time.end - 1] == _COLON, "no time before the event's name", time, rows)
        time = Column(time.start, np.maximum(time.end - 1, time.start))
        found.require(
            block.dots[np.searchsorted(block.dots, time.start)] < time.end,
            "the time is not in seconds: record with the trace clock 'mono', 'local' or 'global'",
            time,
            rows,
        )
        sector_at = name + _SECTOR_AFTER[kind[rows]]
        command = fields.column(sector_at - 1, rows)
        bracketed = block.text[command.start] == ord("(")
        # A passthrough request's command fills the parentheses, often in several words.
        passthrough = (kind[rows] != Event.QUEUE) & ~says(block, command, b"()") & bracketed
        plus = fields.column(sector_at + 1, rows)
        found.require(
            says(block, plus, b"+") | passthrough, "no 'sector + sectors' after the event's name", plus, rows
        )
        return self._events.rows(
            block,
            EventColumns(
                rows=rows,
                kind=kind[rows],
                time=time,
                device=fields.column(name + 1, rows),
                rwbs=fields.column(name + 2, rows),
                sector=fields.column(sector_at, rows),
                plus=plus,
                sectors=fields.column(sector_at + 2, rows),
                passthrough=passthrough,
                pid=_pids(block, fields, rows, name),
            ),
            found,
        )


def _named_events(block: Block, fields: Fields, found: Findings) -> tuple[Int64, UInt8]:
    """For each row: which of its fields is the event's name, and the event's number."""
    colon = np.flatnonzero(block.text[fields.end - 1] == _COLON)
    row = np.searchsorted(fields.first, colon, side="right") - 1
    within = colon - fields.first[row]
    name_at = np.zeros(len(block), dtype=np.int64)
    kind = np.zeros(len(block), dtype=np.uint8)
    # The time, too, ends in a colon; any later name than the first is part of the event's text.
    has_event = np.zeros(len(block), dtype=bool)
    has_event[row[within >= 2]] = True
    found.require(has_event, "not an ftrace line: no event's name")
    names = Column(fields.start[colon], fields.end[colon])
    perf = _starts_with(block, names, _PERF_PREFIX)
    names = Column(names.start + len(_PERF_PREFIX) * perf, names.end)
    for text, (event, _) in _EVENTS.items():
        hits = np.flatnonzero(says(block, names, text) & (within >= 2))
        hit_rows, first = np.unique(row[hits], return_index=True)
        name_at[hit_rows] = within[hits[first]]
        kind[hit_rows] = event
    return name_at, kind


def _starts_with(block: Block, column: Column, text: bytes) -> Bool:
    mask = np.uint64((1 << 8 * len(text)) - 1)
    same: Bool = (block.words[column.start] & mask) == as_word(text)
    return same


def _pids(block: Block, fields: Fields, rows: Int64, name: Int64) -> Column:
    """The digits after the last dash of ``process-pid``, or perf's own column; empty where there are none."""
    cpu = name - 2
    flagged = block.text[fields.column(cpu, rows).start] != ord("[")
    task = fields.column(cpu - flagged - 1, rows)
    # With the record-tgid option, the thread group stands between: "(  1234)", "(-----)".
    for _ in range(2):
        between = block.text[np.maximum(task.end - 1, 0)] == ord(")")
        between |= says(block, task, b"(")
        if not between.any():
            break
        cpu = cpu - between
        task = fields.column(cpu - flagged - 1, rows)
    start = task.start.copy()
    for digits in range(_MAX_PID_DIGITS, 0, -1):  # the last dash is found last
        at = task.end - 1 - digits
        start = np.where((block.text[at] == ord("-")) & (at >= task.start), at + 1, start)
    return Column(start, task.end)


read = text_reader(_Parser)
