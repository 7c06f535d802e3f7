"""What a key design offers a run: keys and DUNs of bios, what that costs, and real ciphers."""

from collections.abc import Callable
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

    @property
    def files(self) -> int:
        """Files touched."""

    @property
    def data_bytes(self) -> int:
        """Size of the files touched."""

    @property
    def extents(self) -> int:
        """Extents with something of their own on disk; 0 where there are none."""

    @property
    def keys_live(self) -> int:
        """Contents keys in memory at the end."""

    @property
    def derivations(self) -> int:
        """Key derivations."""

    @property
    def on_disk_bytes(self) -> int:
        """What the design adds to the files touched."""

    @property
    def in_memory_bytes(self) -> int:
        """What it holds for them at the end."""

    @property
    def extra(self) -> dict[str, int]:
        """Counts that only this design has."""
