"""Files in one address space, in extents, some of them out of order.

The address space is cut into extents of ``extent_bytes``.  File ``f`` has consecutive *logical* extents, from
the end of file ``f - 1`` on; a seeded bijection says where on the device each logical extent lies.  So every
address belongs to one file, and nothing grows with the number of extents.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.fs.allocation.permutation import PartialPermutation

Int64 = npt.NDArray[np.int64]

# With more extents, the file of each would be a table of more than 8 MB.
_MOST_LOOKED_UP: Final = 1 << 20


class FileMap:
    """Where files lie, and whose an address is.

    Args:
        sizes: extents of each file, ``int64[files]``.
        extent_bytes: smallest contiguous piece of a file.
        fragmentation: share of the extents moved among themselves, 0 to 1.
        rng: chooses which, and where to.

    Attributes:
        files: number of files.
        extent_bytes: as given.
        covered_bytes: address space that belongs to files, from 0 on.
    """

    def __init__(
        self, sizes: Int64, extent_bytes: int, fragmentation: float, rng: np.random.Generator
    ) -> None:
        # int64[files + 1]: first logical extent of each file, and the end.
        self._starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        # Looking the file up is ten times as fast as searching for it.
        fits = int(self._starts[-1]) <= _MOST_LOOKED_UP
        self._file_of = np.repeat(np.arange(len(sizes)), sizes) if fits else None
        self._order = PartialPermutation(int(self._starts[-1]), fragmentation, rng)
        self.extent_bytes = extent_bytes
        self.files = len(sizes)
        self.covered_bytes = int(self._starts[-1]) * extent_bytes

    def file_bytes(self, files: Int64) -> Int64:
        """Size of each of ``files``."""
        return (self._starts[files + 1] - self._starts[files]) * self.extent_bytes

    def address(self, files: Int64, offsets: Int64) -> Int64:
        """Device byte address of byte ``offsets[i]`` of file ``files[i]``; offsets are inside their files."""
        return self.device(self._starts[files] * self.extent_bytes + offsets)

    def device(self, logical: Int64) -> Int64:
        """Device byte address of each byte of the files laid end to end."""
        moved: Int64 = self._order.forward(logical // self.extent_bytes)
        return moved * self.extent_bytes + logical % self.extent_bytes

    def locate(self, addresses: Int64) -> tuple[Int64, Int64]:
        """File and offset of each device byte address below ``covered_bytes``: inverse of ``address``."""
        extents = self._order.inverse(addresses // self.extent_bytes)
        if self._file_of is not None:
            files = self._file_of[extents]
        else:
            files = np.searchsorted(self._starts, extents, side="right") - 1
        offsets = (extents - self._starts[files]) * self.extent_bytes + addresses % self.extent_bytes
        return files, offsets
