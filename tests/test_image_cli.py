"""``blkcrypto image`` on the command line: what it prints, writes and returns."""

import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput, BlkCryptoError
from scenarios.commands.image import image
from scenarios.report.image import shown
from tests.fscrypt_world import GOLDEN, needs_golden
from tests.image_world import Surgeon, golden_case, golden_image, item_of, layout_image
from tests.oracle.image_files import plaintext

PERFILE, V1 = "image-4k/v2-perfile.json", "image-4k/v1-fskey.json"
KEY = bytes(range(64)).hex()
pytestmark = needs_golden
Run = Callable[..., tuple[object, bytes]]


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a subcommand in this process; what it returned and printed."""

    def run(*args: object) -> tuple[object, bytes]:
        status = image.main([str(arg) for arg in args], standalone_mode=False)
        return status, capsysbinary.readouterr().out

    return run


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy of a golden image."""
    path = tmp_path / "4k.img"
    path.write_bytes(golden_image("image-4k"))
    return path


def test_ls_shows_paths_with_plaintext_names_given_the_key(run: Run, golden: Path) -> None:
    _, out = run("ls", golden, "/v2-perfile/subdir", "--key", KEY)

    parent = item_of(golden_case(PERFILE), "subdir")["ino"]
    names = [row["name"] for row in golden_case(PERFILE)["objects"] if row.get("parent_ino") == parent]
    assert out.decode().splitlines() == sorted(f"/v2-perfile/subdir/{name}" for name in names)


def test_ls_shows_no_key_names_without_the_key(run: Run, golden: Path) -> None:
    _, out = run("ls", golden, "/v2-perfile")

    top = golden_case(PERFILE)["objects"][0]["ino"]
    names = [row["nokey_name"] for row in golden_case(PERFILE)["objects"] if row.get("parent_ino") == top]
    assert out.decode().splitlines() == sorted(f"/v2-perfile/{name}" for name in names)


@pytest.mark.parametrize(
    ("path", "options", "line"),
    [
        (
            "/v2-perfile/f-5000",
            ["--key", KEY],
            "-rw-r--r--  13 5000 v2 8699c2c53707405da5aba5ae4d8583c0 AES-256-XTS per-file 4096 unlocked "
            "/v2-perfile/f-5000",
        ),
        (
            "/v2-perfile/link-5",
            ["--key", KEY],
            "lrwxrwxrwx 23 5 v2 8699c2c53707405da5aba5ae4d8583c0 AES-256-XTS per-file 4096 unlocked "
            "/v2-perfile/link-5 -> 3b6cc",
        ),
        (
            "/v1-fskey",
            [],
            None,
        ),
    ],
)
def test_ls_in_long_form_tells_policy_and_key(
    run: Run, golden: Path, path: str, options: list[str], line: str | None
) -> None:
    _, out = run("ls", "-l", golden, path, *options)

    lines = [row.split() for row in out.decode().splitlines()]
    if line is None:
        assert {tuple(row[3:9]) for row in lines} == {
            ("v1", "97cd4e0df5111cc7", "AES-256-XTS", "per-file", "4096", "locked")
        }
    else:
        assert lines == [line.split()]


def test_ls_of_everything_as_json_holds_every_inode(run: Run, golden: Path) -> None:
    _, out = run("ls", "-R", "--json", "-", golden, "--key", KEY)

    rows = {row["path"]: row for row in json.loads(out)}
    assert len(rows) == 1 + 4 * 13  # lost+found; in each case the top directory and its 12 names
    assert rows["/v2-perfile/f-17"] == {
        "path": "/v2-perfile/f-17",
        "ino": 15,
        "type": "file",
        "mode": "-rw-r--r--",
        "size": 17,
        "locked": False,
        "policy": {
            "version": 2,
            "master_key": "8699c2c53707405da5aba5ae4d8583c0",
            "contents_mode": "AES-256-XTS",
            "filenames_mode": "AES-256-CTS-CBC",
            "flags": 3,
            "iv": "per-file",
            "padding": 32,
            "data_unit_size": 4096,
        },
        "target": None,
    }


@pytest.mark.parametrize("name", ["f-5000", "f-sparse2", "f-17", "c"])
def test_cat_writes_the_plaintext_and_nothing_else(run: Run, golden: Path, name: str) -> None:
    case = golden_case(PERFILE)
    folder = "subdir/" if name == "c" else ""

    _, out = run("cat", golden, f"/v2-perfile/{folder}{name}", "--key", KEY)

    item = item_of(case, name)
    expected = plaintext(golden.read_bytes(), case, item) if item.get("runs") else b""
    assert out == expected


def test_cat_reads_a_v1_file_by_its_descriptor(run: Run, golden: Path) -> None:
    case = golden_case(V1)
    descriptor = f"{case['policy']['master_key_descriptor']}={case['master_key']}"

    _, out = run("cat", golden, "/v1-fskey/f-17", "--descriptor", descriptor)

    assert out == plaintext(golden.read_bytes(), case, item_of(case, "f-17"))


def test_keys_come_from_a_file_too(run: Run, golden: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes.fromhex(KEY))

    _, out = run("cat", golden, "/v2-perfile/f-17", "--key-file", tmp_path / "key")

    assert out == plaintext(golden.read_bytes(), golden_case(PERFILE), item_of(golden_case(PERFILE), "f-17"))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (
            "/v2-perfile/none",
            r"/v2-perfile has no 'none'; the directory is locked: give the key of .* \[ENOENT\]",
        ),
        ("/none", r"/ has no 'none' \[ENOENT\]"),
        ("/v2-perfile", r"/v2-perfile is a directory \[EISDIR\]"),
    ],
)
def test_cat_says_why_it_cannot(run: Run, golden: Path, path: str, why: str) -> None:
    with pytest.raises(BlkCryptoError, match=why):
        run("cat", golden, path)


def test_verify_passes_a_directory_whose_key_is_given(run: Run, golden: Path) -> None:
    status, out = run("verify", golden, "/v2-perfile", "--key", KEY)

    # Files of 5000, 17 and, of the sparse one, three blocks: 17305 bytes.
    assert (status, out.decode()) == (
        0,
        "2 directories, 12 encrypted names, 2 symlinks, 9 files with 17305 bytes decrypted: "
        "0 problems, 0 locked\n",
    )


def test_verify_fails_when_keys_are_missing(run: Run, golden: Path) -> None:
    status, out = run("verify", golden, "--key", KEY)

    assert status == 1
    assert "locked: give the key of descriptor 97cd4e0df5111cc7\n" in out.decode()


def test_verify_compares_with_golden_cases(run: Run, golden: Path) -> None:
    status, out = run("verify", golden, "--golden", GOLDEN / PERFILE, "--golden", GOLDEN / V1)

    assert status == 0
    assert [line.rpartition(": ")[2] for line in out.decode().splitlines()] == [
        "65 matched, 0 mismatched, 0 skipped"
    ] * 2


def test_verify_finds_what_a_golden_case_did_not_write(run: Run, golden: Path) -> None:
    data = bytearray(golden.read_bytes())
    data[item_of(golden_case(PERFILE), "f-17")["runs"][0]["pblk"] * 4096] ^= 1
    golden.write_bytes(data)

    status, out = run("verify", golden, "--golden", GOLDEN / PERFILE)

    assert status == 1
    assert out.decode().splitlines()[0] == "MISMATCH v2-perfile.json: file f-17: contents differs (byte 0)"


def test_write_overwrites_in_place(run: Run, golden: Path, tmp_path: Path) -> None:
    case = golden_case(PERFILE)
    item = item_of(case, "f-5000")
    old = plaintext(golden.read_bytes(), case, item)
    (tmp_path / "new").write_bytes(b"new" * 10)

    _, out = run("write", golden, "/v2-perfile/f-5000", tmp_path / "new", "--offset", "4k", "--key", KEY)

    assert out == b"30 bytes of /v2-perfile/f-5000 overwritten, in 1 data units\n"
    assert plaintext(golden.read_bytes(), case, item) == old[:4096] + b"new" * 10 + old[4126:]


class Pipe(io.BytesIO):
    """Bytes that cannot be sought, as a pipe's."""

    def seekable(self) -> bool:
        return False


def test_write_takes_a_pipe(run: Run, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = golden_case(PERFILE)
    item = item_of(case, "f-17")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(b"0123456789abcdefg")))

    run("write", golden, "/v2-perfile/f-17", "-", "--key", KEY)

    assert plaintext(golden.read_bytes(), case, item) == b"0123456789abcdefg"


@pytest.mark.parametrize(
    ("file", "options", "why"),
    [
        ("none", [], "none: cannot read it: No such file"),
        ("new", ["--offset", "4x"], "--offset: '4x' has no known size suffix"),
        ("new", ["--offset", "4990"], "would make it longer, and its size stays"),
    ],
)
def test_write_refuses_before_it_writes(
    run: Run, golden: Path, tmp_path: Path, file: str, options: list[str], why: str
) -> None:
    before = hashlib.sha256(golden.read_bytes()).digest()
    (tmp_path / "new").write_bytes(bytes(100))

    with pytest.raises(BadInput, match=why):
        run("write", golden, "/v2-perfile/f-5000", tmp_path / file, *options, "--key", KEY)

    assert hashlib.sha256(golden.read_bytes()).digest() == before


def test_metadata_with_a_wrong_checksum_is_read_when_asked_to(run: Run, golden: Path) -> None:
    data = bytearray(golden.read_bytes())
    data[Surgeon(data).inode_at(13) + 8] ^= 1  # the access time
    golden.write_bytes(data)

    with pytest.raises(BadInput, match="inode 13: its checksum is wrong"):
        run("ls", golden, "/v2-perfile/f-5000", "--key", KEY)
    _, out = run("ls", golden, "/v2-perfile/f-5000", "--key", KEY, "--no-checksums")

    assert out == b"/v2-perfile/f-5000\n"


def test_a_journal_that_is_not_replayed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = layout_image("trees")
    data[1024 + 0x60] |= 4
    (tmp_path / "dirty.img").write_bytes(data)

    image.main(["ls", str(tmp_path / "dirty.img"), "--no-checksums"], standalone_mode=False)

    assert "its journal is not replayed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain name", "plain name"),
        ("\x1b[2Jevil\n", r"\x1b[2Jevil\x0a"),
        ("back\\slash", r"back\\slash"),
        ("\udcff\udc80", r"\xff\x80"),
        ("ümläut", "ümläut"),
        ("\u202e", r"\xe2\x80\xae"),
    ],
)
def test_names_cannot_command_a_terminal(name: str, text: str) -> None:
    assert shown(name) == text
