"""ftrace, blkparse and blktrace: which events are arrivals, and the many ways their lines look."""

import lzma
from pathlib import Path

import pytest

from blkcrypto.block.op import ReqOp
from scenarios.traces import TraceError, open_trace
from scenarios.traces.ops import IGNORED, UNKNOWN, rwbs
from tests.test_trace_formats import PUBLIC, needs_public, rows_of

READ, WRITE, FLUSH, DISCARD = 0, 1, 2, 3


def write(path: Path, *lines: str) -> Path:
    file = path / "trace"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


@pytest.mark.parametrize(
    ("text", "op"),
    [
        (b"R", ReqOp.READ),
        (b"RA", ReqOp.READ),
        (b"RSM", ReqOp.READ),
        (b"W", ReqOp.WRITE),
        (b"WFS", ReqOp.WRITE),
        (b"FWFSM", ReqOp.WRITE),  # preflush, write, fua, sync, meta
        (b"FWS", ReqOp.WRITE),
        (b"WSU", ReqOp.WRITE),  # atomic
        (b"D", ReqOp.DISCARD),
        (b"DS", ReqOp.DISCARD),
        (b"DE", ReqOp.SECURE_ERASE),
        (b"F", ReqOp.FLUSH),
        (b"FF", ReqOp.FLUSH),
        (b"FS", ReqOp.FLUSH),
        (b"N", IGNORED),
        (b"FN", IGNORED),
        (b"ZRA", IGNORED),
        (b"ZA", IGNORED),
        (b"ZF", IGNORED),
        (b"", UNKNOWN),
        (b"X", UNKNOWN),
        (b"RW", UNKNOWN),
        (b"r", UNKNOWN),
        (b"SR", UNKNOWN),
    ],
)
def test_rwbs_strings_are_what_blk_fill_rwbs_writes(text: bytes, op: int) -> None:
    assert rwbs(text) == op


# The same event as different kernels and tools print it: queued by pid 4711 at 12.5 s, 8 sectors from 2048.
QUEUE_LINES = {
    "tracefs": "  fio-4711    [003] .....    12.500000: block_bio_queue: 8,0 WS 2048 + 8 [fio]",
    "nanoseconds": "  fio-4711    [003] d..1.    12.500000000: block_bio_queue: 8,0 WS 2048 + 8 [fio]",
    "spaces and dashes in the name": "a b-c-4711 [003] .... 12.500000: block_bio_queue: 8,0 WS 2048 + 8 [a]",
    "thread group": "  fio-4711 (   4700) [003] ..... 12.500000: block_bio_queue: 8,0 WS 2048 + 8 [fio]",
    "no thread group": "  fio-4711 (-------) [003] ..... 12.500000: block_bio_queue: 8,0 WS 2048 + 8 [fio]",
    "trace-cmd": "             fio-4711  [003]    12.500000: block_bio_queue:      8,0 WS 2048 + 8 [fio]",
    "perf": "fio  4711 [003]    12.500000: block:block_bio_queue: 8,0 WS 2048 + 8 [fio]",
    "no name": "   <...>-4711    [003] .....    12.500000: block_bio_queue: 8,0 WS 2048 + 8 [<...>]",
}


@pytest.mark.parametrize("line", QUEUE_LINES.values(), ids=QUEUE_LINES.keys())
def test_a_queue_event_is_read_whatever_tool_printed_it(tmp_path: Path, line: str) -> None:
    reader = open_trace(write(tmp_path, line))
    assert rows_of(reader) == [(0, WRITE, 2048, 4096, 4711)]
    assert (reader.format, reader.volumes) == ("ftrace", {"8,0": 1})


FTRACE = "t-7 [000] ..... "


def test_a_trace_without_queue_events_arrives_with_its_issue_events(tmp_path: Path) -> None:
    reader = open_trace(
        write(
            tmp_path,
            f"{FTRACE} 1.000001: block_rq_issue: 7,0 RS 4096 () 37352 + 8 be,0,4 [fio]",  # 6.18
            f"{FTRACE} 1.000002: block_rq_complete: 7,0 RS () 37352 + 8 be,0,4 [0]",
            f"{FTRACE} 1.000003: block_rq_issue: 7,0 W 512 () 9 + 1 [fio]",  # 6.1
            f"{FTRACE} 1.000004: block_rq_issue: 7,0 FF 0 () 18446744073709551615 + 0 [kworker/0:1H]",
            f"{FTRACE} 1.000005: block_rq_issue: 7,0 N 36 (12 00 00 00 24 00) 0 + 0 [udevd]",
        )
    )
    assert rows_of(reader) == [(0, READ, 37352, 4096, 7), (2000, WRITE, 9, 512, 7), (3000, FLUSH, 0, 0, 7)]
    assert reader.counts["other_ops"] == 1


def test_issue_events_are_not_counted_twice_where_there_are_queue_events(tmp_path: Path) -> None:
    reader = open_trace(
        write(
            tmp_path,
            f"{FTRACE} 1.000001: block_rq_issue: 7,0 RS 4096 () 37352 + 8 [fio]",
            f"{FTRACE} 1.000002: block_bio_queue: 7,0 D 64 + 2048 [fstrim]",
            f"{FTRACE} 1.000003: block_bio_queue: 7,0 FWS 0 + 0 [jbd2]",
            f"{FTRACE} 1.000003: block_bio_queue: 7,0 FWFSM 16 + 8 [jbd2]",
        )
    )
    assert [row[1:4] for row in rows_of(reader)] == [(DISCARD, 64, 1 << 20), (FLUSH, 0, 0), (WRITE, 16, 4096)]


def test_what_ftrace_writes_between_block_events_is_counted(tmp_path: Path) -> None:
    reader = open_trace(
        write(
            tmp_path,
            "# tracer: nop",
            f"{FTRACE} 1.000001: block_bio_queue: 7,0 R 8 + 8 [fio]",
            "CPU:1 [LOST 512 EVENTS]",
            f"{FTRACE} 1.000002: sched_switch: prev_comm=fio prev_pid=7 ==> next_comm=swapper/0 next_pid=0",
            f"{FTRACE} 1.000003: block_plug: [fio]",
            "            fio-7       [000] .....     1.000004: <stack trace>",
            " => submit_bio_noacct",
        )
    )
    assert len(rows_of(reader)) == 1
    assert {name: count for name, count in reader.counts.items() if count} == {
        "lost_events": 1,
        "events_not_used": 4,
    }


def test_a_clock_that_does_not_count_seconds_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "# tracer: nop", f"{FTRACE} 1000001: block_bio_queue: 7,0 R 8 + 8 [fio]")
    with pytest.raises(TraceError, match="the time is not in seconds"):
        rows_of(open_trace(path))


@pytest.mark.parametrize(
    ("line", "place", "what"),
    [
        (f"{FTRACE} 1.000001: block_bio_queue: 7,0 Q 8 + 8 [fio]", "Q 8", "rwbs"),
        (f"{FTRACE} 1.000001: block_bio_queue: 7,0 R 8x + 8 [fio]", "8x", "sector"),
        (
            f"{FTRACE} 1.000001: block_bio_queue: 7,0 R 8 + 99999999999999999999 [f]",
            "9999",
            "number of sectors",
        ),
        (f"{FTRACE} 1.00000l: block_bio_queue: 7,0 R 8 + 8 [fio]", "1.00", "time"),
    ],
)
def test_a_bad_event_is_named_by_line_and_column(tmp_path: Path, line: str, place: str, what: str) -> None:
    good = f"{FTRACE} 1.000000: block_bio_queue: 7,0 R 8 + 8 [fio]"
    path = write(tmp_path, "# tracer: nop", good, line)
    with pytest.raises(TraceError) as raised:
        rows_of(open_trace(path))
    assert raised.value.where == f"{path}:3:{line.index(place) + 1}"
    assert what in raised.value.what
    assert "--skip-bad-lines" in raised.value.what


def test_the_layers_of_a_stacked_device_are_told_apart(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"{FTRACE} 1.000001: block_bio_queue: 253,0 W 8 + 8 [fio]",
        f"{FTRACE} 1.000002: block_bio_queue: 259,0 W 2056 + 8 [fio]",
    )
    every = open_trace(path)
    assert len(rows_of(every)) == 2
    assert every.volumes == {"253,0": 1, "259,0": 1}
    assert [row[2] for row in rows_of(open_trace(path, volume="259,0"))] == [2056]


BLKPARSE = "  8,0    1       {n}     {t:.9f}  697 "


def blkparse(path: Path, *events: str) -> Path:
    return write(path, *(BLKPARSE.format(n=n, t=n / 1000) + f" {event}" for n, event in enumerate(events, 1)))


def test_blkparse_lines_of_every_shape(tmp_path: Path) -> None:
    reader = open_trace(
        blkparse(
            tmp_path,
            "Q   W 223490 + 8 [kjournald]",
            "M   W 223498 + 8 [kjournald]",
            "Q FWS [jbd2/sda1-8]",
            "I   R 36 (12 01 00 00 24 00) [hald]",
            "Q   R 36 (12 01 00 00 24 00) [hald]",
            "m   N cfq697 insert_request",
            "UT  N [kworker] 3",
            "X   W 1 / 2 [fio]",
            "Q  WS 7 + 1 [fio]",
        )
    )
    assert rows_of(reader) == [
        (0, WRITE, 223490, 4096, 697),
        (2_000_000, FLUSH, 0, 0, 697),
        (8_000_000, WRITE, 7, 512, 697),
    ]
    assert {name: count for name, count in reader.counts.items() if count} == {
        "events_not_used": 5,
        "other_ops": 1,
    }


def test_an_unknown_event_of_blkparse_is_a_bad_line(tmp_path: Path) -> None:
    path = blkparse(tmp_path, "Q   W 223490 + 8 [kjournald]", "?   W 223490 + 8 [kjournald]")
    with pytest.raises(TraceError, match=r"trace:2:\d+: not a blkparse line"):
        rows_of(open_trace(path))


@needs_public
def test_completions_are_the_issues_paired_by_a_second_reading() -> None:
    path = PUBLIC / "recorded" / "ext4-db-log-scan.ftrace.txt.xz"
    issued: dict[int, tuple[int, int]] = {}
    expected: list[tuple[int, int, int, int]] = []
    for line in lzma.decompress(path.read_bytes()).decode().splitlines():
        words = line.split()
        if "block_rq_issue:" in words:
            at = words.index("block_rq_issue:")
            seconds = words[at - 1].rstrip(":").replace(".", "")
            sector = int(words[at + 5])
            issued[sector] = (1000 * int(seconds), 512 * int(words[at + 7]))
        elif "block_rq_complete:" in words:
            at = words.index("block_rq_complete:")
            done = 1000 * int(words[at - 1].rstrip(":").replace(".", ""))
            sector = int(words[at + 4])
            if sector in issued and int(words[at + 6]):
                start, size = issued.pop(sector)
                expected.append((start, sector, size, done - start))

    with open_trace(path) as reader:
        found = [
            row
            for batch in reader.completions()
            for row in zip(
                batch.time_ns.tolist(),
                batch.sector.tolist(),
                batch.nbytes.tolist(),
                batch.latency_ns.tolist(),
                strict=True,
            )
            if row[2]
        ]

    first = expected[0][0]
    assert found == [(start - first, *rest) for start, *rest in expected]
