"""Which bios are FUA writes: a share of them, by number, without a table of all."""

from functools import lru_cache
from typing import Final

import numpy as np

from blkcrypto.base.mix import mix64
from hwmodel.writecache import IsFua
from scenarios.streams import stream

_BLOCK: Final = 1 << 12  # rows decided at once
_BLOCKS_KEPT: Final = 64  # more than are ever in flight
_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)


def fua_rows(share: float, seed: int) -> IsFua | None:
    """Tells FUA writes by row number, a ``share`` of all of them; None for none."""
    if not share:
        return None
    salt = np.uint64(stream(seed, "fua").integers(1 << 63))
    below = share * 2.0**64

    @lru_cache(_BLOCKS_KEPT)
    def block(number: int) -> bytes:
        rows = np.arange(number * _BLOCK, (number + 1) * _BLOCK, dtype=np.uint64)
        return (mix64(rows * _GAMMA + salt) < below).tobytes()

    def is_fua(row: int) -> bool:
        return bool(block(row // _BLOCK)[row % _BLOCK])

    return is_fua
