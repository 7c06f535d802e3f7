"""What a batch of data units must look like, checked once at the border.

Rules: ``src`` and ``out`` are ``uint8[n, data_unit_size]``, ``ivs`` is ``uint8[n, iv_bytes]``.  Rows may lie
anywhere in memory, at any alignment, but each row is contiguous.  ``out`` may be ``src`` itself (the same
bytes in the same places) or disjoint from it; a partial overlap is refused, as a later data unit would then
be read after it was written.
"""

import errno
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BlkCryptoError

U8Array = npt.NDArray[np.uint8]
U64Array = npt.NDArray[np.uint64]

_U8: Final = np.dtype(np.uint8)


class WrongBuffer(ValueError):
    """A caller's mistake: shape, dtype, a read-only output, or buffers that partly overlap."""


class WrongDataUnitSize(BlkCryptoError):
    """A data unit of that size cannot be encrypted in this mode (``-EINVAL`` of the crypto API)."""

    errno = errno.EINVAL


def check_output(src: U8Array, out: U8Array | None) -> U8Array:
    """The output array of a batch, after checking both.

    Args:
        out: ``None`` for a new array.

    Raises:
        WrongBuffer: naming the array and what it must be.
    """
    # The identity tests first: a batch of one data unit is small change, and these checks are part of it.
    if (src.dtype is not _U8 and src.dtype != _U8) or src.ndim != 2:
        raise WrongBuffer(f"src must be uint8[n, data_unit_size], not {src.dtype}{list(src.shape)}")
    if src.strides[1] != 1 and src.size:
        raise WrongBuffer("the bytes of a data unit in src must lie side by side")
    if out is None:
        return np.empty(src.shape, dtype=_U8)
    if (out.dtype is not _U8 and out.dtype != _U8) or out.shape != src.shape:
        raise WrongBuffer(f"out must be uint8{list(src.shape)} like src, not {out.dtype}{list(out.shape)}")
    if out.strides[1] != 1 and out.size:
        raise WrongBuffer("the bytes of a data unit in out must lie side by side")
    if not out.flags.writeable:
        raise WrongBuffer("out is read-only")
    if out is not src and overlaps(src, out) and not _same_place(src, out):
        raise WrongBuffer("src and out partly overlap: use the same array, or disjoint ones")
    return out


def check_ivs(ivs: U8Array, out: U8Array, *, iv_bytes: int) -> U8Array:
    """``ivs``, C-contiguous, after checking it against the output.

    Raises:
        WrongBuffer: not ``uint8[n, iv_bytes]``, or it shares memory with ``out``.
    """
    if (ivs.dtype is not _U8 and ivs.dtype != _U8) or ivs.shape != (len(out), iv_bytes):
        raise WrongBuffer(f"ivs must be uint8[{len(out)}, {iv_bytes}], not {ivs.dtype}{list(ivs.shape)}")
    if overlaps(ivs, out):
        raise WrongBuffer("ivs and out overlap: later IVs would be overwritten before they are used")
    return np.ascontiguousarray(ivs)


def _same_place(a: U8Array, b: U8Array) -> bool:
    return a.__array_interface__["data"][0] == b.__array_interface__["data"][0] and a.strides == b.strides


def overlaps(a: U8Array, b: U8Array) -> bool:
    """Whether two arrays share a byte.  Exact, also for interleaved rows."""
    if a.base is None and b.base is None and a is not b:
        return False  # each owns its memory
    return np.may_share_memory(a, b) and np.shares_memory(a, b)


def word_aligned(array: U8Array) -> bool:
    """Whether the array can be viewed as 64-bit words where it lies."""
    address: int = array.__array_interface__["data"][0]
    return array.flags.c_contiguous and address % 8 == 0
