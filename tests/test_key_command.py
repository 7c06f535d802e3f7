"""``blkcrypto key``: the life of a hardware-wrapped key, and Linux's errors on the way."""

import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput, BlkCryptoError
from hwmodel.keywrap import HWKM_BLOB_BYTES, BadWrappedKey, KeyWrapUnit, UnitState
from scenarios import cli
from scenarios.commands.key import key
from scenarios.keystore import OsRandom
from scenarios.load import load_device
from tests.vectors import Vector, vectors

HEX32 = "00" * 32
Key = Callable[..., str]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "unit.json"


@pytest.fixture
def run(state: Path, capsys: pytest.CaptureFixture[str]) -> Key:
    """Run a subcommand on ``state``; what it printed."""

    def run(*args: object) -> str:
        key.main([str(arg) for arg in args] + ["--state", str(state)], standalone_mode=False)
        return capsys.readouterr().out.strip()

    return run


def refused(run: Key, *args: object) -> str:
    """The errno's name of a command that fails."""
    with pytest.raises(BlkCryptoError) as raised:
        run(*args)
    return raised.value.errno_name


# --- a key's life -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", vectors("hw_kdf"), ids=lambda row: f"{row['name']}-{row['key'][-2:]}")
def test_an_imported_key_derives_what_is_published_for_it(run: Key, vector: Vector) -> None:
    ephemeral = run("prepare", run("import", vector["key"], "--kdf", vector["name"]))
    assert run("derive", ephemeral).startswith(vector["sw_secret_starts"])
    assert run("derive", ephemeral, "--inline-key").startswith(vector["inline_key_starts"])


def test_generated_keys_are_all_different(run: Key) -> None:
    secrets = {run("derive", run("prepare", run("generate"))) for _ in range(5)}
    assert len(secrets) == 5


def test_a_reboot_ends_ephemeral_keys_and_spares_long_term_ones(run: Key) -> None:
    long_term = run("generate")
    ephemeral = run("prepare", long_term)
    secret = run("derive", ephemeral)

    run("reboot")

    assert refused(run, "derive", ephemeral) == "EBADMSG"
    assert run("derive", run("prepare", long_term)) == secret


def test_a_factory_reset_ends_every_key(run: Key) -> None:
    long_term = run("generate")
    ephemeral = run("prepare", long_term)

    run("factory-reset")

    assert refused(run, "prepare", long_term) == "EBADMSG"
    assert refused(run, "derive", ephemeral) == "EBADMSG"


def test_each_form_is_refused_where_the_other_belongs(run: Key) -> None:
    long_term = run("generate")
    ephemeral = run("prepare", long_term)
    assert refused(run, "prepare", ephemeral) == "EBADMSG"
    assert refused(run, "derive", long_term) == "EBADMSG"
    assert refused(run, "derive", long_term, "--inline-key") == "EBADMSG"


@pytest.mark.parametrize(
    ("device", "size"), [("ufs31-ice-hwkm1", HWKM_BLOB_BYTES["v1"]), ("emmc51-ice", HWKM_BLOB_BYTES["v2"])]
)
def test_blobs_have_the_device_s_size(run: Key, device: str, size: int) -> None:
    long_term = run("generate", "--device", device)
    assert {len(bytes.fromhex(blob)) for blob in (long_term, run("prepare", long_term))} == {size}


def test_inspect_tells_the_kind_of_an_intact_blob(run: Key) -> None:
    long_term = run("generate")
    assert run("inspect", long_term) == "long-term key, 100 bytes, intact"
    assert run("inspect", run("prepare", long_term)) == "ephemeral key, 100 bytes, intact"
    assert run("inspect") == "unit of ufs40-ice-hwkm, kdf1, blobs of 100 bytes"


# --- errors -----------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(bit=st.integers(0, 8 * 100 - 1), ephemeral=st.booleans())
def test_any_flipped_bit_of_a_blob_is_noticed(bit: int, ephemeral: bool) -> None:
    unit = KeyWrapUnit(OsRandom(), blob_bytes=100)
    blob = unit.generate_key()
    blob = unit.prepare_key(blob) if ephemeral else blob
    damaged = bytearray(blob)
    damaged[bit // 8] ^= 1 << bit % 8
    for use in (unit.derive_sw_secret, unit.inline_key, unit.prepare_key, unit.inspect):
        with pytest.raises(BadWrappedKey):
            use(bytes(damaged))


# Reference block-layer.md section 5.3, in its order, as far as a person on a command line can get it wrong.
@pytest.mark.parametrize(
    ("args", "name"),
    [
        (("generate", "--device", "none"), "EOPNOTSUPP"),
        (("import", "00" * 15, "--device", "none"), "EOPNOTSUPP"),
        (("import", "00" * 15), "EINVAL"),
        (("import", "00" * 65), "EINVAL"),
        (("import", "00" * 15, "--device", "ufs31-ice-raw"), "EINVAL"),
        (("import", HEX32, "--device", "ufs31-ice-raw"), "EOPNOTSUPP"),
        (("generate", "--device", "ufs31-ice-raw"), "EOPNOTSUPP"),
        (("import", "00" * 16), "EINVAL"),
        (("import", "00" * 64), "EINVAL"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_what_linux_refuses_has_linux_s_errno_and_leaves_no_unit(
    run: Key, state: Path, args: tuple[str, ...], name: str
) -> None:
    assert refused(run, *args) == name
    assert not state.exists()


@pytest.mark.parametrize(
    ("blob", "name"),
    [("", "EBADMSG"), ("00" * 100, "EBADMSG"), ("00" * 128, "EBADMSG"), ("00" * 129, "EINVAL")],
)
def test_what_is_no_blob_cannot_be_prepared(run: Key, blob: str, name: str) -> None:
    run("generate")
    assert refused(run, "prepare", blob) == name


def test_a_blob_of_another_unit_is_refused(run: Key, state: Path) -> None:
    theirs = run("generate")
    state.unlink()
    run("generate")
    assert refused(run, "inspect", theirs) == "EBADMSG"
    assert refused(run, "prepare", theirs) == "EBADMSG"


def test_an_error_is_one_line_and_ends_with_2(
    run: Key, state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.cli.commands, "key", key)
    run("generate")
    status = cli.main(["key", "prepare", "00", "--state", str(state)])
    err = capsys.readouterr().err
    assert (status, err.count("\n"), err.startswith("blkcrypto: "), "[EBADMSG]" in err) == (2, 1, True, True)


# --- files ------------------------------------------------------------------------------------------------


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_the_state_and_blobs_are_readable_by_their_owner_only(run: Key, state: Path, tmp_path: Path) -> None:
    run("generate", "--out", tmp_path / "key.lt")
    run("reboot")
    for file in (state, tmp_path / "key.lt"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.lt", "unit.json"]


def test_blobs_go_through_files_as_bytes(run: Key, tmp_path: Path) -> None:
    raw, long_term, ephemeral = (tmp_path / name for name in ("raw", "lt", "eph"))
    raw.write_bytes(bytes(32))
    assert run("import", f"@{raw}", "--out", long_term) == ""
    run("prepare", f"@{long_term}", "--out", ephemeral)
    assert len(ephemeral.read_bytes()) == 100
    assert run("derive", f"@{ephemeral}") == vectors("hw_kdf")[0]["sw_secret_starts"]


def test_a_pipe_carries_hex(run: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    long_term = run("import", HEX32)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{long_term}\n"))
    assert run("derive", run("prepare", "-")) == vectors("hw_kdf")[0]["sw_secret_starts"]


def test_a_unit_outlives_its_process_through_its_state() -> None:
    unit = KeyWrapUnit(OsRandom(), blob_bytes=100)
    blob = unit.generate_key()
    again = KeyWrapUnit(OsRandom(), blob_bytes=100, state=unit.state)
    assert again.inspect(blob) == "long-term"


def test_wrapping_keys_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        UnitState(bytes(32), bytes(16))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"kdf": "kdf9"},
        {"long_term": "00"},
        {"ephemeral": "zz"},
        {"device": 1},
        {"new": 1},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused_and_left_alone(run: Key, state: Path, change: dict[str, object]) -> None:
    run("generate")
    state.write_text(json.dumps({**json.loads(state.read_text()), **change}))
    before = state.read_bytes()
    with pytest.raises(BadInput, match="not the state of a key-wrapping unit") as raised:
        run("generate")
    assert raised.value.where == str(state)
    assert state.read_bytes() == before


def test_what_a_person_gets_wrong_says_what_to_do(run: Key, tmp_path: Path) -> None:
    for args, what in (
        (("prepare", "00"), "`key generate` and `key import` make one"),
        (("generate", "--kdf", "kdf9"), "one of kdf1"),
        (("generate", "--device", "gone"), "no device of this name"),
        (("import", "xyz"), "write hex digits, @FILE, or -"),
        (("import", f"@{tmp_path / 'gone'}"), "cannot be read"),
        (("generate", "--out", tmp_path / "gone" / "x"), "cannot write"),
    ):
        with pytest.raises(BadInput, match=what):
            run(*args)


def test_a_state_is_of_one_device(run: Key) -> None:
    run("generate", "--device", "ufs31-ice-hwkm1")
    with pytest.raises(BadInput, match="the unit has ufs31-ice-hwkm1: leave --device out"):
        run("generate", "--device", "ufs40-ice-hwkm")


@pytest.mark.parametrize("name", ["ufs31-ice-hwkm1", "ufs40-ice-hwkm", "emmc51-ice"])
def test_qualcomm_devices_have_blobs_of_a_hwkm_version(name: str) -> None:
    facts = load_device(name).keywrap
    assert facts is not None
    assert facts.blob_bytes.value in HWKM_BLOB_BYTES.values()
