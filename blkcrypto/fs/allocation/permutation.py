"""Seeded permutations of ``0 .. n - 1`` in constant memory.

A Feistel network over the bits of ``n - 1`` is a bijection on a power of two; a value that leaves the range
is sent through again until it is back inside (cycle walking), which keeps it a bijection on the range.  The
range is at least half the power of two (or the power is tiny), so a walk takes two steps on average at most.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.mix import mix64

Int64 = npt.NDArray[np.int64]

_ROUNDS: Final = 6
_LEAST_BITS: Final = 4


class Permutation:
    """A bijection of ``0 .. size - 1`` drawn from ``rng``."""

    __slots__ = ("_high_bits", "_keys", "_low_bits", "size")

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        if size < 1:
            raise ValueError(f"a permutation of {size} values")
        self.size = size
        bits = max(_LEAST_BITS, (size - 1).bit_length())
        self._low_bits = bits // 2
        self._high_bits = bits - self._low_bits
        self._keys = rng.integers(0, 2**64, size=_ROUNDS, dtype=np.uint64)

    def forward(self, values: Int64) -> Int64:
        """Image of each of ``values``, ``int64``, all within the range."""
        return self._walk(values, inverse=False)

    def inverse(self, values: Int64) -> Int64:
        """The values whose images ``values`` are."""
        return self._walk(values, inverse=True)

    def _walk(self, values: Int64, *, inverse: bool) -> Int64:
        result = self._network(values.astype(np.uint64), inverse=inverse).astype(np.int64)
        outside = np.flatnonzero(result >= self.size)
        while outside.size:
            again = self._network(result[outside].astype(np.uint64), inverse=inverse).astype(np.int64)
            result[outside] = again
            outside = outside[again >= self.size]
        return result

    def _network(self, values: npt.NDArray[np.uint64], *, inverse: bool) -> npt.NDArray[np.uint64]:
        low_bits, high_bits = np.uint64(self._low_bits), np.uint64(self._high_bits)
        low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
        high_mask = (np.uint64(1) << high_bits) - np.uint64(1)
        low, high = values & low_mask, values >> low_bits
        # Even rounds change the high part, odd ones the low part: the parts need not be equally wide.
        for number in reversed(range(_ROUNDS)) if inverse else range(_ROUNDS):
            key = self._keys[number]
            if number % 2:
                low ^= mixed(high, key) & low_mask
            else:
                high ^= mixed(low, key) & high_mask
        return high << low_bits | low


class PartialPermutation:
    """A bijection that moves a share of ``0 .. size - 1`` among themselves and leaves the rest in place.

    Which values move is decided by one permutation (those it sends below the share), where they go by another
    on their ranks.
    """

    __slots__ = ("_moved", "_rank", "_shuffle", "size")

    def __init__(self, size: int, share: float, rng: np.random.Generator) -> None:
        self.size = size
        self._moved = round(share * size)
        self._rank = Permutation(size, rng)
        self._shuffle = Permutation(max(1, self._moved), rng)

    def forward(self, values: Int64) -> Int64:
        """Image of each of ``values``, ``int64``, all within the range."""
        return self._apply(values, inverse=False)

    def inverse(self, values: Int64) -> Int64:
        """The values whose images ``values`` are."""
        return self._apply(values, inverse=True)

    def _apply(self, values: Int64, *, inverse: bool) -> Int64:
        if self._moved < 2:
            return values
        rank = self._rank.forward(values)
        at = np.flatnonzero(rank < self._moved)
        ranks = rank[at]
        result = values.copy()
        shuffled = self._shuffle.inverse(ranks) if inverse else self._shuffle.forward(ranks)
        result[at] = self._rank.inverse(shuffled)
        return result


def mixed(values: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser of ``values ^ key``: every bit of the input reaches the low bits."""
    return mix64(values ^ key)
