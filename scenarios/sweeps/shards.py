"""The traces and volumes that a pattern among varied values stands for.

``workload.trace = volumes/*.parquet`` is every file there, and ``workload.volume = *`` every volume that the
scenario's trace has: each becomes a point of its own.
"""

from collections.abc import Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from blkcrypto.base.errors import BadInput
from scenarios.files.overrides import dotted_key
from scenarios.load import load_scenario
from scenarios.source import trace_path
from scenarios.traces.reader import open_trace

_EVERY: Final = "*"


def expanded(
    vary: Mapping[str, Sequence[str]], name_or_path: str, sets: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """``vary`` with patterns replaced by what they stand for, in order of name.

    Raises:
        BadInput: a pattern stands for nothing, or the trace tells no volumes.
    """
    found = {}
    for key, values in vary.items():
        if dotted_key(key) == "workload.trace":
            values = [path for value in values for path in _traces(value)]
        elif dotted_key(key) == "workload.volume" and _EVERY in values:
            values = _volumes(name_or_path, sets)
        found[key] = tuple(values)
    return found


def _traces(value: str) -> list[str]:
    if not has_magic(value) or Path(value).exists():
        return [value]
    # Absolute, for workers that run elsewhere.
    paths = sorted(str(Path(path).absolute()) for path in glob(value))
    if not paths:
        raise BadInput("no file has a name like this", where=value)
    return paths


def _volumes(name_or_path: str, sets: Sequence[str]) -> list[str]:
    """Names of the volumes of the scenario's trace, which is read through."""
    workload = load_scenario(name_or_path, sets=sets).workload
    if workload.trace is None:
        raise BadInput("generated I/O has no volumes: name a trace", where="workload.volume")
    with open_trace(
        trace_path(workload.trace),
        format=workload.format,
        columns=workload.columns,
        skip_bad_lines=workload.skip_bad_lines,
    ) as reader:
        for _ in reader.batches():
            pass
        if not reader.volumes:
            raise BadInput(f"a trace in format {reader.format} tells no volumes", where="workload.volume")
        return sorted(reader.volumes)
