"""What there is by name: devices, designs, scenarios, trace formats."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scenarios.files.figures import unit

if TYPE_CHECKING:
    from hwmodel.device import Device

Row = dict[str, str]


def list_rows(what: str) -> list[Row]:
    """Rows with at least ``name`` and ``summary``; ``what`` is a choice of ``blkcrypto list``."""
    return list(
        {"devices": _devices, "designs": _designs, "scenarios": _scenarios, "formats": _formats}[what]()
    )


def _devices() -> Iterator[Row]:
    from scenarios.load import load_device, shipped_devices

    for name in shipped_devices():
        yield {"name": name, "summary": load_device(name).summary}


def _designs() -> Iterator[Row]:
    from scenarios.designs import DESIGNS

    for design in DESIGNS.values():
        yield {"name": design.name, "summary": design.summary, "key_types": ", ".join(design.key_types)}


def _scenarios() -> Iterator[Row]:
    from scenarios.load import load_scenario, shipped_scenarios

    for name in shipped_scenarios():
        yield {"name": name, "summary": load_scenario(name).question}


def _formats() -> Iterator[Row]:
    from scenarios.traces.formats import FORMATS

    for row in FORMATS.values():
        yield {"name": row.name, "summary": row.description, "units": row.units, "source": row.source}


def device_object(device: "Device") -> dict[str, object]:
    """A device for programs: every figure with its value, unit and source, and what is no figure."""
    return {
        "name": device.name,
        "summary": device.summary,
        "choices": {name: choice for name, choice in device.choices() if is_plain(choice)},
        "figures": [
            {
                "name": name,
                "value": figure.value,
                "unit": unit(name),
                "source": figure.source,
                "assumption": figure.is_assumption,
            }
            for name, figure in device.figures()
        ],
    }


def is_plain(choice: object) -> bool:
    """Whether a device's choice is a word, a switch or a few words; a table of quantiles is not."""
    return isinstance(choice, bool | str | tuple)
