"""What verifying an image and comparing it with its record look at, count and notice."""

import hashlib
import json
import re
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.fs.ext4.features import RoCompat
from blkcrypto.fs.image import contents, golden
from blkcrypto.fs.image import verify as verifying
from blkcrypto.fs.image.golden import compare
from blkcrypto.fs.image.verify import MAX_PROBLEMS, VerifyReport, verify
from blkcrypto.fs.selftest import SelfTestReport
from tests.fscrypt_world import needs_golden
from tests.image_world import (
    CASES,
    Surgeon,
    golden_case,
    golden_image,
    item_of,
    keys_of,
    opened,
    opened_case,
    read_all,
)

PERFILE, DU512 = "image-4k/v2-perfile.json", "image-1k/v2-du512.json"
pytestmark = needs_golden


def kinds(case: dict[str, Any]) -> Counter[str]:
    return Counter(item["type"] for item in case["objects"])


@pytest.mark.parametrize("path", CASES)
def test_with_the_key_every_name_and_every_byte_that_lies_on_disk_is_checked(path: str) -> None:
    case = golden_case(path)
    size = case["fs"]["block_size"]
    written = 0
    for item in case["objects"]:
        for run in item.get("runs", ()):
            start, end = run["lblk"] * size, (run["lblk"] + run["count"]) * size
            written += max(0, min(end, item["size"]) - start)
    image = opened_case(path, with_key=True)

    report = verify(image, image.find(f"/{case['top_dir']}".encode()))

    found = kinds(case)
    assert report.checked == {
        "directories": found["dir"],
        "names": sum("name" in item for item in case["objects"]),
        "files": found["file"],
        "symlinks": found["symlink"],
        "bytes": written,
    }
    assert (report.locked, report.problem_count, report.passed) == (0, 0, True)


@pytest.mark.parametrize("path", [PERFILE, "image-4k/v1-fskey.json"])
def test_without_the_key_every_encrypted_inode_is_locked(path: str) -> None:
    case = golden_case(path)
    image = opened_case(path, with_key=False)

    report = verify(image, image.find(f"/{case['top_dir']}".encode()))

    found = kinds(case)
    counted = {"directories": found["dir"], "files": found["file"], "symlinks": found["symlink"]}
    assert (report.checked, report.locked, report.passed) == (counted, found.total(), False)


def test_a_file_of_two_names_is_checked_once() -> None:
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    case = golden_case(PERFILE)
    once = opened(data, keys_of(case), checksums=False)
    before = verify(once, once.root).checked
    # The third entry of the root directory, at byte 24, is lost+found, an empty directory.
    surgeon.put32(surgeon.extents(2)[0][2] * 4096 + 24, 13)
    surgeon.put16(surgeon.inode_at(13) + 0x1A, 2)
    image = opened(data, keys_of(case), checksums=False)

    report = verify(image, image.root)

    assert image.find(b"/lost+found").inode.ino == 13
    assert report.checked == before - Counter(directories=1)


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("disk_name", "/v2-perfile: .*: does not encrypt to what is stored"),
        ("disk_target", "inode 23: its target does not encrypt to what is stored"),
    ],
)
def test_a_flipped_bit_of_a_name_or_target_is_a_problem(what: str, problem: str) -> None:
    case = golden_case(PERFILE)
    data = golden_image("image-4k")
    stored = bytes.fromhex(item_of(case, "link-5")[what])
    data[data.index(stored)] ^= 1
    image = opened(data, keys_of(case), checksums=False)

    report = verify(image, image.find(b"/v2-perfile"))

    assert (report.problem_count, len(report.problems), report.passed) == (1, 1, False)
    assert re.search(problem, report.problems[0])


def test_a_report_counts_all_problems_and_keeps_the_first_thousand() -> None:
    report = VerifyReport()
    for number in range(MAX_PROBLEMS + 1):
        report.problem(str(number))
    assert (report.problem_count, len(report.problems), report.problems[-1]) == (1001, 1000, "999")
    assert not report.passed


@pytest.mark.parametrize(
    ("beyond", "ro_compat", "problems"), [(0, 0, 0), (1, 0, 1), (1, RoCompat.SHARED_BLOCKS, 0)]
)
def test_files_together_may_map_all_blocks_and_more_only_where_they_may_share(
    beyond: int, ro_compat: int, problems: int
) -> None:
    case = golden_case(PERFILE)
    data = golden_image("image-4k")
    surgeon = Surgeon(data)
    surgeon.put32(1024 + 0x64, surgeon.u32(1024 + 0x64) | ro_compat)
    files = [item for item in case["objects"] if item["type"] == "file"]
    others = sum(
        run["count"] for item in files for run in item.get("runs", ()) if item["ino"] not in (13, 14)
    )
    # The filesystem has 2048 blocks.  Both files are empty: what lies in the blocks is of no concern.
    for ino, count in ((13, 2000), (14, 48 - others + beyond)):
        tree = struct.pack("<HHHHIIHHI", 0xF30A, 1, 4, 0, 0, 0, count, 0, 40)
        surgeon.put(surgeon.inode_at(ino) + 0x28, tree)
        surgeon.put32(surgeon.inode_at(ino) + 4, 0)
    image = opened(data, keys_of(case), checksums=False)

    report = verify(image, image.find(b"/v2-perfile"))

    assert [text.partition("files map")[2] for text in report.problems] == [
        " more blocks than there are: some are mapped twice"
    ] * problems


@settings(max_examples=60)
@given(
    where=st.sampled_from([(PERFILE, "f-5000"), (PERFILE, "f-sparse2"), (DU512, "f-sparse2")]),
    pos=st.integers(0, 130_000),
    nbytes=st.integers(0, 20_000),
)
def test_any_range_of_a_file_reads_as_that_part_of_the_whole(
    where: tuple[str, str], pos: int, nbytes: int
) -> None:
    path, name = where
    image = opened_case(path, with_key=True)
    node = image.find(f"/{golden_case(path)['top_dir']}/{name}".encode())
    whole = read_all(image, node)

    assert image.contents(node).read(pos, nbytes) == whole[pos : pos + nbytes]


@pytest.mark.parametrize("chunk", [4096, 8192])
def test_the_size_of_chunks_shows_nowhere(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are 1 MiB, and no file of the images has so much."""
    image = opened_case(PERFILE, with_key=True)
    top = image.find(b"/v2-perfile")
    node = image.find(b"/v2-perfile/f-sparse2")
    whole, checked = read_all(image, node), verify(image, top).checked
    for module in (contents, golden, verifying):
        monkeypatch.setattr(module, "CHUNK_BYTES", chunk)

    pieces = list(image.contents(node).chunks())

    assert [len(piece) for piece in pieces] == [chunk] * (len(whole) // chunk)
    assert (b"".join(pieces), verify(image, top).checked) == (whole, checked)


@pytest.mark.parametrize("chunk", [4096, 1 << 20])
def test_the_first_byte_that_differs_is_named(
    chunk: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(golden, "CHUNK_BYTES", chunk)
    case = golden_case(PERFILE)
    item = item_of(case, "f-sparse2")
    part = item["segments"][-1]
    recorded = hashlib.shake_128(part["seed"].encode()).digest(part["length"])
    other = hashlib.shake_128(b"other").digest(part["length"])
    part["seed"] = "other"
    differs = next(at for at in range(part["length"]) if recorded[at] != other[at])

    (found,) = compared(tmp_path, PERFILE, case).mismatches

    assert (found.subject, found.what) == ("file f-sparse2", "contents")
    assert found.where == f"byte {part['offset'] + differs}"


# The record of a case, changed: what compares must then differ.


def compared(tmp_path: Path, path: str, case: dict[str, Any]) -> SelfTestReport:
    changed = tmp_path / "case.json"
    changed.write_text(json.dumps(case))
    return compare(opened(golden_image(path.split("/")[0])).volume, changed)


@pytest.mark.parametrize("path", CASES)
def test_everything_recorded_of_an_image_is_compared(path: str, tmp_path: Path) -> None:
    case = golden_case(path)

    def having(field: str) -> int:
        return sum(item.get(field) is not None for item in case["objects"])

    assert compared(tmp_path, path, case).matched == +Counter(
        {
            "name": having("name"),
            "stored name": having("disk_name") + having("disk_name_first149"),
            "no-key name": having("nokey_name"),
            "context": having("context"),
            "size": kinds(case)["file"],
            "contents": kinds(case)["file"],
            "symlink target": having("target"),
            "no-key symlink": having("nokey_target"),
            "symlink size": having("i_size"),
        }
    )


@pytest.mark.parametrize(
    ("field", "whats"),
    [
        ("context", {"context"}),
        ("name", {"name"}),
        ("disk_name", {"stored name"}),
        ("nokey_name", {"no-key name"}),
        ("target", {"symlink target"}),
        ("nokey_target", {"no-key symlink"}),
        ("i_size", {"symlink size"}),
        ("size", {"size"}),
        ("ino", {"existence"}),
    ],
)
def test_a_record_that_differs_in_a_field_differs_in_that(
    field: str, whats: set[str], tmp_path: Path
) -> None:
    case = golden_case(PERFILE)
    item = next(item for item in case["objects"] if item.get(field))
    if field == "ino":
        item = item_of(case, "f-17")
    item[field] = item[field] + 1000 if isinstance(item[field], int) else item[field][:-1] + "1"

    assert {bad.what for bad in compared(tmp_path, PERFILE, case).mismatches} == whats


def test_a_long_name_is_compared_by_its_first_149_bytes_and_the_digest_of_the_rest(tmp_path: Path) -> None:
    case = golden_case(PERFILE)
    item = next(item for item in case["objects"] if len(item.get("disk_name", "")) > 2 * 149)
    stored = bytes.fromhex(item.pop("disk_name"))
    item["disk_name_first149"] = stored[:149].hex()
    item["disk_name_rest_sha256"] = hashlib.sha256(stored[149:]).hexdigest()
    assert compared(tmp_path, PERFILE, case).mismatches == []
    for field in ("disk_name_first149", "disk_name_rest_sha256"):
        changed = {**item, field: "00" * 32}
        others = [other for other in case["objects"] if other is not item]
        found = compared(tmp_path, PERFILE, {**case, "objects": [*others, changed]}).mismatches
        assert {bad.what for bad in found} == {"stored name"}
