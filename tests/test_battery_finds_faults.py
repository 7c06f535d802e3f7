"""The battery is only worth what it finds: a faultless design passes, and a planted fault fails its step."""

import errno
import hashlib
from collections.abc import Sequence

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.attacker import Image
from blkcrypto.fs.battery.attacks import Attack, detection
from blkcrypto.fs.battery.rows import Row
from blkcrypto.fs.battery.subject import Limits, Loot, Place, Subject
from blkcrypto.fs.battery.trial import STEPS, Outcome, run_battery
from tests.battery_world import rng

UNIT = 4096


class NoKey(BlkCryptoError):
    errno = errno.ENOKEY


class NoKeyByAnotherName(BlkCryptoError):
    errno = errno.EACCES


class NotThere(BlkCryptoError):
    errno = errno.ENOENT


class Ideal:
    """Files in a dictionary.  What the device shows of a unit is a digest of it, at an address of its own.

    Args:
        wrong: which read of the file ``tiny`` gives wrong bytes, counted from 0.
    """

    name = "ideal"

    def __init__(self, wrong: int = -1) -> None:
        self.files: dict[str, bytes] = {}
        self.has_key = False
        self._generation = 0
        self._wrong = wrong
        self._reads = 0

    def add_key(self) -> None:
        self.has_key = True

    def remove_key(self) -> bool:
        self.has_key = False
        return True

    def write(self, path: str, pos: int, data: bytes) -> None:
        old = self.files.get(path, b"").ljust(pos, b"\0")
        self.files[path] = old[:pos] + data + old[pos + len(data) :]

    def read(self, path: str) -> bytes:
        if not self.has_key:
            raise NoKey("the key is not there")
        if path not in self.files:
            raise NotThere(path)
        if path == "tiny":
            self._reads += 1
            if self._reads - 1 == self._wrong:
                return b"wrong"
        return self.files[path]

    def sync(self) -> None:
        pass

    def remount(self) -> None:
        self.has_key = False

    def move(self) -> int:
        self._generation += 1
        return len(self.image().units)

    def truncate(self, path: str, size: int) -> None:
        self.files[path] = self.files[path][:size].ljust(size, b"\0")

    def delete(self, path: str) -> None:
        if path not in self.files:
            raise NotThere(path)
        del self.files[path]

    def delete_without_key(self) -> bool:
        self.files.popitem()
        return True

    def image(self) -> Image:
        units = [
            hashlib.sha256(f"{path} {at}".encode() + data[at : at + UNIT]).digest()
            for path, data in self.files.items()
            for at in range(0, len(data), UNIT)
        ]
        return Image(units={1000 * self._generation + at: unit for at, unit in enumerate(units)})

    def save(self) -> object:
        return dict(self.files)

    def restore(self, saved: object) -> None:
        assert isinstance(saved, dict)
        self.files = dict(saved)
        self.has_key = False

    def places(self, path: str) -> Sequence[Place]:
        return [Place(path, unit) for unit in range(-(-len(self.files[path]) // UNIT))]

    def lift(self, place: Place) -> Loot:
        raise NotImplementedError

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        raise NotImplementedError


class Snapshotting(Ideal):
    """One that keeps states of all files by itself."""

    def snapshot(self) -> None:
        self._kept = dict(self.files)

    def read_snapshot(self, path: str) -> bytes:
        return self._kept[path]


def outcomes(subject: Subject, limits: Limits | None = None) -> list[Outcome]:
    return list(run_battery(subject, rng(2), limits))


def failed(subject: Subject, limits: Limits | None = None) -> list[str]:
    return [outcome.step for outcome in outcomes(subject, limits) if not outcome.passed]


def test_a_design_without_faults_passes_every_step() -> None:
    assert [(outcome.step, outcome.passed, outcome.taken) for outcome in outcomes(Ideal())] == [
        (step, True, True) for step in STEPS
    ]


def test_steps_say_how_much_was_copied_and_moved_and_who_made_the_snapshot() -> None:
    # Units: 10 of a (9 and 77 bytes), 8 of b (12293 + 18200 bytes), 1 each of tiny and small; 10 of the copy.
    assert {outcome.step: outcome.saw for outcome in outcomes(Ideal()) if outcome.saw} == {
        "copy": "10 units written",
        "snapshot": "of the device below",
        "move": "30 units",
    }
    assert [o.saw for o in outcomes(Snapshotting()) if o.step == "snapshot"] == ["by the filesystem"]


COMPARED = [
    *["write and read back"] * 2,  # before and after the files are synced
    "remount",
    *["copy"] * 2,  # as it was made, and once it was changed
    *["snapshot"] * 2,  # the present, and the snapshot
    "move",
    *["truncate"] * 4,  # at three sizes, and when it has grown again
    "delete",
    "remove the key",
]  # fmt: skip


@pytest.mark.parametrize("wrong", range(len(COMPARED)))
def test_a_file_that_reads_wrongly_once_fails_the_step_in_which_it_does(wrong: int) -> None:
    assert failed(Ideal(wrong)) == [COMPARED[wrong]]


def test_files_are_compared_no_more_often_than_that() -> None:
    assert failed(Ideal(len(COMPARED))) == []


class KeySurvivesRemounting(Ideal):
    def remount(self) -> None:
        pass


class KeyIsRestoredWithTheDevice(Ideal):
    def restore(self, saved: object) -> None:
        super().restore(saved)
        self.has_key = True


class KeyStays(Ideal):
    def remove_key(self) -> bool:
        return True


class KeyIsBusy(Ideal):
    def remove_key(self) -> bool:
        super().remove_key()
        return False


class RefusesWithAnotherErrno(Ideal):
    def read(self, path: str) -> bytes:
        if not self.has_key:
            raise NoKeyByAnotherName("not allowed")
        return super().read(path)


class StoresPlaintext(Ideal):
    def image(self) -> Image:
        contents = b"".join(self.files.values())
        units = {at: contents[at : at + UNIT] for at in range(0, len(contents), UNIT)}
        return Image(units={at + 10**9 * self._generation: unit for at, unit in units.items()})


class StoresOneNameInClear(Ideal):
    def image(self) -> Image:
        return Image(units=super().image().units, names=tuple(self.files.values()))


class CopiesShareForEver(Ideal):
    def duplicate(self, source: str, target: str) -> None:
        self.files[target] = self.files[source]

    def write(self, path: str, pos: int, data: bytes) -> None:
        super().write(path, pos, data)
        if path == "c":
            super().write("a", pos, data)


class SnapshotsChange(Snapshotting):
    def read_snapshot(self, path: str) -> bytes:
        return self.files[path]


class MovesNothing(Ideal):
    def move(self) -> int:
        return 0


class OnlySaysThatItMoved(Ideal):
    def move(self) -> int:
        return len(self.image().units)


class OldBytesComeBack(Ideal):
    def truncate(self, path: str, size: int) -> None:
        old = self.files[path]
        super().truncate(path, size)
        if size > len(old):
            self.files[path] = old + b"\1" * (size - len(old))


class OldBytesComeBackFromTheDevice(Ideal):
    """Reads zeroes from its cache, and old bytes once that is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._grown: dict[str, int] = {}

    def truncate(self, path: str, size: int) -> None:
        if size > len(self.files[path]):
            self._grown[path] = len(self.files[path])
        super().truncate(path, size)

    def remount(self) -> None:
        super().remount()
        for path, size in self._grown.items():
            self.files[path] = self.files[path][:size].ljust(len(self.files[path]), b"\1")


class DeletesNothing(Ideal):
    def delete(self, path: str) -> None:
        pass


class NeedsTheKeyToDelete(Ideal):
    def delete_without_key(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("design", "steps"),
    [
        (KeySurvivesRemounting, ["remount"]),
        (KeyIsRestoredWithTheDevice, ["snapshot"]),
        (KeyStays, ["remove the key"]),
        (KeyIsBusy, ["remove the key"]),
        # The remount ends before it adds the key, so there is no copy, and nothing to delete.
        (RefusesWithAnotherErrno, ["remount", "copy", "snapshot", "delete", "remove the key"]),
        (StoresPlaintext, ["write and read back"]),
        (StoresOneNameInClear, ["write and read back"]),
        # The first block of ``a`` is wrong until the key's removal begins by writing it.
        (CopiesShareForEver, ["copy", "snapshot", "move", "truncate", "delete"]),
        (SnapshotsChange, ["snapshot"]),
        (MovesNothing, ["move"]),
        (OnlySaysThatItMoved, ["move"]),
        (OldBytesComeBack, ["truncate", "delete", "remove the key"]),
        (OldBytesComeBackFromTheDevice, ["truncate", "delete", "remove the key"]),
        (DeletesNothing, ["delete"]),
        (NeedsTheKeyToDelete, ["delete without the key"]),
    ],
)
def test_each_fault_fails_the_steps_that_it_breaks(design: type[Ideal], steps: list[str]) -> None:
    assert failed(design()) == steps


def test_a_design_may_have_another_errno_for_a_missing_key_when_its_limits_say_so() -> None:
    assert failed(RefusesWithAnotherErrno(), Limits(no_key=errno.EACCES)) == []


def test_a_step_that_the_limits_exclude_is_not_taken_and_says_why() -> None:
    limits = Limits(without={"move": "blocks have no other place"})

    assert outcomes(MovesNothing(), limits)[4] == Outcome("move", True, "blocks have no other place", False)


class Shielded(Ideal):
    """A device on which nobody can change a unit."""

    def lift(self, place: Place) -> Loot:
        return Loot(bytes(UNIT))

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        pass


def test_an_attack_that_changes_nothing_leaves_its_victim_unharmed() -> None:
    row = Row(name="shielded", make=lambda _rng: Shielded())

    assert {detection(row, attack) for attack in Attack if attack is not Attack.ROLLBACK} == {"unharmed"}
    assert detection(row, Attack.ROLLBACK) == "accepted"
