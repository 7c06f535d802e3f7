"""One interface over all contents modes: batches of data units in, batches out.

A ``Kernel`` knows one mode and works on arrays that are already checked; ``BatchCipher`` checks, makes the
IVs of DUN runs, and spreads large batches over cores.
"""

from typing import Protocol

from blkcrypto.crypto.buffers import U8Array, check_ivs, check_output
from blkcrypto.crypto.ivs import IvRows, IvRun, Ivs
from blkcrypto.crypto.modes import CipherMode
from blkcrypto.crypto.parallel import cores, for_parts


class Kernel(Protocol):
    """One mode under one key.  Several threads may call it at once, each with rows of its own."""

    __slots__ = ()

    #: Bytes of a part for which another thread pays.
    part_bytes: int

    def check_data_unit(self, data_unit_size: int) -> None:
        """Raise ``WrongDataUnitSize`` when the mode cannot take data units of this size."""

    def prepare(self, ivs: Ivs, units: int, data_unit_size: int) -> Ivs:
        """What the parts of a batch share: ``ivs``, or what was made from them once for all parts.

        Short calls of many threads queue for the interpreter lock: better make them before threads start.
        """
        return ivs

    def crypt(self, ivs: Ivs, first: int, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """Encrypt or decrypt rows.

        Args:
            ivs: as given, or as ``prepare`` returned them.
            first: index in ``ivs`` of the first row.
            out: ``src`` itself or disjoint from it; the rows of both may lie anywhere in memory.
        """

    def wipe(self) -> None:
        """Drop the key and all that was made from it."""


class BatchCipher:
    """A contents mode under one key.

    Args:
        mode: its row.
        kernel: the mode's arithmetic, keyed.
        threads: cores a large batch may use; ``None`` for all.  The result does not depend on it.

    Attributes:
        kernel: for who works on batches under many keys, and checks them himself.
    """

    __slots__ = ("_threads", "kernel", "mode")

    def __init__(self, mode: CipherMode, kernel: Kernel, *, threads: int | None = None) -> None:
        self.mode = mode
        self.kernel = kernel
        self._threads = cores() if threads is None else threads

    def encrypt(self, ivs: U8Array, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Encrypt data units, row ``i`` of ``src`` under ``ivs[i]``.

        Args:
            ivs: ``uint8[n, iv_bytes]``.
            src: ``uint8[n, data_unit_size]``.
            out: where to; ``src`` itself, an array disjoint from it, or ``None`` for a new one.

        Returns:
            ``out``.

        Raises:
            WrongBuffer: shape, dtype, read-only output, or a partial overlap.
            WrongDataUnitSize: the mode cannot take data units of this size (EINVAL).
        """
        target = check_output(src, out)
        self._crypt(self._given(ivs, target), src, target, encrypt=True)
        return target

    def decrypt(self, ivs: U8Array, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Inverse of ``encrypt``; raises the same."""
        target = check_output(src, out)
        self._crypt(self._given(ivs, target), src, target, encrypt=False)
        return target

    def encrypt_run(self, first_dun: int, src: U8Array, out: U8Array | None = None) -> U8Array:
        """``encrypt`` with the IVs of consecutive DUNs, as one bio carries them."""
        target = check_output(src, out)
        self._crypt(IvRun(first_dun, self.mode.iv_bytes), src, target, encrypt=True)
        return target

    def decrypt_run(self, first_dun: int, src: U8Array, out: U8Array | None = None) -> U8Array:
        """``decrypt`` with the IVs of consecutive DUNs."""
        target = check_output(src, out)
        self._crypt(IvRun(first_dun, self.mode.iv_bytes), src, target, encrypt=False)
        return target

    def wipe(self) -> None:
        """Drop the key and every context made from it; later calls raise ``KeyWiped``.

        Python cannot promise that no copy is left: freed memory is not overwritten.
        """
        self.kernel.wipe()

    def _given(self, ivs: U8Array, out: U8Array) -> IvRows:
        return IvRows(check_ivs(ivs, out, iv_bytes=self.mode.iv_bytes))

    def _crypt(self, ivs: Ivs, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        count, data_unit_size = src.shape
        kernel = self.kernel
        kernel.check_data_unit(data_unit_size)
        if not count:
            return
        if count == 1 or self._threads == 1 or src.nbytes < 2 * kernel.part_bytes:
            kernel.crypt(ivs, 0, src, out, encrypt=encrypt)
            return

        prepared = kernel.prepare(ivs, count, data_unit_size)

        def part(start: int, stop: int) -> None:
            kernel.crypt(prepared, start, src[start:stop], out[start:stop], encrypt=encrypt)

        for_parts(count, min(self._threads, src.nbytes // kernel.part_bytes), part)
