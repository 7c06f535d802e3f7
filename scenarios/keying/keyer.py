"""What a key design offers a run: keys and DUNs of bios, what that costs, and real ciphers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.companions import DesignWork
from hwmodel.dataplane import UnitCipher
from scenarios.keying.bios import Bios
from scenarios.keying.setup import SetupTally

Int64 = npt.NDArray[np.int64]
FileBytes = Callable[[Int64], Int64]
"""Sizes of files, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a key design amounts to for the files that were touched.

    Attributes:
        files: how many.
        data_bytes: their size.
        extents: those with something of their own on disk; 0 where there are none.
        keys_live: contents keys in memory.
        derivations: key derivations.
        on_disk_bytes: what the design adds to the files.
        in_memory_bytes: what it holds for them.
        extra: counts that only this design has.
    """

    files: int
    data_bytes: int
    keys_live: int
    derivations: int
    on_disk_bytes: int
    in_memory_bytes: int
    extents: int = 0
    extra: dict[str, int] = field(default_factory=dict)


class Keyer(Protocol):
    """Decides key and DUN of bios.

    Attributes:
        objects: key objects by number.
        key_ops: operations of the key-wrapping unit.
        tally: how often keys were set up.
    """

    objects: list[BlkCryptoKey]
    key_ops: dict[str, int]
    tally: SetupTally

    def keyed(self, bios: Bios) -> Bios:
        """``bios`` with keys and DUNs, cut where those demand it."""

    def charge(self, bios: Bios, first_number: int, work: DesignWork) -> None:
        """Put down what key set-up costs ``bios``, which are numbered from ``first_number``."""

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """The real cipher."""

    def footprint(self) -> Footprint:
        """What the design amounts to for the files touched, at the end."""
