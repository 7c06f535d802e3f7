"""Per-bio records in a file, and ``blkcrypto explain``."""

import json
from pathlib import Path

import numpy as np
import pytest

from blkcrypto.base.errors import BadInput
from hwmodel.request import RECORD, RECORD_WIDTH
from scenarios.cli import main
from scenarios.results.records import COLUMN, ParquetRecords, Records
from scenarios.results.result import STAGES

polars = pytest.importorskip("polars", reason="the extra 'trace' is not installed")

SMALL = ["keyslot-contention", "--set", "ios=2000"]


def records(count: int) -> Records:
    """Bios 0, 1, ... of which number n took n us on flash and 1 us in submission, all reads of 4 KiB."""
    made = np.zeros((count, RECORD_WIDTH), dtype=np.int64)
    made[:, COLUMN["row"]] = np.arange(count)
    made[:, COLUMN["nbytes"]] = 4096
    made[:, COLUMN["submit"]] = 1000
    made[:, COLUMN["media"]] = 1000 * np.arange(count)
    made[:, COLUMN["total"]] = made[:, COLUMN["submit"]] + made[:, COLUMN["media"]]
    made[:, COLUMN["done_ns"]] = 10_000 * np.arange(count) + made[:, COLUMN["total"]]
    return made


def kept(path: Path, *batches: Records) -> Path:
    with ParquetRecords(str(path)) as sink:
        for batch in batches:
            sink.add(batch)
    return path


def explained(capsys: pytest.CaptureFixture[str], *args: object) -> list[dict[str, object]]:
    assert main(["explain", *map(str, args), "--json", "-"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["bios"]
    return found


def test_records_come_back_from_the_file_in_order_and_whole(tmp_path: Path) -> None:
    made = records(600_000)  # more than two parts
    file = kept(tmp_path / "r.parquet", *np.array_split(made, 70))
    table = polars.read_parquet(file)
    assert tuple(table.columns) == RECORD
    assert (table.to_numpy() == made).all()
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with ParquetRecords(str(tmp_path / "r.parquet")) as sink:
            sink.add(records(10))
            raise BadInput("damaged")

    with pytest.raises(BadInput):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_records_of_a_run_hold_the_sums_of_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.parquet"
    assert main(["run", *SMALL, "--parquet", str(file), "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)["all"]
    table = polars.read_parquet(file)
    assert (len(table), table["nbytes"].sum()) == (result["total_ios"], result["io_bytes"])
    assert {stage: table[stage].sum() for stage in STAGES} == result["stage_ns"]


def test_a_bio_is_explained_by_its_own_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bio,) = explained(capsys, kept(tmp_path / "r.parquet", records(100)), "--bio", 40)
    stages = {stage["stage"]: stage["ns"] for stage in bio.pop("stages")}  # type: ignore[attr-defined]  # JSON
    assert {stage: ns for stage, ns in stages.items() if ns} == {"submit": 1000, "media": 40_000}
    # Bios 0 to 99 take 1 to 100 us: 50.5 us on average, and 40 of them less than number 40.
    assert bio == {
        "bio": 40,
        "op": "READ",
        "nbytes": 4096,
        "status": "BLK_STS_OK",
        "arrived_ns": 400_000,
        "done_ns": 441_000,
        "total_ns": 41_000,
        "mean_total_ns": 50_500.0,
        "alike": 100,
        "faster": 40,
    }


def test_without_a_number_the_slowest_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bio,) = explained(capsys, kept(tmp_path / "r.parquet", records(100)))
    assert bio["bio"] == 99


def test_both_pieces_of_a_bio_cut_in_two_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = records(4)
    made[2, COLUMN["row"]] = 1
    pieces = explained(capsys, kept(tmp_path / "r.parquet", made), "--bio", 1)
    assert [piece["total_ns"] for piece in pieces] == [2000, 3000]


def test_the_longest_stage_is_named_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(kept(tmp_path / "r.parquet", records(10))), "--bio", "9"]) == 0
    # 9 us of 10 us.
    assert "Most of it, 90.0 %, was media: flash." in capsys.readouterr().out


def test_mistakes_take_one_line_and_end_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = kept(tmp_path / "r.parquet", records(10))
    other = tmp_path / "other.parquet"
    polars.DataFrame({"time_ns": [1]}).write_parquet(other)
    (tmp_path / "text").write_text("no parquet", encoding="utf-8")
    for args, said in (
        ([file, "--bio", 10], "the last is 9"),
        ([tmp_path / "none"], "cannot read it"),
        ([tmp_path / "text"], "cannot read it"),
        ([other], "--parquet"),
    ):
        assert main(["explain", *map(str, args)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_parquet_to_standard_output_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *SMALL, "--parquet", "-"]) == 2
    assert "--parquet" in capsys.readouterr().err
