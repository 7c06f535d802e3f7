"""Which secrets the host ever had: found in raw mode, never there in wrapped mode."""

import json
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.crypto.hwkdf import derive
from blkcrypto.fs.fscrypt.master_key import MasterKey
from hwmodel.keywrap import KeyWrapUnit
from scenarios.build import build
from scenarios.commands.threat import threat as command
from scenarios.hostmemory import scan
from scenarios.load import load_scenario
from scenarios.report.threat import (
    EPHEMERAL,
    HW_RAW,
    INLINE,
    LONG_TERM,
    MASTER,
    SW_SECRET,
    WRAPPING,
    ThreatReport,
    threat_report,
)
from scenarios.streams import stream

SECRET = bytes(range(100, 164))
SMALL = ("workload.ios=4500", "run.payload=verify", "layout.files=60", "keys.master_keys=3")


def report(*sets: str) -> ThreatReport:
    return threat_report(load_scenario("wrapped-versus-raw", sets=(*SMALL, *sets)))


@pytest.fixture(scope="module")
def wrapped() -> ThreatReport:
    return report("keys.type=hw-wrapped", "keys.engine=inline")


@pytest.fixture(scope="module")
def raw() -> ThreatReport:
    return report("keys.type=raw", "keys.engine=inline")


# --- the promise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [HW_RAW, INLINE, WRAPPING])
def test_with_wrapped_keys_the_host_never_has_what_decrypts_contents(
    wrapped: ThreatReport, kind: str
) -> None:
    row = wrapped.row(kind)
    assert row.count > 0
    assert (row.host_memory, row.wrapping_unit) == ("never", True)


def test_with_raw_keys_the_host_has_every_inline_encryption_key(raw: ThreatReport) -> None:
    row = raw.row(INLINE)
    assert (row.host_memory, row.keyslots, row.wrapping_unit) == ("yes", True, False)
    assert row.found_in == "bytes in BlkCryptoKey"


def test_the_search_of_the_wrapped_run_sees_what_the_host_does_have(wrapped: ThreatReport) -> None:
    # The observer knows the run's own blobs, so it would know the run's own keys as well.
    assert wrapped.row(EPHEMERAL).host_memory == "yes"


def test_secrets_that_pass_through_while_a_key_is_added_are_named(
    raw: ThreatReport, wrapped: ThreatReport
) -> None:
    assert raw.row(MASTER).host_memory == "at set-up"
    assert wrapped.row(SW_SECRET).host_memory == "at set-up"
    assert wrapped.row(LONG_TERM).host_memory == "at set-up"


def test_both_runs_are_searched_before_during_and_after(raw: ThreatReport, wrapped: ThreatReport) -> None:
    # 4,500 bios or more, a search every 2,000 of them, one before and one after.
    assert min(raw.scans, wrapped.scans) >= 4
    # The objects of the machine; bios whose bytes wait are packed into one.
    assert min(raw.objects, wrapped.objects) > 500


def test_the_fallback_has_the_keys_in_host_memory_and_in_no_keyslot_of_the_device() -> None:
    row = report("keys.type=raw", "keys.engine=fallback").row(INLINE)
    assert (row.host_memory, row.keyslots) == ("yes", False)


def test_without_encryption_there_is_no_secret() -> None:
    assert report("keys.design=none", "keys.type=raw").rows == ()


def test_the_observer_s_master_keys_are_those_of_the_run() -> None:
    # The identifier is public and in every policy; only the run's own key has it.
    scenario = load_scenario("wrapped-versus-raw", sets=(*SMALL, "keys.type=raw"))
    key = MasterKey.from_raw(stream(scenario.run.seed, "master-keys").bytes(64))
    assert scan([build(scenario)], {"identifier": key.identifier}).found


def test_the_observer_s_hardware_keys_are_those_of_the_run() -> None:
    scenario = load_scenario("wrapped-versus-raw", sets=(*SMALL, "keys.type=hw-wrapped"))
    facts = scenario.device.keywrap
    assert facts is not None
    unit = KeyWrapUnit(stream(scenario.run.seed, "keywrap"), blob_bytes=facts.blob_bytes.value)
    key = MasterKey.from_hw_wrapped(
        blob := unit.prepare_key(unit.generate_key()), unit.derive_sw_secret(blob)
    )
    assert scan([build(scenario)], {"identifier": key.identifier, "blob": blob[8:56]}).found.keys() == {
        "identifier",
        "blob",
    }


def test_the_hardware_itself_would_be_found_if_it_were_searched() -> None:
    scenario = load_scenario("wrapped-versus-raw", sets=(*SMALL, "keys.type=hw-wrapped"))
    wrapping = stream(scenario.run.seed, "keywrap").bytes(32)
    model = build(scenario)
    assert scan([model], {"wrapping": wrapping}).found == {"wrapping": "bytes in UnitState"}
    assert not scan([model], {"wrapping": wrapping}, hardware=(KeyWrapUnit,)).found


# --- the search -------------------------------------------------------------------------------------------


class _Slotted:
    __slots__ = ("hidden",)

    def __init__(self, hidden: object) -> None:
        self.hidden = hidden


def _closure(value: bytes) -> Callable[[], bytes]:
    return lambda: value


def _suspended(value: bytes) -> Iterator[int]:
    def generator() -> Iterator[int]:
        local = value[:]
        yield 1
        yield len(local)

    running = generator()
    next(running)
    return running


class _Bound:
    def __init__(self, value: bytes) -> None:
        self._value = value

    def method(self) -> bytes:
        return self._value


@pytest.mark.parametrize(
    "hide",
    [
        lambda secret: {"a": [deque([(secret,)])]},
        bytearray,
        memoryview,
        lambda secret: array("B", secret),
        lambda secret: np.frombuffer(secret, dtype=np.uint64).copy(),
        lambda secret: np.frombuffer(secret, dtype=np.uint8)[3:5],
        lambda secret: np.array([secret, None], dtype=object),
        _Slotted,
        _closure,
        _suspended,
        lambda secret: _Bound(secret).method,
        lambda secret: b"before" + secret[16:32] + b"after",
        lambda secret: f"key={secret.hex().upper()}",
        lambda secret: int.from_bytes(secret, "little"),
        lambda secret: int.from_bytes(secret[:16], "big"),
    ],
)
def test_a_secret_is_found_wherever_python_can_keep_it(hide: Callable[[bytes], object]) -> None:
    assert "it" in scan([hide(SECRET)], {"it": SECRET}).found


def test_other_bytes_are_not_taken_for_the_secret() -> None:
    near = bytes(byte ^ 1 for byte in SECRET)
    assert not scan([near, [SECRET[:8]], {SECRET[:15]}], {"it": SECRET}).found


@given(split=st.integers(1, 15))
def test_two_objects_side_by_side_do_not_make_a_secret(split: int) -> None:
    padding = bytes(16)
    halves = [padding + SECRET[:split], SECRET[split:16] + padding]
    for order in (halves, halves[::-1]):
        assert not scan([order], {"it": SECRET[:16]}).found


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="by accident"):
        scan([], {"it": bytes(15)})


def test_what_the_hardware_holds_is_not_the_host_s() -> None:
    unit = _Slotted(SECRET)
    assert not scan([{"device": unit}], {"it": SECRET}, hardware=(_Slotted,)).found


def test_a_derived_key_is_another_secret_than_the_raw_one() -> None:
    raw = bytes(32)
    assert not scan([raw], {"inline": derive(raw).inline_key}).found


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_puts_raw_and_wrapped_side_by_side(tmp_path: Path) -> None:
    sets = [part for text in ("workload.ios=500", "layout.files=20") for part in ("--set", text)]
    file = tmp_path / "r.json"
    command.main(["wrapped-versus-raw", *sets, "--json", str(file), "--quiet"], standalone_mode=False)
    raw, wrapped = json.loads(file.read_text())["reports"]
    assert (raw["config"]["key_type"], wrapped["config"]["key_type"]) == ("raw", "hw-wrapped")
    assert raw["secrets"][INLINE]["host_memory"] == "yes"
    assert wrapped["secrets"][INLINE]["host_memory"] == "never"


def test_the_report_says_who_can_decrypt(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "workload.ios=500", "--set", "layout.files=20"]
    command.main(["wrapped-versus-raw", *small], standalone_mode=False)
    out = " ".join(capsys.readouterr().out.split())
    assert "Whoever reads the host's memory decrypts the contents" in out
    assert "The host's memory never held what decrypts the contents" in out


def test_a_device_without_wrapped_keys_is_reported_for_raw_keys_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = ["--set", "workload.ios=500", "--set", "device=ufs31-ice-raw", "--set", "keys.engine=inline"]
    command.main(["wrapped-versus-raw", *small], standalone_mode=False)
    captured = capsys.readouterr()
    assert "EOPNOTSUPP" in captured.err
    assert captured.out.count("Where secrets ever were") == 1
