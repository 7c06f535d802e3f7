"""What is stored: a sparse medium of data units, ciphertext as the device would hold it.

Units are kept in slabs in order of first use and found through an index, so memory follows the data that
was touched, not the size of the device, and a batch is moved by array indexing.
"""

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

_SLAB_BYTES: Final = 32 << 20

Bytes2D = npt.NDArray[np.uint8]
Units = npt.NDArray[np.int64]


class Medium:
    """Data units by number (device byte address divided by ``unit_bytes``)."""

    def __init__(self, unit_bytes: int) -> None:
        self.unit_bytes = unit_bytes
        self._per_slab = max(1, _SLAB_BYTES // unit_bytes)
        self._slabs: list[Bytes2D] = []
        self._index: dict[int, int] = {}
        self._freed: list[int] = []
        self._used = 0

    def __len__(self) -> int:
        """Data units that hold data."""
        return len(self._index)

    def __contains__(self, unit: int) -> bool:
        return unit in self._index

    def places(self, units: Units) -> npt.NDArray[np.int64]:
        """Where each unit is kept, -1 for one that holds nothing: ``int64[n]``."""
        index = self._index
        return np.fromiter((index.get(unit, -1) for unit in units.tolist()), dtype=np.int64, count=len(units))

    def allocate(self, units: Units) -> npt.NDArray[np.int64]:
        """Like ``places``, making room for units that hold nothing yet; equal units share a place."""
        index = self._index
        places = np.empty(len(units), dtype=np.int64)
        for position, unit in enumerate(units.tolist()):
            place = index.get(unit, -1)
            if place < 0:
                place = self._freed.pop() if self._freed else self._new_place()
                index[unit] = place
            places[position] = place
        return places

    def _new_place(self) -> int:
        if self._used == len(self._slabs) * self._per_slab:
            self._slabs.append(np.zeros((self._per_slab, self.unit_bytes), dtype=np.uint8))
        self._used += 1
        return self._used - 1

    def store(self, places: npt.NDArray[np.int64], data: Bytes2D) -> None:
        """Write ``uint8[n, unit_bytes]``."""
        slabs = places // self._per_slab
        for slab in np.unique(slabs):
            chosen = slabs == slab
            self._slabs[slab][places[chosen] % self._per_slab] = data[chosen]

    def load(self, places: npt.NDArray[np.int64]) -> Bytes2D:
        """Read ``uint8[n, unit_bytes]``; no place may be -1."""
        data = np.empty((len(places), self.unit_bytes), dtype=np.uint8)
        slabs = places // self._per_slab
        for slab in np.unique(slabs):
            chosen = slabs == slab
            data[chosen] = self._slabs[slab][places[chosen] % self._per_slab]
        return data

    def discard(self, first_unit: int, count: int) -> None:
        """Forget whole units; those that hold nothing stay so."""
        for unit in range(first_unit, first_unit + count):
            place = self._index.pop(unit, -1)
            if place >= 0:
                self._freed.append(place)

    def flip(self, byte: int, mask: int) -> None:
        """XOR ``mask`` into the byte at device address ``byte``; its unit must hold data."""
        place = self._index[byte // self.unit_bytes]
        self._slabs[place // self._per_slab][place % self._per_slab, byte % self.unit_bytes] ^= np.uint8(mask)

    def _in_address_order(self) -> list[tuple[int, int]]:
        return sorted(self._index.items())

    def sha256(self) -> str:
        """Digest over (unit number as 8 bytes little-endian, content) of every unit that holds data."""
        digest = hashlib.sha256()
        for unit, place in self._in_address_order():
            digest.update(unit.to_bytes(8, "little"))
            digest.update(self._slabs[place // self._per_slab][place % self._per_slab])
        return digest.hexdigest()

    def export(self, path: Path) -> None:
        """Write a raw image; the file is sparse where the medium holds nothing."""
        with path.open("wb") as image:
            for unit, place in self._in_address_order():
                image.seek(unit * self.unit_bytes)
                image.write(self._slabs[place // self._per_slab][place % self._per_slab].data)
