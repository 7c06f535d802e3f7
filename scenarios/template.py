"""A scenario file that explains itself, made from the schema: its fields, their defaults and docstrings.

Nothing about a key is said here a second time, so the file cannot fall behind the schema.  What is here:
values for a first run worth looking at, and examples for keys that have no default.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from json import dumps
from typing import Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from hwmodel.device import Device, Figure, Quantiles
from scenarios.files.spelling import spell
from scenarios.load import DEFAULT_DESIGN, load_device, shipped_devices
from scenarios.schema import Scenario

_WIDTH: Final = 100
_SECTIONS: Final = ("workload", "layout", "keys", "design", "block", "faults", "run")
# What the file sets: 64 files of which a few are much used, on more keyslots and on fewer.
_GENERATED: Final[Mapping[str, object]] = {
    "workload.ios": 20_000,
    "workload.read_share": 0.7,
    "workload.zipf": 0.8,
    "workload.jobs": 8,
    "layout.files": 64,
    "run.queue_depth": 4,
}
_REPLAYED: Final[Mapping[str, object]] = {"run.pace": "asap", "run.queue_depth": 32}
_KEYSLOTS: Final = (8, 16, 32, 64)
# Keys that are off by default, shown as they would be used.
_EXAMPLES: Final[Mapping[str, object]] = {
    "workload.trace": "trace.txt.xz",
    "workload.format": "ftrace",
    "workload.columns": "time=1:us,op=2,offset=3:bytes,size=4:bytes",
    "workload.limit": 100_000,
    "workload.volume": "sda",
}


def scenario_template(device: str, *, trace: str | None = None) -> str:
    """The file's text.  Lines ``#key = value`` show defaults or examples; all others make the scenario.

    Args:
        device: name or file of the device.
        trace: a trace to replay instead of generated I/O.

    Raises:
        BadInput: no such device.
    """
    facts = load_device(device)
    lines = [*_head(trace)]
    chosen = {**(_GENERATED if trace is None else {"workload.trace": trace, **_REPLAYED}), **_keys(facts)}
    hints = get_type_hints(Scenario)
    for section in _SECTIONS:
        lines += _section(section, hints[section], chosen)
    lines += _device(facts, device)
    if facts.keyslots is not None and facts.keyslots.count.value:
        lines += ["", "# What `blkcrypto compare` varies when it is not told.", "[vary]"]
        lines.append(f'"device.keyslots.count" = {list(_KEYSLOTS)}')
    else:
        lines += ["", *_comment("What `blkcrypto compare` varies when it is not told."), "#[vary]"]
        lines.append('#"keys.design" = ["none", "fscrypt-per-file"]')
    return "\n".join(lines) + "\n"


def _keys(device: Device) -> dict[str, object]:
    """What the device needs said about keys, so that Linux takes them."""
    if device.keyslots is None:
        return {"keys.engine": "fallback"}
    if "raw" not in device.keyslots.key_types:
        return {"keys.design": DEFAULT_DESIGN["hw-wrapped"], "keys.type": "hw-wrapped"}
    return {}


def _head(trace: str | None) -> Iterator[str]:
    about = "a trace" if trace is not None else "generated I/O"
    yield from _comment(
        f"A scenario of blkcrypto: {about} on an encrypted device.  It runs as it is; lines that begin with "
        "a # and a key show that key's default, or an example: take the # away and change the value."
    )
    question = "What does it cost when more files are in use than the device has keyslots?"
    yield ""
    yield 'name = "my-scenario"'
    yield f'question = "{question}"'


def _section(name: str, struct: type, chosen: Mapping[str, object]) -> Iterator[str]:
    yield ""
    yield from _comment(_prose(struct))
    yield f"[{name}]"
    yield from _fields(name, struct, chosen)


def _fields(section: str, struct: type, chosen: Mapping[str, object]) -> Iterator[str]:
    said = _attributes(struct)
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        path = f"{section}.{field.name}"
        yield from _explained(said.get(field.name, ""), hints[field.name])
        if path in chosen:
            yield _assignment(field.name, chosen[path])
        else:
            yield "#" + _assignment(field.name, _shown(path, field.default, hints[field.name]))


def _explained(words: str, hint: object) -> Iterator[str]:
    """What the docstring says about a key, what it may be, and the keys of a table in it."""
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices:
        words = f"{words} One of: {', '.join(str(choice) for choice in choices)}.".strip()
    struct = _nested(hint)
    about = [words, *([] if struct is None else [_prose(struct)])]
    for name, meaning in _attributes(struct).items() if struct is not None else ():
        about.append(meaning if meaning.startswith(f"{name}, ") else f"{name}: {meaning}")
    if any(about):
        yield ""
    for text in about:
        yield from _comment(text)


def _shown(path: str, default: object, hint: object) -> object:
    """The default, or an example where that says nothing."""
    if path in _EXAMPLES:
        return _EXAMPLES[path]
    if default is None or default is msgspec.NODEFAULT or default == ():
        return _example(hint)
    return default


def _example(hint: object) -> object:
    """Some value of the type ``hint``."""
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if hint is Quantiles:
        return Quantiles(points=((0.0, 50_000), (100.0, 90_000)), source="measured")
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint)
        return {
            field.name: _shown("", field.default, hints[field.name]) for field in msgspec.structs.fields(hint)
        }
    if get_origin(hint) is tuple:
        return [_example(get_args(hint)[0])]
    inner = [one for one in get_args(hint) if one is not type(None)]
    if inner:
        return _example(inner[0])
    return {int: 1, float: 0.5, str: "...", bool: True}.get(hint, "...") if isinstance(hint, type) else "..."


def _device(device: Device, name: str) -> Iterator[str]:
    yield ""
    yield from _comment(
        "The device: a name of `blkcrypto list devices`, or a device file.  Below are its figures; one that "
        "is changed here is `set by the scenario` in reports."
    )
    yield "[device]"
    yield f"base = {dumps(name, ensure_ascii=False)}"
    yield from ("#" + _assignment(key, getattr(device, key)) for key in ("name", "summary"))
    hints = get_type_hints(Device)
    for section in ("controller", "keyslots", "engine", "keywrap", "media", "host"):
        struct = next(one for one in (hints[section], *get_args(hints[section])) if isinstance(one, type))
        yield from _device_section(section, struct, getattr(device, section))


def _device_section(section: str, struct: type, part: object) -> Iterator[str]:
    yield ""
    yield from _comment(_prose(struct))
    if part is None:
        yield from _comment("This device has none; to give it one, give all of it.")
        others = (getattr(load_device(name), section) for name in shipped_devices())
        part = next(one for one in others if one is not None)
    yield f"#[device.{section}]"
    said = _attributes(struct)
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        value = getattr(part, field.name)
        yield from _explained(said.get(field.name, ""), hints[field.name])
        yield "#" + _assignment(field.name, _shown(field.name, value, hints[field.name]))


def _nested(hint: object) -> type[msgspec.Struct] | None:
    """The struct of a table, or of a list of tables, that has keys of its own to explain."""
    for one in (hint, *get_args(hint)):
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and one not in (Figure, Quantiles):
            return one
    return None


def _assignment(name: str, value: object) -> str:
    return f"{name} = {_toml(name, value)}"


def _toml(name: str, value: object) -> str:
    """``value`` of the field ``name`` as TOML, quantities with their units."""
    if isinstance(value, Figure):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        words = spell(name, value)
        return words if words.isdigit() else dumps(words)
    if isinstance(value, str):
        return dumps(value, ensure_ascii=False)
    if isinstance(value, msgspec.Struct):
        value = {key: getattr(value, key) for key in value.__struct_fields__}
    if isinstance(value, dict):
        return f"{{ {', '.join(_assignment(key, inner) for key, inner in value.items())} }}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(name, inner) for inner in value)}]"
    return repr(value)


def _prose(struct: type) -> str:
    """A docstring up to what it says about single attributes."""
    return _plain(re.split(r"\n\s*\n\s*(?:Attributes|Raises):", _doc(struct))[0])


def _attributes(struct: type) -> dict[str, str]:
    """What a docstring says about each attribute; of names that share a line, the first has it, all named."""
    found = re.search(r"Attributes:\n(.*?)(?:\n\n|\Z)", _doc(struct), re.DOTALL)
    said: dict[str, str] = {}
    for entry in re.split(r"\n(?! )", textwrap.dedent(found[1])) if found else ():
        names, _, words = entry.partition(": ")
        first, *others = names.split(", ")
        said[first] = f"{names}: {_plain(words)}" if others else _plain(words)
    return said


def _doc(struct: type) -> str:
    return textwrap.dedent("    " + (struct.__doc__ or "")).strip()


def _plain(words: str) -> str:
    words = re.sub(r"\s+", " ", words.replace("``", "`")).strip()
    return words[:1].upper() + words[1:]


def _comment(words: str) -> Iterator[str]:
    for line in textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
