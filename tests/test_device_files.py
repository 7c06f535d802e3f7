"""Every shipped device: complete, sourced, as the reference's table says, and able to run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blkcrypto.base.errors import BadInput
from hwmodel.device import Device, Figure
from scenarios.load import load_device, load_scenario, shipped_devices
from scenarios.results.result import RunResult
from scenarios.run import run

DEVICES = shipped_devices()

# Tags, keyslots, DUN bytes, data unit mask, key types, drains I/O: reference block-layer.md 6.1 and 6.5.
RAW, WRAPPED = "raw", "hw-wrapped"
STRUCTURE = {
    "ufs21-std": (31, 32, 8, 0x1200, (RAW,), False),
    "ufs21-1tb": (31, 32, 8, 0x1200, (RAW,), False),
    "ufs30-std": (31, 32, 8, 0x1200, (RAW,), False),
    "ufs30-phone": (31, 32, 8, 0x1200, (RAW,), False),
    "ufs31-mediatek": (31, 32, 8, 0x1200, (RAW,), False),
    "ufs31-unisoc": (31, 32, 8, 0x1200, (RAW,), False),
    "ufs40-mcq": (63, 32, 8, 0x1200, (RAW,), False),
    "ufs31-ice-raw": (31, 32, 8, 0x1200, (RAW,), False),
    "ufs31-ice-hwkm1": (31, 32, 8, 0x1200, (RAW, WRAPPED), False),
    "ufs40-ice-hwkm": (63, 32, 8, 0x1200, (RAW, WRAPPED), False),
    "emmc51-ice": (31, 16, 4, 0x1200, (RAW, WRAPPED), False),
    "emmc51-cqhci": (31, 16, 4, 0x1200, (RAW,), False),
    "exynos-fmp": (31, 0, 16, 0x1000, (RAW,), False),
    "exynos-fmp-slots": (31, 16, 8, 0x1000, (RAW,), False),
    "tensor-kdn": (31, 15, 8, 0x1000, (WRAPPED,), True),
}
# Section 6.1 and drivers/soc/qcom/ice.c: 68 bytes in HWKM version 1, 100 in version 2.
BLOB_BYTES = {"ufs31-ice-hwkm1": 68, "ufs40-ice-hwkm": 100, "emmc51-ice": 100}
WITHOUT_HARDWARE = {"none", "null-blk"}


def scenario(path: Path, device: str, *, design: str, keys: str, engine: str) -> RunResult:
    file = path / "tiny.toml"
    file.write_text(
        f"""
        question = "Does it run?"
        device = "{device}"
        workload = {{ ios = 300, read_share = 0.5, jobs = 2 }}
        layout = {{ files = 40, file_size = "1M" }}
        keys = {{ design = "{design}", type = "{keys}", engine = "{engine}" }}
        run = {{ queue_depth = 8, payload = "verify" }}
        """
    )
    return run(load_scenario(str(file)))


def test_there_is_a_file_for_every_controller_of_the_reference() -> None:
    assert set(DEVICES) >= STRUCTURE.keys() | WITHOUT_HARDWARE


@pytest.mark.parametrize("name", STRUCTURE)
def test_the_structure_is_that_of_the_reference(name: str) -> None:
    device = load_device(name)
    slots = device.keyslots
    assert slots is not None
    assert STRUCTURE[name] == (
        device.controller.tags.value,
        slots.count.value,
        slots.dun_bytes.value,
        slots.data_unit_sizes.value,
        slots.key_types,
        slots.drains_io,
    )


@pytest.mark.parametrize("name", BLOB_BYTES)
def test_blobs_have_the_size_of_their_hwkm_version(name: str) -> None:
    keywrap = load_device(name).keywrap
    assert keywrap is not None
    assert keywrap.blob_bytes.value == BLOB_BYTES[name]


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_is_called_as_its_file_and_says_what_it_is(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert len(device.summary) > 20


@pytest.mark.parametrize("name", DEVICES)
def test_every_figure_says_where_it_comes_from_or_why_it_is_assumed(name: str) -> None:
    for key, figure in load_device(name).figures():
        reason = figure.source.removeprefix("assumption: ")
        assert len(reason) >= len("no link"), key
        assert "assumption" not in reason, key
        assert figure.source != "set by the scenario", key


@pytest.mark.parametrize("name", DEVICES)
def test_costs_without_a_public_figure_are_marked_as_assumptions(name: str) -> None:
    # Reference section 6.4: nobody publishes what key operations of real hardware take.
    device = load_device(name)
    figures = dict(device.figures())
    keywrap = {key for key in figures if key.startswith("keywrap.") and key.endswith("_ns")}
    slots = {
        "keyslots.program_raw_ns",
        "keyslots.program_hw_wrapped_ns",
        "keyslots.evict_ns",
    } & figures.keys()
    for key in keywrap | slots:
        assert figures[key].is_assumption == bool(figures[key].value), key


@pytest.mark.parametrize("name", DEVICES)
def test_a_tiny_encrypted_workload_runs_and_reads_back(name: str, tmp_path: Path) -> None:
    device = load_device(name)
    types = device.keyslots.key_types if device.keyslots is not None else ("raw",)
    engine = "inline" if device.keyslots is not None else "fallback"
    # 40 files on 15 to 32 keyslots; hardware with DUNs of 32 bits needs a design that is content with them.
    small = device.keyslots is not None and device.keyslots.dun_bytes.value == 4
    design = {
        "raw": "fscrypt-per-file",
        "hw-wrapped": "fscrypt-iv-ino-lblk-32" if small else "fscrypt-iv-ino-lblk-64",
    }
    for key_type in types:
        result = scenario(tmp_path, name, design=design[key_type], keys=key_type, engine=engine)
        assert (result.bios, result.mismatches, all(result.checks.values())) == (300, 0, True)
        assert result.verified_bytes > 0


def empirical(points: str) -> str:
    return f'shape = "empirical"\nread_quantiles = {{ points = {points}, source = "test" }}\n'


@pytest.fixture
def with_media(tmp_path: Path) -> Callable[[str], Device]:
    """A shipped device with lines added to its media section."""

    def load(lines: str) -> Device:
        shipped = Path(__file__).parents[1] / "hwmodel" / "devices" / "none.toml"
        file = tmp_path / "own.toml"
        file.write_text(shipped.read_text().replace("[media]\n", f"[media]\n{lines}"))
        return load_device(str(file))

    return load


def test_a_device_of_one_s_own_may_measure_its_service_times(with_media: Callable[[str], Device]) -> None:
    media = with_media(empirical("[[0, 10], [99.5, 20], [100, 90]]")).media
    assert media.read_quantiles is not None
    assert media.read_quantiles.points == ((0, 10), (99.5, 20), (100, 90))


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (empirical("[[0, 10], [100, 9]]"), "never fall"),
        (empirical("[[0, -1], [100, 9]]"), "0 ns or more"),
        (empirical("[[0, 1], [60, 2], [50, 3], [100, 9]]"), "rising percentages"),
        (empirical("[[1, 1], [100, 9]]"), "begin at 0 and end at 100"),
        (empirical("[]"), "begin at 0 and end at 100"),
        ('shape = "empirical"\n', "needs read_quantiles"),
    ],
)
def test_quantiles_that_are_none_are_refused_with_their_place(
    with_media: Callable[[str], Device], lines: str, what: str
) -> None:
    with pytest.raises(BadInput, match=what) as raised:
        with_media(lines)
    assert "own.toml: media" in raised.value.where


def test_what_is_not_drained_is_no_assumption() -> None:
    slots = load_device("ufs31-ice-raw").keyslots
    assert slots is not None
    assert slots.drain_poll_ns == Figure(0, "nothing is drained, so nothing waits for it")
