"""Every trace format on a real file, against a line-by-line reading that shares no code."""

import lzma
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from scenarios.traces import TraceReader, open_trace
from tests.oracle import trace_lines as oracle
from tests.oracle.trace_lines import Row

PUBLIC = Path(__file__).parents[2] / "shared" / "traces" / "public"
needs_public = pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public traces are not beside the checkout")


def rows_of(reader: TraceReader) -> list[Row]:
    columns = ("time_ns", "op", "sector", "nbytes", "stream")
    with reader:
        return [
            row
            for batch in reader.batches()
            for row in zip(*(getattr(batch, name).tolist() for name in columns), strict=True)
        ]


def plain(name: str) -> bytes:
    path = PUBLIC / name
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    return zstandard.ZstdDecompressor().stream_reader(data).read() if path.suffix == ".zst" else data


def from_text(read: Callable[[str], Iterator[Row]]) -> Callable[[bytes], Iterator[Row]]:
    return lambda data: read(data.decode())


def five_numbers(unit_ns: int) -> Callable[[bytes], Iterator[Row]]:
    return lambda data: oracle.five_numbers(data.decode(), unit_ns)


# file, format, rows as the traces' README counts them, oracle
REAL_FILES = (
    ("blktrace-viewer-sample.blkparse.txt.xz", "blkparse", 963, from_text(oracle.blkparse)),
    ("blktrace-viewer-sample.blktrace.0.xz", "blktrace", 963, oracle.blktrace),
    ("recorded/ext4-db-log-scan.ftrace.txt.xz", "ftrace", 2880 + 2582 + 47 + 23, from_text(oracle.ftrace)),
    ("recorded/db-v3.iolog.xz", "fio", 4800, from_text(oracle.fio_v3)),
    ("recorded/log-v3.iolog.xz", "fio", 204, from_text(oracle.fio_v3)),
    ("recorded/scan-v3.iolog.xz", "fio", 480, from_text(oracle.fio_v3)),
    ("fio-t0038-v3.iolog.xz", "fio", 20, from_text(oracle.fio_v3)),
    ("cloudphysics-io.csv.xz", "cloudphysics", 113_872, from_text(oracle.cloudphysics)),
    ("cloudphysics-io.vscsi.xz", "vscsi1", 113_872, oracle.vscsi1),
    ("cloudphysics-io.oracleGeneral.zst", "oracleGeneral", 113_872, oracle.oracle_general),
    ("mqsim-tpcc-small.trace.xz", "mqsim", 6_999, five_numbers(1)),
    ("mqsim-wsrch-small.trace.xz", "mqsim", 24_783, five_numbers(1)),
    ("ssdsim-example.ascii.xz", "mqsim", 10_000, five_numbers(1)),
    ("disksim-valid-ascii.trace.xz", "disksim", 100_000, five_numbers(1_000_000)),
)


@needs_public
@pytest.mark.parametrize(("name", "format_name", "count", "read"), REAL_FILES)
def test_a_real_file_reads_as_a_line_by_line_reading_does(
    name: str, format_name: str, count: int, read: Callable[[bytes], Iterator[Row]]
) -> None:
    expected = oracle.since_first([row for row in read(plain(name)) if row[3] or row[1] == oracle.FLUSH])

    reader = open_trace(PUBLIC / name)
    found = rows_of(reader)

    assert (reader.format, len(found)) == (format_name, count)
    assert found == expected


@needs_public
def test_the_ascii_formats_that_look_alike_can_be_named() -> None:
    named = open_trace(PUBLIC / "ssdsim-example.ascii.xz", format="ssdsim")
    assert named.format == "ssdsim"
    assert rows_of(named) == rows_of(open_trace(PUBLIC / "ssdsim-example.ascii.xz"))


@needs_public
def test_blkparse_and_blktrace_of_one_recording_give_the_same_rows() -> None:
    text = rows_of(open_trace(PUBLIC / "blktrace-viewer-sample.blkparse.txt.xz"))
    binary = rows_of(open_trace(PUBLIC / "blktrace-viewer-sample.blktrace.0.xz"))
    assert text == binary


@needs_public
def test_blkparse_totals_are_those_of_its_own_summary() -> None:
    name = "blktrace-viewer-sample.blkparse.txt.xz"
    summary = next(line for line in plain(name).decode().splitlines() if "Reads Queued" in line)
    reads, kib = (int(word.rstrip(",KiB")) for word in summary.split()[2:4])

    reader = open_trace(PUBLIC / name)
    found = rows_of(reader)

    assert (len(found), sum(row[3] for row in found)) == (reads, kib << 10)
    assert reader.counts["events_not_used"] == 6741 - reads  # "Events (sample): 6741 entries"
    assert reader.volumes == {"259,0": reads}


@needs_public
def test_biosnoop_rows_are_sorted_by_arrival_which_is_completion_less_latency() -> None:
    name = "bcc-biosnoop-example.txt"
    by_arrival = sorted(oracle.biosnoop(plain(name).decode()), key=lambda row: row[0])

    reader = open_trace(PUBLIC / name)

    assert rows_of(reader) == oracle.since_first(by_arrival)
    assert reader.format == "biosnoop"
    assert reader.volumes == {"xvda1": 10, "xvdb": 4, "xvdc": 1}


# Figures worked out by hand from the documented rows.
EXCERPTS: tuple[tuple[str, str, dict[int, Row]], ...] = (
    (
        "alibaba-2020.csv",
        "alibaba",
        {0: (0, 1, 8792731648 // 512, 16384, 419), 5: (264_000, 0, 348404277248 // 512, 8192, 12)},
    ),
    (
        "tencent-cbs-2018.csv",
        "tencent",
        {0: (0, 0, 12910952, 128 * 512, 1063), 8: (0, 1, 5331600, 4 * 512, 3171)},
    ),
    (
        "msr-cambridge-prxy.csv",
        "msr",
        {
            0: (0, 1, 1105182720 // 512, 1024, 0),
            1: ((128172299571726563 - 128166391024154329) * 100, 1, 1105182720 // 512, 512, 0),
        },
    ),
    ("fiu-iodedup.txt", "fiu", {0: (0, 0, 283193184, 4096, 20782)}),
)


@needs_public
@pytest.mark.parametrize(("name", "format_name", "expected"), EXCERPTS)
def test_a_documented_excerpt_reads_as_documented(
    name: str, format_name: str, expected: dict[int, Row]
) -> None:
    reader = open_trace(PUBLIC / "excerpts" / name)
    found = rows_of(reader)
    assert reader.format == format_name
    assert len(found) == max(expected) + 1
    assert {index: found[index] for index in expected} == expected


@needs_public
def test_the_misprint_in_the_spc_specification_is_a_bad_line_with_its_place() -> None:
    name = PUBLIC / "excerpts" / "spc-specification-example.spc"
    with pytest.raises(Exception, match=r"spc-specification-example\.spc:9:19: the time .* '2 448003'"):
        rows_of(open_trace(name))

    reader = open_trace(name, skip_bad_lines=True)
    found = rows_of(reader)

    assert (reader.format, len(found), reader.counts["bad_lines"]) == ("spc", 10, 1)
    assert found[0] == (0, 1, 20941264, 8192, 0)
    assert found[-1] == (2_449_733_000 - 551_706_000, 1, 10356592, 4096, 1)


def random_rows(seed: int, count: int) -> list[tuple[int, int, int, int, int]]:
    """Time in us, op, sector, sectors, volume."""
    draw = random.Random(seed)
    times = sorted(draw.randrange(10**12) for _ in range(count))
    return [
        (time, draw.choice((0, 1)), draw.randrange(2**40), draw.randrange(1, 2**11), draw.randrange(2000))
        for time in times
    ]


def as_rows(rows: list[tuple[int, int, int, int, int]], tick_ns: int = 1000) -> list[Row]:
    first = rows[0][0]
    return [((t - first) * tick_ns, op, sector, count * 512, volume) for t, op, sector, count, volume in rows]


# format, a line by its published definition; whole files of these are not free to ship
WRITTEN: tuple[tuple[str, str, Callable[[int, int, int, int, int], str]], ...] = (
    ("alibaba", "", lambda t, o, s, n, v: f"{v},{'RW'[o]},{s * 512},{n * 512},{1577808000000000 + t}"),
    (
        "systor",
        "Timestamp,Response,IOType,LUN,Offset,Size",
        lambda t, o, s, n, v: (
            f"{t // 10**6}.{t % 10**6:06d}000,0.000308012,{'RW'[o]},{v},{s * 512},{n * 512}"
        ),
    ),
    ("spc", "", lambda t, o, s, n, v: f"{v},{s},{n * 512},{'rW'[o]},{t // 10**6}.{t % 10**6:06d}"),
    (
        "fiu",
        "",
        lambda t, o, s, n, v: f"{t * 1000} {v} kworker 0:1 {s} {n} {'RW'[o]} 6 0 {'0123456789abcdef' * 2}",
    ),
    (
        "msr",
        "",
        lambda t, o, s, n, v: (
            f"{128166372003061629 + 10 * t},usr,{v},{('Read', 'Write')[o]},{s * 512},{n * 512},411"
        ),
    ),
    ("mqsim", "", lambda t, o, s, n, v: f"{t * 1000} {v} {s} {n} {1 - o}"),
    ("disksim", "", lambda t, o, s, n, v: f"{t // 1000}.{t % 1000:03d}\t{v}\t{s}\t{n}\t{1 - o:x}"),
)


@pytest.mark.parametrize(("name", "header", "line"), WRITTEN)
def test_a_file_written_by_the_published_definition_reads_back(
    tmp_path: Path, name: str, header: str, line: Callable[[int, int, int, int, int], str]
) -> None:
    rows = random_rows(seed=7, count=40_000)  # several blocks of text
    path = tmp_path / "trace"
    path.write_text("\n".join([header] * bool(header) + [line(*row) for row in rows]))

    reader = open_trace(path)

    assert rows_of(reader) == as_rows(rows)
    assert reader.format == name


def test_tencent_seconds_read_back(tmp_path: Path) -> None:
    rows = [(time // 10**6, *rest) for time, *rest in random_rows(seed=8, count=20_000)]
    path = tmp_path / "trace"
    path.write_text("".join(f"{1538323200 + t},{s},{n},{o},{v}\n" for t, o, s, n, v in rows))
    reader = open_trace(path)
    assert rows_of(reader) == as_rows(rows, tick_ns=10**9)  # type: ignore[arg-type]  # a star loses the length
    assert reader.format == "tencent"


def test_systor_operations_that_are_neither_read_nor_write_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(
        "Timestamp,Response,IOType,LUN,Offset,Size\n"
        "1455592173.088669300,0.000297070,W,0,1829552128,4096\n"
        "1455592173.188669300,,,0,1829552128,4096\n"
        "1455592173.288669300,,R,0,1829552128,8192\n"
    )
    reader = open_trace(path)
    assert rows_of(reader) == [(0, 1, 3573344, 4096, 0), (200_000_000, 0, 3573344, 8192, 0)]
    assert reader.counts["other_ops"] == 1


def test_vscsi_version_2_has_its_own_layout_and_a_response_time(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(
        b"".join(
            struct.pack("<HHIIIQQQ", cmd, 2 << 8, index, 4096, 1, 100 + index, 5_000_000 + 10 * index, 7)
            for index, cmd in enumerate((0x2A, 0x28, 0x12, 0x35, 0x42))  # write, read, inquiry, flush, unmap
        )
    )
    reader = open_trace(path)
    assert rows_of(reader) == [
        (0, 1, 100, 4096, -1),
        (10_000, 0, 101, 4096, -1),
        (30_000, 2, 0, 0, -1),
        (40_000, 3, 104, 4096, -1),
    ]
    assert (reader.format, reader.counts["other_ops"]) == ("vscsi2", 1)
    with open_trace(path) as again:
        assert [batch.latency_ns.tolist() for batch in again.completions()] == [[7000] * 4]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [7, 8])
def test_blktrace_records_of_both_versions_and_byte_orders(tmp_path: Path, order: str, version: int) -> None:
    def record(time: int, sector: int, size: int, category: int, event: int, pdu: bytes = b"") -> bytes:
        action = category << 16 | event
        head = (0x65617400 | version, 1, time, sector, size)
        tail = (259 << 20 | 3, 0, 0, len(pdu))
        if version == 7:
            return struct.pack(f"{order}IIQQIIIIIHH", *head, action, 42, *tail) + pdu
        return struct.pack(f"{order}IIQQIIQIIHH12x", *head, 42, action, *tail) + pdu

    read, write, flush, queue, notify, passthrough, discard = 1, 2, 4, 0x10, 0x400, 0x200, 0x2000
    path = tmp_path / "trace"
    path.write_bytes(
        record(5, 0, 0, notify, 0, b"fio\0")
        + record(10, 800, 4096, queue | read, 1)
        + record(20, 808, 512, queue | write, 1, b"12345")
        + record(21, 808, 512, queue | write, 4)
        + record(15, 0, 0, queue | flush | write, 1)
        + record(30, 900, 1 << 20, queue | write | discard, 1 | 1 << 8)
        + record(40, 0, 36, queue | read | passthrough, 1)
    )
    reader = open_trace(path)
    assert rows_of(reader) == [
        (0, 0, 800, 4096, 42),
        (5, 2, 0, 0, 42),
        (10, 1, 808, 512, 42),
        (20, 3, 900, 1 << 20, 42),
    ]
    assert reader.volumes == {"259,3": 4}
    assert {name: count for name, count in reader.counts.items() if count} == {
        "events_not_used": 2,
        "other_ops": 1,
        "reordered": 1,
    }


@needs_public
def test_a_blktrace_file_of_many_blocks_reads_as_record_by_record(tmp_path: Path) -> None:
    once = plain("blktrace-viewer-sample.blktrace.0.xz")
    path = tmp_path / "trace"
    path.write_bytes(once * 7)  # 2.4 MB, so records lie across the borders of blocks
    with open_trace(path, sort_window=0) as reader:
        sectors = [sector for batch in reader.batches() for sector in batch.sector.tolist()]
    assert sectors == [row[2] for row in oracle.blktrace(once)] * 7
