"""Runs of data units that are encrypted together come out as if each had been encrypted alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.crypto.gather import Gathered
from tests.oracle.slow_xts import xts_unit

UNIT = 512
KEYS = [bytes((7 * at + number) & 255 for at in range(64)) for number in range(3)]


def noise(nbytes: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, nbytes, dtype=np.uint8)


def together(
    runs: list[tuple[int, int, int]], sources: list[bytes], unit: int, *, encrypt: bool
) -> list[bytes]:
    """``runs`` of (key, DUN, units), gathered."""
    ciphers = [new_cipher("AES-256-XTS", key) for key in KEYS]
    gathered = Gathered([(ciphers[key], dun, count * unit) for key, dun, count in runs], unit, 16)
    for part, source in zip(gathered.parts, sources, strict=True):
        part[:] = np.frombuffer(source, dtype=np.uint8)
    gathered.crypt(encrypt=encrypt)
    return [part.tobytes() for part in gathered.parts]


RUNS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 2]),
        st.sampled_from([0, 5, 2**64 - 1, 2**128 - 1, 2**128, 2**256 - 1]),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=15)
@given(RUNS)
def test_every_data_unit_is_the_slow_xts_of_its_key_and_the_low_half_of_its_dun(
    runs: list[tuple[int, int, int]],
) -> None:
    sources = [noise(count * UNIT, number).tobytes() for number, (_, _, count) in enumerate(runs)]
    expected = []
    for (key, dun, count), source in zip(runs, sources, strict=True):
        units = [source[at * UNIT : at * UNIT + UNIT] for at in range(count)]
        ivs = [((dun + at) % 2**128).to_bytes(16, "little") for at in range(count)]
        crypted = [xts_unit(KEYS[key], iv, unit, "encrypt") for unit, iv in zip(units, ivs, strict=True)]
        expected.append(b"".join(crypted))
    assert together(runs, sources, UNIT, encrypt=True) == expected
    assert together(runs, expected, UNIT, encrypt=False) == sources


@pytest.mark.parametrize("counts", [(300, 2), (2, 300), (300, 300), (17, 255)])
def test_a_key_with_many_units_beside_others_changes_nothing(counts: tuple[int, int]) -> None:
    runs: list[tuple[int, int, int]] = [(number, 9, count) for number, count in enumerate(counts)]
    sources = [noise(count * UNIT, count).tobytes() for count in counts]
    alone = [together([run], [source], UNIT, encrypt=True) for run, source in zip(runs, sources, strict=True)]
    assert together(runs, sources, UNIT, encrypt=True) == [each for [each] in alone]
