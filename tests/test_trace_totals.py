"""Rows, first and last row and totals of real traces against figures that awk and polars compute."""

import lzma
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from scenarios.traces import open_trace

PUBLIC = Path(__file__).parents[2] / "shared" / "traces" / "public"
pytestmark = pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public traces are not beside the checkout")

# I/Os, bytes, writes, sum of first sectors, first and last sector, ns from the first I/O to the last.
Figures = tuple[int, int, int, int, int, int, int]

# file, awk's options, which lines count, first sector, bytes, whether it writes, time and its unit in ns
BY_AWK = (
    ("mqsim-tpcc-small.trace.xz", "", "1", "$3", "$4 * 512", "$5 == 0", "$1", 1),
    ("mqsim-wsrch-small.trace.xz", "", "1", "$3", "$4 * 512", "$5 == 0", "$1", 1),
    ("ssdsim-example.ascii.xz", "", "1", "$3", "$4 * 512", "$5 == 0", "$1", 1),
    ("disksim-valid-ascii.trace.xz", "", "1", "$3", "$4 * 512", "$5 % 2 == 0", "$1 * 1e6", 1),
    ("cloudphysics-io.csv.xz", "-F,", "NR > 1", "$5", "$4", '$3 == "2a"', "$2", 10**9),
    ("blktrace-viewer-sample.blkparse.txt.xz", "", '$6 == "Q"', "$8", "$10 * 512", "$7 ~ /W/", "$4 * 1e9", 1),
    ("recorded/scan-v3.iolog.xz", "", "$3 ~ /^(read|write)$/", "$4 / 512", "$5", '$3 == "write"', "$1", 1000),
    ("recorded/log-v3.iolog.xz", "", "$3 ~ /^(read|write)$/", "$4 / 512", "$5", '$3 == "write"', "$1", 1000),
    ("excerpts/alibaba-2020.csv", "-F,", "1", "$3 / 512", "$4", '$2 == "W"', "$5", 1000),
    ("excerpts/tencent-cbs-2018.csv", "-F,", "1", "$2", "$3 * 512", "$4 == 1", "$1", 10**9),
    # A filetime does not fit a double; without its first three digits, which are equal, it does.
    ("excerpts/msr-cambridge-prxy.csv", "-F,", "1", "$5 / 512", "$6", '$4 == "Write"', "substr($1, 4)", 100),
    ("excerpts/fiu-iodedup.txt", "", "1", "$4", "$5 * 512", '$6 == "W"', "$1", 1),
    (
        "excerpts/spc-specification-example.spc",
        "-F,",
        "!/2 448003/",
        "$2",
        "$3",
        "$4 ~ /[wW]/",
        "$5 * 1e9",
        1,
    ),
)


def read(name: str, **options: bool | str) -> Figures:
    with open_trace(PUBLIC / name, **options) as reader:  # type: ignore[arg-type]  # of various types
        batches = list(reader.batches())
    op, sector = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("op", "sector"))
    # fio's logs have syncs too, which are flushes here; they are no I/O of awk's.
    moves = op <= 1
    nbytes = np.concatenate([batch.nbytes for batch in batches])[moves]
    time_ns = np.concatenate([batch.time_ns for batch in batches])[moves]
    sector = sector[moves]
    return (
        len(sector),
        int(nbytes.sum()),
        int(np.count_nonzero(op == 1)),
        int(sector.sum()),
        int(sector[0]),
        int(sector[-1]),
        int(time_ns[-1] - time_ns[0]),
    )


def text_of(name: str) -> str:
    data = (PUBLIC / name).read_bytes()
    return (lzma.decompress(data) if name.endswith(".xz") else data).decode()


@pytest.mark.skipif(shutil.which("awk") is None, reason="there is no awk")
@pytest.mark.parametrize(("name", "option", "lines", "sector", "nbytes", "writes", "time", "tick_ns"), BY_AWK)
def test_the_figures_of_a_real_trace_are_awks(
    name: str, option: str, lines: str, sector: str, nbytes: str, writes: str, time: str, tick_ns: int
) -> None:
    program = (
        f"{lines} {{ n++; bytes += {nbytes}; if ({writes}) writes++; last = {sector}; sectors += last; "
        f"end = {time}; if (n == 1) {{ first = last; begin = end }} }} "
        'END { printf "%d %.0f %d %.0f %.0f %.0f %.0f", n, bytes, writes, sectors, first, last, end - begin }'
    )
    command = ["awk", *([option] if option else []), program]
    found = subprocess.run(command, input=text_of(name), capture_output=True, text=True, check=True).stdout
    *figures, ticks = map(int, found.split())
    assert read(name, skip_bad_lines=True) == (*figures, ticks * tick_ns)


def polars_figures(name: str, tmp_path: Path) -> Figures:
    """Of the CloudPhysics CSV, by polars."""
    pl = pytest.importorskip("polars", reason="the extra 'trace' is not installed")
    path = tmp_path / "plain.csv"
    path.write_text(text_of(name))
    row = (
        pl.scan_csv(path, schema_overrides={"op": pl.String})
        .select(
            rows=pl.len(),
            nbytes=pl.col("size").sum(),
            writes=(pl.col("op") == "2a").sum(),
            sectors=pl.col("lbn").sum(),
            first=pl.col("lbn").first(),
            last=pl.col("lbn").last(),
            ns=(pl.col("time").last() - pl.col("time").first()) * 10**9,
        )
        .collect()
        .row(0)
    )
    rows, nbytes, writes, sectors, first, last, ns = row
    return rows, nbytes, writes, sectors, first, last, ns


def test_the_figures_of_a_mapped_table_are_polars(tmp_path: Path) -> None:
    name = "cloudphysics-io.csv.xz"
    columns = "time=time:s,op=op:scsi,size=size:bytes,offset=lbn:sectors"
    assert read(name, columns=columns) == polars_figures(name, tmp_path)


def test_the_figures_of_a_parquet_file_that_polars_wrote_are_polars(tmp_path: Path) -> None:
    name = "cloudphysics-io.csv.xz"
    expected = polars_figures(name, tmp_path)
    pl = pytest.importorskip("polars", reason="the extra 'trace' is not installed")
    path = tmp_path / "written.parquet"
    pl.read_csv(tmp_path / "plain.csv", schema_overrides={"op": pl.String}).select(
        time_ns=pl.col("time") * 10**9,
        op=pl.when(pl.col("op") == "2a").then(1).otherwise(0),
        sector=pl.col("lbn"),
        nbytes=pl.col("size").cast(pl.Int64),
    ).write_parquet(path)
    assert read(str(path)) == expected
