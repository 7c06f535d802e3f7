"""Removal of a key while a file is open and dirty: what each design lets the holder do, and what it loses.

What xfstests 580 and 595 expect of inodes: removal reports the file busy, the open file goes on reading and
writing, and nothing written is lost.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.battery.rows import Row
from blkcrypto.fs.battery.subject import Held, Opens, Subject

_SEED: Final = 6
_PATH: Final = "held"
_PART: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What happened, each ``ok`` or the name of an errno.

    Attributes:
        removal: ``busy`` when the removal said that the file is still in use.
        reads: reading a part that nobody had read before.
        writes: writing, and writing back.
        kept: which of two writes is there in the end: the one before removal, the one after.
    """

    removal: str
    reads: str
    writes: str
    kept: str


AS_INODES: Final = Aftermath(removal="busy", reads="ok", writes="ok", kept="both")
"""What users of fscrypt know, and what a design for extents must do as well."""


def removal_with_an_open_file(row: Row, *, file_bytes: int, new: bool) -> Aftermath | None:
    """Remove the key from under an open, dirty file; None where open files are not modelled.

    Args:
        row: the design.
        file_bytes: at least 48; small files are inline where data can be.
        new: the file is dirty since it was made; else it was written, and opened after a remount.
    """
    subject, rng = row.make(np.random.default_rng(_SEED)), np.random.default_rng(_SEED + 1)
    if not isinstance(subject, Opens):
        return None
    first, second, text = rng.bytes(_PART), rng.bytes(_PART), rng.bytes(file_bytes)
    subject.add_key()
    subject.write(_PATH, 0, text)
    if not new:
        subject.sync()
        subject.remount()
        subject.add_key()
    held = subject.hold(_PATH)
    held.write(0, first)
    removal = _ends(lambda: subject.remove_key(), False, "busy")
    reads = _ends(lambda: held.read(file_bytes - _PART, _PART) != text[-_PART:], True, "wrong")
    writes = _ends(lambda: _write(held, second), True, "wrong")
    held.close()
    return Aftermath(removal=removal, reads=reads, writes=writes, kept=_kept(subject, first + second))


def _ends(act: Callable[[], bool], bad: bool, word: str) -> str:
    """How ``act`` ends: ``ok``, ``word`` where it returns ``bad``, or an errno's name."""
    try:
        return word if act() is bad else "ok"
    except BlkCryptoError as error:
        return error.errno_name


def _write(held: Held, data: bytes) -> bool:
    held.write(_PART, data)
    held.fsync()
    return False


def _kept(subject: Subject, written: bytes) -> str:
    """Which of the two writes at the file's beginning survive a remount."""
    with suppress(BlkCryptoError):
        subject.remount()
    subject.add_key()
    seen = subject.read(_PATH)[: 2 * _PART]
    there = [seen[at : at + _PART] == written[at : at + _PART] for at in (0, _PART)]
    return {(True, True): "both", (True, False): "first", (False, True): "second"}.get(
        (there[0], there[1]), "none"
    )
