"""T18: where the data units of f2fs's compressed clusters are counted from."""

import errno
import zlib

import numpy as np
import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.f2fs_compression import BLOCK_BYTES, COMPRESS_ADDR, CompressedFile
from blkcrypto.fs.fscrypt.filesystem import f2fs_like
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.store import SoftwareStore
from tests.fscrypt_world import INO, NONCE, RAW, UUID, policy_for
from tests.oracle.fscrypt_files import Subject, contents_unit

FLAGS = {"per-file": 0, "lblk64": PolicyFlags.IV_INO_LBLK_64, "lblk32": PolicyFlags.IV_INO_LBLK_32}
CLUSTER = 5
START = 20  # its first slot
TEXT = b"a line of text that repeats itself, " * 455 + b"end."  # 36 * 455 + 4 = 16384
NOISE = np.random.default_rng(1).bytes(16384)
every_policy = pytest.mark.parametrize("flags", FLAGS.values(), ids=list(FLAGS))


def new_file(flags: int = 0) -> tuple[CompressedFile, SoftwareStore]:
    key, store = MasterKey.from_raw(RAW), SoftwareStore(BLOCK_BYTES)
    return CompressedFile(KeySetup(policy_for(key, flags), key, f2fs_like(UUID)), INO, NONCE, store), store


@every_policy
def test_t18_a_compressed_clusters_blocks_count_from_its_second_slot(flags: int) -> None:
    file, store = new_file(flags)
    file.write_cluster(CLUSTER, TEXT)

    packed = zlib.compress(TEXT)
    header = len(packed).to_bytes(4, "little") + zlib.crc32(packed).to_bytes(4, "little") + bytes(16)
    plain = (header + packed).ljust(BLOCK_BYTES, b"\0")
    assert [file.slots[index] for index in range(START, START + 4)] == [COMPRESS_ADDR, 1, 0, 0]
    assert store.medium == {1: contents_unit(Subject(RAW, flags, UUID, INO, NONCE), 1, START + 1, plain)}


@every_policy
def test_t18_what_does_not_compress_counts_from_the_first_slot(flags: int) -> None:
    file, store = new_file(flags)
    file.write_cluster(CLUSTER, NOISE)

    subject = Subject(RAW, flags, UUID, INO, NONCE)
    units = [NOISE[at : at + BLOCK_BYTES] for at in range(0, 16384, BLOCK_BYTES)]
    expected = {at + 1: contents_unit(subject, 1, START + at, unit) for at, unit in enumerate(units)}
    assert store.medium == expected


@pytest.mark.parametrize("data", [TEXT, NOISE, bytes(16384)], ids=["text", "noise", "zeroes"])
def test_a_cluster_reads_as_written_and_an_absent_one_as_zeroes(data: bytes) -> None:
    file, _ = new_file()
    file.write_cluster(CLUSTER, data)

    assert file.read_cluster(CLUSTER) == data
    assert file.read_cluster(CLUSTER + 1) == bytes(16384)


def test_a_cluster_encrypted_from_its_first_slot_would_be_damaged() -> None:
    file, store = new_file()
    file.write_cluster(CLUSTER, TEXT)
    plain = store.read(None, 1, BLOCK_BYTES)
    subject = Subject(RAW, 0, UUID, INO, NONCE)
    store.write(None, 1, contents_unit(subject, 1, START, plain))

    with pytest.raises(BlkCryptoError) as caught:
        file.read_cluster(CLUSTER)

    assert caught.value.errno == errno.EUCLEAN


@pytest.mark.parametrize("nbytes", [16383, 16385, 0])
def test_a_cluster_is_written_whole(nbytes: int) -> None:
    with pytest.raises(ValueError, match=f"a cluster has 16384 bytes, not {nbytes}"):
        new_file()[0].write_cluster(CLUSTER, bytes(nbytes))


@pytest.mark.parametrize(("noise", "slots"), [(10_000, [COMPRESS_ADDR, 1, 2, 3]), (12_300, [1, 2, 3, 4])])
def test_a_cluster_is_compressed_if_that_saves_one_of_its_four_blocks(noise: int, slots: list[int]) -> None:
    """Noise does not shrink: with 24 bytes of header, 10,000 bytes take three blocks and 12,300 take four."""
    file, _ = new_file()
    data = NOISE[:noise].ljust(16384, b"\0")
    file.write_cluster(CLUSTER, data)

    assert [file.slots[index] for index in range(START, START + 4)] == slots
    assert file.read_cluster(CLUSTER) == data


def test_a_cluster_that_is_written_again_has_the_blocks_of_the_last_write_only() -> None:
    file, _ = new_file()
    file.write_cluster(CLUSTER, NOISE)
    file.write_cluster(CLUSTER, TEXT)

    assert [file.slots[index] for index in range(START, START + 4)] == [COMPRESS_ADDR, 5, 0, 0]
    assert file.read_cluster(CLUSTER) == TEXT
