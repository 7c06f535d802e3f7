"""At queue depth 1 the keyslots are an LRU cache."""

import numpy as np
import pytest

from tests.machines import READ, device, run_ios
from tests.oracle.lru import lru_hits


@pytest.mark.parametrize("slots", [1, 2, 7, 32])
def test_hits_at_queue_depth_1_are_those_of_an_lru_cache(slots: int) -> None:
    rng = np.random.default_rng(11)
    # Zipf popularity with a working set that moves, so that every cache size sees hits and misses.
    drawn = (rng.zipf(1.3, 100_000) + np.arange(100_000) // 5_000 * 3) % 64
    references = drawn.tolist()
    _, run = run_ios(device(slots=slots), ((0, READ, key) for key in references), key_count=64, queue_depth=1)
    assert run.keyslots is not None
    assert run.keyslots.hits == lru_hits(slots, references)
