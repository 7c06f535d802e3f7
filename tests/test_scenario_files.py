"""Scenario and device files: what they may say, and what a mistake is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput
from hwmodel.device import Device, Keyslots, Media
from scenarios import schema
from scenarios.files.check import Refused
from scenarios.load import (
    ReplayOptions,
    load_device,
    load_scenario,
    replay_scenario,
    shipped_devices,
    shipped_scenarios,
)
from scenarios.placement.layout import Layout
from scenarios.run import run
from scenarios.schema import Scenario

MINIMAL = """
question = "?"
device = "ufs31-ice-raw"
[workload]
ios = 10
[run]
queue_depth = 1
"""


Writer = Callable[[str], str]


class Measure(Protocol):
    def __call__(self, device: str, **options: object) -> list[float]: ...


@pytest.fixture
def scenario_file(tmp_path: Path) -> Writer:
    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def refusal(load: Callable[..., object], *args: object, **kwargs: object) -> str:
    with pytest.raises(BadInput) as caught:
        load(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message, "one line"
    return message


@pytest.mark.parametrize("name", shipped_scenarios())
def test_every_shipped_scenario_asks_a_question(name: str) -> None:
    assert load_scenario(name).question.endswith("?")


@pytest.mark.parametrize("name", shipped_devices())
def test_every_figure_of_a_shipped_device_has_a_source(name: str) -> None:
    assert all(len(figure.source) > 8 for _, figure in load_device(name).figures())


# Device, 4 KiB random reads and writes per s, sequential MB/s: Samsung's table of 2020 (eMMC 5.1, eUFS 2.1
# with 256 GB, eUFS 3.1) and its UFS 4.0 announcement, whose random rates are assumed.
PUBLISHED = [
    ("emmc51-cqhci", 11_000, 13_000, 250, 125),
    ("ufs21-std", 45_000, 40_000, 850, 260),
    ("ufs31-ice-raw", 100_000, 70_000, 2100, 1200),
    ("ufs40-ice-hwkm", 200_000, 150_000, 4200, 2800),
    ("exynos-fmp", 100_000, 70_000, 2100, 1200),
    ("none", 100_000, 70_000, 2100, 1200),
]


LOOP = """
question = "?"
[device]
base = "{device}"
[device.host]
submit_ns = 0
[workload]
ios = {ios}
read_share = {read_share}
block_sizes = "{block_size}"
access = "{access}"
[keys]
design = "none"
[run]
queue_depth = {depth}
warmup = 500
"""


@pytest.fixture
def measure(scenario_file: Writer) -> Measure:
    """Bytes per s, reading and writing, of an unencrypted closed loop as deep as the device has tags."""

    def measure(device: str, **options: object) -> list[float]:
        depth = load_device(device).controller.tags.value
        texts = [LOOP.format(device=device, read_share=share, depth=depth, **options) for share in (1, 0)]
        return [run(load_scenario(scenario_file(text))).directions["all"].bw_bytes for text in texts]

    return measure


@pytest.mark.parametrize(("device", "reads", "writes"), [row[:3] for row in PUBLISHED])
def test_random_4k_rates_are_the_published_ones(
    measure: Measure, device: str, reads: int, writes: int
) -> None:
    bandwidth = measure(device, ios=20_000, block_size="4k", access="random")
    assert [rate / 4096 for rate in bandwidth] == pytest.approx([reads, writes], rel=0.04)


@pytest.mark.parametrize(("device", "reads", "writes"), [(row[0], *row[3:]) for row in PUBLISHED])
def test_sequential_rates_are_the_published_ones(
    measure: Measure, device: str, reads: int, writes: int
) -> None:
    bandwidth = measure(device, ios=2_000, block_size="512k", access="sequential")
    assert [rate / 1e6 for rate in bandwidth] == pytest.approx([reads, writes], rel=0.04)


def test_the_unit_of_a_quantity_is_said_by_its_key_or_by_its_value(scenario_file: Writer) -> None:
    by_key = load_scenario(scenario_file(MINIMAL + "[layout]\nfile_size_bytes = 2097152"))
    by_value = load_scenario(scenario_file(MINIMAL + '[layout]\nfile_size = "2M"'))
    assert by_key.layout == by_value.layout


def test_a_number_without_a_unit_is_refused(scenario_file: Writer) -> None:
    message = refusal(load_scenario, scenario_file(MINIMAL + "[layout]\nfile_size = 64"))
    assert "layout.file_size: needs a unit" in message


@pytest.mark.parametrize("text", ['"4k"', "4096", '[["4k", 1]]', "[[4096, 1.0]]", '"4096/7"'])
def test_block_sizes_have_several_spellings(scenario_file: Writer, text: str) -> None:
    scenario = load_scenario(scenario_file(MINIMAL.replace("ios = 10", f"ios = 10\nblock_sizes = {text}")))
    assert [size for size, _ in scenario.workload.block_sizes] == [4096]


def test_block_sizes_take_weights_as_fio_writes_them() -> None:
    scenario = load_scenario("keyslot-contention", sets=["block_sizes=4k/60:64k/40"])
    assert scenario.workload.block_sizes == ((4096, 60.0), (65536, 40.0))


def test_changing_one_figure_of_a_device_leaves_the_others(scenario_file: Writer) -> None:
    text = MINIMAL.replace('device = "ufs31-ice-raw"', '[device]\nbase = "ufs31-ice-raw"\nkeyslots.count = 8')
    changed, base = load_scenario(scenario_file(text)).device, load_device("ufs31-ice-raw")
    differing = [
        name
        for (name, ours), (_, theirs) in zip(changed.figures(), base.figures(), strict=True)
        if ours != theirs
    ]
    assert differing == ["keyslots.count"]


def test_a_changed_figure_says_that_the_scenario_set_it() -> None:
    device = load_scenario("keyslot-contention", sets=["keyslots=8"]).device
    assert device.keyslots is not None
    assert (device.keyslots.count.value, device.keyslots.count.source) == (8, "set by the scenario")


def test_a_changed_figure_may_bring_its_own_source() -> None:
    sets = ["device.keyslots.count={value=8, source='data sheet, table 3'}"]
    device = load_scenario("keyslot-contention", sets=sets).device
    assert device.keyslots is not None
    assert device.keyslots.count.source == "data sheet, table 3"


def test_a_device_file_lies_beside_the_scenario_that_names_it(tmp_path: Path, scenario_file: Writer) -> None:
    shipped = load_device("ufs31-ice-raw")
    (tmp_path / "my.toml").write_text(
        device_text(shipped).replace("ufs31-ice-raw", "my-own"), encoding="utf-8"
    )
    scenario = load_scenario(scenario_file(MINIMAL.replace("ufs31-ice-raw", "my.toml")))
    assert scenario.device.name == "my-own"


def device_text(device: Device) -> str:
    """A device as the TOML a user would write."""
    lines = [f'name = "{device.name}"', f'summary = "{device.summary}"']
    lines += [
        f'{name} = {{ value = {figure.value}, source = "data sheet" }}' for name, figure in device.figures()
    ]
    if device.keyslots is not None:
        lines.append(f"keyslots.key_types = {list(device.keyslots.key_types)}")
    return "\n".join(lines)


def test_a_trace_lies_beside_the_scenario_that_names_it(tmp_path: Path, scenario_file: Writer) -> None:
    (tmp_path / "t.csv").write_text("", encoding="utf-8")
    text = MINIMAL.replace("ios = 10", 'trace = "t.csv"')
    assert load_scenario(scenario_file(text)).workload.trace == str(tmp_path / "t.csv")


@pytest.mark.parametrize("key", ["zipf=0.5", "workload.zipf=0.5"])
def test_a_key_without_a_dot_is_looked_for_in_all_sections(key: str) -> None:
    assert load_scenario("keyslot-contention", sets=[key]).workload.zipf == 0.5


def test_the_last_of_two_settings_of_a_key_counts() -> None:
    assert load_scenario("keyslot-contention", sets=["seed=1", "run.seed=2"]).run.seed == 2


def test_vary_may_be_dotted_or_nested(scenario_file: Writer) -> None:
    dotted = load_scenario(scenario_file(MINIMAL + '[vary]\n"keys.type" = ["raw"]\n"run.seed" = [1, 2]'))
    nested = load_scenario(scenario_file(MINIMAL + '[vary]\nkeys.type = ["raw"]\nrun.seed = [1, 2]'))
    assert dotted.vary == nested.vary == {"keys.type": ("raw",), "run.seed": ("1", "2")}


# What is set on top of keyslot-contention, and what the message has to name.
MISTAKES = [
    ("keyslots=x", "expected a whole number"),
    ("keyslot=3", "did you mean 'keyslots'"),
    ("keys.engin=inline", "did you mean 'engine'"),
    ("keys.engine=inlin", "did you mean 'inline'"),
    ("keys.design=fscrypt-perfile", "did you mean 'fscrypt-per-file'"),
    ("device=ufs31-ice", "did you mean 'ufs31-ice-raw'"),
    ("device=5", "expected a device's name"),
    ("device.media.read=5", "read_ns or read_per_s"),
    ("device.media.units=0", "out of range"),
    ("layout.file_size=64X", "size suffix"),
    ("layout.file_size=64k", "below layout.extent"),
    ("layout.span=1T", "capacity"),
    ("layout.files=1000000000", "do not fit"),
    ("layout.extent_bytes=1000", "multiple of keys.data_unit_size"),
    ("layout=5", "expected a table"),
    ("run.seed=-1", "out of range"),
    ("limit=-1", "out of range"),
    ("limit=0", "nothing to run"),
    ("limit=1.5", "expected int"),
    ("max_segments=0", "out of range"),
    ("run.kernel=newest", "kernel version"),
    ("run.payload=true", "expected str"),
    ("workload.read_share=1.5", "0 to 1"),
    ("workload.zipf=-1", "out of range"),
    ("workload.block_sizes=4k/x", "not a weight"),
    ("workload.block_sizes=100", "multiple of 512"),
    ("workload.trace=x", "drop ios"),
    ("workload.rate_per_s=1000", "drop one"),
    ("run.queue_depth=0", "rate_per_s"),
    ("keys.data_unit_size=1000", "EINVAL"),
    ("faults.flips=[{byte=1}]", "verify"),
    ("vary=3", "expected a table"),
    ("device.keywrap.import=1ms", "has no keywrap"),
    ("device.keyslots=5", "expected a table"),
    ("keyslots", "KEY=VALUE"),
]


@pytest.mark.parametrize(("setting", "expected"), MISTAKES)
def test_a_mistake_is_named_in_one_line(setting: str, expected: str) -> None:
    assert expected in refusal(load_scenario, "keyslot-contention", sets=[setting])


@pytest.mark.parametrize(("setting", "_expected"), [row for row in MISTAKES if "=" in row[0]])
def test_a_mistake_in_a_setting_is_said_to_be_there(setting: str, _expected: str) -> None:
    message = refusal(load_scenario, "keyslot-contention", sets=[setting])
    assert message.startswith((f"--set {setting}:", "keyslot-contention.toml:", "ufs31-ice: "))


# Settings that Linux refuses or serves otherwise, and the errno or path it takes.
REFUSED = [
    (["keys.type=hw-wrapped"], "EINVAL"),
    (["keys.type=hw-wrapped", "design=fscrypt-iv-ino-lblk-64"], "EOPNOTSUPP"),
    (
        ["keys.type=hw-wrapped", "design=fscrypt-iv-ino-lblk-64", "device=ufs40-ice-hwkm", "engine=fallback"],
        "EOPNOTSUPP",
    ),
    (["device=none"], "fallback"),
    (["device=exynos-fmp", "keys.data_unit_size=512"], "only 4096"),
    (["device=emmc51-cqhci", "design=fscrypt-iv-ino-lblk-64"], "DUNs of 8 bytes"),
    # ext4's largest file is 2**44 bytes: 2**35 data units of 512 bytes need 5 bytes, 2**32 of 4096 need 4.
    (["device=emmc51-cqhci", "keys.data_unit_size=512"], "DUNs of 5 bytes"),
]


@pytest.mark.parametrize(("sets", "expected"), REFUSED)
def test_what_linux_refuses_is_refused_with_its_reason(sets: list[str], expected: str) -> None:
    with pytest.raises(Refused, match=expected):
        load_scenario("keyslot-contention", sets=sets)


def test_emmc_takes_per_file_keys_in_4k_data_units() -> None:
    assert load_scenario("keyslot-contention", sets=["device=emmc51-cqhci"]).device.name == "emmc51-cqhci"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a = [1,\n  2\nb = 3", "mine.toml:3:1"),
        ('question = "?', "mine.toml:1"),
        ('question = "?"\ndevice = "none"', "mine.toml: workload"),
        (MINIMAL + "[oops]", "mine.toml: oops"),
        (MINIMAL + '[keys]\ntype = "rwa"', "mine.toml: keys.type"),
        (MINIMAL + "[keys]\nmaster_keys = true", "mine.toml: keys.master_keys"),
        (MINIMAL + '[layout]\nspan = "1G"\nspan_bytes = 5', "mine.toml: layout.span_bytes"),
    ],
)
def test_a_mistake_in_a_file_has_its_place(scenario_file: Writer, text: str, place: str) -> None:
    assert place in refusal(load_scenario, scenario_file(text))


def test_a_mistake_in_a_device_file_is_said_to_be_there(tmp_path: Path, scenario_file: Writer) -> None:
    text = device_text(load_device("none")).replace("media.units", "media.unit")
    (tmp_path / "my.toml").write_text(text, encoding="utf-8")
    message = refusal(load_scenario, scenario_file(MINIMAL.replace("ufs31-ice-raw", "my.toml")))
    assert "my.toml: media.unit: unknown key; did you mean 'units'?" in message


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"name = '\xff'")
    assert "not UTF-8" in refusal(load_scenario, str(path))


def test_a_folder_is_no_scenario(tmp_path: Path) -> None:
    assert "cannot read" in refusal(load_scenario, str(tmp_path))


def replayed(**options: Unpack[ReplayOptions]) -> Scenario:
    return replay_scenario("t.csv", **options)


def test_replaying_wrapped_keys_takes_a_device_and_a_design_that_can() -> None:
    scenario = replayed(keys="hw-wrapped")
    assert (scenario.device.name, scenario.keys.design) == ("ufs40-ice-hwkm", "fscrypt-iv-ino-lblk-64")


def test_replaying_on_a_device_without_crypto_takes_the_fallback() -> None:
    assert replayed(device="none").keys.engine == "fallback"


def test_replaying_at_a_queue_depth_is_as_fast_as_possible() -> None:
    assert replayed(queue_depth=4).run.pace == "asap"


def test_replaying_with_recorded_times_is_an_open_loop() -> None:
    assert replayed().run.queue_depth == 0


def test_the_time_of_programming_is_that_of_the_keys_type() -> None:
    keyslots = replayed(keys="hw-wrapped", program_time=7).device.keyslots
    assert keyslots is not None
    assert (keyslots.program_hw_wrapped_ns.value, keyslots.program_raw_ns.value) == (7, 30_000)


def test_a_wrong_option_is_named() -> None:
    assert refusal(replayed, design="none-such").startswith("--design: ")


FIELDS = [
    f"{section}.{name}"
    for section, struct in (
        ("workload", schema.Workload),
        ("layout", schema.Layout),
        ("keys", schema.Keys),
        ("run", schema.Run),
        ("faults", schema.Faults),
        ("device", Device),
        ("device.media", Media),
        ("device.keyslots", Keyslots),
    )
    for name in struct.__struct_fields__
]
VALUES = [
    "0",
    "-1",
    "1",
    "3",
    "0.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "true",
    "''",
    "x",
    "4k",
    "80us",
    "1MB/s",
    "1979-05-27",
    "9223372036854775808",
    "99999999999999999999999",
    "[]",
    "[1]",
    "['4k','x']",
    "[['4k','x']]",
    "[[1,nan]]",
    "[{}]",
    "[{byte=1,mask=0}]",
    "{}",
    "{value=1}",
    "{value='x'}",
    "{source=1}",
    "'\\u0000'",
]


@given(changes=st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(VALUES)), min_size=1, max_size=3))
def test_whatever_is_set_the_answer_is_a_scenario_or_one_line(changes: list[tuple[str, str]]) -> None:
    sets = [f"{key}={value}" for key, value in changes]
    message = ""
    try:
        scenario = load_scenario("keyslot-contention", sets=sets)
        Layout.build(scenario.layout, scenario.device.media.capacity_bytes.value, 1)
    except BadInput as error:
        message = str(error)
    assert "\n" not in message


def test_a_hostile_depth_of_nesting_is_one_error(tmp_path: Path) -> None:
    deep = tmp_path / "deep.toml"
    deep.write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(BadInput, match="nested too deeply"):
        load_scenario(str(deep))
