"""Runs of data units, and all units of some runs sorted by key: what a cipher gets at once."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey

_IV_BYTES: Final = 16  # of AES-256-XTS; every design's DUN fits its lower half


@dataclass(slots=True)
class Run:
    """Consecutive data units of one bio.

    Attributes:
        unit: number of the first.
        count: how many.
        key: what they are encrypted with; None for plaintext.
        dun: of the first.
        write: or read.
        done_ns: when the bio was complete.
    """

    unit: int
    count: int
    key: BlkCryptoKey | None
    dun: int
    write: bool
    done_ns: int = 0


class Batch:
    """Every unit of some runs, sorted by key: device unit numbers, IVs, and units per key."""

    __slots__ = ("_counts", "by_key", "ivs", "runs", "units")

    def __init__(self, runs: list[Run]) -> None:
        groups: dict[BlkCryptoKey | None, list[Run]] = {}
        for run in runs:
            groups.setdefault(run.key, []).append(run)
        self.by_key = [(key, sum(run.count for run in group)) for key, group in groups.items()]
        ordered = self.runs = [run for group in groups.values() for run in group]
        counts = self._counts = np.array([run.count for run in ordered], dtype=np.int64)
        within = np.arange(counts.sum(), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
        self.units = np.repeat(np.array([run.unit for run in ordered], dtype=np.int64), counts) + within
        first_duns = np.array([run.dun & (1 << 64) - 1 for run in ordered], dtype="<u8")
        self.ivs = np.zeros((len(within), _IV_BYTES), dtype=np.uint8)
        self.ivs[:, :8] = (np.repeat(first_duns, counts) + within.astype("<u8"))[:, None].view(np.uint8)

    def per_unit(self, values: list[int]) -> npt.NDArray[np.int64]:
        """One value per run -> one per unit."""
        return np.repeat(np.array(values, dtype=np.int64), self._counts)
