"""fio's I/O logs, versions 2 and 3."""

from pathlib import Path

import pytest

from scenarios.traces import TraceError, TraceReader, open_trace
from tests.test_trace_formats import PUBLIC, needs_public


def write(path: Path, *lines: str) -> Path:
    file = path / "log"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def rows(reader: TraceReader) -> list[tuple[int, int, int, int, str]]:
    with reader:
        return [
            (time, op, sector, size, reader.file_names[file])
            for batch in reader.batches()
            for time, op, sector, size, file in zip(
                batch.time_ns.tolist(),
                batch.op.tolist(),
                batch.sector.tolist(),
                batch.nbytes.tolist(),
                batch.file.tolist(),
                strict=True,
            )
        ]


def test_version_3_lines_have_times_in_microseconds_and_files(tmp_path: Path) -> None:
    reader = open_trace(
        write(
            tmp_path,
            "fio version 3 iolog",
            "1 /a add",
            "2 /a open",
            "2 /b add",
            "10 /a read 4096 8192",
            "15 /b write 0 512",
            "20 /a trim 65536 65536",
            "25 /a sync 0 0",
            "26 /b datasync 163840 0",
            "30 /a close",
        )
    )
    assert rows(reader) == [
        (0, 0, 8, 8192, "/a"),
        (5_000, 1, 0, 512, "/b"),
        (10_000, 3, 128, 65536, "/a"),
        (15_000, 2, 0, 0, "/a"),
        (16_000, 2, 0, 0, "/b"),
    ]
    assert (reader.format, reader.names_files, reader.counts["events_not_used"]) == ("fio", True, 4)


def test_version_2_time_passes_in_waits_of_at_least_100_microseconds(tmp_path: Path) -> None:
    reader = open_trace(
        write(
            tmp_path,
            "fio version 2 iolog",
            "/a add",
            "/a open",
            "/a wait 1000 0",
            "/a read 0 4096",
            "/a wait 99 0",
            "/a read 4096 4096",
            "/a wait 100",
            "/a write 8192 4096",
            "/a sync 0 0",
            "/a close",
        )
    )
    assert [row[:2] for row in rows(reader)] == [(0, 0), (0, 0), (100_000, 1), (100_000, 2)]


def test_a_log_appended_to_goes_on_from_the_latest_time(tmp_path: Path) -> None:
    reader = open_trace(
        write(
            tmp_path,
            "fio version 3 iolog",
            "100 /a read 0 4096",
            "900 /a close",
            "fio version 3 iolog",
            "5 /a open",
            "50 /a read 0 4096",
            "fio version 2 iolog",
            "/a wait 200 0",
            "/b read 0 4096",
        )
    )
    # 900 is where the first log ends, 950 where the second does.
    assert [row[0] for row in rows(reader)] == [0, 850_000, 1_050_000]
    assert reader.counts["repeated_headers"] == 2


@needs_public
def test_the_doubled_header_of_a_recorded_log_moves_no_io() -> None:
    # Its first log is a header and one "add" at 26 us, its second begins with I/O at 193 us.
    reader = open_trace(PUBLIC / "recorded" / "db-v3.iolog.xz")
    found = rows(reader)
    assert found[1][0] - found[0][0] == (828 - 193) * 1000
    assert reader.counts["repeated_headers"] == 1
    assert reader.file_names == ["/mnt/data/db.0.0"]


def test_the_time_of_a_long_log_is_right_across_blocks_of_lines(tmp_path: Path) -> None:
    count = 60_000
    lines = [f"/file{i % 3} wait 150 0\n/file{i % 3} write {4096 * i} 4096" for i in range(count)]
    found = rows(open_trace(write(tmp_path, "fio version 2 iolog", *lines)))
    assert found == [(150_000 * i, 1, 8 * i, 4096, f"/file{i % 3}") for i in range(count)]


@pytest.mark.parametrize(
    ("line", "where", "what"),
    [
        ("12 /a raed 0 4096", "2:7", "action is unknown"),
        ("12x /a read 0 4096", "2:1", "time"),
        ("12 /a read -1 4096", "2:12", "offset"),
        ("12 /a read 0", "2", "length"),
        ("12 /a", "2", "action"),
        ("12 /a read 9223372036854775807 4096", "2:12", "offset"),
        ("fio version 1 iolog", "2:13", "only versions 2 and 3"),
    ],
)
def test_a_bad_line_is_named_by_line_and_column(tmp_path: Path, line: str, where: str, what: str) -> None:
    path = write(tmp_path, "fio version 3 iolog", line)
    with pytest.raises(TraceError) as raised:
        rows(open_trace(path))
    assert raised.value.where == f"{path}:{where}"
    assert what in raised.value.what


def test_a_log_without_its_header_is_refused_at_its_first_line(tmp_path: Path) -> None:
    path = write(tmp_path, "12 /a read 0 4096")
    with pytest.raises(TraceError, match=r"log:1: no 'fio version 2 iolog'"):
        rows(open_trace(path, format="fio"))
