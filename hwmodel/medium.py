"""What is stored: a sparse medium of data units, ciphertext as the device would hold it.

Units are kept in slabs in order of first use and found through an index, so memory follows the data that
was touched, not the size of the device, and a batch is moved by array indexing.

Each slab has twice the room of the one before, up to a limit, so there are few of them.  Room that nothing
was stored in takes no memory: the operating system gives pages when they are written.  Nor is it ever read,
so it need not be zero, and numpy asks for huge pages, which cost a sixth of as many small ones.
"""

import hashlib
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

_FIRST_SLAB_BYTES: Final = 64 << 20
_MOST_SLAB_BYTES: Final = 1 << 30
_UNITS_AT_A_TIME: Final = 1 << 14

Bytes2D = npt.NDArray[np.uint8]
Units = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]


class Medium:
    """Data units by number (device byte address divided by ``unit_bytes``)."""

    def __init__(self, unit_bytes: int) -> None:
        self.unit_bytes = unit_bytes
        self._slabs: list[Bytes2D] = []
        self._starts = np.empty(0, dtype=np.int64)  # the first place in each
        self._room = 0
        self._index: dict[int, int] = {}
        self._freed: list[int] = []
        self._used = 0

    def __len__(self) -> int:
        """Data units that hold data."""
        return len(self._index)

    def __contains__(self, unit: int) -> bool:
        return unit in self._index

    def places(self, units: Units) -> Places:
        """Where each unit is kept, -1 for one that holds nothing: ``int64[n]``."""
        found = map(self._index.get, units.tolist(), repeat(-1))
        return np.fromiter(found, dtype=np.int64, count=len(units))

    def allocate(self, units: Units) -> Places:
        """Make room for different units, of which none holds anything yet; where each is kept from now on."""
        places = self._new_places(len(units))
        self._index.update(zip(units.tolist(), places, strict=True))
        return np.array(places, dtype=np.int64)

    def _new_places(self, count: int) -> list[int]:
        """First the room that was given up, the latest before all other."""
        kept = max(0, len(self._freed) - count)
        places = self._freed[kept:][::-1]
        del self._freed[kept:]
        first = self._used
        self._used += count - len(places)
        while self._room < self._used:
            self._add_slab()
        places.extend(range(first, self._used))
        return places

    def _add_slab(self) -> None:
        nbytes = min(_FIRST_SLAB_BYTES << len(self._slabs), _MOST_SLAB_BYTES)
        slab = np.empty((max(1, nbytes // self.unit_bytes), self.unit_bytes), dtype=np.uint8)
        self._slabs.append(slab)
        self._starts = np.append(self._starts, self._room)
        self._room += len(slab)

    def _by_slab(self, places: Places) -> Iterator[tuple[Bytes2D, Places, Places | slice]]:
        """Slabs, rows in them, and which of ``places`` those are."""
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            its = slice(None) if len(chosen) == len(places) else chosen
            yield self._slabs[number], places[its] - self._starts[number], its

    def room(self, places: Places) -> Bytes2D | None:
        """The memory of ``places`` itself, to be filled; None unless they lie side by side, in this order."""
        first, count = int(places[0]), len(places)
        if int(places[-1]) - first != count - 1 or (np.diff(places) != 1).any():
            return None
        slab, row = self._find(first)
        return slab[row : row + count] if row + count <= len(slab) else None

    def store(self, places: Places, data: Bytes2D) -> None:
        """Write ``uint8[n, unit_bytes]``."""
        for slab, rows, its in self._by_slab(places):
            slab[rows] = data[its]

    def load(self, places: Places, out: Bytes2D | None = None) -> Bytes2D:
        """Read ``uint8[n, unit_bytes]``; no place may be -1.

        Args:
            out: where to, C-contiguous; None for a new array.
        """
        data = np.empty((len(places), self.unit_bytes), dtype=np.uint8) if out is None else out
        for slab, rows, its in self._by_slab(places):
            if isinstance(its, slice):
                np.take(slab, rows, axis=0, out=data, mode="clip")  # else take() copies what it gives
            else:
                data[its] = slab[rows]
        return data

    def _find(self, place: int) -> tuple[Bytes2D, int]:
        """The slab of one place, and its row there."""
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._slabs[number], place - int(self._starts[number])

    def discard(self, first_unit: int, count: int) -> tuple[list[int], list[int]]:
        """Forget whole units; those that held something, and where it was."""
        those = range(first_unit, first_unit + count)
        if count <= len(self._index):
            units = [unit for unit in those if unit in self._index]
        else:
            units = sorted(unit for unit in self._index if unit in those)
        places = [self._index.pop(unit) for unit in units]
        self._freed += places
        return units, places

    def clear(self) -> None:
        """Give the memory back: what led a machine refers to itself, and waits long for the collector."""
        self._index.clear()
        self._freed.clear()
        self._slabs.clear()
        self._starts = self._starts[:0]
        self._room = self._used = 0

    def flip(self, byte: int, mask: int) -> None:
        """XOR ``mask`` into the byte at device address ``byte``; its unit must hold data."""
        slab, row = self._find(self._index[byte // self.unit_bytes])
        slab[row, byte % self.unit_bytes] ^= np.uint8(mask)

    def _in_address_order(self) -> Iterator[tuple[int, memoryview]]:
        """Units that hold data, and what each holds."""
        units = np.fromiter(self._index.keys(), dtype=np.int64, count=len(self))
        places = np.fromiter(self._index.values(), dtype=np.int64, count=len(self))
        order = np.argsort(units)
        units, places = units[order], places[order]
        slabs = [slab.reshape(-1).data for slab in self._slabs]
        size = self.unit_bytes
        for begin in range(0, len(units), _UNITS_AT_A_TIME):
            part = places[begin : begin + _UNITS_AT_A_TIME]
            numbers = np.searchsorted(self._starts, part, side="right") - 1
            at = (part - self._starts[numbers]) * size
            rows = zip(units[begin : begin + len(part)].tolist(), numbers.tolist(), at.tolist(), strict=True)
            for unit, number, byte in rows:
                yield unit, slabs[number][byte : byte + size]

    def sha256(self) -> str:
        """Digest over (unit number as 8 bytes little-endian, content) of every unit that holds data."""
        digest = hashlib.sha256()
        for unit, content in self._in_address_order():
            digest.update(unit.to_bytes(8, "little"))
            digest.update(content)
        return digest.hexdigest()

    def export(self, path: Path) -> None:
        """Write a raw image; the file is sparse where the medium holds nothing."""
        with path.open("wb") as image:
            for unit, content in self._in_address_order():
                image.seek(unit * self.unit_bytes)
                image.write(content)
