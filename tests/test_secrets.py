"""No key leaves the program unless it is asked for: neither in results nor in messages.

Every AES key that a command makes ready is written down, whatever design or library layer made it; then
every byte that the command wrote is searched for each of them: plain, as hex and as base64, also in parts of
16 bytes.
"""

import base64
import gzip
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms

from scenarios.cli import main
from tests.nbd_world import a_scenario, served

FEW = ["--set", "ios=300", "--set", "run.warmup=0"]
FILES = ["--json", "r.json", "--html", "r.html", "--parquet", "r.parquet"]
VERIFY = ["--set", "run.payload=verify", "--set", "workload.read_share=0.3"]
RUN = ["run", "keyslot-contention", *FEW, *VERIFY, *FILES]
TIMELINE = ["--timeline", "r.timeline"]
REPLAY = ["replay", "builtin:ext4-db-log-scan.ftrace.txt.xz", "--limit", "300", "--payload", "verify", *FILES]
NO_PAGE = [word for word in REPLAY if word not in ("--html", "r.html")]
WRAPPED = [
    "--set",
    "device=ufs40-ice-hwkm",
    "--set",
    "keys.type=hw-wrapped",
    "--set",
    "keys.design=fscrypt-iv-ino-lblk-64",
]
COMMANDS = {
    "run": [*RUN, *TIMELINE],
    "run, hw-wrapped": [*RUN, *TIMELINE, *WRAPPED],
    "run, fallback": [*RUN, *TIMELINE, "--set", "keys.engine=fallback"],
    "run, fs-layer": [*RUN, *TIMELINE, "--set", "keys.engine=fs-layer"],
    "replay": [*REPLAY, *TIMELINE],
    "replay, dm-crypt": [*REPLAY, "--design", "dm-crypt"],
    "replay, extents": [*NO_PAGE, "--design", "extents-lightweight"],
    "compare": ["compare", "keyslot-contention", *FEW, *VERIFY, *FILES[:4], "--vary", "keyslots=4,16"],
    "sweep": ["sweep", "keyslot-contention", *FEW, *VERIFY, "--vary", "keyslots=4", "--out", "s"],
}  # fmt: skip
SECRET = bytes(range(100, 132))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Every AES key made ready."""
    seen: set[bytes] = set()
    whole: Callable[..., None] = algorithms.AES.__init__

    def init(self: algorithms.AES, key: bytes) -> None:
        seen.add(bytes(key))
        whole(self, key)

    monkeypatch.setattr(algorithms.AES, "__init__", init)
    return seen


def forms(key: bytes) -> Iterator[bytes]:
    """How a key could be written."""
    for part in {key, *(key[at : at + 16] for at in range(0, len(key), 16))}:
        if len(set(part)) < 4:  # zeroes and the like are everywhere
            continue
        yield part
        yield part.hex().encode()
        yield part.hex().upper().encode()
        yield base64.b64encode(part).rstrip(b"=")[:-1]


def found(keys: set[bytes], written: dict[str, bytes]) -> list[str]:
    """Which outputs hold a key."""
    sought = {form for key in keys for form in forms(key)}
    return [name for name, data in written.items() if any(form in data for form in _begun_in(data, sought))]


def _begun_in(data: bytes, sought: set[bytes]) -> list[bytes]:
    """Those of ``sought`` whose first 8 bytes are in ``data``: there are thousands, and few are."""
    firsts = np.array([np.frombuffer(form[:8], np.uint64)[0] for form in sought], np.uint64)
    there: set[int] = set()
    for at in range(min(8, max(0, len(data) - 7))):
        words = np.frombuffer(data, np.uint64, (len(data) - at) // 8, at)
        there.update(np.intersect1d(words, firsts).tolist())
    return [form for form, first in zip(sought, firsts.tolist(), strict=True) if first in there]


def outputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, bytes]:
    """Everything that was written, unpacked."""
    printed = capsys.readouterr()
    written = {"standard output": printed.out.encode(), "standard error": printed.err.encode()}
    for path in folder.rglob("*"):
        if path.is_file():
            written[path.name] = _unpacked(path)
    return written


def _unpacked(path: Path) -> bytes:
    if path.suffix == ".parquet":
        pl = pytest.importorskip("polars")
        return path.read_bytes() + bytes(pl.read_parquet(path).to_numpy().tobytes())
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


@pytest.mark.parametrize("name", COMMANDS)
def test_no_output_of_a_run_holds_a_key(
    name: str,
    keys: set[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "sweep":  # its workers are other processes; the same point here has the same keys
        main(["run", "keyslot-contention", *FEW, *VERIFY, "--set", "keyslots=4", "--quiet"])
    assert main(COMMANDS[name]) == 0
    assert keys
    assert found(keys, outputs(tmp_path, capsys)) == []


def test_the_search_would_find_a_key_in_every_form() -> None:
    hidden = {
        "plain": SECRET,
        "hex": SECRET.hex().encode(),
        "base64": base64.b64encode(SECRET),
        "second half": SECRET[16:].hex().encode(),
    }
    padded = {name: b"before " + data + b" after" for name, data in hidden.items()}
    assert found({SECRET}, padded) == list(hidden)


def test_neither_an_image_nor_the_recorded_requests_of_a_server_hold_a_key(
    keys: set[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        served(a_scenario(), tmp_path / "image", capture=tmp_path / "capture") as world,
        world.client() as client,
    ):
        client.write(8192, bytes(65536))
        client.read(8192, 65536)
    assert keys
    assert found(keys, outputs(tmp_path, capsys)) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["key", "import", SECRET.hex() + "0g"],
        ["key", "import", SECRET.hex()[:-1]],
        ["key", "import", SECRET.hex() + "00"],
        ["key", "import", SECRET.hex(), "--device", "emmc-cqe-raw"],
        ["key", "derive", SECRET.hex()],
        ["key", "import", "@" + SECRET.hex()],
        ["image", "ls", "disk.img", "--key", SECRET.hex() + "0g"],
        ["image", "ls", "disk.img", "--key", SECRET.hex()],
        ["image", "ls", "disk.img", "--key", SECRET[:4].hex() + SECRET.hex() * 9],
        ["image", "ls", "disk.img", "--descriptor", f"{SECRET.hex()}={SECRET.hex()}"],
        ["image", "ls", "disk.img", SECRET.hex(), SECRET.hex()],
        ["key", "import", SECRET.hex(), SECRET.hex()],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_no_message_repeats_the_key_that_it_is_about(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk.img").write_bytes(bytes(65536))
    main(arguments)
    assert found({SECRET}, outputs(tmp_path, capsys)) == []


@pytest.mark.parametrize("name", ["unit", "blob"])
def test_files_with_keys_are_their_owner_s_only_even_over_a_file_that_was_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "blob":
        (tmp_path / name).write_bytes(b"")
        (tmp_path / name).chmod(0o666)
    assert main(["key", "generate", "--state", "unit", "--out", "blob"]) == 0
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
