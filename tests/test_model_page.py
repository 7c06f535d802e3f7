"""docs/model.md names every parameter of every mechanism."""

from pathlib import Path

import pytest

from hwmodel.device import Controller, Engine, Host, Keyslots, KeyWrap, Media
from hwmodel.faultplan import FaultPlan

PAGE = (Path(__file__).parents[1] / "docs" / "model.md").read_text(encoding="utf-8")
UNITS = ("_ns", "_bytes", "_per_s")
# What decides no time, or is said for a whole section at once.
ELSEWHERE = {
    "dun_bytes",
    "data_unit_sizes",
    "key_types",
    "exclusive",
    "discard_ns",
    "capacity_bytes",
    "placement",
}
PARAMETERS = [
    name
    for section in (Controller, Keyslots, Engine, Media, Host)
    for name in section.__struct_fields__
    if name not in ELSEWHERE and not name.endswith("_quantiles")
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_of_a_device_is_in_the_page(name: str) -> None:
    short = next((name.removesuffix(unit) for unit in UNITS if name.endswith(unit)), name)
    assert any(f"{before}{spelling}`" in PAGE for spelling in (name, short) for before in ("`", ".")) or (
        f"{short} =" in PAGE
    )


@pytest.mark.parametrize("name", [name for name in FaultPlan.__struct_fields__ if name != "rates"])
def test_every_kind_of_fault_is_in_the_page(name: str) -> None:
    assert f"`[[faults.{name}]]`" in PAGE


def test_every_operation_of_the_wrapping_unit_is_in_the_page() -> None:
    operations = {name.removesuffix("_ns") for name in KeyWrap.__struct_fields__ if name.endswith("_ns")}
    assert {operation.partition("_")[0] for operation in operations} == {
        "import",
        "generate",
        "prepare",
        "derive",
    }
    assert "import, generate, prepare, derive" in PAGE
