"""Parquet: written from any trace, read back the same."""

import io
from pathlib import Path

import numpy as np
import pytest

from blkcrypto.base.errors import BadInput
from scenarios.traces import NO_FILE, TraceBatch, TraceError, open_trace
from tests.test_trace_fio import rows as file_rows
from tests.test_trace_formats import rows_of

polars = pytest.importorskip("polars", reason="the extra 'trace' is not installed")

from scenarios.traces.parquet import write_parquet  # noqa: E402  (after the check for polars)


def log(path: Path, count: int) -> Path:
    file = path / "log"
    file.write_text(
        "fio version 3 iolog\n"
        + "".join(
            f"{10 * i} /mnt/file{i % 7} {('read', 'write')[i % 2]} {4096 * i} 4096\n" for i in range(count)
        )
    )
    return file


def test_a_trace_of_files_comes_back_from_parquet_the_same(tmp_path: Path) -> None:
    source, out = log(tmp_path, 150_000), tmp_path / "out.parquet"
    with open_trace(source) as reader:
        write_parquet(reader.batches(), reader.file_names, out)

    again = open_trace(out)

    assert file_rows(again) == file_rows(open_trace(source))
    assert (again.format, again.names_files) == ("parquet", True)


def test_a_trace_of_a_device_has_no_file_names_in_parquet(tmp_path: Path) -> None:
    source, out = tmp_path / "trace", tmp_path / "out.parquet"
    source.write_text("1,W,512,4096,7\n2,R,1024,512,9\n")
    columns = "time=1:us,op=2,offset=3:bytes,size=4:bytes,stream=5"
    with open_trace(source, columns=columns) as reader:
        write_parquet(reader.batches(), reader.file_names, out)

    assert polars.read_parquet(out).to_dict(as_series=False) == {
        "time_ns": [0, 1000],
        "op": [1, 0],
        "sector": [1, 2],
        "nbytes": [4096, 512],
        "stream": [7, 9],
        "file": [None, None],
    }
    with open_trace(out) as again:
        assert not again.names_files
        (batch,) = again.batches()
        assert batch.file.tolist() == [NO_FILE, NO_FILE]


def test_a_synthetic_batch_can_be_written(tmp_path: Path) -> None:
    batch = TraceBatch(
        time_ns=np.array([0, 5], dtype=np.int64),
        op=np.array([2, 3], dtype=np.uint8),
        sector=np.array([0, 64], dtype=np.int64),
        nbytes=np.array([0, 1 << 20], dtype=np.int64),
        stream=np.array([-1, 3], dtype=np.int32),
        file=np.array([NO_FILE, 0], dtype=np.int32),
    )
    out = tmp_path / "out.parquet"
    write_parquet(iter([batch]), ["a"], out)
    assert rows_of(open_trace(out)) == [(0, 2, 0, 0, -1), (5, 3, 64, 1 << 20, 3)]


@pytest.mark.parametrize(
    ("column", "value"), [("op", 77), ("sector", -1), ("nbytes", None), ("time_ns", None)]
)
def test_a_row_that_is_no_io_is_named_or_skipped(tmp_path: Path, column: str, value: int | None) -> None:
    table: dict[str, list[int | None]] = {
        "time_ns": [0, 1, 2],
        "op": [0, 1, 0],
        "sector": [0, 8, 16],
        "nbytes": [512, 512, 512],
    }
    table[column][1] = value
    path = tmp_path / "t.parquet"
    polars.DataFrame(table).write_parquet(path)
    with pytest.raises(TraceError) as raised:
        rows_of(open_trace(path))
    assert raised.value.where == f"{path}: row 2"

    reader = open_trace(path, skip_bad_lines=True)
    assert [row[2] for row in rows_of(reader)] == [0, 16]
    assert reader.counts["bad_lines"] == 1


def test_missing_and_wrong_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    polars.DataFrame({"time_ns": [0], "op": [0], "lba": [0]}).write_parquet(path)
    with pytest.raises(TraceError, match="no column nbytes, sector: it has time_ns, op, lba"):
        rows_of(open_trace(path))
    polars.DataFrame({"time_ns": [0.5], "op": [0], "sector": [0], "nbytes": [1]}).write_parquet(path)
    with pytest.raises(TraceError, match="time_ns does not hold whole numbers"):
        rows_of(open_trace(path))


def test_a_damaged_file_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    polars.DataFrame({"time_ns": [0], "op": [0], "sector": [0], "nbytes": [512]}).write_parquet(path)
    data = path.read_bytes()
    for cut in range(4, len(data), 7):
        path.write_bytes(data[:cut])
        with pytest.raises(TraceError):
            rows_of(open_trace(path))


def test_parquet_from_standard_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    polars.DataFrame({"time_ns": [0], "op": [0], "sector": [0], "nbytes": [512]}).write_parquet(path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    with pytest.raises(TraceError, match="from a file of its own"):
        rows_of(open_trace("-"))


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot write"):
        write_parquet(iter([]), [], tmp_path / "gone" / "t.parquet")


def test_a_bad_line_while_converting_is_the_traces_error_and_leaves_no_file(tmp_path: Path) -> None:
    source, out = log(tmp_path, 30_000), tmp_path / "out.parquet"
    with source.open("a") as file:
        file.write("junk\n")
    with open_trace(source) as reader, pytest.raises(TraceError, match=r"log:30002: "):
        write_parquet(reader.batches(), reader.file_names, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]
