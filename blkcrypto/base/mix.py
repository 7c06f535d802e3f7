"""Mixing the bits of 64-bit words: not for secrets, but for data and choices that can be made again."""

import numpy as np
import numpy.typing as npt

_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix64(
    words: npt.NDArray[np.uint64], work: npt.NDArray[np.uint64] | None = None
) -> npt.NDArray[np.uint64]:
    """``words``, changed in place: every bit of each word reaches all of its bits, and no two words meet.

    Args:
        work: of the same shape, for shifted words; None for new memory.

    Source: SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014).
    """
    shifted = np.right_shift(words, _S30, out=work)
    words ^= shifted
    words *= _M1
    words ^= np.right_shift(words, _S27, out=shifted)
    words *= _M2
    words ^= np.right_shift(words, _S31, out=shifted)
    return words
