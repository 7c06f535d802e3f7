"""Zipf's law over any number of ranks, one uniform number per draw, bounded memory.

The first ranks have their exact cumulative weights in a table.  Past it the sum of ``r ** -s`` over a range
of ranks is its integral from the middle before to the middle after, whose relative error is below
``s * (s + 1) / (24 * r * r)``: under 1e-8 for every law that reaches that far.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

_TABLE_RANKS: Final = 1 << 16

Float64 = npt.NDArray[np.float64]


class Zipf:
    """Ranks ``0 .. count - 1``; rank ``r`` has a weight of ``(r + 1) ** -exponent``."""

    __slots__ = ("_head", "_tail_weight", "count", "exponent")

    def __init__(self, count: int, exponent: float) -> None:
        self.count = count
        self.exponent = exponent
        ranks = np.arange(1, min(count, _TABLE_RANKS) + 1, dtype=np.float64)
        self._head: Float64 = np.cumsum(ranks**-exponent)
        self._tail_weight = float(self._integral(np.float64(count + 0.5))) if count > _TABLE_RANKS else 0.0

    def ranks(self, uniform: Float64) -> npt.NDArray[np.int64]:
        """Rank of each number of ``uniform``, which are in ``[0, 1)``."""
        head_weight = float(self._head[-1])
        weight = uniform * (head_weight + self._tail_weight)
        ranks = np.searchsorted(self._head, weight, side="right")
        tail = np.flatnonzero(weight >= head_weight)
        if tail.size:
            position = self._inverse_integral(weight[tail] - head_weight)
            ranks[tail] = np.clip(np.rint(position).astype(np.int64), _TABLE_RANKS + 1, self.count) - 1
        return np.minimum(ranks, self.count - 1)

    def _integral(self, upper: np.float64) -> np.float64:
        """Weight of the ranks past the table up to position ``upper``."""
        lower = _TABLE_RANKS + 0.5
        power = 1 - self.exponent
        if abs(power) < 1e-12:
            return np.float64(np.log(upper / lower))
        # expm1 keeps exponents near 1 exact.
        return np.float64(lower**power * np.expm1(power * np.log(upper / lower)) / power)

    def _inverse_integral(self, weight: Float64) -> Float64:
        lower = _TABLE_RANKS + 0.5
        power = 1 - self.exponent
        if abs(power) < 1e-12:
            scaled = weight
        else:
            scaled = np.log1p(weight * power / lower**power) / power
        result: Float64 = lower * np.exp(scaled)
        return result
