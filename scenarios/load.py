"""Scenario and device files -> ``Scenario`` and ``Device``.

A scenario's ``device`` is the name of a shipped device, the path of a device file, or a table with ``base``
and changes: ``[device.keyslots] count = 8``.  A changed figure's source becomes ``set by the scenario``
unless the change brings its own.  ``sets`` are ``KEY=VALUE`` texts laid over the file
(``scenarios.files.overrides``); ``scenarios.files.document`` says how quantities are written.
"""

from collections import deque
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TypedDict, Unpack

import msgspec

from blkcrypto.base.errors import BadInput
from hwmodel.device import Device, Engine, Keyslots, KeyWrap
from scenarios import schema
from scenarios.files.check import check_device, check_scenario
from scenarios.files.document import Document, Table, canonical, decode, merged, parse_toml
from scenarios.files.nearest import nearest, nearest_file
from scenarios.files.overrides import put, sets_document
from scenarios.schema import Scenario

DEFAULT_DEVICE = {"raw": "ufs31-ice-raw", "hw-wrapped": "ufs40-ice-hwkm"}
DEFAULT_DESIGN = {"raw": "fscrypt-per-file", "hw-wrapped": "fscrypt-iv-ino-lblk-64"}
DEFAULT_QUEUE_DEPTH = 32


def shipped_scenarios() -> tuple[str, ...]:
    """Names of the scenarios in the package, sorted."""
    return _shipped("scenarios", "catalog")


def shipped_devices() -> tuple[str, ...]:
    """Names of the devices in the package, sorted."""
    return _shipped("hwmodel", "devices")


def load_device(name_or_path: str) -> Device:
    """A shipped device by name, or a device file by path.

    Raises:
        BadInput: no such device, or the file is wrong; says file, key and reason.
    """
    document, table = _device_table(name_or_path)
    device = decode(document, table, Device)
    check_device(device, document)
    return device


def load_scenario(name_or_path: str, *, sets: Sequence[str] = ()) -> Scenario:
    """A shipped scenario by name, or a scenario file by path, with ``sets`` laid over it.

    Raises:
        BadInput: no such scenario, or file or ``sets`` are wrong; says file, key and reason.
    """
    return _scenario(_read(name_or_path, "scenarios", "catalog", "scenario"), sets)


_LARGEST_FILE_BYTES = 1 << 20
_OPTIONAL_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "keyslots": Keyslots,
    "engine": Engine,
    "keywrap": KeyWrap,
}


class ReplayOptions(TypedDict, total=False):
    """Options of ``blkcrypto replay``, in the model's units; None is as good as not given."""

    device: str | None
    format: str | None
    columns: str | None
    volume: str | None
    skip_bad_lines: bool | None
    limit: int | None
    time_range: tuple[int, int] | None
    sort_window: int | None
    sample_files: float | None
    design: str | None
    keys: str | None
    engine: str | None
    keyslots: int | None
    program_time: int | None
    data_unit_size: int | None
    file_size: int | None
    queue_depth: int | None
    payload: str | None
    pace: str | None
    media: str | None
    time_scale: float | None
    warmup: int | None
    seed: int | None


_REPLAY_KEYS = {
    "device": "device.base",
    "format": "workload.format",
    "columns": "workload.columns",
    "volume": "workload.volume",
    "skip_bad_lines": "workload.skip_bad_lines",
    "limit": "workload.limit",
    "sort_window": "workload.sort_window",
    "sample_files": "workload.sample_files",
    "design": "keys.design",
    "keys": "keys.type",
    "engine": "keys.engine",
    "keyslots": "device.keyslots.count",
    "data_unit_size": "keys.data_unit_size",
    "file_size": "layout.file_size_bytes",
    "queue_depth": "run.queue_depth",
    "payload": "run.payload",
    "pace": "run.pace",
    "media": "run.media",
    "time_scale": "run.time_scale",
    "warmup": "run.warmup",
    "seed": "run.seed",
}


def replay_scenario(trace: str, *, sets: Sequence[str] = (), **options: Unpack[ReplayOptions]) -> Scenario:
    """The scenario that the options of ``blkcrypto replay`` describe.

    What is not given follows from the rest: hardware-wrapped keys take a device and a design that support
    them, a device without inline encryption hardware takes the fallback, a queue depth means
    ``pace = "asap"``, and files smaller than an extent make extents smaller.

    Raises:
        BadInput: options that do not go together.
    """
    given: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    keys = str(given.get("keys", "raw"))
    device = str(given.setdefault("device", DEFAULT_DEVICE.get(keys, DEFAULT_DEVICE["raw"])))
    given.setdefault("design", DEFAULT_DESIGN.get(keys, DEFAULT_DESIGN["raw"]))
    if "engine" not in given:
        given["engine"] = "inline" if "keyslots" in _device_table(device)[1] else "fallback"
    given.setdefault("pace", "asap" if "queue_depth" in given else "recorded")
    if given["pace"] == "asap":
        given.setdefault("queue_depth", DEFAULT_QUEUE_DEPTH)
    what = trace if trace.startswith("builtin:") else Path(trace).name
    what = "standard input" if trace == "-" else what
    document = Document(
        "replay", {"name": "replay", "question": f"What does {what} cost when it is encrypted?"}
    )
    put(document.data, "workload.trace", trace)
    begin_and_end = given.pop("time_range", None)
    if isinstance(begin_and_end, tuple):
        for key, time_ns in zip(("workload.begin_ns", "workload.end_ns"), begin_and_end, strict=True):
            put(document.data, key, time_ns)
            document.options[key] = "--time-range"
    for name, value in given.items():
        key = _REPLAY_KEYS.get(name) or f"device.keyslots.program_{keys.replace('-', '_')}_ns"
        put(document.data, key, value)
        if options.get(name) is not None:
            document.options[key] = f"--{name.replace('_', '-')}"
    small = given.get("file_size")
    if isinstance(small, int) and small < schema.Layout().extent_bytes:
        put(document.data, "layout.extent_bytes", small)
    return _scenario(document, sets)


def _scenario(document: Document, sets: Sequence[str]) -> Scenario:
    data = dict(document.data)
    data.setdefault("name", Path(document.file).stem)
    changes = sets_document(sets)
    document.options.update(changes.options)
    device_table = data.pop("device", None)
    device_changes = changes.data.pop("device", {})
    for table in (data, changes.data):
        if "vary" in table:
            table["vary"] = _vary(document, table["vary"])
    result = merged(canonical(document, data, Scenario), canonical(changes, changes.data, Scenario))
    _anchor_trace(document, result)
    if device_table is None and not device_changes:
        raise BadInput('missing: name one, as device = "ufs31-ice-raw"', where=document.where("device"))
    result["device"] = _device(document, changes, device_table, device_changes)
    scenario = decode(document, result, Scenario)
    check_scenario(scenario, document)
    return scenario


def _device(document: Document, changes: Document, table: object, more: object) -> Table:
    """The base device with the scenario's changes, then those of ``sets``."""
    layers: list[tuple[Document, Table]] = []
    for owner, layer in ((document, table), (changes, more)):
        if isinstance(layer, str):
            layer = {"base": layer}
        if layer is not None and not isinstance(layer, dict):
            raise BadInput("expected a device's name or a table", where=owner.where("device"))
        layers.append((owner, dict(layer or {})))
    result: Table = {}
    anchor, base = document, None
    for owner, layer in layers:
        if "base" in layer:
            anchor, base = owner, layer.pop("base")
    if base is not None:
        if not isinstance(base, str):
            raise BadInput("expected a device's name", where=anchor.where("device.base"))
        beside = Path(anchor.file).parent / base
        result = _device_table(str(beside) if anchor is document and beside.is_file() else base)[1]
    for owner, layer in layers:
        table = canonical(owner, layer, Device, "device")
        for section in _OPTIONAL_SECTIONS.keys() & table.keys() - result.keys() if result else ():
            _check_new_section(owner, section, table[section], str(base))
        result = merged(result, table)
    return result


def _check_new_section(document: Document, section: str, table: object, base: str) -> None:
    """A section that the base device lacks has to be given whole: there is nothing to change."""
    needed = {field.name for field in msgspec.structs.fields(_OPTIONAL_SECTIONS[section]) if field.required}
    if isinstance(table, dict) and not needed <= table.keys():
        what = f"device {base} has no {section}: take another device, or give the whole section"
        raise BadInput(what, where=document.where(f"device.{section}"))


def _device_table(name_or_path: str) -> tuple[Document, Table]:
    document = _read(name_or_path, "hwmodel", "devices", "device")
    table = canonical(document, document.data, Device)
    decode(document, table, Device)  # an error in the file is the file's, not the scenario's
    return document, table


def _vary(document: Document, value: object) -> Table:
    """``[vary]`` as dotted key -> texts; ``keyslots = [1, 2]`` and ``keys.type = ["raw"]`` are both fine."""
    flat: Table = {}
    pending: deque[tuple[str, object]] = deque([("", value)])
    while pending:
        prefix, table = pending.popleft()
        if not isinstance(table, dict):
            raise BadInput("expected a table of keys and lists of values", where=document.where("vary"))
        for name, item in table.items():
            key = f"{prefix}{name}"
            if isinstance(item, dict):
                pending.append((f"{key}.", item))
                continue
            items = item if isinstance(item, list) else [item]
            flat[key] = [str(one).lower() if isinstance(one, bool) else str(one) for one in items]
    return flat


def _anchor_trace(document: Document, table: Table) -> None:
    """A relative trace path in a scenario file is meant from where the file is."""
    workload = table.get("workload")
    if not isinstance(workload, dict) or "workload.trace" in document.options:
        return
    trace = workload.get("trace")
    if isinstance(trace, str) and trace != "-" and not trace.startswith("builtin:"):
        beside = Path(document.file).parent / trace
        if beside.is_file():
            workload["trace"] = str(beside)


def _shipped(package: str, folder: str) -> tuple[str, ...]:
    entries = resources.files(package).joinpath(folder).iterdir()
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml"))
    )


def _read(name_or_path: str, package: str, folder: str, kind: str) -> Document:
    """A shipped file by name, else a file by path."""
    names = _shipped(package, folder)
    if name_or_path in names:
        text = resources.files(package).joinpath(folder, f"{name_or_path}.toml").read_text(encoding="utf-8")
        return parse_toml(text, f"{name_or_path}.toml")
    path = Path(name_or_path)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE_BYTES + 1)
        if len(data) > _LARGEST_FILE_BYTES:
            what = f"more than {_LARGEST_FILE_BYTES >> 20} MiB: this is no {kind}"
            raise BadInput(what, where=name_or_path)
        return parse_toml(data.decode("utf-8"), name_or_path)
    except FileNotFoundError:
        meant = nearest_file(name_or_path) if path.suffix or len(path.parts) > 1 else ""
        meant = meant or nearest(name_or_path, names)
        what = f"no {kind} of this name is shipped, and there is no such file{meant}"
        raise BadInput(what, where=name_or_path) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 text at byte {error.start}", where=name_or_path) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"cannot read it: {reason}", where=name_or_path) from None
