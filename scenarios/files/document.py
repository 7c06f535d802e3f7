"""TOML documents and the structs they stand for.

One convention for quantities, in scenario and device files alike: the unit is said by the key or by the
value.  ``file_size_bytes = 67108864`` and ``file_size = "64M"`` are the same; ``file_size = 64`` is refused
because nothing says the unit.  Text with a unit is also fine under the full key (``read_ns = "80us"``), and
has to use it where the short one could mean two (``read_ns``, ``read_per_s``).

A figure of a device is ``{ value = "80us", source = "..." }``.  Whatever is wrong is a ``BadInput`` that
names file and key.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, get_args, get_type_hints

import msgspec

from blkcrypto.base.errors import BadInput, at_line
from blkcrypto.base.units import UnitError, parse_duration_ns, parse_rate, parse_size
from hwmodel.device import Figure
from scenarios.files.nearest import nearest

Table = dict[str, object]
T = TypeVar("T")

SET_BY_SCENARIO = "set by the scenario"
_LARGEST = 2**63 - 1
_PARSERS: dict[str, tuple[Callable[[str], int], str]] = {
    "_bytes": (parse_size, "4k"),
    "_ns": (parse_duration_ns, "80us"),
    "_per_s": (parse_rate, "2900MB/s"),
}
# A dotted key of very many parts, on which tomllib spends the square of their number.
_DEEP_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){100}""")
# Sizes whose kernel name carries no unit.
_SIZES = frozenset({"data_unit_size", "byte"})


@dataclass(slots=True)
class Document:
    """A parsed file, and the keys that the command line changed since.

    Attributes:
        file: what errors call it.
        data: the raw tables.
        options: dotted key -> the option that gave its value, as typed.
    """

    file: str
    data: Table
    options: dict[str, str] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """Place of ``key`` for an error: the file, or the option that set it."""
        for name, text in self.options.items():
            if key == name or key.startswith(f"{name}.") or name.startswith(f"{key}."):
                return text
        return f"{self.file}: {key}" if key else self.file


def parse_toml(text: str, file: str) -> Document:
    """``text`` as a document.

    Raises:
        BadInput: not TOML; says line and column.
    """
    if _DEEP_KEY.search(text):
        raise BadInput("arrays or tables are nested too deeply", where=file)
    try:
        return Document(file, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        place = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
        if place is None:
            raise BadInput(f"not TOML: {error}", where=file) from None
        line, column = (int(place[2]), int(place[3])) if place[2] else (text.count("\n") + 1, None)
        raise BadInput(f"not TOML: {place[1]}", where=at_line(file, line, column)) from None
    except RecursionError:
        raise BadInput("arrays or tables are nested too deeply", where=file) from None


def parse_value(text: str) -> object:
    """The value of ``--set key=text``: as TOML reads it, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def canonical(document: Document, table: Mapping[str, object], struct: type, prefix: str = "") -> Table:
    """``table`` with ``struct``'s full key names and plain numbers; may be partial.

    Args:
        prefix: the table's own dotted key in ``document``.

    Raises:
        BadInput: unknown key, wrong unit, number out of range.
    """
    hints = get_type_hints(struct)
    converted: Table = {}
    for name, value in table.items():
        path = f"{prefix}.{name}" if prefix else name
        key = _full_name(document, name, value, hints, path)
        if key in converted:
            raise BadInput(f"given twice, also as {key}", where=document.where(path))
        converted[key] = _value(document, value, key, hints, path)
    return converted


def merged(base: Mapping[str, object], changes: Mapping[str, object]) -> Table:
    """Canonical ``base`` with canonical ``changes`` on top: tables key by key, figures and lists whole."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and "source" not in value:
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def decode(document: Document, table: Mapping[str, object], struct: type[T], prefix: str = "") -> T:
    """Canonical ``table`` as ``struct``.

    Raises:
        BadInput: missing key, wrong type, or text that is not UTF-8, as arguments and names of files may be.
    """
    try:
        return msgspec.convert(table, struct)
    except UnicodeEncodeError as error:
        raise BadInput(f"{error.object!r} is not UTF-8: write it otherwise", where=document.file) from None
    except msgspec.ValidationError as error:
        raise _bad_input(document, struct, prefix, str(error)) from None


def _full_name(document: Document, name: str, value: object, hints: Mapping[str, object], path: str) -> str:
    """Field that ``name`` means: itself, or the one with a unit when ``value`` has one."""
    if name in hints:
        return name
    matches = [name + suffix for suffix in _PARSERS if _quantity_parser(name + suffix, hints)]
    if not matches:
        raise BadInput(f"unknown key{nearest(name, hints)}", where=document.where(path))
    bare = value.get("value") if isinstance(value, dict) else value
    if len(matches) > 1:
        raise BadInput(f"could mean {' or '.join(matches)}: write which", where=document.where(path))
    if not isinstance(bare, str):
        example = _PARSERS[matches[0].removeprefix(name)][1]
        raise BadInput(
            f'needs a unit: {name} = "{example}", or {matches[0]} = a number', where=document.where(path)
        )
    return matches[0]


def _quantity_parser(name: str, hints: Mapping[str, object]) -> tuple[Callable[[str], int], str] | None:
    if hints.get(name) not in (int, Figure):
        return None
    if name in _SIZES:
        return _PARSERS["_bytes"]
    return next((row for suffix, row in _PARSERS.items() if name.endswith(suffix)), None)


def _value(document: Document, value: object, key: str, hints: Mapping[str, object], path: str) -> object:
    hint = hints[key]
    parsers = _quantity_parser(key, hints)
    if hint is Figure:
        return _figure(document, value, parsers, path)
    struct = _struct_in(hint)
    if struct is not None and isinstance(value, dict):
        return canonical(document, value, struct, path)
    if struct is not None and isinstance(value, list):
        return [
            canonical(document, item, struct, f"{path}[{at}]") if isinstance(item, dict) else item
            for at, item in enumerate(value)
        ]
    if key == "block_sizes":
        return _block_sizes(document, value, path)
    if hint in (int, int | None):
        return _integer(document, value, parsers, path)
    if hint in (str, str | None) and isinstance(value, int | float) and path in document.options:
        return document.options[path].partition("=")[
            2
        ]  # `--set run.kernel=6.12`: text that looks like a number
    return value


def _figure(
    document: Document, value: object, parsers: tuple[Callable[[str], int], str] | None, path: str
) -> object:
    if not isinstance(value, dict):
        return {"value": _integer(document, value, parsers, path), "source": SET_BY_SCENARIO}
    figure = {"source": SET_BY_SCENARIO, **value}
    if "value" in figure:
        figure["value"] = _integer(document, figure["value"], parsers, path)
    return figure


def _integer(
    document: Document, value: object, parsers: tuple[Callable[[str], int], str] | None, path: str
) -> object:
    if isinstance(value, str):
        if parsers is None:
            raise BadInput(f"expected a whole number, got {value!r}", where=document.where(path))
        try:
            return parsers[0](value)
        except UnitError as error:
            raise BadInput(str(error), where=document.where(path)) from None
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= _LARGEST:
        raise BadInput(f"{value} is out of range: 0 to {_LARGEST}", where=document.where(path))
    return value


def _block_sizes(document: Document, value: object, path: str) -> object:
    """``"4k"``, fio's ``"4k/60:64k/40"``, or ``[["4k", 0.6], ["64k", 0.4]]``."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = [[value, 1.0]]
    if isinstance(value, str):
        entries = [entry.partition("/") for entry in value.split(":")]
        value = [[size, weight or "1"] for size, _, weight in entries]
    if not isinstance(value, list):
        return value
    pairs: list[object] = []
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2):
            what = 'expected sizes with weights: "4k", "4k/60:64k/40" or [["4k", 0.6], ["64k", 0.4]]'
            raise BadInput(what, where=document.where(path))
        size, weight = pair
        try:
            weight = float(weight) if isinstance(weight, str) else weight
        except ValueError:
            raise BadInput(f"{weight!r} is not a weight", where=document.where(path)) from None
        pairs.append([_integer(document, size, _PARSERS["_bytes"], path), weight])
    return pairs


def _struct_in(hint: object) -> type | None:
    """The struct a field holds: itself, optional, or in a tuple."""
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _bad_input(document: Document, struct: type, prefix: str, message: str) -> BadInput:
    """msgspec's error in our form; its own is like ``Expected `int`, got `str` - at `$.run.seed```."""
    what, _, place = message.partition(" - at ")
    key = place.strip("`").removeprefix("$").removeprefix(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        key = f"{key}.{missing[1]}" if key else missing[1]
        what = "missing: it has to be given"
    elif invalid := re.fullmatch(r"Invalid enum value '?(.*?)'?", what):
        what = f"{invalid[1]!r} is not known{nearest(invalid[1], _choices(struct, key))}"
    else:
        what = what.replace("Expected", "expected").replace("`", "")
        what = what.replace("object", "a table").replace(" | null", "")
    return BadInput(what, where=document.where(".".join(part for part in (prefix, key) if part)))


def _choices(struct: type, key: str) -> tuple[str, ...]:
    """What the ``Literal`` field at dotted ``key`` may be."""
    hint: object = struct
    for name in re.sub(r"\[[^]]*\]", "", key).split("."):
        inner = _struct_in(hint)
        hint = get_type_hints(inner).get(name) if inner else None
    choices = get_args(hint)
    return tuple(str(choice) for choice in (get_args(choices[0]) or choices)) if choices else ()
