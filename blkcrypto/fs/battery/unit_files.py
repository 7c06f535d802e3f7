"""The smallest filesystem that can be: files in units, and one table of names, sizes and addresses.

It stands above designs that decide key and IV of a unit and nothing else: devices below a filesystem, seals,
extents, nodes.  The format of the table is ours.

Rules:

- The table is written with every ``sync``.  Where the design encrypts the whole device, the table goes
  through it too, at addresses 0 to 3, and without the key there is no table; else it is in clear.
- Contents are written at once.  What a write leaves of a unit at its ends is read first.
- Where the design copies on write, every write goes to new addresses, and files can share units; else units
  are overwritten where they are.
- Freed units keep their ciphertext until they are written again.
"""

import copy
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from blkcrypto.fs.attacker import Image
from blkcrypto.fs.battery.subject import Loot, Place
from blkcrypto.fs.battery.unit_medium import UnitMedium
from blkcrypto.fs.errors import NoSuchFile
from blkcrypto.fs.units import pieces

TABLE_UNITS: Final = 4
_LENGTH_BYTES: Final = 8


@dataclass(slots=True)
class FileRow:
    """A row of the table.

    Attributes:
        size: bytes.
        head: what the design stores with the file.
        units: address, and what is stored beside, by index; what is missing is a hole.
    """

    size: int
    head: bytes
    units: dict[int, tuple[int, bytes]] = field(default_factory=dict)


def _pack(files: dict[bytes, FileRow]) -> bytes:
    rows = []
    for name, file in files.items():
        units = [[index, address, label.hex()] for index, (address, label) in file.units.items()]
        rows.append([name.hex(), file.size, file.head.hex(), units])
    return json.dumps(rows).encode()


def _unpack(table: bytes) -> dict[bytes, FileRow]:
    return {
        bytes.fromhex(name): FileRow(
            size, bytes.fromhex(head), {i: (a, bytes.fromhex(label)) for i, a, label in units}
        )
        for name, size, head, units in json.loads(table)
    }


class UnitSubject:
    """``battery.Subject`` over a medium.

    Args:
        medium: unused as yet, its key not there.
    """

    def __init__(self, medium: UnitMedium) -> None:
        self.medium = medium
        self._table = b""
        self._files: dict[bytes, FileRow] | None = {}
        self._next = TABLE_UNITS
        self._free: list[int] = []

    @property
    def name(self) -> str:
        """The design's."""
        return self.medium.name

    @property
    def files(self) -> dict[bytes, FileRow]:
        """The table, read if needed; raises without the key where the design hides it."""
        if self._files is None:
            self._files = _unpack(self._hidden_table() if self.medium.hides_table else self._table)
        return self._files

    def _hidden_table(self) -> bytes:
        text = b"".join(self.medium.read(b"", at, at, b"") for at in range(TABLE_UNITS))
        length = int.from_bytes(text[:_LENGTH_BYTES], "little")
        return text[_LENGTH_BYTES : _LENGTH_BYTES + length]

    def add_key(self) -> None:
        """See ``Subject``."""
        self.medium.add_key()

    def remove_key(self) -> bool:
        """See ``Subject``."""
        self.sync()
        self.medium.remove_key()
        self._files = None
        return True

    def sync(self) -> None:
        """See ``Subject``: only the table is ever dirty."""
        if self._files is None:
            return
        table = _pack(self._files)
        if table == self._table:
            return
        self._table = table
        if self.medium.hides_table:
            text = len(table).to_bytes(_LENGTH_BYTES, "little") + table
            room = TABLE_UNITS * self.medium.unit_bytes
            assert len(text) <= room, "the battery's files need a larger table"
            self.medium.write(b"", 0, range(TABLE_UNITS), text.ljust(room, b"\0"))

    def remount(self) -> None:
        """See ``Subject``."""
        self.remove_key()

    def _file(self, path: str) -> FileRow:
        stored = self.medium.stored_name(path)
        if stored not in self.files:
            raise NoSuchFile(f"no file {path!r}")
        return self.files[stored]

    def _allocate(self) -> int:
        if self._free:
            return self._free.pop()
        self._next += 1
        return self._next - 1

    def write(self, path: str, pos: int, data: bytes) -> None:
        """See ``Subject``."""
        stored = self.medium.stored_name(path)
        if stored not in self.files:
            self.files[stored] = FileRow(0, self.medium.new_head())
        file = self.files[stored]
        self._put(file, pos, data)
        file.size = max(file.size, pos + len(data))

    def _put(self, file: FileRow, pos: int, data: bytes) -> None:
        size = self.medium.unit_bytes
        cut = list(pieces(pos, data, size))
        whole = [
            piece.data if len(piece.data) == size else piece.over(self._unit(file, piece.unit))
            for piece in cut
        ]
        addresses = [self._target(file, piece.unit) for piece in cut]
        labels = self.medium.write(file.head, cut[0].unit, addresses, b"".join(whole))
        for piece, address, label in zip(cut, addresses, labels, strict=True):
            old = file.units.get(piece.unit)
            file.units[piece.unit] = (address, label)
            if old is not None and old[0] != address:
                self._release(old[0])

    def _target(self, file: FileRow, index: int) -> int:
        if self.medium.copies_on_write or index not in file.units:
            return self._allocate()
        return file.units[index][0]

    def _release(self, address: int) -> None:
        used = (unit[0] for file in self.files.values() for unit in file.units.values())
        if address not in used:
            self._free.insert(0, address)

    def _unit(self, file: FileRow, index: int) -> bytes:
        """A unit in clear; a hole is zeroes."""
        found = file.units.get(index)
        if found is None:
            return bytes(self.medium.unit_bytes)
        return self.medium.read(file.head, index, *found)

    def read(self, path: str) -> bytes:
        """See ``Subject``."""
        file = self._file(path)
        count = -(-file.size // self.medium.unit_bytes)
        return b"".join(self._unit(file, index) for index in range(count))[: file.size]

    def duplicate(self, source: str, target: str) -> None:
        """See ``Shares``: where units are overwritten, a copy of its own after all."""
        if self.medium.copies_on_write:
            old = self._file(source)
            self.files[self.medium.stored_name(target)] = FileRow(old.size, old.head, dict(old.units))
        else:
            self.write(target, 0, self.read(source))

    def move(self) -> int:
        """See ``Subject``: every unit of contents, as ciphertext."""
        moved: dict[int, int] = {}
        for file in self.files.values():
            for index, (address, label) in file.units.items():
                if address not in moved:
                    moved[address] = self._allocate()
                    self.medium.device.plant(moved[address], self.medium.device.lift(address), mend=True)
                file.units[index] = (moved[address], label)
        self._free[:0] = moved
        self.sync()
        return len(moved)

    def truncate(self, path: str, size: int) -> None:
        """See ``Subject``: what was cut off reads as zeroes should the file grow again."""
        file = self._file(path)
        keep, rest = divmod(size, self.medium.unit_bytes)
        if size < file.size and rest and keep in file.units:
            self._put(file, size, bytes(self.medium.unit_bytes - rest))
        for index in [index for index in file.units if index >= keep + bool(rest)]:
            self._release(file.units.pop(index)[0])
        file.size = size

    def delete(self, path: str) -> None:
        """See ``Subject``."""
        self._file(path)
        self._drop(self.medium.stored_name(path))

    def _drop(self, stored: bytes) -> None:
        for address, _ in self.files.pop(stored).units.values():
            self._release(address)

    def delete_without_key(self) -> bool:
        """See ``Subject``."""
        if self.medium.hides_table:
            return False
        self._drop(next(iter(self.files)))
        return True

    def image(self) -> Image:
        """See ``Attackable``."""
        self.sync()
        units = self.medium.device.units()
        if self.medium.hides_table:
            return Image(units=units)
        files = _unpack(self._table)
        links: dict[Hashable, frozenset[int]] = {
            name: self.medium.device.occupied([address for address, _ in file.units.values()])
            for name, file in files.items()
        }
        return Image(
            units=units,
            in_use=frozenset[int]().union(*links.values()),
            sizes=tuple(file.size for file in files.values()),
            names=tuple(files),
            contexts=tuple(file.head for file in files.values() if file.head)
            + tuple(label for file in files.values() for _, label in file.units.values() if label),
            links=links,
        )

    def save(self) -> object:
        """See ``Subject``."""
        self.sync()
        return self.medium.device.save(), self._table, self._next, list(self._free)

    def restore(self, saved: object) -> None:
        """See ``Subject``."""
        self.medium.remove_key()
        self._files = None
        assert isinstance(saved, tuple)
        device, self._table, self._next, free = copy.copy(saved)
        self._free = list(free)
        self.medium.device.restore(device)

    def places(self, path: str) -> Sequence[Place]:
        """See ``Subject``."""
        self.sync()
        return [Place(path, index) for index in sorted(self._file(path).units)]

    def _address(self, place: Place) -> int:
        return self._file(place.path).units[place.unit][0]

    def lift(self, place: Place) -> Loot:
        """See ``Subject``."""
        return self.medium.device.lift(self._address(place))

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        """See ``Subject``."""
        self.medium.device.plant(self._address(place), loot, mend=mend)
