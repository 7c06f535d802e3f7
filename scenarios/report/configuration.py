"""What a scenario was made of, as rows of text: every key, every figure of the device with its source."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from hwmodel.device import Device, Figure
from scenarios.files.spelling import spell
from scenarios.schema import Scenario

_SECTIONS = ("workload", "layout", "keys", "design", "block", "faults", "run")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a scenario."""

    key: str
    text: str
    is_default: bool


def settings(scenario: Scenario) -> Iterator[Setting]:
    """Every key but those of the device, in the order of the schema."""
    for section in _SECTIONS:
        part = getattr(scenario, section)
        for field in msgspec.structs.fields(part):
            value = getattr(part, field.name)
            key = f"{section}.{_written(field.name)}"
            yield Setting(key, _text(field.name, value), value == field.default)


def device_rows(device: Device) -> Iterator[tuple[str, str, str]]:
    """Dotted key, value and source of everything the device file says; no source for what is no figure."""
    for section in ("controller", "keyslots", "engine", "keywrap", "media", "host"):
        part = getattr(device, section)
        for field in msgspec.structs.fields(part) if part is not None else ():
            value = getattr(part, field.name)
            key = f"{section}.{_written(field.name)}"
            if isinstance(value, Figure):
                yield key, spell(field.name, value.value), value.source
            elif value is not None:
                yield key, _text(field.name, value), ""


def _written(field: str) -> str:
    """A key as scenarios have it whose values say their unit."""
    return field.removesuffix("_bytes").removesuffix("_ns")


def _text(name: str, value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return spell(name, value)
    if isinstance(value, str | float):
        return str(value)
    return msgspec.json.encode(value).decode()
