"""The IVs of a batch: given one by one, or those of consecutive DUNs, made when they are needed."""

from collections.abc import Iterator
from operator import index
from typing import Final, Protocol

import numpy as np

from blkcrypto.base.dun import DUN_BYTES, duns_to_ivs
from blkcrypto.crypto.buffers import U8Array

# Below it, making them one at a time is quicker than numpy's calls.
_FEW: Final = 16
_MODULUS: Final = 1 << (8 * DUN_BYTES)


class Ivs(Protocol):
    """IVs by the index of their data unit in the batch."""

    def rows(self, start: int, stop: int) -> U8Array:
        """``uint8[stop - start, iv_bytes]``, C-contiguous."""

    def one(self, unit: int) -> bytes:
        """``iv_bytes`` bytes."""


class IvRows:
    """IVs from the caller's array ``uint8[n, iv_bytes]``, C-contiguous."""

    __slots__ = ("_array",)

    def __init__(self, array: U8Array) -> None:
        self._array = array

    def rows(self, start: int, stop: int) -> U8Array:
        """A view."""
        return self._array[start:stop]

    def one(self, unit: int) -> bytes:
        """A copy of row ``unit``."""
        iv: bytes = self._array[unit].tobytes()
        return iv


class IvRun:
    """IVs of the DUNs from ``first_dun`` on, which wrap at 2**256.

    Raises:
        ValueError: ``first_dun`` is not a DUN.
    """

    __slots__ = ("_first_dun", "_iv_bytes", "_iv_mask")

    def __init__(self, first_dun: int, iv_bytes: int) -> None:
        if not 0 <= first_dun < _MODULUS:
            raise ValueError(f"a DUN is at least 0 and below 2**256, not {first_dun}")
        self._first_dun = index(first_dun)
        self._iv_bytes = iv_bytes
        self._iv_mask = (1 << (8 * iv_bytes)) - 1

    def rows(self, start: int, stop: int) -> U8Array:
        """A new array."""
        if stop - start <= _FEW:
            joined = b"".join(self.one(unit) for unit in range(start, stop))
            return np.frombuffer(joined, dtype=np.uint8).reshape(-1, self._iv_bytes)
        return duns_to_ivs((self._first_dun + start) % _MODULUS, stop - start, iv_bytes=self._iv_bytes)

    def one(self, unit: int) -> bytes:
        """The low ``iv_bytes`` bytes of the DUN, little-endian."""
        return (self._first_dun + unit & self._iv_mask).to_bytes(self._iv_bytes, "little")


def in_chunks(
    ivs: Ivs, first: int, src: U8Array, out: U8Array, chunk_bytes: int
) -> Iterator[tuple[U8Array, U8Array, U8Array]]:
    """A batch in runs of rows that fit the cache: IVs (C-contiguous), source and output of each.

    Args:
        first: index in ``ivs`` of the first row.
        chunk_bytes: bytes of a run; a larger data unit is a run of its own.
    """
    units, size = src.shape
    step = max(1, chunk_bytes // size)
    for at in range(0, units, step):
        stop = min(at + step, units)
        yield np.ascontiguousarray(ivs.rows(first + at, first + stop)), src[at:stop], out[at:stop]
