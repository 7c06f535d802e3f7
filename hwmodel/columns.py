"""Bios to come, as columns of numpy or as rows of Python."""

from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hwmodel.clock import Row

Int64 = npt.NDArray[np.int64]

# Rows that become Python integers at once: few enough to stay in a core's cache until they are used.
_CHUNK_ROWS: Final = 2048


class Columns(NamedTuple):
    """Some bios, in the order in which they arrive; all columns have one length.

    Attributes:
        time_ns: ``int64``, arrival.
        number: ``int64``, of the bio.
        op: ``uint8``, a ``ReqOp`` number.
        sector, nbytes: ``int64``.
        key: ``int64``, number of the key, -1 for none.
        dun: ``uint64``, of the first data unit.
        stream: ``int32``, chooses the CPU.
    """

    time_ns: Int64
    number: Int64
    op: npt.NDArray[np.uint8]
    sector: Int64
    nbytes: Int64
    key: Int64
    dun: npt.NDArray[np.uint64]
    stream: npt.NDArray[np.int32]

    def rows(self) -> Iterator[Row]:
        """The same, bio by bio, as ``Machine.run`` takes them."""
        return chain.from_iterable(self._chunks())

    def _chunks(self) -> Iterator[Iterator[Row]]:
        for start in range(0, len(self.number), _CHUNK_ROWS):
            yield zip(*(column[start : start + _CHUNK_ROWS].tolist() for column in self), strict=True)
