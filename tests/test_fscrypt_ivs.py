"""DUNs and IVs of file contents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.fs.fscrypt import iv
from blkcrypto.fs.fscrypt.filesystem import ext4_like, f2fs_like
from blkcrypto.fs.fscrypt.policy import IvScheme
from tests.fscrypt_world import EXT4, NONCE, UUID

U32 = st.integers(0, 2**32 - 1)
WRAPPING = IvScheme.IV_INO_LBLK_32


@given(ino=U32, index=U32, other=U32)
def test_lblk_64_never_carries_an_index_into_the_inode_number(ino: int, index: int, other: int) -> None:
    first = iv.first_dun(IvScheme.IV_INO_LBLK_64, index, ino=ino)
    assert first >> 32 == ino
    assert (first == iv.first_dun(IvScheme.IV_INO_LBLK_64, other, ino=ino)) == (index == other)


@given(hashed=U32, index=U32)
def test_lblk_32_stays_below_two_to_the_32(hashed: int, index: int) -> None:
    dun = iv.first_dun(WRAPPING, index, hashed_ino=hashed)
    assert 0 <= dun < 2**32
    assert (dun - index - hashed) % 2**32 == 0


@given(index=st.integers(0, 2**60))
def test_direct_key_puts_the_nonce_above_the_index(index: int) -> None:
    dun = iv.first_dun(IvScheme.DIRECT_KEY, index, nonce=NONCE)
    assert dun.to_bytes(32, "little") == index.to_bytes(8, "little") + NONCE + bytes(8)


@given(
    scheme=st.sampled_from([IvScheme.PER_FILE_KEY, IvScheme.IV_INO_LBLK_64, WRAPPING]),
    ino=U32,
    hashed=U32,
    indices=st.lists(U32, min_size=1, max_size=20),
)
def test_many_duns_at_once_are_the_single_ones(
    scheme: IvScheme, ino: int, hashed: int, indices: list[int]
) -> None:
    many = iv.low_limbs(
        scheme,
        np.array(indices, dtype=np.int64),
        inos=np.full(len(indices), ino, dtype=np.int64),
        hashed_inos=np.full(len(indices), hashed, dtype=np.uint64),
    )
    assert many.tolist() == [iv.first_dun(scheme, index, ino=ino, hashed_ino=hashed) for index in indices]


def test_ivs_are_little_endian_with_the_nonce_behind_the_index() -> None:
    ivs = iv.ivs_from_low_limbs(np.array([1, 2**40], dtype=np.uint64), nonce=NONCE, iv_bytes=32)
    assert ivs.tobytes() == (
        bytes([1]) + bytes(7) + NONCE + bytes(8) + bytes([0, 0, 0, 0, 0, 1, 0, 0]) + NONCE + bytes(8)
    )


@pytest.mark.parametrize(
    ("block_size", "data_unit_bits", "expected"),
    # ext4's largest file has 2**32 - 1 blocks: 44 bits of bytes at 4 KiB; ceil((44 - bits) / 8).
    [(4096, 12, 4), (4096, 9, 5), (1024, 10, 4), (1024, 9, 5)],
)
def test_per_file_keys_promise_the_bytes_that_the_largest_file_needs(
    block_size: int, data_unit_bits: int, expected: int
) -> None:
    fs = ext4_like(UUID, block_size=block_size)
    assert iv.dun_bytes(IvScheme.PER_FILE_KEY, fs, data_unit_bits) == expected


@pytest.mark.parametrize(("data_unit_bits", "expected"), [(12, 4), (10, 4), (9, 5)])
def test_f2fs_files_end_just_under_two_to_the_42(data_unit_bits: int, expected: int) -> None:
    assert iv.dun_bytes(IvScheme.PER_FILE_KEY, f2fs_like(UUID), data_unit_bits) == expected


def test_the_largest_file_of_f2fs_is_the_one_it_is_known_for_less_room_for_inline_xattrs() -> None:
    # 4329690886144 bytes where an inode has 923 block addresses; 50 of them hold xattrs here.
    assert f2fs_like(UUID).s_maxbytes == 4329690886144 - 50 * 4096


@pytest.mark.parametrize(("uuid", "block_size"), [(UUID[:15], 4096), (UUID, 256), (UUID, 511), (UUID, 1536)])
def test_a_filesystem_has_a_uuid_of_16_bytes_and_blocks_of_a_power_of_two(
    uuid: bytes, block_size: int
) -> None:
    assert ext4_like(UUID, block_size=512).block_bits == 9
    with pytest.raises(ValueError, match=r"16 bytes|power of two"):
        ext4_like(uuid, block_size=block_size)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [(IvScheme.DIRECT_KEY, 24), (IvScheme.IV_INO_LBLK_64, 8), (IvScheme.IV_INO_LBLK_32, 4)],
)
def test_the_other_schemes_promise_what_their_iv_layout_uses(scheme: IvScheme, expected: int) -> None:
    assert iv.dun_bytes(scheme, EXT4, 12) == expected


@given(hashed=U32, lblk=U32, count=st.integers(1, 2**20))
def test_no_limited_bio_crosses_the_wrap(hashed: int, lblk: int, count: int) -> None:
    allowed = iv.limit_io_blocks(WRAPPING, hashed, lblk, count)
    first = (hashed + lblk) % 2**32
    assert 1 <= allowed <= count
    assert first + allowed <= 2**32
    assert allowed == count or first + allowed == 2**32


@pytest.mark.parametrize("scheme", [IvScheme.PER_FILE_KEY, IvScheme.IV_INO_LBLK_64, IvScheme.DIRECT_KEY])
def test_only_lblk_32_limits_a_bio(scheme: IvScheme) -> None:
    assert iv.limit_io_blocks(scheme, 2**32 - 1, 0, 100) == 100


@pytest.mark.parametrize(("ino", "index"), [(2**32, 0), (0, 2**32)])
def test_lblk_64_refuses_what_does_not_fit(ino: int, index: int) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        iv.first_dun(IvScheme.IV_INO_LBLK_64, index, ino=ino)


def test_many_lblk_32_duns_need_the_hashes_of_their_inodes() -> None:
    with pytest.raises(ValueError, match="hashed inode numbers"):
        iv.low_limbs(WRAPPING, np.zeros(1, np.int64), inos=np.ones(1, np.int64))
