"""Which key and DUN the files of a layout get, by design."""

import numpy as np
import pytest

from blkcrypto.fs.fscrypt.keysetup import KeySetup
from scenarios.filekeys import FileKeys
from scenarios.keyed import KeyedBatch
from scenarios.load import load_scenario
from scenarios.placement.layout import PlacedBatch
from scenarios.run import run
from scenarios.schema import Keys

FILES = np.array([0, 1, 5, 0, -1, 2000], dtype=np.int64)
INDEX = np.array([0, 7, 9, 3, -1, 1], dtype=np.int64)


def looked_up(design: str, master_keys: int = 1) -> tuple[FileKeys, list[int], list[int]]:
    keys = FileKeys(Keys(design=design, master_keys=master_keys), seed=1, keywrap=None)
    numbers, duns = keys.look_up(FILES, INDEX)
    return keys, numbers.tolist(), duns.tolist()


def test_per_file_keys_are_one_object_per_file_and_count_from_0() -> None:
    keys, numbers, duns = looked_up("fscrypt-per-file")
    assert numbers == [0, 1, 2, 0, -1, 3]
    assert [dun for dun, file in zip(duns, FILES.tolist(), strict=True) if file >= 0] == [0, 7, 9, 3, 1]
    assert keys.files == 4


def test_iv_ino_lblk_64_shares_a_key_per_master_key_and_puts_the_inode_above_the_index() -> None:
    _, numbers, duns = looked_up("fscrypt-iv-ino-lblk-64", master_keys=2)
    # Files 0 and 2000 have the first master key, 1 and 5 the second; inode numbers begin at 12.
    assert numbers == [0, 1, 1, 0, -1, 0]
    assert duns[1] == (13 << 32) | 7
    assert duns[5] == (2012 << 32) | 1


def test_iv_ino_lblk_32_counts_from_the_hash_under_the_file_s_own_master_key() -> None:
    keys, numbers, duns = looked_up("fscrypt-iv-ino-lblk-32", master_keys=2)
    assert numbers == [0, 1, 1, 0, -1, 0]
    setups: list[KeySetup] = keys._setups
    for file, index, dun in zip(FILES.tolist(), INDEX.tolist(), duns, strict=True):
        if file >= 0:
            assert dun == setups[file % 2].first_dun(file + 12, bytes(16), index)


BEFORE_THE_WRAP = 3  # data units of the only file from which the pieces below begin


def keyed_before_the_wrap(units: int) -> list[tuple[int, int, int, int, int]]:
    """Sector, bytes, data unit in the file, key and DUN of one piece's bios under IV_INO_LBLK_32."""
    keys = FileKeys(Keys(design="fscrypt-iv-ino-lblk-32"), seed=1, keywrap=None)
    _, hashed = keys.look_up(np.zeros(1, np.int64), np.zeros(1, np.int64))
    first = 2**32 - int(hashed[0]) - BEFORE_THE_WRAP
    piece = PlacedBatch(
        row=np.zeros(1, np.int64),
        time_ns=np.zeros(1, np.int64),
        op=np.ones(1, np.uint8),
        sector=np.full(1, 80),
        nbytes=np.full(1, units * 4096),
        file=np.zeros(1, np.int64),
        unit_index=np.full(1, first),
        stream=np.zeros(1, np.int32),
        widened=0,
        cut=0,
        wrapped=0,
        empty=0,
    )
    keyed = KeyedBatch.of(piece, keys, 4096)
    made = keyed.placed
    columns = (made.sector, made.nbytes, made.unit_index - first, keyed.key, keyed.dun)
    return [tuple(row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def test_a_bio_that_would_cross_the_wrap_of_its_dun_becomes_two() -> None:
    assert keyed_before_the_wrap(units=5) == [
        (80, 3 * 4096, 0, 0, 2**32 - 3),
        (80 + 3 * 8, 2 * 4096, 3, 0, 0),
    ]


def test_a_bio_that_ends_at_the_wrap_stays_whole() -> None:
    assert keyed_before_the_wrap(units=3) == [(80, 3 * 4096, 0, 0, 2**32 - 3)]


@pytest.mark.parametrize("device", ["emmc51-cqhci", "ufs31-ice-raw"])
def test_data_encrypted_under_iv_ino_lblk_32_reads_back(device: str) -> None:
    sets = (f"device={device}", "design=fscrypt-iv-ino-lblk-32", "payload=verify", "ios=1000", "files=16")
    result = run(load_scenario("keyslot-contention", sets=sets))
    assert result.verified_bytes > 0
    assert result.mismatches == 0
    assert result.keyslots.distinct_keys == 1
