"""The references of scenario and device files, made from the structs that the files become.

    python -m scenarios.reference docs/reference

A field's meaning is its line under ``Attributes:`` in the struct's docstring; type, unit and default are the
field's own.  So no key is missing from the reference, and what the reference says is what is read.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from blkcrypto.base.units import format_duration, format_size
from hwmodel.device import Device, Figure
from scenarios.files.overrides import SHORTCUTS
from scenarios.listing import list_rows
from scenarios.load import load_device, shipped_devices
from scenarios.schema import Scenario

# Suffix of a field's name -> what it holds, and how it is written.
_UNITS: Final = {"_bytes": ("size", "64M"), "_ns": ("duration", "80us"), "_per_s": ("rate", "2900MB/s")}
# Sizes whose kernel name carries no unit.
_SIZES: Final = frozenset({"data_unit_size", "byte"})
_PLAIN: Final[dict[object, str]] = {int: "whole number", float: "number", str: "text", bool: "true or false"}
_NOT_SET: Final = "–"

_FEW: Final = 4  # devices worth naming
_ASSUMED_INTRO: Final = """\
A figure is an assumption where nobody publishes it; its source says so, and why the value. The rest comes
from a driver, a standard or a published measurement, or says that the device has no such thing.
`blkcrypto list devices NAME` has them one by one.
"""
_MADE: Final = "<!-- Made by `python -m scenarios.reference`; change the docstrings instead. -->\n"
_SCENARIO_INTRO: Final = """\
# Scenario files

A scenario is a TOML file: what runs on which device under which keys. `name` and `question` come first,
`device` names a shipped device or the path of a [device file](device.md); everything else has a default.

```toml
name = "my-question"
question = "What do 16 keyslots cost a database?"

[workload]
ios = 100000
block_sizes = "4k/70:64k/30"

[run]
queue_depth = 32

[device]                   # device = "ufs31-ice-raw" where nothing is changed
base = "ufs31-ice-raw"

[device.keyslots]          # changes by key; a changed figure needs no source
count = 16
program_raw = "80us"
```

**Units.** The unit is said by the key or by the value: `file_size = "64M"` and `file_size_bytes = 67108864`
are the same, and a bare `file_size = 64` is refused. Sizes are powers of 1024 (`4k`, `1M`), durations have a
unit (`80us`, `1.5ms`), rates are as data sheets write them (`2900MB/s`).

**Changes from the command line.** `--set KEY=VALUE` takes any key below by its dotted name
(`--set layout.file_size=2M`), by its bare name (`--set file_size=2M`), or by one of these shortcuts:

"""
_DEVICE_INTRO: Final = """\
# Device files

A device is a storage device with its inline encryption hardware and the host it sits in. Every quantity is a
*figure*:

```toml
read_ns = { value = "63.5us", source = "data sheet, table 7" }
```

`value` is in the unit that the key ends with, or text with a unit. `source` is a citation, or begins with
`assumption:` and says why; every run lists the assumptions it used.
[How to write one](../howto/device-file.md).
"""


def pages() -> dict[str, str]:
    """File name -> Markdown, for every page of the reference."""
    return {"scenario.md": _scenario_page(), "device.md": _device_page()}


def write(folder: Path) -> None:
    """Write the pages that changed into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _scenario_page() -> str:
    shortcuts = _table(("short", "key"), [(f"`{short}`", f"`{key}`") for short, key in SHORTCUTS.items()])
    designs = [
        (f"`{row['name']}`", row["summary"], row["key_types"] or _NOT_SET) for row in list_rows("designs")
    ]
    shipped = [(f"`{row['name']}`", row["summary"]) for row in list_rows("scenarios")]
    parts = [
        _MADE + _SCENARIO_INTRO + shortcuts,
        *_sections(Scenario),
        "## Key designs\n\n" + _table(("`keys.design`", "what", "key types"), designs),
        "## Shipped scenarios\n\n" + _table(("scenario", "question"), shipped),
    ]
    return "\n".join(parts)


def _device_page() -> str:
    devices = [load_device(name) for name in shipped_devices()]
    shipped = _table(
        ("device", "what", "keyslots", "DUN bytes", "key types", "program raw", "program wrapped"),
        map(_device_row, devices),
    )
    assumed = _table(("figure", "assumed in", "from a source in"), _assumed_rows(devices))
    return "\n".join(
        [
            _MADE + _DEVICE_INTRO,
            *_sections(Device),
            f"## Shipped devices\n\n{shipped}",
            f"## Which figures are assumptions\n\n{_ASSUMED_INTRO}\n{assumed}",
        ]
    )


def _assumed_rows(devices: Sequence[Device]) -> Iterator[tuple[str, ...]]:
    """Figures that any shipped device assumes: in how many, and where it is from a source instead."""
    assumed: dict[str, int] = {}
    sourced: dict[str, list[str]] = {}
    for device in devices:
        for name, figure in device.figures():
            if figure.is_assumption:
                assumed[name] = assumed.get(name, 0) + 1
            else:
                sourced.setdefault(name, []).append(f"`{device.name}`")
    for name, count in assumed.items():
        places = sourced.get(name, [])
        few = ", ".join(places) if len(places) <= _FEW else f"{len(places)} devices"
        yield f"`{name}`", f"{count} of {count + len(places)}", few or _NOT_SET


def _device_row(device: Device) -> tuple[str, ...]:
    slots = device.keyslots
    if slots is None:
        return (f"`{device.name}`", device.summary, *[_NOT_SET] * 5)
    cost = {"raw": slots.program_raw_ns, "hw-wrapped": slots.program_hw_wrapped_ns}
    programs = [
        format_duration(figure.value) if key_type in slots.key_types and slots.count.value else _NOT_SET
        for key_type, figure in cost.items()
    ]
    return (
        f"`{device.name}`",
        device.summary,
        str(slots.count.value),
        str(slots.dun_bytes.value),
        ", ".join(slots.key_types),
        *programs,
    )


def _sections(root: type[msgspec.Struct]) -> Iterator[str]:
    """The keys of ``root``, then those of each table in it, in the order of the file."""
    titles: dict[type[msgspec.Struct], str] = {root: "Top level"}
    pending = [(root, "")]
    while pending:
        struct, path = pending.pop(0)
        prose, meanings = _docstring(struct)
        hints = get_type_hints(struct)
        inner: list[tuple[type[msgspec.Struct], str]] = []
        rows: list[tuple[str, ...]] = []
        for field in msgspec.structs.fields(struct):
            hint, meaning = hints[field.name], meanings.get(field.name, "")
            table = _table_in(hint)
            if table is Device:
                meaning = (
                    "a shipped device, a [device file](device.md), or a table of changes with its `base`"
                )
            elif table is not None:
                dotted = f"{path}.{field.name}" if path else field.name
                if table not in titles:
                    titles[table] = f"`[[{dotted}]]`" if get_origin(hint) is tuple else f"`[{dotted}]`"
                    inner.append((table, dotted))
                meaning = meaning or f"{titles[table]} below"
            rows.append((_spelling(field.name, hints), _kind(field.name, hint), _default(field), meaning))
        pending[:0] = inner
        table_text = _table(("key", "type", "default", "meaning"), rows)
        yield f"## {titles[struct]}\n\n{prose}\n\n{table_text}"


def _docstring(struct: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """The prose of a struct's docstring, and field -> meaning, its bases' fields included, as Markdown."""
    meanings: dict[str, str] = {}
    prose = ""
    for each in reversed(struct.__mro__):
        if issubclass(each, msgspec.Struct) and each is not msgspec.Struct:
            prose, _, attributes = _markdown(each).partition("\nAttributes:\n")
            meanings.update(_meanings(attributes))
    return prose.strip(), meanings


def _markdown(struct: type[msgspec.Struct]) -> str:
    return (inspect.getdoc(struct) or "").replace("``", "`")


def _meanings(attributes: str) -> dict[str, str]:
    """Field -> meaning, from the lines below ``Attributes:``."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        if line and not line.startswith(" "):
            break  # the next block, as ``Raises:``
        if start := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = start[1].split(", ")
            found.update(dict.fromkeys(names, start[2]))
        elif line.strip():
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return {name: meaning.removesuffix(".") for name, meaning in found.items()}


def _table_in(hint: object) -> type[msgspec.Struct] | None:
    """The struct that a field holds as a TOML table: itself, optional, or in a list; a figure is none."""
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct) and candidate is not Figure:
            return candidate
    return None


def _unit(name: str, hint: object) -> tuple[str, str] | None:
    """What a number is, and an example of its text; None when it is only a number."""
    if hint not in (int, Figure):
        return None
    if name in _SIZES:
        return _UNITS["_bytes"]
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), None)


def _spelling(name: str, hints: dict[str, Any]) -> str:
    """The key as people write it, and its full name where that is another."""
    short = name
    if _unit(name, hints[name]) is not None:
        short = next((name.removesuffix(suffix) for suffix in _UNITS if name.endswith(suffix)), name)
    meant = [full for full in hints if full == short or full in {short + suffix for suffix in _UNITS}]
    return f"`{name}`" if short == name or len(meant) > 1 else f"`{short}` (`{name}`)"


def _kind(name: str, hint: object) -> str:
    """Type and unit of a key, for people."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    unit = _unit(name, hint)
    if hint is Figure:
        return f"figure: {unit[0]}" if unit else "figure: count"
    if unit is not None:
        return f'{unit[0]}, as `"{unit[1]}"`'
    options = [each for each in get_args(hint) if each is not type(None) and each is not Ellipsis]
    if get_origin(hint) is tuple:
        return "list of tables" if _table_in(hint) else "list"
    if get_origin(hint) is dict:
        return "table"
    if options:
        return _kind(name, options[0])
    return _PLAIN.get(hint, "table")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, Figure):
        value = value.value
    if value is None or value == () or isinstance(value, msgspec.Struct | dict):
        return _NOT_SET
    unit = _unit(field.name, field.type)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and unit is not None and value:
        text = format_size(value) if unit[0] == "size" else format_duration(value)
        return f'`"{text}"`'
    if isinstance(value, tuple):
        return "`[" + ", ".join(str(list(each)) for each in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table, ending in a newline."""
    cells = (tuple(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, ("---",) * len(header), *cells))


def main() -> None:
    """Write the reference into the folder that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scenarios.reference FOLDER")
    write(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
