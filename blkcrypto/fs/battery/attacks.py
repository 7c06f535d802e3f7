"""What each design detects: an attacker who writes the device but has no key, tried on every unit.

==========  ==============================================================================================
attack      what is done
==========  ==============================================================================================
damage      one bit of a unit's ciphertext flips, as a failing device might have it
flip        the same on purpose: what needs no key to compute (checksums, hashes of nodes) is made to fit
move        a unit, with what is stored beside it, is replaced by the next one
replay      a unit, with what is stored beside it, is replaced by what it was before
rollback    the whole device is replaced by what it was before
==========  ==============================================================================================

What is read then is an error, or the present contents, or contents that were written there earlier or
elsewhere (accepted), or noise, which nobody ever wrote; noise is counted in parts of 16 bytes.

Metadata in clear (sizes, names, where units lie) is not attacked: no design here protects it but those that
encrypt or authenticate the whole device.
"""

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.battery.rows import Row
from blkcrypto.fs.battery.subject import Loot, Place, Subject

_UNIT: Final = 4096
_FILES: Final = ("one", "two")
_BYTES: Final = 3 * _UNIT
_SMALL: Final = "small"
_SMALL_BYTES: Final = 48
_PART: Final = 16
_SEED: Final = 5


class Attack(enum.Enum):
    """The rows above."""

    DAMAGE = "damage"
    FLIP = "flip"
    MOVE = "move"
    REPLAY = "replay"
    ROLLBACK = "rollback"


class Verdict(enum.Enum):
    """What a reader gets."""

    ERROR = "error"
    NOISE = "noise"
    ACCEPTED = "accepted"
    UNHARMED = "unharmed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One attack on one unit.

    Attributes:
        place: the unit; None for the whole device.
        verdict: what was read.
        noise_bytes: how many bytes nobody wrote; -1 for as many as the unit shows.
    """

    place: Place | None
    verdict: Verdict
    noise_bytes: int = 0


@dataclass(slots=True)
class _Crime:
    """A subject with two versions of its files on the device.

    Attributes:
        subject: holds the second version.
        then: the device with the first.
        now: the device with the second.
        before: contents of the first.
        after: contents of the second.
        old: units of the first.
    """

    subject: Subject
    then: object
    now: object
    before: dict[str, bytes]
    after: dict[str, bytes]
    old: dict[Place, Loot]

    def read(self) -> dict[str, bytes]:
        """All files of the device as it is now, mounted again."""
        self.subject.remount()
        self.subject.add_key()
        return {path: self.subject.read(path) for path in self.after}


def _version(subject: Subject, rng: np.random.Generator) -> dict[str, bytes]:
    """Write all files anew."""
    sizes = dict.fromkeys(_FILES, _BYTES) | {_SMALL: _SMALL_BYTES}
    files = {path: rng.bytes(size) for path, size in sizes.items()}
    for path, data in files.items():
        subject.write(path, 0, data)
    return files


def _prepare(row: Row) -> _Crime:
    subject, rng = row.make(np.random.default_rng(_SEED)), np.random.default_rng(_SEED + 1)
    subject.add_key()
    before = _version(subject, rng)
    then = subject.save()
    old = {place: subject.lift(place) for path in before for place in subject.places(path)}
    after = _version(subject, rng)
    return _Crime(subject, then, subject.save(), before, after, old)


def _flipped(loot: Loot, number: int) -> Loot:
    """``loot`` with one bit flipped, another for each ``number``, in what even the small file shows."""
    changed = bytearray(loot.ciphertext)
    changed[5 * number % _SMALL_BYTES] ^= 1 << number % 8
    return Loot(bytes(changed), loot.beside)


def _planted(crime: _Crime, attack: Attack, number: int, places: list[Place]) -> Loot:
    place = places[number]
    if attack is Attack.REPLAY:
        return crime.old[place]
    if attack is Attack.MOVE:
        return crime.subject.lift(places[(number + 1) % len(places)])
    return _flipped(crime.subject.lift(place), number)


def attack_row(row: Row, attack: Attack) -> Iterator[Finding]:
    """Try ``attack`` on every unit of a fresh subject, each time on an untouched device."""
    crime = _prepare(row)
    if attack is Attack.ROLLBACK:
        crime.subject.restore(crime.then)
        yield _judge(crime, None)
        return
    crime.subject.restore(crime.now)
    crime.subject.add_key()
    places = [place for path in crime.after for place in crime.subject.places(path)]
    for number, place in enumerate(places):
        crime.subject.restore(crime.now)
        crime.subject.add_key()
        loot = _planted(crime, attack, number, places)
        crime.subject.plant(place, loot, mend=attack is not Attack.DAMAGE)
        yield _judge(crime, place)


def _judge(crime: _Crime, place: Place | None) -> Finding:
    try:
        seen = crime.read()
    except BlkCryptoError:
        return Finding(place, Verdict.ERROR)
    wrong = [path for path in crime.after if seen[path] != crime.after[path]]
    if not wrong:
        return Finding(place, Verdict.UNHARMED)
    written = b"".join((*crime.before.values(), *crime.after.values()))
    noise = sum(_noise_bytes(seen[path], written) for path in wrong)
    shown = min(_UNIT, *(len(crime.after[path]) for path in wrong))
    return Finding(place, Verdict.NOISE if noise else Verdict.ACCEPTED, -1 if noise >= shown else noise)


def _noise_bytes(seen: bytes, written: bytes) -> int:
    """Bytes of 16-byte parts that nobody ever wrote."""
    parts = (seen[at : at + _PART] for at in range(0, len(seen), _PART))
    return sum(len(part) for part in parts if part not in written)


def detection(row: Row, attack: Attack) -> str:
    """How ``attack`` ends, as a cell of a table: the verdict, or each with the number of units."""
    findings = list(attack_row(row, attack))
    counts = Counter(finding.verdict for finding in findings)
    noisy = sorted({finding.noise_bytes for finding in findings if finding.verdict is Verdict.NOISE})
    sizes = " or ".join("all" if size < 0 else f"{size} bytes" for size in noisy)
    return ", ".join(
        verdict.value
        + (f" in {sizes}" if verdict is Verdict.NOISE else "")
        + (f" ({count} of {len(findings)})" if len(counts) > 1 else "")
        for verdict, count in counts.items()
    )
