"""Data of bios whose completion the compiled loop reports by their numbers."""

from collections.abc import Sequence

import numpy as np

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.columns import Columns, Int64
from hwmodel.dataplane import VerifyingPlane
from hwmodel.unitbatch import Bios


class Moves:
    """Tells a plane of bios that are done, with what they were when they were fed.

    Args:
        plane: moves the data.
        keys: by the number that bios name; it may grow.
    """

    def __init__(self, plane: VerifyingPlane, keys: Sequence[BlkCryptoKey]) -> None:
        self._plane = plane
        self._keys = keys
        self._fed: list[Columns] = []  # those with bios that are not done
        self._left: list[int] = []  # how many

    def feed(self, columns: Columns) -> None:
        """These will come, numbered without a gap."""
        if len(columns.number):
            self._fed.append(columns)
            self._left.append(len(columns.number))

    def done(self, numbers: Int64) -> None:
        """Bios ``numbers`` are done, in this order, and none failed."""
        firsts = [columns.number[0] for columns in self._fed]
        which = np.searchsorted(firsts, numbers, side="right") - 1
        sector, nbytes, key = (np.empty(len(numbers), dtype=np.int64) for _ in range(3))
        op, dun = np.empty(len(numbers), dtype=np.uint8), np.empty(len(numbers), dtype=np.uint64)
        for at, columns in enumerate(self._fed):
            its = np.flatnonzero(which == at)
            rows = numbers[its] - firsts[at]
            sector[its], nbytes[its], key[its] = columns.sector[rows], columns.nbytes[rows], columns.key[rows]
            op[its], dun[its] = columns.op[rows], columns.dun[rows]
            self._left[at] -= len(its)
        used, number = np.unique(key, return_inverse=True)
        keys = [self._keys[key] if key >= 0 else None for key in used.tolist()]
        self._plane.complete_many(Bios(sector, nbytes, dun, op, number, keys))
        self._fed = [columns for columns, left in zip(self._fed, self._left, strict=True) if left]
        self._left = [left for left in self._left if left]
