"""Batches under many keys against the slow XTS, group by group."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.crypto.blockcipher import KeyWiped
from blkcrypto.crypto.buffers import WrongBuffer
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from blkcrypto.crypto.manykeys import Group, crypt_groups
from tests.oracle.slow_xts import xts_unit

U8 = npt.NDArray[np.uint8]


def random_bytes(rng: np.random.Generator, *shape: int) -> U8:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def xts_key(number: int) -> bytes:
    return bytes([number + 1]) * 32 + bytes([number + 101]) * 32


def xts(number: int) -> DataUnitCipher:
    return new_cipher("AES-256-XTS", xts_key(number))


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    size=st.sampled_from([16, 32, 48, 128, 144, 512]),
    encrypt=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_each_group_of_units_is_xts_under_its_own_key(
    counts: list[int], size: int, encrypt: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ivs, data = random_bytes(rng, sum(counts), 16), random_bytes(rng, sum(counts), size)
    numbers = np.repeat(np.arange(len(counts)), counts).tolist()
    way = "encrypt" if encrypt else "decrypt"
    expected = [
        xts_unit(xts_key(number), iv.tobytes(), unit.tobytes(), way)
        for number, iv, unit in zip(numbers, ivs, data, strict=True)
    ]
    crypt_groups([(xts(number), count) for number, count in enumerate(counts)], ivs, data, encrypt=encrypt)
    assert [unit.tobytes() for unit in data] == expected


@pytest.mark.parametrize("counts", [[5, 4], [8], [3, 3, 3, 3]])
def test_the_tweaks_of_what_was_encrypted_decrypt_it(counts: list[int]) -> None:
    rng = np.random.default_rng(2)
    units = sum(counts)
    ivs, plain = random_bytes(rng, units, 16), random_bytes(rng, units, 512)
    groups: list[Group] = [(xts(number), count) for number, count in enumerate(counts)]
    data = plain.copy()
    tweaks = crypt_groups(groups, ivs, data, encrypt=True)
    assert tweaks is not None
    # Had the tweaks been made again, these IVs would give others.
    crypt_groups(groups, np.zeros_like(ivs), data, encrypt=False, tweaks=tweaks)
    assert (data == plain).all()


@pytest.mark.parametrize(
    "groups",
    [
        [(xts(0), 7)],  # too few to be joined
        [(xts(0), 9), (None, 1)],
        [(xts(0), 9), (None, 1), (xts(1), 9)],
    ],
)
def test_no_tweaks_are_given_where_none_serve_all_rows(groups: list[Group]) -> None:
    units = sum(count for _, count in groups)
    ivs, data = np.zeros((units, 16), np.uint8), np.zeros((units, 512), np.uint8)
    assert crypt_groups(groups, ivs, data, encrypt=True) is None


@pytest.mark.parametrize("size", [4096, 17])
def test_other_ciphers_and_plaintext_between_xts_keys_are_left_to_themselves(size: int) -> None:
    rng = np.random.default_rng(1)
    essiv = new_cipher("AES-128-CBC-ESSIV", bytes(16)) if size % 16 == 0 else None
    groups: list[Group] = [(xts(0), 10), (None, 3), (essiv, 4), (xts(1), 2)]
    ivs, plain = random_bytes(rng, 19, 16), random_bytes(rng, 19, size)
    data = plain.copy()
    crypt_groups(groups, ivs, data, encrypt=True)
    at = 0
    for cipher, count in groups:
        part = slice(at, at + count)
        expected = plain[part] if cipher is None else cipher.encrypt(ivs[part], plain[part])
        assert (data[part] == expected).all()
        at += count


@pytest.mark.parametrize("encrypt", [True, False])
def test_what_goes_to_another_array_leaves_its_source_as_it_was(encrypt: bool) -> None:
    rng = np.random.default_rng(3)
    groups: list[Group] = [(xts(0), 6), (xts(1), 5), (None, 2), (xts(2), 1)]
    ivs, source = random_bytes(rng, 14, 16), random_bytes(rng, 14, 512)
    in_place, before, out = source.copy(), source.copy(), random_bytes(rng, 14, 512)
    crypt_groups(groups, ivs, in_place, encrypt=encrypt)
    crypt_groups(groups, ivs, source, out, encrypt=encrypt)
    assert (out == in_place).all()
    assert (source == before).all()


def test_a_wiped_key_encrypts_nothing_in_a_batch_either() -> None:
    gone = xts(0)
    gone.wipe()
    with pytest.raises(KeyWiped):
        crypt_groups(
            [(xts(1), 8), (gone, 8)],
            np.zeros((16, 16), np.uint8),
            np.zeros((16, 512), np.uint8),
            encrypt=True,
        )


def test_groups_of_other_than_all_rows_are_refused() -> None:
    with pytest.raises(WrongBuffer, match=r"groups of \[2\] rows for 3 data units"):
        crypt_groups([(xts(0), 2)], np.zeros((3, 16), np.uint8), np.zeros((3, 512), np.uint8), encrypt=True)
