"""A device as the text of a device file, exact: reading it back gives the same device."""

import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from blkcrypto.base.units import format_size
from hwmodel.device import Device, Figure, Quantiles

_SECTIONS: Final = ("controller", "keyslots", "keywrap", "engine", "media", "host")
_DURATIONS: Final = (("s", 9), ("ms", 6), ("us", 3), ("ns", 0))


def device_toml(device: Device, comments: Sequence[str] = ()) -> str:
    """``device`` in TOML, after ``comments``; defaults are left out."""
    lines = [f"# {comment}" for comment in comments]
    lines += [f"name = {_text(device.name)}", f"summary = {_text(device.summary)}"]
    if comments:
        lines.insert(len(comments), "")
    for section in _SECTIONS:
        part = getattr(device, section)
        if part is not None:
            lines += ["", f"[{section}]", *_fields(part)]
    return "\n".join(lines) + "\n"


def _fields(part: msgspec.Struct) -> Iterator[str]:
    for field in msgspec.structs.fields(part):
        value: object = getattr(part, field.name)
        if not field.required and value == field.default:
            continue
        if isinstance(value, Figure):
            figure = f"value = {_quantity(field.name, value.value)}, source = {_text(value.source)}"
            yield f"{field.name} = {{ {figure} }}"
        elif isinstance(value, Quantiles):
            points = ", ".join(f"[{percent:g}, {ns}]" for percent, ns in value.points)
            yield f"{field.name} = {{ points = [{points}], source = {_text(value.source)} }}"
        elif isinstance(value, tuple):
            yield f"{field.name} = [{', '.join(_text(str(item)) for item in value)}]"
        elif isinstance(value, bool):
            yield f"{field.name} = {str(value).lower()}"
        else:
            yield f"{field.name} = {_text(str(value))}"


def _quantity(name: str, value: int) -> str:
    """With a unit where the name has one; never rounded."""
    if name == "data_unit_sizes":
        return hex(value)
    for suffix, write in _UNITS.items():
        if name.endswith(suffix):
            return write(value)
    return str(value)


def _duration(ns: int) -> str:
    unit, digits = next((unit, digits) for unit, digits in _DURATIONS if ns >= 10**digits or not digits)
    return f'"{_decimal(ns, digits)}{unit}"'


def _rate(per_s: int) -> str:
    return f'"{_decimal(per_s, 6)}MB/s"' if per_s >= 10**6 else str(per_s)


def _decimal(value: int, digits: int) -> str:
    text = f"{Decimal(value).scaleb(-digits):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _size(nbytes: int) -> str:
    text = format_size(nbytes)
    return text if text.isdecimal() else f'"{text}"'


_UNITS: Final[dict[str, Callable[[int], str]]] = {"_ns": _duration, "_per_s": _rate, "_bytes": _size}


def _text(value: str) -> str:
    # A TOML basic string is a JSON string, but for one control character that JSON leaves alone.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
