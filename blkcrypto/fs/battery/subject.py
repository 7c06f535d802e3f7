"""What a key design offers to be tried and attacked: files on an emulated device."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from blkcrypto.fs.attacker import Image


class Place(NamedTuple):
    """A unit of contents: the smallest piece that is encrypted, or that the device keeps, on its own.

    Attributes:
        path: of the file.
        unit: its index in the file.
    """

    path: str
    unit: int


@dataclass(frozen=True, slots=True)
class Loot:
    """What an attacker copies from the device.

    Attributes:
        ciphertext: the unit's.
        beside: what the device keeps for this unit alone: tag and IV, header of a node; empty for nothing.
    """

    ciphertext: bytes
    beside: bytes = b""


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
        """Unmount and mount: nothing stays in memory, no key is there; raises what could not be written."""

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

    def save(self) -> object:
        """A copy of everything on the device, for ``restore``."""

    def restore(self, saved: object) -> None:
        """Have the device as it was, unmounted and mounted again: no key is there."""

    def places(self, path: str) -> Sequence[Place]:
        """The file's units on the device, everything written back.

        The key must be there for this and the next two: the trial has to find by name what an attacker finds
        in metadata, or by trying.
        """

    def lift(self, place: Place) -> Loot:
        """Copy a unit."""

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        """Overwrite a unit, as somebody without a key can; shows after ``remount``.

        Args:
            place: where.
            loot: what; of the size of what is there.
            mend: also put ``beside`` there, and make every unkeyed checksum fit; else only the ciphertext.
        """


@runtime_checkable
class Shares(Protocol):
    """A subject whose files can share contents."""

    def duplicate(self, source: str, target: str) -> None:
        """Make ``target`` a copy without writing contents."""


@runtime_checkable
class Snapshots(Protocol):
    """A subject that keeps states of all its files by itself."""

    def snapshot(self) -> None:
        """Keep the present state."""

    def read_snapshot(self, path: str) -> bytes:
        """A file as it was at the last snapshot."""


class Held(Protocol):
    """An open file."""

    def read(self, pos: int, length: int) -> bytes:
        """Read what is not cached from the device."""

    def write(self, pos: int, data: bytes) -> object:
        """Write, not necessarily to the device yet."""

    def fsync(self) -> None:
        """Write back."""

    def close(self) -> None:
        """Close."""


@runtime_checkable
class Opens(Protocol):
    """A subject whose files can be held open."""

    def hold(self, path: str) -> Held:
        """Open a file."""


def copy_file(subject: Subject, source: str, target: str) -> None:
    """Make ``target`` a copy, by sharing where the subject can."""
    if isinstance(subject, Shares):
        subject.duplicate(source, target)
    else:
        subject.write(target, 0, subject.read(source))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a design cannot do.

    Attributes:
        without: steps of the battery that the design cannot have, and why.
        no_key: errno of reading a file when its key is not there.
    """

    without: Mapping[str, str] = field(default_factory=dict)
    no_key: int = errno.ENOKEY
