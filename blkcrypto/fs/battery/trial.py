"""The same trial for every key design, from writing and remounting to removal of the key.

A design takes part by offering ``Subject``.  Each step acts on files and compares them with a plain model; it
ends in an ``Outcome``, so that a table of designs can show which step failed and how.  A step that the design
cannot have (``Limits.without``) is not taken, and its outcome says why.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.attacker import leaks, runs_of, two_images
from blkcrypto.fs.battery.subject import Limits, Snapshots, Subject, copy_file

_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step went.

    Attributes:
        step: its name.
        passed: whether all it compared was as it should be.
        saw: what was wrong, or what is worth knowing; of a step not taken, why.
        taken: whether the design has such a step.
    """

    step: str
    passed: bool
    saw: str = ""
    taken: bool = True


class BatteryFailure(Exception):
    """A step found something wrong."""


@dataclass(slots=True)
class _Trial:
    subject: Subject
    rng: np.random.Generator
    no_key: int = errno.ENOKEY
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
    trial.write("tiny", 0, trial.rng.bytes(50))
    trial.write("small", 7, b"not even a page of text " * 90)
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
    trial.refused(lambda: trial.subject.read("a"), trial.no_key)
    trial.subject.add_key()
    trial.compare()
    return ""


def _duplicate(trial: _Trial) -> str:
    before = len(trial.subject.image().units)
    copy_file(trial.subject, "a", "c")
    trial.files["c"] = trial.files["a"]
    trial.subject.sync()
    grown = len(trial.subject.image().units) - before
    trial.compare()
    trial.write("c", 0, trial.rng.bytes(_BLOCK))
    trial.subject.sync()
    trial.compare()
    return f"{grown} units written"


def _snapshot(trial: _Trial) -> str:
    subject, kept = trial.subject, dict(trial.files)
    subject.sync()
    if isinstance(subject, Snapshots):
        subject.snapshot()
    device = subject.save()
    trial.write("a", 2 * _BLOCK, trial.rng.bytes(3 * _BLOCK))
    subject.sync()
    trial.compare()
    if not isinstance(subject, Snapshots):
        return _device_snapshot(trial, device, kept)
    for path, data in kept.items():
        if subject.read_snapshot(path) != data:
            raise BatteryFailure(f"the snapshot's {path} changed")
    return "by the filesystem"


def _device_snapshot(trial: _Trial, device: object, kept: dict[str, bytes]) -> str:
    """Read a copy of the device with the same key, then go back."""
    now, files = trial.subject.save(), trial.files
    trial.subject.restore(device)
    trial.files = kept
    try:
        trial.refused(lambda: trial.subject.read("a"), trial.no_key)
        trial.subject.add_key()
        trial.compare()
    finally:
        trial.files = files
        trial.subject.restore(now)
        trial.subject.add_key()
    return "of the device below"


def _move(trial: _Trial) -> str:
    trial.subject.remount()
    before = trial.subject.image()
    units = trial.subject.move()
    seen = two_images(before, trial.subject.image())
    trial.subject.add_key()  # also when it fails, for the steps after it
    if not units:
        raise BatteryFailure("nothing moved, and the design's limits do not say why")
    if not seen.moved:
        raise BatteryFailure("units moved, but no ciphertext stands elsewhere now")
    trial.compare()
    return f"{units} units"


def _truncate(trial: _Trial) -> str:
    for size in (5 * _BLOCK + 100, 5 * _BLOCK, 17):
        trial.subject.truncate("a", size)
        trial.files["a"] = trial.files["a"][:size]
        trial.compare()
    trial.subject.truncate("a", 2 * _BLOCK)
    trial.files["a"] = trial.files["a"].ljust(2 * _BLOCK, b"\0")
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
    trial.refused(lambda: trial.subject.read("a"), trial.no_key)
    trial.subject.add_key()
    trial.compare()
    return ""


def _delete_without_key(trial: _Trial) -> str:
    trial.subject.remount()
    if not trial.subject.delete_without_key():
        raise BatteryFailure("it needs the key, and the design's limits do not say so")
    return ""


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


def run_battery(
    subject: Subject, rng: np.random.Generator, limits: Limits | None = None
) -> Iterator[Outcome]:
    """Every step in order, on a filesystem without files; a failed step does not end the trial.

    Args:
        subject: its key not there.
        rng: of the data.
        limits: what the design cannot do; none unless given.
    """
    limits = Limits() if limits is None else limits
    trial = _Trial(subject, rng, limits.no_key)
    for name, step in STEPS.items():
        if name in limits.without:
            yield Outcome(name, True, limits.without[name], taken=False)
            continue
        try:
            saw = step(trial)
        except (BlkCryptoError, BatteryFailure) as error:
            yield Outcome(name, False, str(error))
        else:
            yield Outcome(name, True, saw)
