"""Filesystems that encrypt for themselves."""

import errno
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.extents.keys import btrfs_like
from blkcrypto.fs.fs_layer import CephLikeFile, FsLayerCipher, UbifsLikeFile
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ceph_like, ext4_like, ubifs_like
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.fscrypt.validate import DataUnitSizeUnsupported, IvInoLblkUnsupported, check_supported
from tests.fscrypt_world import ADIANTUM, EXT4, INO, NONCE, RAW, UUID, policy_for, small_ext4
from tests.oracle.fscrypt_files import Subject, contents_unit

SUBJECT = Subject(RAW, 0, UUID, INO, NONCE)


def cipher(fs: FileSystem, flags: int = PolicyFlags.PAD_4, modes: tuple[int, int] = (1, 4)) -> FsLayerCipher:
    key = MasterKey.from_raw(RAW)
    return FsLayerCipher(policy_for(key, flags, modes), key, fs, ino=INO, nonce=NONCE)


@given(data=st.binary(min_size=1, max_size=4096), block=st.integers(0, 2**31))
def test_a_ubifs_block_is_compressed_padded_and_encrypted_as_one_unit(data: bytes, block: int) -> None:
    file = UbifsLikeFile(cipher(ubifs_like(UUID)))
    node = file.write_block(block, data)
    assert file.read_block(block) == data
    assert len(node.data) == -(-node.compressed_size // 16) * 16
    assert node.compressed_size <= len(data)


@pytest.mark.parametrize(("modes", "oracle_mode"), [((1, 4), 1), ((5, 6), 5)])
def test_what_does_not_compress_is_stored_as_the_oracle_says(
    modes: tuple[int, int], oracle_mode: int
) -> None:
    file = UbifsLikeFile(cipher(ubifs_like(UUID), modes=modes))
    data = bytes(range(256)) + b"\x01\x02\x03"
    node = file.write_block(9, data)
    assert not node.is_compressed
    assert node.data == contents_unit(SUBJECT, oracle_mode, 9, data.ljust(272, b"\0"))


def test_an_unwritten_ubifs_block_is_a_hole() -> None:
    assert UbifsLikeFile(cipher(ubifs_like(UUID))).read_block(3) == b""


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=9000)), min_size=1, max_size=6)
)
def test_a_ceph_file_is_the_bytes_written_to_it(writes: list[tuple[int, bytes]]) -> None:
    file, model = CephLikeFile(cipher(ceph_like(UUID))), bytearray()
    for pos, data in writes:
        file.write(pos, data)
        model.extend(bytes(max(0, pos + len(data) - len(model))))
        model[pos : pos + len(data)] = data
    assert file.read(0, 10**6) == bytes(model)
    assert {len(block) for block in file.blocks.values()} == {4096}


def test_a_ceph_block_is_as_the_oracle_says_and_a_partial_write_reads_it_first() -> None:
    file = CephLikeFile(cipher(ceph_like(UUID)))
    file.write(4096, b"a" * 4096)
    assert file.reads_for_writes == 0
    file.write(5000, b"b")
    assert file.reads_for_writes == 1
    plain = b"a" * 904 + b"b" + b"a" * (4096 - 905)
    assert file.blocks == {1: contents_unit(SUBJECT, 1, 1, plain)}


def test_direct_key_puts_the_nonce_into_the_iv_here_too() -> None:
    one = cipher(ubifs_like(UUID), PolicyFlags.DIRECT_KEY, ADIANTUM)
    key = MasterKey.from_raw(RAW)
    other = FsLayerCipher(
        policy_for(key, PolicyFlags.DIRECT_KEY, ADIANTUM), key, ubifs_like(UUID), ino=INO, nonce=bytes(16)
    )
    assert one.encrypt(0, bytes(64)) != other.encrypt(0, bytes(64))


@pytest.mark.parametrize(
    ("fs", "number"), [(EXT4, errno.ENOKEY), (small_ext4(), errno.EOPNOTSUPP)], ids=["7.3", "7.2"]
)
def test_filesystems_of_bios_have_no_such_cipher(fs: FileSystem, number: int) -> None:
    with pytest.raises(BlkCryptoError) as caught:
        cipher(fs)
    assert caught.value.errno == number


@pytest.mark.parametrize("fs", [ubifs_like(UUID), ceph_like(UUID)])
@pytest.mark.parametrize("flag", [PolicyFlags.IV_INO_LBLK_64, PolicyFlags.IV_INO_LBLK_32])
def test_inode_numbers_that_may_change_cannot_enter_ivs(fs: FileSystem, flag: PolicyFlags) -> None:
    with pytest.raises(BlkCryptoError, match="EINVAL"):
        cipher(fs, flag)


@pytest.mark.parametrize(
    ("fs", "reasons"),
    [
        (ubifs_like(UUID), ["stable_inodes", "indices need 51 bits"]),  # files up to 2**63 of 2**12
        (ceph_like(UUID), ["stable_inodes", "numbers do not fit 32 bits", "indices need 51 bits"]),
        (btrfs_like(UUID), ["stable_inodes", "numbers do not fit 32 bits", "indices need 51 bits"]),
    ],
)
def test_why_inode_numbers_cannot_enter_ivs_in_the_order_of_linux(fs: FileSystem, reasons: list[str]) -> None:
    """``supported_iv_ino_lblk_policy()``, fs/crypto/policy.c."""
    changes = {"stable_inodes": "has_stable_inodes", "numbers do not fit 32 bits": "has_32bit_inodes"}
    policy = policy_for(MasterKey.from_raw(RAW), PolicyFlags.IV_INO_LBLK_64)
    for reason in reasons:
        with pytest.raises(IvInoLblkUnsupported, match=reason):
            check_supported(policy, fs)
        if reason in changes:
            fs = replace(fs, **{changes[reason]: True})  # type: ignore[arg-type]  # two flags


@pytest.mark.parametrize("size", [0, 15, 17])
def test_units_are_multiples_of_16_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        cipher(ubifs_like(UUID)).encrypt(0, bytes(size))


@pytest.mark.parametrize(("chk_data_crc", "data"), [(True, b"x"), (False, bytes(4096))])
def test_a_damaged_ubifs_node_is_found_by_its_crc_where_that_is_checked_or_by_its_compression(
    chk_data_crc: bool, data: bytes
) -> None:
    file = UbifsLikeFile(cipher(ubifs_like(UUID)), chk_data_crc=chk_data_crc)
    node = file.write_block(0, data)
    file.nodes[0] = replace(node, data=bytes(16) + node.data[16:])

    with pytest.raises(BlkCryptoError) as caught:
        file.read_block(0)

    assert caught.value.errno == (errno.EUCLEAN if chk_data_crc else errno.EINVAL)


def test_by_default_ubifs_reads_a_damaged_node_as_noise() -> None:
    file = UbifsLikeFile(cipher(ubifs_like(UUID)))
    noise = np.random.default_rng(1).bytes(4096)
    node = file.write_block(0, noise)
    file.nodes[0] = replace(node, data=bytes(16) + node.data[16:])

    assert file.read_block(0)[16:] == noise[16:]
    assert file.read_block(0)[:16] != noise[:16]


@pytest.mark.parametrize("nbytes", [0, 4097])
def test_a_ubifs_block_has_1_to_4096_bytes(nbytes: int) -> None:
    with pytest.raises(ValueError, match=f"not {nbytes}"):
        UbifsLikeFile(cipher(ubifs_like(UUID))).write_block(0, bytes(nbytes))


def test_a_node_that_decompresses_to_another_length_than_it_says_is_einval() -> None:
    file = UbifsLikeFile(cipher(ubifs_like(UUID)))
    file.nodes[0] = replace(file.write_block(0, bytes(4096)), size=4095)

    with pytest.raises(BlkCryptoError, match="4096 bytes, not 4095") as caught:
        file.read_block(0)

    assert caught.value.errno == errno.EINVAL


def test_a_ceph_file_has_nothing_past_its_end_and_zeroes_in_its_holes() -> None:
    file = CephLikeFile(cipher(ceph_like(UUID)))
    file.write(2 * 4096, b"end")

    assert file.read(4096 - 1, 2) == bytes(2)
    assert file.read(2 * 4096 + 2, 10) == b"d"
    assert (file.read(2 * 4096 + 3, 10), file.read(10**6, 1)) == (b"", b"")


def test_only_whole_blocks_where_a_filesystem_has_no_smaller_data_units() -> None:
    policy = policy_for(MasterKey.from_raw(RAW), 0, log2_data_unit_size=12)
    check_supported(policy, EXT4)
    with pytest.raises(DataUnitSizeUnsupported, match="no choice of data unit size"):
        check_supported(policy, ubifs_like(UUID))


def test_from_7_3_lblk_32_needs_blocks_of_a_page() -> None:
    policy = policy_for(MasterKey.from_raw(RAW), PolicyFlags.IV_INO_LBLK_32)
    check_supported(policy, EXT4)
    check_supported(policy, small_ext4())  # before, such files stay off blk-crypto
    with pytest.raises(IvInoLblkUnsupported, match="block size equal to the page size"):
        check_supported(policy, ext4_like(UUID, block_size=1024))


def test_a_partial_write_into_a_hole_of_a_ceph_file_reads_nothing() -> None:
    file = CephLikeFile(cipher(ceph_like(UUID)))
    file.write(5000, b"b")
    assert (file.reads_for_writes, file.size) == (0, 5001)
