"""Plaintext that can be made again: a function of seed, data unit and how often the unit was written.

So nothing has to be remembered but a count per unit, and a unit that ends up in the wrong place, with the
wrong key or an old version never compares equal.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

# splitmix64 (Steele, Lea, Flood 2014): odd multipliers and shifts that mix every input bit into every word.
_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX2: Final = np.uint64(0x94D049BB133111EB)


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    words ^= words >> np.uint64(30)
    words *= _MIX1
    words ^= words >> np.uint64(27)
    words *= _MIX2
    words ^= words >> np.uint64(31)
    return words


def plaintext(
    seed: int, units: npt.NDArray[np.int64], versions: npt.NDArray[np.uint32], unit_bytes: int
) -> npt.NDArray[np.uint8]:
    """``uint8[n, unit_bytes]`` for ``n`` units, each in its version."""
    start = _mix(units.astype(np.uint64) * _GAMMA + np.uint64(seed & (1 << 64) - 1))
    start = _mix(start + versions.astype(np.uint64) * _GAMMA)
    counter = np.arange(1, unit_bytes // 8 + 1, dtype=np.uint64) * _GAMMA
    return _mix(start[:, None] + counter).astype("<u8", copy=False).view(np.uint8)
