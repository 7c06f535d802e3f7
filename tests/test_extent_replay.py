"""Keys and DUNs for workloads without a filesystem: extents of one size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.fs.extents.designs import IV_FROM_FS, LIGHT, ExtentDesign
from blkcrypto.fs.extents.overhead import file_overhead
from blkcrypto.fs.extents.replay import ReplayKeys, split_at_extents
from tests.extent_world import BLOCK, every_design
from tests.fscrypt_world import RAW

bios = st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 100_000)), max_size=20)


def replay(design: ExtentDesign, extent_bytes: int = 4 * BLOCK) -> ReplayKeys:
    return ReplayKeys(design, RAW, np.random.default_rng(1), extent_bytes=extent_bytes)


@given(bios, st.sampled_from([4096, 12_288, 65_536]))
def test_parts_are_the_bios_cut_at_every_multiple_of_the_extent_size(
    given_bios: list[tuple[int, int]], extent: int
) -> None:
    expected = []
    for index, (offset, nbytes) in enumerate(given_bios):
        at, end = offset, offset + nbytes
        while at < end:
            stop = min(end, at - at % extent + extent)
            expected.append((index, at, stop - at))
            at = stop
    columns = np.array(given_bios, dtype=np.int64).reshape(-1, 2)

    found = split_at_extents(columns[:, 0], columns[:, 1], extent)

    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


@every_design
def test_an_extent_keeps_its_key_and_another_has_another(design: ExtentDesign) -> None:
    keys = replay(design)
    files = np.array([0, 0, 0, 1, 0])
    offsets = np.array([0, 3 * BLOCK, 4 * BLOCK, 0, BLOCK])

    first, _ = keys.look_up(files, offsets)
    again, _ = keys.look_up(files[::-1].copy(), offsets[::-1].copy())

    expected = [0, 0, 0, 0, 0] if design is IV_FROM_FS else [0, 0, 1, 2, 0]
    assert first.tolist() == again.tolist()[::-1] == expected
    assert len(keys.objects) == max(expected) + 1


@every_design
def test_duns_count_blocks_from_the_extents_start(design: ExtentDesign) -> None:
    keys = replay(design)

    _, duns = keys.look_up(np.zeros(5, dtype=np.int64), np.arange(5) * BLOCK)

    steps = (duns - duns[0]).tolist()
    assert steps[:4] == [0, 1, 2, 3]
    assert (duns[4] == 0) == (design is not IV_FROM_FS)


@every_design
@pytest.mark.parametrize("extent_bytes", [BLOCK, 8 * BLOCK])
def test_what_it_says_it_costs_equals_the_arithmetic(design: ExtentDesign, extent_bytes: int) -> None:
    keys = replay(design, extent_bytes)
    keys.look_up(np.zeros(32, dtype=np.int64), np.arange(32) * BLOCK)

    wanted = file_overhead(design, 32 * BLOCK, extent_bytes)

    assert (keys.on_disk_bytes, keys.in_memory_bytes) == (wanted.on_disk_bytes, wanted.in_memory_bytes)
    assert (len(keys.objects), keys.extents, keys.files) == (wanted.keys, wanted.items, 1)
    # One more for the identifier, when the key was added.
    assert keys.derivations == 1 + wanted.keys


def test_a_batch_without_bios_makes_no_keys() -> None:
    keys = replay(LIGHT)
    none = np.zeros(0, dtype=np.int64)

    numbers, duns = keys.look_up(none, none)

    assert (len(numbers), len(duns), keys.objects) == (0, 0, [])
