"""Files whose sizes nobody knows: they grow by regions, and the first touched is the first served."""

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


class RegionsExhausted(ValueError):
    """More regions are needed than there are."""


class Regions:
    """Which region of the address space each region of a file has.

    Args:
        count: regions there are.
        region_bytes: size of each.
    """

    __slots__ = ("_at", "_count", "_region_bytes")

    def __init__(self, count: int, region_bytes: int) -> None:
        self._count = count
        self._region_bytes = region_bytes
        self._at: dict[tuple[int, int], int] = {}

    def locate(self, files: Int64, offsets: Int64) -> Int64:
        """Address of byte ``offsets[i]`` of file ``files[i]``, taking regions for what is touched first.

        Raises:
            RegionsExhausted: no region is left.
        """
        numbers, within = np.divmod(offsets, self._region_bytes)
        known, index = np.unique(numbers, return_inverse=True)
        _, first, back = np.unique(files * len(known) + index, return_index=True, return_inverse=True)
        places = np.empty(len(first), np.int64)
        # In order of appearance, so that the borders of batches do not matter.
        for at in np.argsort(first).tolist():
            key = (int(files[first[at]]), int(numbers[first[at]]))
            places[at] = self._at.setdefault(key, len(self._at))
        if len(self._at) > self._count:
            raise RegionsExhausted(
                f"files need more than {self._count} regions of {self._region_bytes} bytes"
            )
        return places[back] * self._region_bytes + within
