"""The bios a filesystem submits, as columns: what a device model needs to run the same workload in time."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.store import SoftwareStore

_LIMB = (1 << 64) - 1
_NO_KEY = -1


@dataclass(frozen=True, slots=True)
class BioColumns:
    """Bios in order of submission.

    Attributes:
        op: ``uint8[n]``, ``ReqOp``.
        block: ``int64[n]``, first block.
        blocks: ``int64[n]``.
        key: ``int64[n]``, position in ``keys``; -1 without context.
        dun: ``uint64[n]``, lowest 64 bits of the first DUN.
        keys: key objects in order of first use.
    """

    op: npt.NDArray[np.uint8]
    block: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.int64]
    key: npt.NDArray[np.int64]
    dun: npt.NDArray[np.uint64]
    keys: tuple[BlkCryptoKey, ...]


@dataclass(slots=True)
class _Rows:
    op: list[int] = field(default_factory=list)
    block: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    key: list[int] = field(default_factory=list)
    dun: list[int] = field(default_factory=list)


class BioLog(SoftwareStore):
    """A software store that keeps the bios it was given, until ``take``.

    Reads without a context are the filesystem's own looks at ciphertext, for checksums, and are left out;
    relocation therefore shows as writes only.
    """

    def __init__(self, block_size: int) -> None:
        super().__init__(block_size)
        self._block_bytes = block_size
        self._rows = _Rows()
        self._numbers: dict[BlkCryptoKey, int] = {}

    def write(self, ctx: BioCryptCtx | None, block: int, data: bytes) -> None:
        """See ``BlockStore``."""
        self._note(ReqOp.WRITE, ctx, block, len(data))
        super().write(ctx, block, data)

    def read(self, ctx: BioCryptCtx | None, block: int, nbytes: int) -> bytes:
        """See ``BlockStore``."""
        if ctx is not None:
            self._note(ReqOp.READ, ctx, block, nbytes)
        return super().read(ctx, block, nbytes)

    def _note(self, op: ReqOp, ctx: BioCryptCtx | None, block: int, nbytes: int) -> None:
        rows = self._rows
        rows.op.append(int(op))
        rows.block.append(block)
        rows.blocks.append(nbytes // self._block_bytes)
        number = _NO_KEY if ctx is None else self._numbers.setdefault(ctx.key, len(self._numbers))
        rows.key.append(number)
        rows.dun.append(0 if ctx is None else ctx.dun & _LIMB)

    def take(self) -> BioColumns:
        """The bios since the last call; key numbers go on."""
        rows, self._rows = self._rows, _Rows()
        return BioColumns(
            op=np.array(rows.op, dtype=np.uint8),
            block=np.array(rows.block, dtype=np.int64),
            blocks=np.array(rows.blocks, dtype=np.int64),
            key=np.array(rows.key, dtype=np.int64),
            dun=np.array(rows.dun, dtype=np.uint64),
            keys=tuple(self._numbers),
        )
