"""Bytes for real, and somebody who looks at the medium: nothing on it may be plaintext."""

from typing import Final

import numpy as np

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from hwmodel.checker import Bio, Checker
from hwmodel.dataplane import VerifyingPlane
from hwmodel.invariants import CIPHERTEXT, InvariantBroken
from hwmodel.plane import DataPlane, PlaneInFront
from hwmodel.request import READ, WRITE, Request

# Units looked at together: many enough for numpy, few enough to keep the histories of those who wrote them.
_UNITS: Final = 2048
_BLOCK_WORDS: Final = 2  # of 8 bytes: what AES encrypts at once


class CheckedPlane(PlaneInFront):
    """A plane whose medium is looked at; every bio's data is to be encrypted.

    Args:
        plane: told of everything first.
        verifying: the same, or what is behind it.
        checker: knows the bios.
    """

    def __init__(self, plane: DataPlane, verifying: VerifyingPlane, checker: Checker) -> None:
        super().__init__(plane)
        self._verifying = verifying
        self._checker = checker
        self._touched: dict[int, tuple[int, Bio | None]] = {}  # unit -> row and bio that were there last

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """See ``DataPlane``."""
        super().complete(request, key)
        if request.status or request.row < 0 or request.op not in (READ, WRITE):
            return
        unit_bytes = self._verifying.medium.unit_bytes
        first = (request.sector << SECTOR_SHIFT) // unit_bytes
        who = request.row, self._checker.bio(request.row)
        self._touched.update(dict.fromkeys(range(first, first + request.nbytes // unit_bytes), who))
        if len(self._touched) >= _UNITS:
            self.look()

    def look(self) -> None:
        """Look at every data unit that was touched since the last time.

        Raises:
            InvariantBroken: one holds plaintext.
        """
        self._verifying.process()
        touched, self._touched = self._touched, {}
        medium = self._verifying.medium
        units = np.array([unit for unit in touched if unit in medium], dtype=np.int64)
        if not len(units):
            return
        stored = medium.load(medium.places(units)).view(np.uint64)
        same = stored == self._verifying.plaintext_of(units).view(np.uint64)
        plain = same.reshape(len(units), -1, _BLOCK_WORDS).all(axis=2).any(axis=1)
        for unit in units[plain].tolist():
            row, bio = touched[unit]
            at = unit * medium.unit_bytes
            raise InvariantBroken(
                CIPHERTEXT, f"the data unit at byte {at} of the medium is plaintext", f"bio {row}: {bio}"
            )
