"""Plaintext that can be made again: a function of seed, data unit and how often the unit was written.

So nothing has to be remembered but a count per unit, and a unit that ends up in the wrong place, with the
wrong key or an old version never compares equal.  Only where a unit's words begin is mixed: from there they
go up by splitmix64's increment, so all words of a unit differ, and making it costs one addition each.
"""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.mix import mix64

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's increment

Data = npt.NDArray[np.uint8]


@lru_cache(8)
def _counter(words: int) -> npt.NDArray[np.uint64]:
    return np.arange(1, words + 1, dtype=np.uint64) * _GAMMA


def plaintext(
    seed: int,
    units: npt.NDArray[np.int64],
    versions: npt.NDArray[np.uint32],
    unit_bytes: int,
    out: Data | None = None,
) -> Data:
    """``uint8[n, unit_bytes]`` for ``n`` units, each in its version.

    Args:
        out: where to, C-contiguous and word-aligned; None for a new array.
    """
    start = mix64(units.astype(np.uint64) * _GAMMA + np.uint64(seed & (1 << 64) - 1))
    start = mix64(start + versions.astype(np.uint64) * _GAMMA)
    data = np.empty((len(units), unit_bytes), dtype=np.uint8) if out is None else out
    np.add(start[:, np.newaxis], _counter(unit_bytes // 8), out=data.view("<u8"))
    return data
