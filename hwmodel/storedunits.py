"""Data units on the medium, and what each was made from: its version, counted up by every write.

A unit that a power cut tore has a version for each sector.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from hwmodel.medium import Bytes2D, Medium, Places, Units
from hwmodel.payload import plaintext
from hwmodel.powerloss import Content, Survivor

# Versions after each power cut begin at a multiple of this, so that none of a lost write comes back.
_VERSIONS_PER_BOOT: Final = 1 << 20

Versions = npt.NDArray[np.uint32]


class StoredUnits:
    """Every data unit that was touched.

    Args:
        unit_bytes: data unit size.
        seed: of the plaintext.

    Attributes:
        blank: units that have room in the medium, but nothing in it yet; kept by who needs ``contents``.
    """

    def __init__(self, unit_bytes: int, seed: int) -> None:
        self.medium = Medium(unit_bytes)
        self.blank: set[int] = set()
        self._seed = seed
        self._versions: Versions = np.zeros(1 << 12, dtype=np.uint32)
        self._first_version = 0
        self._discarded: dict[int, int] = {}  # unit -> the version that it had
        self._torn: dict[int, tuple[int, ...]] = {}  # unit -> version of each sector

    def make_room(self, units: Units) -> Places:
        """Places of ``units``, all different, of which none has one yet."""
        places = self.medium.allocate(units)
        self._grow(int(places.max()))
        if self._discarded:  # else no place was given up either, and new ones begin with 0
            self._versions[places] = [self._discarded.pop(unit, 0) for unit in units.tolist()]
        return places

    def lay_out(self, places: Places) -> None:
        """What will be stored at ``places`` is what was there before anything was written."""
        self._versions[places] = 0

    def write_again(self, places: Places) -> Versions:
        """What will be stored at ``places`` is new; its versions."""
        versions = np.maximum(self._versions[places] + 1, self._first_version)
        self._versions[places] = versions
        return versions

    def plaintext(self, units: Units, places: Places, out: Bytes2D | None = None) -> Bytes2D:
        """What the whole units are encrypted from: ``uint8[n, unit_bytes]``."""
        return plaintext(self._seed, units, self._versions[places], self.medium.unit_bytes, out)

    def expected(self, units: Units, places: Places, out: Bytes2D) -> None:
        """The same, with what is left of older versions in torn units."""
        self.plaintext(units, places, out)
        if self._torn:
            self._expect_torn(units, out)

    def _expect_torn(self, units: Units, expected: Bytes2D) -> None:
        """Sector by sector: AES-XTS decrypts every 16 bytes for themselves."""
        for row, unit in enumerate(units.tolist()):
            versions = self._torn.get(unit)
            if versions is None:
                continue
            size = self.medium.unit_bytes // len(versions)
            for version in set(versions):
                number = np.array([version], dtype=np.uint32)
                whole = plaintext(self._seed, units[row : row + 1], number, self.medium.unit_bytes)
                for sector, its in enumerate(versions):
                    if its == version:
                        at = slice(sector * size, (sector + 1) * size)
                        expected[row, at] = whole[0, at]

    def mended(self, unit: int) -> None:
        """The unit was written or discarded as a whole."""
        self._torn.pop(unit, None)

    def discard(self, first_unit: int, count: int) -> None:
        """Whole units hold nothing from now on, but none of their versions comes back."""
        units, places = self.medium.discard(first_unit, count)
        self._discarded.update(zip(units, self._versions[places].tolist(), strict=True))
        if self._torn:
            for unit in units:
                self.mended(unit)

    # --- power cuts -----------------------------------------------------------------------------------

    def contents(self, units: Units) -> list[Content]:
        """What each unit holds now."""
        contents = []
        for unit, place in zip(units.tolist(), self.medium.places(units), strict=True):
            if place < 0 or unit in self.blank:
                self.blank.discard(unit)
                contents.append(Content(None, 0))
            else:
                image = self.medium.load(np.array([place]))[0]
                version = int(self._versions[place])
                contents.append(Content(image, version, torn=self._torn.get(unit, ())))
        return contents

    def half_written(self, units: Units, before: Sequence[Content]) -> tuple[Bytes2D, Versions]:
        """Plaintext and versions of what would be written after ``before``."""
        versions = np.array([max(old.version + 1, self._first_version) for old in before], dtype=np.uint32)
        return plaintext(self._seed, units, versions, self.medium.unit_bytes), versions

    def survive(self, survivors: Sequence[Survivor]) -> list[Content]:
        """Store what survived a power cut; what was there."""
        units = np.array([one.unit for one in survivors], dtype=np.int64)
        before = self.contents(units)
        for survivor in survivors:
            self._torn.pop(survivor.unit, None)
            if survivor.image is None:
                self.discard(survivor.unit, 1)
                continue
            unit = np.array([survivor.unit])
            places = self.make_room(unit) if survivor.unit not in self.medium else self.medium.places(unit)
            self._versions[places] = survivor.versions[0]
            self.medium.store(places, survivor.image[None])
            if survivor.is_torn:
                self._torn[survivor.unit] = survivor.versions
        self._first_version += _VERSIONS_PER_BOOT
        return before

    def _grow(self, place: int) -> None:
        if place >= len(self._versions):
            grown = np.zeros(max(2 * len(self._versions), place + 1), dtype=np.uint32)
            grown[: len(self._versions)] = self._versions
            self._versions = grown
