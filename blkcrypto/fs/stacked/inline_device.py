"""dm-inlinecrypt and Android's default-key: a context for every bio, encryption by the device below.

Rules (drivers/md/dm-inlinecrypt.c, 7.2; Android's drivers/md/dm-default-key.c; reference block-layer.md
section 3.17):

- dm-inlinecrypt ends a bio that has a context already, or that begins inside a unit, with an I/O error.  So
  fscrypt above it cannot reach the hardware: it must encrypt by itself, and contents are encrypted twice.
- default-key gives its key to bios without a context.  Bios of encrypted files carry a mark and a context of
  their own, and are only moved: contents are encrypted once.
- Neither has keyslots, programs anything, or copies data.
"""

from dataclasses import dataclass, field
from typing import Protocol

from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.fs.dm_table import DmInlinecrypt, DmTable, parse_table
from blkcrypto.fs.stacked.dmcrypt_device import Misaligned, TargetMismatch, check_range


class InlineStore(Protocol):
    """The device below: encrypts what comes with a context.  ``block`` counts 512-byte sectors."""

    def write(self, ctx: BioCryptCtx | None, block: int, data: bytes) -> None:
        """Write whole sectors."""

    def read(self, ctx: BioCryptCtx | None, block: int, nbytes: int) -> bytes:
        """Read whole sectors."""


class HasContext(Misaligned):
    """A bio that has a context already: dm-inlinecrypt does not pass it on (an I/O error)."""


def _table(line: str) -> DmTable:
    table = parse_table(line)
    if table.target != "inlinecrypt":
        raise TargetMismatch(f"a table of {table.target}")
    return table


@dataclass(slots=True)
class InlinecryptDevice:
    """A mapping of ``inlinecrypt``.

    Args:
        line: table line.
        store: the device below.
        takes_wrapped: whether it takes hardware-wrapped keys.

    Raises:
        TableInvalid, TargetMismatch: EINVAL.
        WrappedKeysUnavailable: EOPNOTSUPP.
    """

    line: str
    store: InlineStore
    takes_wrapped: bool = False
    table: DmTable = field(init=False)
    target: DmInlinecrypt = field(init=False)

    def __post_init__(self) -> None:
        self.table = _table(self.line)
        self.target = DmInlinecrypt(self.table, takes_wrapped=self.takes_wrapped)

    def write(self, ctx: BioCryptCtx | None, sector: int, data: bytes) -> None:
        """Write.

        Raises:
            HasContext, Misaligned: EIO.
        """
        self.store.write(self._ctx(ctx, sector, len(data)), self.table.device_start + sector, data)

    def read(self, ctx: BioCryptCtx | None, sector: int, nbytes: int) -> bytes:
        """Read; raises as ``write``."""
        return self.store.read(self._ctx(ctx, sector, nbytes), self.table.device_start + sector, nbytes)

    def _ctx(self, ctx: BioCryptCtx | None, sector: int, nbytes: int) -> BioCryptCtx:
        if ctx is not None:
            raise HasContext(f"a bio with {ctx.key!r}: encrypt above this device in software instead")
        check_range(self.table, sector, nbytes)
        return self.target.crypt_ctx(sector)


@dataclass(slots=True)
class DefaultKeyDevice:
    """A mapping of ``default-key``, given as the table of ``inlinecrypt`` with the same meaning.

    Attributes:
        skipped: bios that were only moved.
    """

    line: str
    store: InlineStore
    takes_wrapped: bool = False
    skipped: int = 0
    table: DmTable = field(init=False)
    target: DmInlinecrypt = field(init=False)

    def __post_init__(self) -> None:
        self.table = _table(self.line)
        self.target = DmInlinecrypt(self.table, takes_wrapped=self.takes_wrapped)

    def write(self, ctx: BioCryptCtx | None, sector: int, data: bytes, *, skip: bool = False) -> None:
        """Write.

        Args:
            ctx: of the bio; comes with ``skip``.
            sector: on the mapping.
            data: whole units.
            skip: ``bi_skip_dm_default_key``: contents of an encrypted file.  Ciphertext that moves has the
                mark, and no context.

        Raises:
            Misaligned: EIO.
        """
        chosen = self._ctx(ctx, sector, len(data), skip=skip)
        self.store.write(chosen, self.table.device_start + sector, data)

    def read(self, ctx: BioCryptCtx | None, sector: int, nbytes: int, *, skip: bool = False) -> bytes:
        """Read; see ``write``."""
        chosen = self._ctx(ctx, sector, nbytes, skip=skip)
        return self.store.read(chosen, self.table.device_start + sector, nbytes)

    def _ctx(self, ctx: BioCryptCtx | None, sector: int, nbytes: int, *, skip: bool) -> BioCryptCtx | None:
        if skip:
            self.skipped += 1
            return ctx
        if ctx is not None:
            raise HasContext(f"a bio with {ctx.key!r}, but without the mark that it is a file's contents")
        check_range(self.table, sector, nbytes)
        return self.target.crypt_ctx(sector)
