"""Named random streams, all spawned from one seed.

A stream depends on the seed and its own name only, so adding a component never changes another's draws.
"""

import hashlib

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """Generator of the stream ``name`` under ``seed`` (``>= 0``): equal arguments, equal draws."""
    digest = hashlib.sha256(name.encode()).digest()
    words = tuple(int.from_bytes(digest[at : at + 4], "little") for at in range(0, 16, 4))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=words)))
