"""The self-test makes every check that a record allows, and notices each thing that is not as recorded."""

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from blkcrypto.fs.selftest.cases import GoldenCase
from blkcrypto.fs.selftest.dm import check_dm
from blkcrypto.fs.selftest.policies import check_policies
from blkcrypto.fs.selftest.report import Mismatch, SelfTestReport
from blkcrypto.fs.selftest.runner import check_case
from blkcrypto.fs.selftest.vectors import check_vectors
from tests.fscrypt_world import GOLDEN, needs_golden

V1 = "ext4-1k/v1-fskey.json"
FOLDED = "ext4-4k-casefold/v2-xts.json"
LONG = "f2fs-4k/v2-adiantum-direct.json"
Record = dict[str, Any]


def record(path: str) -> Record:
    found: Record = json.loads((GOLDEN / path).read_text())
    return found


def checked(path: str, case: Record) -> SelfTestReport:
    report = SelfTestReport()
    decoded = msgspec.json.decode(json.dumps(case).encode(), type=GoldenCase)
    check_case("case", (GOLDEN / path).parent, decoded, report)
    return report


def flipped(text: str) -> str:
    """Another last digit, which is one of hex and of base64url."""
    return text[:-1] + ("1" if text[-1] != "1" else "2")


@needs_golden
@pytest.mark.parametrize("path", [V1, FOLDED, LONG])
def test_everything_that_is_recorded_is_checked(path: str) -> None:
    case = record(path)
    objects = case["objects"]

    def having(field: str) -> int:
        return sum(item.get(field) is not None for item in objects)

    expected = {
        "policy bytes": 1,
        "key identifier": int(path != V1),
        "context": having("context"),
        "contents": sum(len(item.get("runs", ())) for item in objects),
        "name": having("parent_ino"),
        "no-key name": having("nokey_name"),
        "directory hash": having("dirent_hash") if path == FOLDED else 0,
        # On f2fs a symlink's nonce is not recorded, so neither target nor its no-key form can be made again.
        "symlink target": having("target") if path != LONG else 0,
        "symlink size": having("i_size"),
        "no-key symlink": having("nokey_target") if path != LONG else 0,
    }
    report = checked(path, case)
    assert report.matched == Counter(expected)
    assert (report.mismatches, report.skipped.total()) == ([], 2 * having("target") if path == LONG else 0)


@needs_golden
@pytest.mark.parametrize(
    ("path", "field", "what"),
    [
        (V1, "context", "context"),
        (V1, "disk_name", "name"),
        (LONG, "disk_name_first149", "name"),
        (LONG, "disk_name_rest_sha256", "name"),
        (V1, "nokey_name", "no-key name"),
        (FOLDED, "dirent_hash", "directory hash"),
        (V1, "disk_target", "symlink target"),
        (V1, "nokey_target", "no-key symlink"),
        (V1, "i_size", "symlink size"),
    ],
)
def test_a_field_that_is_not_as_linux_wrote_it_is_a_mismatch(path: str, field: str, what: str) -> None:
    case = record(path)
    item = next(item for item in case["objects"] if item.get(field) is not None)
    item[field] = item[field] + 1 if isinstance(item[field], int) else flipped(item[field])

    (found,) = checked(path, case).mismatches

    title = f"{item['type']} {item.get('name') or item.get('name_hex') or '(top)'}"
    assert (found.case, found.subject, found.what) == ("case", title, what)


@needs_golden
def test_a_key_that_is_not_the_policy_s_is_a_mismatch() -> None:
    case = record(FOLDED)
    case["master_key"] = flipped(case["master_key"])
    assert [found.what for found in checked(FOLDED, case).mismatches] == ["key identifier"]


@needs_golden
@pytest.mark.parametrize("path", [V1, "f2fs-4k/v2-lblk32.json"])
def test_plaintext_that_was_not_written_is_a_mismatch_of_its_run(path: str) -> None:
    case = record(path)
    file = next(item for item in case["objects"] if item.get("segments"))
    file["segments"][-1]["seed"] += "!"
    found = checked(path, case).mismatches
    assert {(bad.subject, bad.what) for bad in found} == {(f"file {file['name']}", "contents")}


# Vectors: the first has its whole ciphertext, number 3 digests of it, number 114 a key identifier too.


def vectors(tmp_path: Path, change: Callable[[Record], object]) -> SelfTestReport:
    file = json.loads((GOLDEN / "vectors/fscrypt-vectors.json").read_text())
    kept = {"vectors": [file["vectors"][number] for number in (0, 3, 114)]}
    kept["key_identifiers"] = file["key_identifiers"][:1]
    change(kept)
    path = tmp_path / "vectors.json"
    path.write_text(json.dumps(kept))
    report = SelfTestReport()
    check_vectors(path, "vectors", report)
    return report


@needs_golden
def test_every_vector_and_identifier_is_checked(tmp_path: Path) -> None:
    report = vectors(tmp_path, lambda _file: None)
    assert (report.matched, report.mismatches) == (Counter({"vector": 3, "key identifier": 2}), [])


@needs_golden
@pytest.mark.parametrize(
    ("number", "field", "what"),
    [
        (0, "ciphertext", "vector"),
        (1, "ciphertext_sha256", "vector"),
        (1, "ciphertext_first32", "vector"),
        (1, "ciphertext_last32", "vector"),
        (2, "key_identifier", "key identifier"),
    ],
)
def test_a_vector_that_is_not_as_recorded_is_a_mismatch(
    number: int, field: str, what: str, tmp_path: Path
) -> None:
    def change(file: Record) -> None:
        vector = file["vectors"][number]
        vector[field] = flipped(vector[field])

    (found,) = vectors(tmp_path, change).mismatches
    assert (found.subject.split(",")[0], found.what) == (f"vector {number}", what)


@needs_golden
def test_another_identifier_of_a_key_is_a_mismatch(tmp_path: Path) -> None:
    def change(file: Record) -> None:
        row = file["key_identifiers"][0]
        row["key_identifier"] = flipped(row["key_identifier"])

    (found,) = vectors(tmp_path, change).mismatches
    assert (found.subject.startswith("key of "), found.what) == (True, "key identifier")


# Device mapper: a table of each target that Linux took, and one for each error.


def tables(tmp_path: Path, change: Callable[[list[Record]], object]) -> SelfTestReport:
    file = json.loads((GOLDEN / "dm/dm.json").read_text())
    kinds = {(case["target"], case["result"]): case for case in reversed(file["cases"])}
    cases = [kinds[key] for key in sorted(kinds)]
    change(cases)
    path = tmp_path / "dm.json"
    path.write_text(json.dumps({"bin": file["bin"], "cases": cases}))
    shutil.copyfile(GOLDEN / "dm" / file["bin"], tmp_path / file["bin"])
    report = SelfTestReport()
    check_dm(path, "dm", report)
    return report


@needs_golden
def test_every_table_and_its_sectors_are_checked(tmp_path: Path) -> None:
    cases: list[Record] = []
    report = tables(tmp_path, cases.extend)
    segments = sum(len(case["segments"]) for case in cases if case["result"] == "OK")
    assert segments >= 2
    assert report.matched == {"dm table": len(cases), "dm sectors": segments, "dm remapping": segments}
    assert report.mismatches == []


@needs_golden
@pytest.mark.parametrize("target", ["crypt", "inlinecrypt"])
@pytest.mark.parametrize(
    ("field", "value", "what"), [("seed", "other", "dm sectors"), ("backing_sector", 77, "dm remapping")]
)
def test_sectors_that_are_not_as_written_are_a_mismatch(
    target: str, field: str, value: object, what: str, tmp_path: Path
) -> None:
    sectors: list[int] = []

    def change(cases: list[Record]) -> None:
        case = next(case for case in cases if (case["target"], case["result"]) == (target, "OK"))
        case["segments"][0][field] = value
        sectors.append(case["segments"][0]["sector"])

    (found,) = tables(tmp_path, change).mismatches
    assert (found.what, found.where) == (what, f"sector {sectors[0]}")


@needs_golden
@pytest.mark.parametrize(
    "result", ["OK", "Invalid argument", "No such file or directory", "Operation not supported"]
)
def test_a_table_with_another_result_is_a_mismatch(result: str, tmp_path: Path) -> None:
    changed: list[Record] = []

    def change(cases: list[Record]) -> None:
        changed.extend(case for case in cases if case["result"] != result)
        for case in changed:
            case["result"] = result

    found = tables(tmp_path, change).mismatches
    assert {bad.what for bad in found} == {"dm table"}
    assert len(found) == len(changed) > 0


# Policies: one row of each filesystem.


@needs_golden
def test_every_policy_is_judged_where_the_filesystem_looks_at_it(tmp_path: Path) -> None:
    (tmp_path / "errno").mkdir()
    expected: Counter[bool] = Counter()
    for version in ("6.18", "7.2"):
        name = f"errno/errno-{version}.json.gz"
        file = json.loads(gzip.decompress((GOLDEN / name).read_bytes()))
        for sweep in file["sweeps"]:
            sweep["rows"] = sweep["rows"][:2]
            row = sweep["rows"][-1]
            row[-1] = "EIO"
            expected["encrypt" in file["filesystems"][sweep["fs"]]["features"]] += 1
        (tmp_path / name).write_bytes(gzip.compress(json.dumps(file).encode(), 1))
    report = SelfTestReport()
    check_policies(tmp_path, report)
    assert len(report.mismatches) == report.matched["policy errno"] == expected[True] > 0
    assert report.skipped.total() == 2 * expected[False] > 0
    assert {bad.what for bad in report.mismatches} == {"policy errno"}


def test_a_mismatch_says_where() -> None:
    assert (
        str(Mismatch("c.json", "file f", "contents", "unit 7")) == "c.json: file f: contents differs (unit 7)"
    )
    assert str(Mismatch("c.json", "file f", "name")) == "c.json: file f: name differs"


def test_a_report_counts_what_it_skipped_and_fails_by_mismatches_only() -> None:
    report = SelfTestReport()
    report.skip("why")
    report.skip("why", 3)
    assert (report.passed, report.skipped["why"], report.summary()) == (
        True,
        4,
        "0 matched, 0 mismatched, 4 skipped",
    )
    report.check(False, "c", "s", "w")
    assert (report.passed, report.mismatches) == (False, [Mismatch("c", "s", "w")])
