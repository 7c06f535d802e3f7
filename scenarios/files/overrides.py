"""``--set KEY=VALUE``: changes laid over a scenario file.

A key is dotted, one of ``SHORTCUTS``, or a field's bare name, which is looked for in all sections.  A value
is read as TOML where it is TOML, and is text otherwise.
"""

import difflib
from collections.abc import Iterable
from typing import get_args, get_type_hints

import msgspec

from blkcrypto.base.errors import BadInput
from hwmodel.device import Device
from scenarios import schema
from scenarios.files.document import Document, Table, parse_value
from scenarios.files.nearest import nearest
from scenarios.schema import Scenario

SHORTCUTS = {
    "cpus": "device.host.cpus",
    "keys": "keys.type",
    "keyslots": "device.keyslots.count",
    "tags": "device.controller.tags",
}
_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "workload": schema.Workload,
    "layout": schema.Layout,
    "keys": schema.Keys,
    "design": schema.Design,
    "block": schema.Block,
    "run": schema.Run,
}


def sets_document(sets: Iterable[str]) -> Document:
    """``KEY=VALUE`` texts as a document of their own; the last one of a key counts.

    Raises:
        BadInput: no ``=``, or a bare name that no section has.
    """
    document = Document("--set", {})
    for text in sets:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadInput(f"write KEY=VALUE, as in keyslots=8, not {text!r}", where="--set")
        key = dotted_key(name.strip(), f"--set {text}")
        parsed = parse_value(value.strip())
        if key == "device" and isinstance(parsed, str):
            key = "device.base"
        document.options[key] = f"--set {text}"
        put(document.data, key, parsed)
    return document


def written_keys() -> list[str]:
    """Keys as users write them: shortcuts, fields without their sections, figures of the device."""
    fields = (field for struct in _SECTIONS.values() for field in struct.__struct_fields__)
    short = (name.removesuffix("_bytes").removesuffix("_ns") for name in fields)
    return sorted({*SHORTCUTS, *short, "device", *_device_figures().values()})


def put(table: Table, key: str, value: object) -> None:
    """Store ``value`` under the dotted ``key``; what is in its way and no table is replaced."""
    *parents, last = key.split(".")
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):
            inner = table[parent] = {}
        table = inner
    table[last] = value


def dotted_key(name: str, where: str = "") -> str:
    """The dotted key that ``name`` is short for.

    Args:
        where: the whole option, for the error.

    Raises:
        BadInput: a bare name that no section has.
    """
    if "." in name or name in ("name", "question", "device", "vary"):
        return name
    short = name.replace("-", "_")
    if short in SHORTCUTS:
        return SHORTCUTS[short]
    known = {
        field: f"{part}.{field}" for part, struct in _SECTIONS.items() for field in struct.__struct_fields__
    }
    for suffix in ("", "_bytes", "_ns"):
        if short + suffix in known:
            return known[short + suffix].removesuffix(suffix)
    if name in Scenario.__struct_fields__:
        return name
    names = {*known, *SHORTCUTS, *Scenario.__struct_fields__}
    figure = difflib.get_close_matches(short, figures := _device_figures(), n=1)
    if figure and not difflib.get_close_matches(name, names, n=1):
        what = f"unknown key {name!r}; did you mean {figures[figure[0]]!r}?"
        raise BadInput(what, where=where)
    raise BadInput(f"unknown key {name!r}{nearest(name, names)}", where=where)


def _device_figures() -> dict[str, str]:
    """Bare name of each of a device's figures -> its dotted key."""
    found: dict[str, str] = {}
    for section, kind in get_type_hints(Device).items():
        struct = next((one for one in (*get_args(kind), kind) if hasattr(one, "__struct_fields__")), None)
        for field in getattr(struct, "__struct_fields__", ()):
            name = field.removesuffix("_ns").removesuffix("_bytes").removesuffix("_per_s")
            found.setdefault(name, f"device.{section}.{name}")
    return found
