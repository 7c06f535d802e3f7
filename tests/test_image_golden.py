"""Encrypted files in images that Linux made: every name, symlink and byte, with the key and without."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.image.golden import compare
from blkcrypto.fs.image.verify import verify
from tests.fscrypt_world import GOLDEN, needs_golden
from tests.image_world import (
    CASES,
    LAYOUTS,
    by_ino,
    golden_case,
    golden_image,
    item_of,
    keys_of,
    layout_image,
    opened,
    opened_case,
    read_all,
)

each_case = pytest.mark.parametrize("path", CASES)
each_layout = pytest.mark.parametrize("name", ["blockmap", "trees"])
PERFILE = "image-4k/v2-perfile.json"


def items(case: dict[str, Any], kind: str | None = None) -> list[dict[str, Any]]:
    return [item for item in case["objects"] if kind in (None, item["type"])]


def named(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in case["objects"] if "parent_ino" in item]


def layout(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((LAYOUTS / f"{name}.json").read_text())
    return record


def layout_keys(record: dict[str, Any]) -> Any:
    return keys_of({"master_key": record["master_key"], "policy": {}})


def written(item: dict[str, Any]) -> bytes:
    """What the record says was written; the rest is holes."""
    data = bytearray(item.get("size", 0))
    for part in item.get("segments", ()):
        plain = hashlib.shake_128(part["seed"].encode()).digest(part["length"])
        data[part["offset"] : part["offset"] + part["length"]] = plain
    return bytes(data)


@needs_golden
def test_all_fourteen_cases_of_images_are_tested() -> None:
    rows = json.loads((GOLDEN / "index.json").read_text())

    recorded = [row["index"] for row in rows if row["index"].startswith("image-")]

    assert sorted(recorded) == CASES


@each_case
def test_every_file_reads_as_it_was_written(path: str) -> None:
    case = golden_case(path)
    image = opened_case(path, with_key=True)
    nodes = by_ino(image, case["top_dir"])

    got = {item["ino"]: read_all(image, nodes[item["ino"]]) for item in items(case, "file")}

    assert got == {item["ino"]: written(item) for item in items(case, "file")}


@each_case
def test_blocks_decrypt_to_the_recorded_digest_also_past_the_end_of_a_file(path: str) -> None:
    case = golden_case(path)
    image = opened_case(path, with_key=True)
    nodes = by_ino(image, case["top_dir"])
    size = case["fs"]["block_size"]
    recorded = {item["ino"]: item for item in items(case, "file") if "plain_sha256" in item}

    got = {}
    for ino, item in recorded.items():
        contents = image.contents(nodes[ino])
        runs = [contents.read_units(run["lblk"] * size, run["count"] * size) for run in item["runs"]]
        got[ino] = hashlib.sha256(b"".join(runs)).hexdigest()

    assert got == {ino: item["plain_sha256"] for ino, item in recorded.items()}


@each_case
def test_names_with_the_key_are_those_that_were_given(path: str) -> None:
    case = golden_case(path)
    nodes = by_ino(opened_case(path, with_key=True), case["top_dir"])

    got = {ino: node.name.decode() for ino, node in nodes.items() if node.depth > 1}

    assert got == {item["ino"]: item["name"] for item in named(case)}


@each_case
def test_names_without_the_key_are_those_that_linux_listed(path: str) -> None:
    case = golden_case(path)
    nodes = by_ino(opened_case(path, with_key=False), case["top_dir"])

    got = {ino: node.name.decode() for ino, node in nodes.items() if node.depth > 1}

    assert got == {item["ino"]: item["nokey_name"] for item in named(case)}


@each_case
def test_contexts_are_those_that_linux_stored(path: str) -> None:
    case = golden_case(path)
    nodes = by_ino(opened_case(path, with_key=False), case["top_dir"])
    recorded = {item["ino"]: item["context"] for item in case["objects"] if "context" in item}

    got = {ino: (nodes[ino].stored_context or b"").hex() for ino in recorded}

    assert got == recorded


@each_case
@pytest.mark.parametrize(("with_key", "recorded"), [(True, "target"), (False, "nokey_target")])
def test_symlinks_lead_where_linux_says(path: str, with_key: bool, recorded: str) -> None:
    case = golden_case(path)
    image = opened_case(path, with_key=with_key)
    nodes = by_ino(image, case["top_dir"])

    got = {item["ino"]: image.target(nodes[item["ino"]]).decode() for item in items(case, "symlink")}

    assert got == {item["ino"]: item[recorded] for item in items(case, "symlink")}


@each_case
def test_files_lie_in_the_blocks_that_were_recorded(path: str) -> None:
    case = golden_case(path)
    image = opened_case(path, with_key=True)
    nodes = by_ino(image, case["top_dir"])
    recorded = {
        item["ino"]: [(run["lblk"], run["pblk"], run["count"]) for run in item["runs"]]
        for item in items(case, "file")
        if item.get("runs")
    }

    got = {
        ino: [(part.lblk, part.pblk, part.count) for part in image.contents(nodes[ino]).extents]
        for ino in recorded
    }

    assert got == recorded


@each_case
def test_a_whole_case_compares_without_a_difference(path: str) -> None:
    report = compare(opened_case(path, with_key=False).volume, GOLDEN / path)

    assert report.mismatches == []
    # 12 names and 9 files as the index counts them, 2 symlinks.
    assert (report.matched["name"], report.matched["contents"], report.matched["symlink target"]) == (
        12,
        9,
        2,
    )


@needs_golden
@pytest.mark.parametrize("group", ["image-1k", "image-4k", "image-4k-allmodes"])
def test_a_whole_image_verifies_when_all_its_keys_are_given(group: str) -> None:
    keys = [keys_of(golden_case(path)) for path in CASES if path.startswith(f"{group}/")]
    joined = type(keys[0])(
        tuple(raw for one in keys for raw in one.raw), tuple(pair for one in keys for pair in one.described)
    )
    image = opened(golden_image(group), joined)

    report = verify(image, image.root)

    assert (report.passed, report.checked["names"]) == (True, 12 * len(keys))


@needs_golden
def test_verifying_without_the_key_says_which_key_is_missing() -> None:
    image = opened_case(PERFILE, with_key=False)

    report = verify(image, image.find(b"/v2-perfile"))

    identifier = golden_case(PERFILE)["policy"]["master_key_identifier"]
    assert (report.passed, list(report.wanted)) == (False, [f"the key of identifier {identifier}"])


@needs_golden
def test_a_wrong_key_for_a_descriptor_does_not_verify() -> None:
    case = golden_case("image-4k/v1-fskey.json")
    wrong = {**case, "master_key": "5a" * 32 + "a5" * 32}
    image = opened(golden_image("image-4k"), keys_of(wrong))

    report = verify(image, image.find(b"/v1-fskey"))

    assert not report.passed


@needs_golden
@pytest.mark.parametrize(
    ("byte", "differs"),
    [
        (0, [("f-5000", "contents", "byte 0")]),
        (4096 + 904, []),
        (4096 + 903, [("f-5000", "contents", "byte 4992")]),
    ],
)
def test_a_flipped_bit_on_disk_is_found_if_it_reaches_plaintext(
    byte: int, differs: list[tuple[str, str, str]]
) -> None:
    # XTS garbles 16 bytes: of the block around the file's 5000th byte, 4992 to 4999 are below its end and the
    # next 16 bytes are not.
    case = golden_case(PERFILE)
    data = golden_image("image-4k")
    data[item_of(case, "f-5000")["runs"][0]["pblk"] * 4096 + byte + (8 if byte == 5000 else 0)] ^= 1

    report = compare(opened(data).volume, GOLDEN / PERFILE)

    assert [(bad.subject, bad.what, bad.where) for bad in report.mismatches] == [
        (f"file {name}", what, where) for name, what, where in differs
    ]


@needs_golden
def test_a_flipped_bit_past_the_end_of_a_file_is_a_problem() -> None:
    case = golden_case(PERFILE)
    data = golden_image("image-4k")
    data[item_of(case, "f-5000")["runs"][0]["pblk"] * 4096 + 8000] ^= 1
    image = opened(data, keys_of(case))

    report = verify(image, image.find(b"/v2-perfile"))

    assert len(report.problems) == 1
    assert "inode 13: bytes past its end decrypt to something" in report.problems[0]


@needs_golden
def test_a_flipped_bit_past_the_end_of_a_file_smaller_than_a_block_is_a_problem() -> None:
    case = golden_case(PERFILE)
    small = next(item for item in items(case, "file") if 0 < item["size"] < 2000 and item["runs"])
    data = golden_image("image-4k")
    data[small["runs"][0]["pblk"] * 4096 + 4000] ^= 1
    image = opened(data, keys_of(case))

    report = verify(image, image.find(b"/v2-perfile"))

    assert len(report.problems) == 1
    assert "bytes past its end decrypt to something" in report.problems[0]


@needs_golden
def test_a_damaged_record_of_an_image_says_that_it_is_no_golden_case(tmp_path: Path) -> None:
    case = golden_case(PERFILE)
    case["master_key"] = "no hex"
    path = tmp_path / "case.json"
    path.write_text(json.dumps(case))
    with pytest.raises(BadInput, match="not a golden case"):
        compare(opened(golden_image("image-4k")).volume, path)


@needs_golden
def test_a_case_of_another_image_is_refused() -> None:
    with pytest.raises(BadInput, match="but the image is"):
        compare(opened(golden_image("image-1k")).volume, GOLDEN / PERFILE)


@each_layout
@pytest.mark.parametrize("listing", ["with_key", "without_key"])
def test_other_layouts_list_as_linux_lists_them(name: str, listing: str) -> None:
    record = layout(name)
    image = opened(layout_image(name), layout_keys(record) if listing == "with_key" else None)

    got = {(node.path.decode(), node.inode.ino) for node in image.walk(image.root) if node is not image.root}

    assert got == {(row["path"], row["ino"]) for row in record[listing]}


@each_layout
@pytest.mark.parametrize("listing", ["with_key", "without_key"])
def test_symlinks_of_other_layouts_lead_where_linux_says(name: str, listing: str) -> None:
    record = layout(name)
    image = opened(layout_image(name), layout_keys(record) if listing == "with_key" else None)
    links = [node for node in image.walk(image.root) if node.inode.kind is InodeKind.SYMLINK]

    got = {node.path.decode(): image.target(node).decode() for node in links}

    assert got == {row["path"]: row["target"] for row in record[listing] if "target" in row}


@each_layout
def test_files_of_other_layouts_read_as_under_linux(name: str) -> None:
    record = layout(name)
    image = opened(layout_image(name), layout_keys(record))
    files = {row["path"]: (row["size"], row["sha256"]) for row in record["with_key"] if "sha256" in row}

    got = {}
    for path in files:
        data = read_all(image, image.find(path.encode()))
        got[path] = (len(data), hashlib.sha256(data).hexdigest())

    assert got == files


@each_layout
def test_other_layouts_verify(name: str) -> None:
    image = opened(layout_image(name), layout_keys(layout(name)))

    report = verify(image, image.root)

    assert (report.problems, report.locked) == ([], 0)


def test_names_are_found_again_without_regard_to_what_is_listed_before_them() -> None:
    image = opened(layout_image("trees"), layout_keys(layout("trees")))
    many = list(image.children(image.find(b"/dir/many")))

    found = [image.find(node.path).stored_name for node in many]

    assert found == [node.stored_name for node in many]
    assert len(many) == 150
