"""Mixing the bits of 64-bit words: not for secrets, but for data and choices that can be made again."""

import numpy as np
import numpy.typing as npt


def mix64(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """``words``, changed in place: every bit of each word reaches all of its bits, and no two words meet.

    Source: SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014).
    """
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
