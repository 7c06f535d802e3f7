"""``blkcrypto convert``: any trace as Parquet, whole or not at all."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput
from scenarios.commands.convert import convert
from scenarios.traces import TraceError, open_trace
from tests.test_trace_formats import rows_of

PUBLIC = Path(__file__).parents[1].parent / "shared" / "traces" / "public"
MSR = "128166372003061629,prxy,0,Write,4096,512,1514\n128166372013061629,prxy,1,Read,8192,4096,1514\n"

TABLE = "time=1:filetime,volume=3,op=4,offset=5:bytes,size=6:bytes"

needs_polars = pytest.mark.skipif(find_spec("polars") is None, reason="the extra 'trace' is not installed")

Convert = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Convert:
    """Run the command in this process; what it printed."""

    def run(*args: object) -> str:
        convert.main([str(arg) for arg in args], standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture
def msr(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(MSR)
    return path


@needs_polars
@pytest.mark.parametrize(
    "name",
    [
        "recorded/ext4-db-log-scan.ftrace.txt.xz",
        "recorded/db-v3.iolog.xz",
        "blktrace-viewer-sample.blktrace.0.xz",
        "mqsim-tpcc-small.trace.xz",
        "excerpts/alibaba-2020.csv",
    ],
)
def test_the_same_rows_come_back_from_the_converted_trace(run: Convert, tmp_path: Path, name: str) -> None:
    if not (PUBLIC / name).exists():
        pytest.skip("the public traces are not here")
    out = tmp_path / "out.parquet"
    run(PUBLIC / name, out)
    assert rows_of(open_trace(out)) == rows_of(open_trace(PUBLIC / name))


@needs_polars
def test_the_counts_are_told(run: Convert, msr: Path, tmp_path: Path) -> None:
    msr.write_text(f"{MSR}junk\n")
    out = tmp_path / "out.parquet"
    printed = run(msr, out, "--skip-bad-lines")
    assert printed == f"2 I/Os from msr in {out.stat().st_size:,} bytes, bad_lines 1\n"


@needs_polars
def test_quiet_prints_nothing(run: Convert, msr: Path, tmp_path: Path) -> None:
    assert run(msr, tmp_path / "out.parquet", "--quiet") == ""


@needs_polars
@pytest.mark.parametrize(
    ("options", "sectors"),
    [(["--limit", "1"], [8]), (["--format", "msr"], [8, 16]), (["--columns", TABLE, "--volume", "1"], [16])],
)
def test_limit_format_and_volume_choose_the_rows(
    run: Convert, msr: Path, tmp_path: Path, options: list[str], sectors: list[int]
) -> None:
    out = tmp_path / "out.parquet"
    run(msr, out, *options)
    assert [row[2] for row in rows_of(open_trace(out))] == sectors


@needs_polars
def test_a_column_map_reads_any_table(run: Convert, tmp_path: Path) -> None:
    source, out = tmp_path / "trace", tmp_path / "out.parquet"
    source.write_text("5;W;4096;1024\n")
    run(source, out, "--columns", "delimiter=semicolon,time=1:us,op=2,offset=3:bytes,size=4:bytes")
    assert rows_of(open_trace(out)) == [(0, 1, 8, 1024, -1)]


@needs_polars
def test_a_bad_line_leaves_the_old_file_as_it_was(run: Convert, msr: Path, tmp_path: Path) -> None:
    msr.write_text(f"{MSR}junk\n")
    out = tmp_path / "out.parquet"
    out.write_bytes(b"old")
    with pytest.raises(TraceError, match=r"trace\.csv:3"):
        run(msr, out)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "trace.csv"]


def test_without_polars_the_extra_is_named(
    run: Convert, msr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(BadInput, match=r"pip install 'blkcrypto\[trace\]'"):
        run(msr, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_the_trace_itself_is_not_overwritten(run: Convert, msr: Path) -> None:
    with pytest.raises(BadInput, match="the trace itself"):
        run(msr, msr)
    assert msr.read_text() == MSR


@pytest.mark.parametrize(("out", "what"), [("gone/out.parquet", "does not exist"), ("-", "to a file")])
def test_a_target_that_cannot_be_is_refused_before_reading(
    run: Convert, msr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=what):
        run("/no/such/trace", out)


@needs_polars
def test_a_file_per_stream_has_its_rows_in_their_order(run: Convert, tmp_path: Path) -> None:
    source, folder = tmp_path / "fleet.csv", tmp_path / "volumes"
    source.write_text("".join(f"{n * n % 3},R,{4096 * n},4096,{100 + n}\n" for n in range(200)))
    printed = run(source, folder, "--per-stream")
    assert printed.startswith("200 I/Os from alibaba in ")
    assert printed.endswith(" of 2 files\n")
    found = {path.name: [row[2] for row in rows_of(open_trace(path))] for path in folder.iterdir()}
    # Squares are 0 or 1 modulo 3.
    assert found == {
        "0.parquet": [8 * n for n in range(200) if n % 3 == 0],
        "1.parquet": [8 * n for n in range(200) if n % 3],
    }


@needs_polars
def test_a_folder_of_streams_appears_whole_or_not_at_all(run: Convert, tmp_path: Path) -> None:
    source, folder = tmp_path / "fleet.csv", tmp_path / "volumes"
    source.write_text("1,R,0,4096,100\n2,R,0,4096,101\njunk\n")
    with pytest.raises(TraceError, match=r"fleet\.csv:3"):
        run(source, folder, "--per-stream")
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.csv"]


@needs_polars
def test_a_folder_that_exists_is_not_written_to(run: Convert, msr: Path, tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    with pytest.raises(BadInput, match="exists"):
        run(msr, tmp_path / "volumes", "--per-stream")
