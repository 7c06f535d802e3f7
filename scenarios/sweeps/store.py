"""A sweep's folder: a file per finished point, and an index.

    points/DIGEST.json   one point's result, and what it adds to pooled ones, with a hash; whole or not there
    index.sqlite         one row per point: parameters, seed, digest, status, attempts, time spent, metrics
    results.json         all points in the order of the grid, once all have ended
    results.csv          the same as a table, less detailed
    merged.csv           pooled distributions, where several points answer one question

A point is finished when its file is there and its hash fits; one that was damaged since is run again.  The
index is for people and may be deleted.  Only one sweep at a
time writes to a folder.
"""

import fcntl
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from blkcrypto.base.errors import BadInput
from scenarios.report.files import write_text
from scenarios.sweeps.kept import Json, KeptPoint, unsealed
from scenarios.sweeps.point import Point

# Column, its SQL type, and where it is in a result.
METRICS: Final = (
    ("bios", "INTEGER", ("totals", "bios")),
    ("iops", "REAL", ("all", "iops")),
    ("bw_bytes", "REAL", ("all", "bw_bytes")),
    ("lat_mean_ns", "REAL", ("all", "lat_ns", "mean")),
    ("lat_p99_ns", "INTEGER", ("all", "lat_ns", "percentile", "99.000000")),
    ("keyslot_count", "INTEGER", ("keyslots", "count")),
    ("keyslot_hits", "INTEGER", ("keyslots", "hits")),
    ("keyslot_programs", "INTEGER", ("keyslots", "programs")),
    ("keyslot_waits", "INTEGER", ("keyslots", "waits")),
    ("sim_time_ns", "INTEGER", ("totals", "sim_time_ns")),
    ("mismatches", "INTEGER", ("data", "mismatches")),
)
_COLUMNS: Final = (
    ("number", "INTEGER PRIMARY KEY"),
    ("parameters", "TEXT"),
    ("repeat", "INTEGER"),
    ("seed", "INTEGER"),
    ("digest", "TEXT"),
    ("status", "TEXT"),
    ("attempts", "INTEGER"),
    ("error", "TEXT"),
    ("wall_s", "REAL"),
    *((name, kind) for name, kind, _ in METRICS),
)


def metrics(result: Json) -> dict[str, float | int | None]:
    """The figures of ``METRICS`` in a run's JSON object; None where it has none."""
    found: dict[str, float | int | None] = {}
    for name, _, keys in METRICS:
        value: object = result
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        found[name] = value if isinstance(value, int | float) else None
    return found


def kept_point(folder: Path, digest: str) -> KeptPoint | None:
    """A finished point; None when there is none, or its file was damaged."""
    try:
        return unsealed(_file(folder, digest).read_bytes())
    except OSError:
        return None


def _file(folder: Path, digest: str) -> Path:
    return folder / "points" / f"{digest}.json"


class Store:
    """The folder, open for one sweep.  Use it as a context.

    Raises:
        BadInput: it cannot be written, or another sweep has it open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._points = folder / "points"
        try:
            self._points.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("w")
        except OSError as error:
            raise BadInput(f"cannot write there: {error.strerror}", where=str(folder)) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise BadInput("another sweep is writing there", where=str(folder)) from None
        try:
            for left_over in self._points.glob(".*"):  # of a sweep that was killed
                left_over.unlink()
            self._spent, self._index = _new_index(folder / "index.sqlite")
        except (OSError, sqlite3.Error) as error:
            self._lock.close()
            raise BadInput(f"cannot write there: {error}", where=str(folder)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._index.close()
        self._lock.close()

    def result(self, digest: str) -> Json | None:
        """The result of a finished point; None when there is none, or its file was damaged."""
        kept = kept_point(self.folder, digest)
        return kept.result if kept is not None else None

    def save(self, digest: str, kept: str) -> None:
        """Keep a finished point, ``sealed``."""
        write_text(str(_file(self.folder, digest)), kept + "\n")

    def note(
        self,
        point: Point,
        status: str,
        *,
        attempts: int = 0,
        error: str = "",
        wall_s: float | None = None,
        result: Json | None = None,
    ) -> None:
        """Put a row into the index; without ``attempts``, with what an earlier sweep spent on the point."""
        if not attempts:
            attempts, wall_s = self._spent.get(point.digest, (0, None))
        row: Mapping[str, object] = {
            "number": point.number,
            "parameters": json.dumps(dict(point.labels), ensure_ascii=False),
            "repeat": point.repeat,
            "seed": point.seed,
            "digest": point.digest,
            "status": status,
            "attempts": attempts,
            "error": error,
            "wall_s": wall_s,
            **metrics(result or {}),
        }
        places = ", ".join(f":{name}" for name in row)
        try:
            self._index.execute(f"INSERT OR REPLACE INTO points ({', '.join(row)}) VALUES ({places})", row)
            self._index.commit()
        except sqlite3.Error as error:
            raise BadInput(f"cannot write it: {error}", where=str(self.folder / "index.sqlite")) from None


def _new_index(path: Path) -> tuple[dict[str, tuple[int, float | None]], sqlite3.Connection]:
    """An empty index, and what the one before says was spent: digest -> attempts and wall-clock seconds."""
    spent = {}
    with suppress(sqlite3.Error, ValueError, TypeError), closing(sqlite3.connect(path)) as before:
        rows = before.execute("SELECT digest, attempts, wall_s FROM points WHERE status = 'done'")
        spent = {digest: (int(attempts), wall_s) for digest, attempts, wall_s in rows}
    for file in (path, path.with_name(f"{path.name}-journal")):
        file.unlink(missing_ok=True)
    index = sqlite3.connect(path)
    index.execute(f"CREATE TABLE points ({', '.join(' '.join(column) for column in _COLUMNS)})")
    return spent, index
