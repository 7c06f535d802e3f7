"""``blkcrypto init``: a scenario that explains itself and cannot fall behind the schema."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from hwmodel.device import Device, Figure, Quantiles
from scenarios.cli import main
from scenarios.files.document import Document, canonical, decode
from scenarios.files.spelling import spell
from scenarios.load import load_scenario, shipped_devices
from scenarios.schema import Scenario
from scenarios.template import scenario_template


def uncommented(text: str) -> dict[str, object]:
    """The file with every ``#key = value`` and ``#[table]`` taken at its word."""
    return tomllib.loads(re.sub(r'^#(?=[\w\["])', "", text, flags=re.MULTILINE))


def keys_of(struct: type, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the schema, list items and all; figures have values, not keys."""
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        yield prefix + field.name
        for one in (hints[field.name], *get_args(hints[field.name])):
            if isinstance(one, type) and issubclass(one, msgspec.Struct) and one not in (Figure, Quantiles):
                yield from keys_of(one, f"{prefix}{field.name}.")


def keys_in(table: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        yield prefix + name
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from keys_in(inner, f"{prefix}{name}.")


def test_every_key_of_the_schema_appears() -> None:
    written = set(keys_in(uncommented(scenario_template("ufs31-ice-raw"))))
    assert set(keys_of(Scenario)) - written == set()


def test_every_line_that_is_uncommented_has_a_value_of_the_right_type() -> None:
    data = uncommented(scenario_template("ufs40-ice-hwkm"))
    document = Document("scenario.toml", data)
    device = data.pop("device")
    assert isinstance(device, dict)
    device.pop("base")
    table = {key: value for key, value in data.items() if key != "vary"}

    table["device"] = canonical(document, device, Device, "device")
    # Bare numbers are no figures; `load` wraps those of a scenario, as canonical() did here.
    assert decode(document, {**canonical(document, table, Scenario), "device": table["device"]}, Scenario)


def test_what_is_commented_out_is_the_default() -> None:
    data = uncommented(scenario_template("ufs31-ice-raw"))
    block, run = data["block"], data["run"]
    assert isinstance(block, dict)
    assert isinstance(run, dict)
    defaults = Scenario.__struct_defaults__
    assert (
        msgspec.convert(canonical(Document("t", data), block, _type("block"), "block"), _type("block"))
        in defaults
    )
    run.pop("queue_depth")
    assert msgspec.convert(canonical(Document("t", data), run, _type("run"), "run"), _type("run")) in defaults


def _type(section: str) -> type:
    hint = get_type_hints(Scenario)[section]
    assert isinstance(hint, type)
    return hint


@pytest.mark.parametrize("device", shipped_devices())
def test_the_file_is_a_scenario_as_it_is_for_every_device(device: str, tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(scenario_template(device), encoding="utf-8")
    assert load_scenario(str(file)).device.name == device


def test_it_runs_and_compares(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    less = ["--set", "ios=500", "--quiet"]
    statuses = [
        main(["init", str(file)]),
        main(["run", str(file), *less]),
        main(["compare", str(file), *less]),
    ]
    assert statuses == [0, 0, 0]


def test_a_trace_of_ones_own_is_replayed(tmp_path: Path) -> None:
    (tmp_path / "t.iolog").write_text(
        "fio version 3 iolog\n0 /f add\n0 /f open\n1 /f write 0 4096\n2 /f read 0 4096\n3 /f close\n",
        encoding="utf-8",
    )
    file = tmp_path / "s.toml"
    assert main(["init", str(file), "--trace", "t.iolog"]) == 0
    assert load_scenario(str(file)).workload.trace == str(tmp_path / "t.iolog")


def test_a_file_that_exists_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.toml"
    file.write_text("mine", encoding="utf-8")
    assert (main(["init", str(file)]), file.read_text(encoding="utf-8")) == (2, "mine")
    assert "--force" in capsys.readouterr().err


def test_a_dash_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-"]) == 0
    assert capsys.readouterr().out == scenario_template("ufs31-ice-raw")


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("read_ns", 63_500, "63.5us"),
        ("read_ns", 1_234_567, "1234.567us"),
        ("read_ns", 0, "0ns"),
        ("link_per_s", 2_915_200_000, "2915.2MB/s"),
        ("extent_bytes", 1 << 20, "1M"),
        ("data_unit_size", 4096, "4k"),
        ("tags", 31, "31"),
    ],
)
def test_quantities_are_spelt_exactly_with_the_shortest_unit(field: str, value: int, text: str) -> None:
    assert spell(field, value) == text
