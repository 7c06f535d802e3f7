"""Plaintext that can be made again: a function of seed, data unit and how often the unit was written.

So nothing has to be remembered but a count per unit, and a unit that ends up in the wrong place, with the
wrong key or an old version never compares equal.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.mix import mix64

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's increment


def plaintext(
    seed: int, units: npt.NDArray[np.int64], versions: npt.NDArray[np.uint32], unit_bytes: int
) -> npt.NDArray[np.uint8]:
    """``uint8[n, unit_bytes]`` for ``n`` units, each in its version."""
    start = mix64(units.astype(np.uint64) * _GAMMA + np.uint64(seed & (1 << 64) - 1))
    start = mix64(start + versions.astype(np.uint64) * _GAMMA)
    counter = np.arange(1, unit_bytes // 8 + 1, dtype=np.uint64) * _GAMMA
    return mix64(start[:, None] + counter).astype("<u8", copy=False).view(np.uint8)
