"""The self-test against what Linux kernels wrote, and that it notices when something differs."""

import json
import shutil
from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.selftest import SelfTestReport, run_golden
from tests.fscrypt_world import GOLDEN, needs_golden

CASE = "ext4-4k/v2-lblk32.json"


@pytest.fixture(scope="module")
def report() -> SelfTestReport:
    return run_golden(GOLDEN)


@pytest.fixture
def one_case(tmp_path: Path) -> Path:
    """A golden directory with one case that a test may damage."""
    folder = tmp_path / "ext4-4k"
    folder.mkdir()
    for name in ("v2-lblk32.json", "v2-lblk32.bin"):
        (folder / name).write_bytes((GOLDEN / "ext4-4k" / name).read_bytes())
    (tmp_path / "vectors").mkdir()
    (tmp_path / "dm").mkdir()
    shutil.copyfile(GOLDEN / "vectors/fscrypt-vectors.json", tmp_path / "vectors/fscrypt-vectors.json")
    (tmp_path / "errno").mkdir()
    for name in ("dm/dm.json", "dm/dm.bin", "errno/errno-6.18.json.gz", "errno/errno-7.2.json.gz"):
        shutil.copyfile(GOLDEN / name, tmp_path / name)
    (tmp_path / "index.json").write_text(json.dumps([{"index": CASE}]))
    return tmp_path


@needs_golden
def test_nothing_that_linux_wrote_differs(report: SelfTestReport) -> None:
    assert [str(mismatch) for mismatch in report.mismatches] == []


@needs_golden
def test_every_recorded_run_of_file_contents_is_checked(report: SelfTestReport) -> None:
    runs = 0
    for row in json.loads((GOLDEN / "index.json").read_text()):
        case = json.loads((GOLDEN / row["index"]).read_text())
        runs += sum(len(item.get("runs", ())) for item in case["objects"])
    skipped = sum(count for reason, count in report.skipped.items() if reason.startswith("contents"))
    assert report.matched["contents"] + skipped == runs


@needs_golden
@pytest.mark.parametrize(
    ("byte", "unit"), [(0, 0), (4095, 0), (4096, 1), (8192, 0), (16384, 7), (24576, 1048580)]
)
def test_one_flipped_bit_on_disk_is_found_in_its_data_unit(one_case: Path, byte: int, unit: int) -> None:
    path = one_case / "ext4-4k/v2-lblk32.bin"
    data = bytearray(path.read_bytes())
    data[byte] ^= 0x01
    path.write_bytes(data)
    found = run_golden(one_case)
    assert len(found.mismatches) == 1
    assert f"data unit {unit}" in str(found.mismatches[0])
    assert not found.passed


@needs_golden
@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"parent_ino": 8194, "name": "f-17"', '"parent_ino": 8194, "name": "f-18"', "name"),
        ('"target": "3b6cc"', '"target": "3b6cd"', "symlink target"),
    ],
)
def test_another_name_or_target_is_found(one_case: Path, old: str, new: str, what: str) -> None:
    path = one_case / CASE
    text = json.dumps(json.loads(path.read_text()))
    assert old in text
    path.write_text(text.replace(old, new))
    assert what in {mismatch.what for mismatch in run_golden(one_case).mismatches}


@needs_golden
def test_a_table_that_linux_refuses_and_we_do_not_is_found(one_case: Path) -> None:
    path = one_case / "dm/dm.json"
    tables = json.loads(path.read_text())
    next(case for case in tables["cases"] if case["result"] == "OK")["result"] = "Invalid argument"
    path.write_text(json.dumps(tables))
    assert {mismatch.what for mismatch in run_golden(one_case).mismatches} == {"dm table"}


@needs_golden
@pytest.mark.parametrize(
    "name", ["index.json", CASE, "ext4-4k/v2-lblk32.bin", "vectors/fscrypt-vectors.json"]
)
def test_a_missing_file_is_named(one_case: Path, name: str) -> None:
    (one_case / name).unlink()
    with pytest.raises(BadInput, match=Path(name).name):
        run_golden(one_case)


@needs_golden
def test_a_damaged_case_says_where_it_is_wrong(one_case: Path) -> None:
    path = one_case / CASE
    case = json.loads(path.read_text())
    case["objects"][1]["runs"][0]["lblk"] = "zero"
    path.write_text(json.dumps(case))
    with pytest.raises(BadInput, match=r"objects\[1\]\.runs\[0\]\.lblk"):
        run_golden(one_case)


@needs_golden
def test_the_summary_has_the_three_counts(report: SelfTestReport) -> None:
    matched, mismatched, skipped = (int(word) for word in report.summary().split() if word.isdigit())
    assert (matched, mismatched, skipped) == (report.matched.total(), 0, report.skipped.total())
