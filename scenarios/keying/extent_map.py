"""Which extent every data unit of every touched file belongs to: what a copy-on-write filesystem keeps.

Files begin with extents of one size.  A write makes new extents, one per piece that it covers of its file;
what it replaces stays until nothing refers to it.  A file extent item is a run of units of one extent, so a
write into the middle of an extent adds two items.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
_NONE: Final = -1


class ExtentMap:
    """Extents by file and data unit.

    Args:
        extent_units: data units of the extents that files begin with.
        file_units: size of a file in units; 0 where it grows as it is used.

    Attributes:
        starts: by extent, the unit of its file where it begins.
        sizes: by extent, its units when it was made.
    """

    def __init__(self, extent_units: int, file_units: Callable[[int], int]) -> None:
        self._extent_units = extent_units
        self._file_units = file_units
        self._files: dict[int, Int32] = {}
        self.starts: list[int] = []
        self.sizes: list[int] = []

    @property
    def extents_made(self) -> int:
        """How many, those given up since included."""
        return len(self.starts)

    @property
    def files(self) -> int:
        """Files touched."""
        return len(self._files)

    @property
    def units(self) -> int:
        """Data units that files touched have."""
        return sum(int((each != _NONE).sum()) for each in self._files.values())

    def touch(self, file: int, asked: int) -> int:
        """Have ``file`` at least ``asked`` units long; how many extents that adds, 0 if it was known."""
        old = self._files.get(file)
        if old is not None and asked <= len(old):
            return 0
        end = -(-asked // self._extent_units) * self._extent_units
        size = self._file_units(file)
        size = size if size >= asked else end
        first = 0 if old is None else len(old)
        count = -(-(size - first) // self._extent_units)
        numbers = np.arange(len(self.starts), len(self.starts) + count, dtype=np.int32)
        self.starts.extend(range(first, size, self._extent_units))
        self.sizes.extend(min(self._extent_units, size - at) for at in range(first, size, self._extent_units))
        grown = np.repeat(numbers, self._extent_units)[: size - first]
        self._files[file] = grown if old is None else np.concatenate((old, grown))
        return count

    def write(self, file: int, first: int, count: int) -> int:
        """A new extent over ``count`` units from ``first`` on; its number."""
        number = len(self.starts)
        self.starts.append(first)
        self.sizes.append(count)
        self._files[file][first : first + count] = number
        return number

    def runs(self, file: int, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Extent, first unit of the file and units of each run in ``count`` units from ``first`` on."""
        part = self._files[file][first : first + count]
        if count == 1 or bool((part == part[0]).all()):
            yield int(part[0]), first, count
            return
        borders = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), count]
        for start, stop in itertools.pairwise(borders):
            yield int(part[start]), first + start, stop - start

    @property
    def items(self) -> int:
        """File extent items of all files touched."""
        return sum(1 + int(np.count_nonzero(np.diff(each))) for each in self._files.values())

    def live(self) -> set[int]:
        """Extents that a file still refers to."""
        found: set[int] = set()
        for each in self._files.values():
            found.update(np.unique(each).tolist())
        return found
