"""Sampling by file: all I/O of a share of the files, so that what happens to a file stays whole."""

import numpy as np

from blkcrypto.fs.allocation.permutation import mixed
from scenarios.placement.pieces import Bools, Int64
from scenarios.traces.batch import NO_FILE


class FileSample:
    """A share of all files, the same whatever the trace says of them.

    Args:
        share: of the files, above 0.
        rng: chooses them.
    """

    def __init__(self, share: float, rng: np.random.Generator) -> None:
        self._limit = np.uint64(min(share * 2.0**64, 2.0**64 - 2048))
        self._salt = np.uint64(rng.integers(0, 2**64, dtype=np.uint64))

    def has(self, files: Int64) -> Bools:
        """Whether each of ``files`` is chosen; -1, no file, always is."""
        chosen: Bools = (mixed(files.astype(np.uint64), self._salt) < self._limit) | (files == NO_FILE)
        return chosen
