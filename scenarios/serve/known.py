"""What clients wrote, as a checksum of each data unit, to compare with what they read back.

A unit counts from its first write in this session until it is discarded; before that nobody knows what it
should hold.  CRC-32 finds every wrong key, wrong DUN and lost write but one in four billion.
"""

import zlib
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

_MISMATCHES_KEPT: Final = 8


@dataclass(slots=True)
class Known:
    """Checksums of the data units written.

    Attributes:
        unit_bytes: data unit size.
        verified_bytes: read and found equal.
        mismatches: data units that came back other than they were written.
        where: byte addresses of the first of those.
    """

    unit_bytes: int
    verified_bytes: int = 0
    mismatches: int = 0
    where: list[int] = field(default_factory=list)
    _sums: dict[int, int] = field(default_factory=dict)

    def wrote(self, offset: int, data: U8) -> None:
        """``data`` is at ``offset`` now."""
        size, sums = self.unit_bytes, self._sums
        view = data.data
        if len(view) == size:
            sums[offset // size] = zlib.crc32(view)
            return
        for at in range(0, len(view), size):
            sums[(offset + at) // size] = zlib.crc32(view[at : at + size])

    def forget(self, offset: int, nbytes: int) -> None:
        """What is there is no longer known: discarded, or a write failed half-way."""
        first, last = offset // self.unit_bytes, -(-(offset + nbytes) // self.unit_bytes)
        for unit in range(first, last) if last - first < len(self._sums) else list(self._sums):
            if first <= unit < last:
                self._sums.pop(unit, None)

    def read(self, offset: int, data: U8) -> bool:
        """Whether ``data``, read from ``offset`` on, is what was written."""
        size, sums = self.unit_bytes, self._sums
        view = data.data
        before = self.mismatches
        for at in range(0, len(view), size):
            expected = sums.get((offset + at) // size)
            if expected is None:
                continue
            if zlib.crc32(view[at : at + size]) == expected:
                self.verified_bytes += size
                continue
            self.mismatches += 1
            if len(self.where) < _MISMATCHES_KEPT:
                self.where.append(offset + at)
        return self.mismatches == before
