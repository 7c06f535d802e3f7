"""The same trial for every key design, from writing and remounting to removal of the key.

A design takes part by offering ``Subject``.  Each step acts on files and compares them with a plain model; it
ends in an ``Outcome``, so that a table of designs can show which step failed and how.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.attacker import Image, leaks, runs_of, two_images

_BLOCK: Final = 4096


class Subject(Protocol):
    """A filesystem on an emulated device, keyed by one design.  Errors are ``BlkCryptoError``."""

    @property
    def name(self) -> str:
        """The design's."""

    def add_key(self) -> None:
        """Make the master key present."""

    def remove_key(self) -> bool:
        """Remove it; whether nothing was left in the way."""

    def write(self, path: str, pos: int, data: bytes) -> None:
        """Write a file, made if needed, and close it."""

    def read(self, path: str) -> bytes:
        """A whole file."""

    def sync(self) -> None:
        """Write everything back."""

    def remount(self) -> None:
        """Unmount and mount: nothing stays in memory, no key is there."""

    def duplicate(self, source: str, target: str) -> None:
        """Make ``target`` a copy, by sharing where the filesystem can."""

    def snapshot(self) -> None:
        """Keep the present state of all files, where the filesystem can; else do nothing."""

    def read_snapshot(self, path: str) -> bytes | None:
        """A file of the last snapshot; None where there are no snapshots."""

    def move(self) -> int:
        """Move contents on the device without any key; units moved, 0 where the design cannot."""

    def truncate(self, path: str, size: int) -> None:
        """End a file at ``size``."""

    def delete(self, path: str) -> None:
        """Delete a file."""

    def delete_without_key(self) -> bool:
        """Delete some file though no key is there; whether the filesystem can."""

    def image(self) -> Image:
        """The device as it is now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step went.

    Attributes:
        step: its name.
        passed: whether all it compared was as it should be.
        saw: what was wrong, or what is worth knowing.
    """

    step: str
    passed: bool
    saw: str = ""


class BatteryFailure(Exception):
    """A step found something wrong."""


@dataclass(slots=True)
class _Trial:
    subject: Subject
    rng: np.random.Generator
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, path: str, pos: int, data: bytes) -> None:
        self.subject.write(path, pos, data)
        old = self.files.get(path, b"").ljust(pos, b"\0")
        self.files[path] = old[:pos] + data + old[pos + len(data) :]

    def compare(self) -> None:
        for path, data in self.files.items():
            if self.subject.read(path) != data:
                raise BatteryFailure(f"{path} does not read as written")

    def refused(self, act: Callable[[], object], number: int) -> None:
        try:
            act()
        except BlkCryptoError as error:
            if error.errno != number:
                raise BatteryFailure(f"{error}, where errno {number} was due") from None
            return
        raise BatteryFailure(f"it worked, where errno {number} was due")


def _write(trial: _Trial) -> str:
    trial.subject.add_key()
    trial.write("a", 0, trial.rng.bytes(9 * _BLOCK + 77))
    trial.write("b", 3 * _BLOCK + 5, b"text that would stand out " * 700)
    trial.compare()
    trial.subject.sync()
    trial.write("a", _BLOCK + 9, trial.rng.bytes(2 * _BLOCK))
    trial.subject.sync()
    trial.compare()
    found = leaks(trial.subject.image(), (run for data in trial.files.values() for run in runs_of(data)))
    if found:
        raise BatteryFailure(f"{len(found)} runs of plaintext lie on the device")
    return ""


def _remount(trial: _Trial) -> str:
    trial.subject.remount()
    trial.refused(lambda: trial.subject.read("a"), errno.ENOKEY)
    trial.subject.add_key()
    trial.compare()
    return ""


def _duplicate(trial: _Trial) -> str:
    before = len(trial.subject.image().units)
    trial.subject.duplicate("a", "c")
    trial.files["c"] = trial.files["a"]
    trial.subject.sync()
    grown = len(trial.subject.image().units) - before
    trial.compare()
    trial.write("c", 0, trial.rng.bytes(_BLOCK))
    trial.subject.sync()
    trial.compare()
    return f"{grown} units written"


def _snapshot(trial: _Trial) -> str:
    trial.subject.snapshot()
    kept = dict(trial.files)
    trial.write("a", 2 * _BLOCK, trial.rng.bytes(3 * _BLOCK))
    trial.subject.sync()
    trial.compare()
    for path, data in kept.items():
        seen = trial.subject.read_snapshot(path)
        if seen is None:
            return "no snapshots"
        if seen != data:
            raise BatteryFailure(f"the snapshot's {path} changed")
    return ""


def _move(trial: _Trial) -> str:
    trial.subject.remount()
    before = trial.subject.image()
    units = trial.subject.move()
    seen = two_images(before, trial.subject.image())
    if units and not seen.moved:
        raise BatteryFailure("units moved, but no ciphertext stands elsewhere now")
    trial.subject.add_key()
    trial.compare()
    return f"{units} units moved without a key"


def _truncate(trial: _Trial) -> str:
    for size in (5 * _BLOCK + 100, 5 * _BLOCK, 17):
        trial.subject.truncate("a", size)
        trial.files["a"] = trial.files["a"][:size]
        trial.compare()
    trial.subject.truncate("a", 2 * _BLOCK)
    trial.files["a"] = trial.files["a"].ljust(2 * _BLOCK, b"\0")
    trial.subject.sync()
    trial.subject.remount()
    trial.subject.add_key()
    trial.compare()
    return ""


def _delete(trial: _Trial) -> str:
    trial.subject.delete("c")
    del trial.files["c"]
    trial.refused(lambda: trial.subject.read("c"), errno.ENOENT)
    trial.compare()
    return ""


def _remove_key(trial: _Trial) -> str:
    trial.write("a", 0, trial.rng.bytes(_BLOCK))
    if not trial.subject.remove_key():
        raise BatteryFailure("closed files kept the key from going")
    trial.refused(lambda: trial.subject.read("a"), errno.ENOKEY)
    trial.subject.add_key()
    trial.compare()
    return "dirty data was written first"


def _delete_without_key(trial: _Trial) -> str:
    trial.subject.remount()
    return "works" if trial.subject.delete_without_key() else "needs the key"


STEPS: Final[dict[str, Callable[[_Trial], str]]] = {
    "write and read back": _write,
    "remount": _remount,
    "copy": _duplicate,
    "snapshot": _snapshot,
    "move": _move,
    "truncate": _truncate,
    "delete": _delete,
    "remove the key": _remove_key,
    "delete without the key": _delete_without_key,
}


def run_battery(subject: Subject, rng: np.random.Generator) -> Iterator[Outcome]:
    """Every step in order, on a filesystem without files; a failed step does not end the trial."""
    trial = _Trial(subject, rng)
    for name, step in STEPS.items():
        try:
            saw = step(trial)
        except (BlkCryptoError, BatteryFailure) as error:
            yield Outcome(name, False, str(error))
        else:
            yield Outcome(name, True, saw)
