"""The seam between timing and bytes: what a machine tells whoever moves the bytes."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.request import Request


class Outage(NamedTuple):
    """Power failed.

    Attributes:
        interrupted: writes at the device, each with its key.
        rng: draws what is left to chance.
        tear_bytes: the medium writes so much as a whole.
    """

    interrupted: Sequence[tuple[Request, BlkCryptoKey | None]]
    rng: np.random.Generator
    tear_bytes: int


class DataPlane(Protocol):
    """Where the bytes go: told of every bio at the instant its data is on, or read from, the medium."""

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """``request`` is done; ``key`` is the key it was really encrypted or decrypted with."""

    def forget(self, key: BlkCryptoKey) -> None:
        """``key`` was evicted: nothing made from it may stay."""

    def keep_unflushed(self, now: Callable[[], int]) -> None:
        """From here on know what a power cut would take."""

    def power_cut(self, outage: Outage) -> Counter[str]:
        """Power failed; what became of unflushed data units."""


class PlaneInFront:
    """A plane in front of another; what it does not do itself goes there."""

    def __init__(self, behind: DataPlane) -> None:
        self._behind = behind

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """See ``DataPlane``."""
        self._behind.complete(request, key)

    def forget(self, key: BlkCryptoKey) -> None:
        """See ``DataPlane``."""
        self._behind.forget(key)

    def keep_unflushed(self, now: Callable[[], int]) -> None:
        """See ``DataPlane``."""
        self._behind.keep_unflushed(now)

    def power_cut(self, outage: Outage) -> Counter[str]:
        """See ``DataPlane``."""
        return self._behind.power_cut(outage)
