"""From master key to contents keys and DUNs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.block.key import ConfigFlags, CryptoModeNum, KeyType
from blkcrypto.fs.fscrypt.casefold import casefold, casefold_hash, dirhash_key
from blkcrypto.fs.fscrypt.derive import (
    MasterKeyTooShort,
    PolicyForAnotherKey,
    PolicyNeedsRawKey,
    inode_key_bytes,
)
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES, INODE_INFO_BYTES, KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey, MasterKeySizeInvalid, SecretWiped
from blkcrypto.fs.fscrypt.modes import FSCRYPT_MODES, ModeNum
from blkcrypto.fs.fscrypt.policy import Policy, PolicyFlags
from blkcrypto.fs.fscrypt.v1_key import MasterKeyV1
from tests.fscrypt_world import ADIANTUM, CLASSIC, EXT4, INO, KAT, NONCE, RAW, SHORT_RAW, UUID, policy_for

LBLK_64 = PolicyFlags.PAD_32 | PolicyFlags.IV_INO_LBLK_64
LBLK_32 = PolicyFlags.PAD_32 | PolicyFlags.IV_INO_LBLK_32
DIRECT = PolicyFlags.PAD_32 | PolicyFlags.DIRECT_KEY
BLOB = bytes(range(100))
SW_SECRET = bytes(range(32))


@pytest.fixture
def key() -> MasterKey:
    return MasterKey.from_raw(RAW)


def setup_with(
    key: MasterKey, flags: int, modes: tuple[int, int] = (1, 4), fs: FileSystem = EXT4
) -> KeySetup:
    return KeySetup(policy_for(key, flags, modes), key, fs)


@pytest.mark.parametrize(("raw", "name"), [(RAW, "identifier"), (SHORT_RAW, "identifier_of_short_key")])
def test_a_raw_key_is_named_by_its_hkdf_output(raw: bytes, name: str) -> None:
    assert MasterKey.from_raw(raw).identifier.hex() == KAT[name]


def test_a_wrapped_key_is_named_apart_from_a_raw_key_of_the_same_secret() -> None:
    assert MasterKey.from_hw_wrapped(BLOB, SHORT_RAW).identifier != MasterKey.from_raw(SHORT_RAW).identifier


@pytest.mark.parametrize(
    ("flags", "mode", "name"),
    [
        (PolicyFlags.PAD_32, ModeNum.AES_256_XTS, "per_file_key"),
        (DIRECT, ModeNum.ADIANTUM, "direct_key_adiantum"),
        (LBLK_64, ModeNum.AES_256_XTS, "lblk_64_key_xts"),
        (LBLK_64, ModeNum.AES_256_CTS, "lblk_64_key_cts"),
        (LBLK_32, ModeNum.AES_256_XTS, "lblk_32_key_xts"),
    ],
)
def test_inode_keys_are_the_known_answers(key: MasterKey, flags: int, mode: ModeNum, name: str) -> None:
    got = inode_key_bytes(policy_for(key, flags), key, EXT4, FSCRYPT_MODES[mode], NONCE)
    assert got.hex() == KAT[name]


def test_a_v1_key_is_the_known_answer_and_ignores_what_the_mode_does_not_need() -> None:
    v1 = MasterKeyV1(RAW, bytes(8))
    policy = Policy(version=1, master_key=bytes(8))
    got = [
        inode_key_bytes(policy, v1, EXT4, FSCRYPT_MODES[mode], NONCE).hex()
        for mode in (ModeNum.AES_256_XTS, ModeNum.AES_256_CTS)
    ]
    assert got == [KAT["v1_key_xts"], KAT["v1_key_xts"][:64]]


def test_inode_hashes_are_the_known_answers(key: MasterKey) -> None:
    expected = {int(ino): int(hashed, 16) for ino, hashed in KAT["hashed_inodes"].items()}
    many = key.hash_inodes(np.array(list(expected), dtype=np.int64))
    assert {ino: key.hash_inode(ino) for ino in expected} == expected
    assert many.tolist() == list(expected.values())


def test_the_directory_hash_is_the_known_answer(key: MasterKey) -> None:
    secret = dirhash_key(key, NONCE)
    assert secret.hex() == KAT["dirhash_key"]
    combined = int(KAT["dirhash_of_hello_txt"], 16)
    # ext4 keeps the high half as major hash with its lowest bit clear, the low half as minor hash.
    assert casefold_hash(secret, b"HELLO.txt") == ((combined >> 32) & ~1, combined & 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("name", "folded"),
    [(b"README", b"readme"), ("Straße".encode(), b"strasse"), (b"\xff\xfe", b"\xff\xfe")],
)
def test_casefolding_joins_what_a_person_would_call_the_same_name(name: bytes, folded: bytes) -> None:
    assert casefold(name) == folded


@pytest.mark.parametrize(
    ("flags", "index", "expected"),
    [
        (PolicyFlags.PAD_32, 7, 7),
        (LBLK_64, 7, 12345 << 32 | 7),
        (LBLK_32, 7, 0x3747AF47 + 7),
    ],
)
def test_duns_follow_the_policys_flags(key: MasterKey, flags: int, index: int, expected: int) -> None:
    setup = setup_with(key, flags, fs=ext4_like(UUID))
    assert setup.first_dun(INO, NONCE, index) == expected
    assert setup.duns(np.array([INO]), np.array([index])).tolist() == [expected]


def test_lblk_32_wraps_inside_a_file_and_a_bio_stops_there(key: MasterKey) -> None:
    setup = setup_with(key, LBLK_32)
    wrapping = 24209004  # hashed ffffffc7: 0x39 = 57 blocks before the wrap
    assert [setup.first_dun(wrapping, NONCE, index) for index in (56, 57)] == [2**32 - 1, 0]
    assert setup.limit_io_blocks(wrapping, 0, 1000) == 57
    assert setup.limit_io_blocks(wrapping, 57, 1000) == 1000


def test_per_file_keys_are_one_object_per_inode_until_it_is_forgotten(key: MasterKey) -> None:
    setup = setup_with(key, PolicyFlags.PAD_32)
    first = setup.contents_key(1, NONCE)
    assert setup.contents_key(1, NONCE) is first
    assert setup.contents_key(2, bytes(16)) is not first
    assert setup.forget(1) is first
    assert setup.contents_key(1, NONCE) is not first


@pytest.mark.parametrize(("flags", "modes"), [(LBLK_64, (1, 4)), (LBLK_32, (1, 4)), (DIRECT, ADIANTUM)])
def test_shared_keys_are_one_object_for_all_inodes_and_policies(
    key: MasterKey, flags: int, modes: tuple[int, int]
) -> None:
    setup = setup_with(key, flags, modes)
    other_padding = setup_with(key, flags & ~3, modes)
    shared = setup.contents_key(1, NONCE)
    assert setup.contents_key(2, bytes(16)) is shared
    assert other_padding.contents_key(3, NONCE) is shared
    assert setup.forget(1) is None


def test_shared_keys_differ_by_scheme_data_unit_size_and_master_key(key: MasterKey) -> None:
    another = MasterKey.from_raw(RAW)
    setups = [
        setup_with(key, DIRECT, ADIANTUM),
        KeySetup(policy_for(key, DIRECT, ADIANTUM, log2_data_unit_size=9), key, EXT4),
        setup_with(key, LBLK_64),
        setup_with(key, LBLK_32),
        setup_with(another, LBLK_32),
    ]
    keys = [setup.contents_key(1, NONCE) for setup in setups]
    assert len(set(map(id, keys))) == len(keys)
    # Linux derives the same bytes for both data unit sizes; only the objects differ.
    assert keys[0].raw == keys[1].raw


def test_a_wrapped_keys_contents_key_is_its_blob(key: MasterKey) -> None:
    wrapped = MasterKey.from_hw_wrapped(BLOB, SW_SECRET)
    got = setup_with(wrapped, LBLK_64).contents_key(1, NONCE)
    assert got.raw == BLOB
    assert got.crypto_cfg.key_type is KeyType.HW_WRAPPED


@pytest.mark.parametrize("flags", [PolicyFlags.PAD_32, PolicyFlags.PAD_4])
def test_a_wrapped_key_refuses_policies_with_per_file_keys(flags: int) -> None:
    with pytest.raises(PolicyNeedsRawKey, match="EINVAL"):
        setup_with(MasterKey.from_hw_wrapped(BLOB, SW_SECRET), flags)


def test_the_key_configuration_is_what_the_device_will_be_asked_for(key: MasterKey) -> None:
    config = setup_with(key, LBLK_64).config
    assert (config.crypto_mode, config.data_unit_size, config.dun_bytes) == (
        CryptoModeNum.AES_256_XTS,
        4096,
        8,
    )
    assert config.key_type is KeyType.RAW


@pytest.mark.parametrize(
    ("fs", "allow_hw", "flags"),
    [
        (EXT4, True, ConfigFlags.ALLOW_HW),
        (EXT4, False, ConfigFlags.NONE),
        (ext4_like(UUID, kernel=CLASSIC), False, ConfigFlags.ALLOW_HW),
    ],
)
def test_only_new_kernels_can_keep_a_key_from_hardware(
    key: MasterKey, fs: FileSystem, allow_hw: bool, flags: ConfigFlags
) -> None:
    assert KeySetup(policy_for(key), key, fs, allow_hw=allow_hw).config.flags == flags


@pytest.mark.parametrize(
    ("size", "modes", "short"),
    [(16, (1, 4), True), (31, (1, 4), True), (32, (1, 4), False), (16, (5, 6), False), (16, (7, 8), False)],
)
def test_a_short_master_key_shows_at_key_setup(size: int, modes: tuple[int, int], short: bool) -> None:
    key = MasterKey.from_raw(bytes(size))
    if short:
        with pytest.raises(MasterKeyTooShort, match="ENOKEY"):
            setup_with(key, PolicyFlags.PAD_32, modes)
    else:
        assert setup_with(key, PolicyFlags.PAD_32, modes).contents_key(1, NONCE).raw


def test_a_v1_master_key_needs_the_whole_mode_key() -> None:
    policy = Policy(version=1, master_key=bytes(8))
    with pytest.raises(MasterKeyTooShort, match="ENOKEY"):
        KeySetup(policy, MasterKeyV1(bytes(63), bytes(8)), EXT4)


def test_a_policy_of_another_key_is_refused(key: MasterKey) -> None:
    with pytest.raises(PolicyForAnotherKey, match="ENOKEY"):
        KeySetup(Policy(master_key=bytes(16)), key, EXT4)


@pytest.mark.parametrize("size", [0, 15, 65])
def test_a_raw_master_key_has_16_to_64_bytes(size: int) -> None:
    with pytest.raises(MasterKeySizeInvalid, match="EINVAL"):
        MasterKey.from_raw(bytes(size))


@pytest.mark.parametrize("size", [15, 129])
def test_a_wrapped_master_key_has_16_to_128_bytes(size: int) -> None:
    with pytest.raises(MasterKeySizeInvalid, match="EINVAL"):
        MasterKey.from_hw_wrapped(bytes(size), SW_SECRET)


def test_nothing_is_derived_from_a_wiped_secret_but_made_keys_stay(key: MasterKey) -> None:
    setup = setup_with(key, PolicyFlags.PAD_32)
    made = setup.contents_key(1, NONCE)
    key.wipe_secret()
    assert setup.contents_key(1, NONCE) is made
    with pytest.raises(SecretWiped, match="ENOKEY"):
        setup.contents_key(2, NONCE)


@given(short=st.sampled_from([16, 32]))
def test_a_shorter_key_of_one_nonce_is_the_beginning_of_a_longer_one(short: int) -> None:
    # Neither mode nor length enters the per-file derivation: an omission that Linux keeps.
    key = MasterKey.from_raw(RAW)
    modes = {row.key_bytes: row for row in FSCRYPT_MODES.values()}
    long = inode_key_bytes(policy_for(key), key, EXT4, modes[64], NONCE)
    assert inode_key_bytes(policy_for(key), key, EXT4, modes[short], NONCE) == long[:short]


def test_costs_count_what_files_need(key: MasterKey) -> None:
    per_file, shared = setup_with(key, PolicyFlags.PAD_32), setup_with(key, LBLK_64)
    before = key.derivations
    for ino in range(10):
        per_file.contents_key(ino, ino.to_bytes(16, "little"))
        shared.contents_key(ino, NONCE)
    assert key.derivations - before == 11
    assert [per_file.costs.on_disk_bytes, shared.costs.on_disk_bytes] == [400, 400]
    assert per_file.costs.in_memory_bytes == 10 * (INODE_INFO_BYTES + BLK_CRYPTO_KEY_BYTES)
    assert shared.costs.in_memory_bytes == 10 * INODE_INFO_BYTES + BLK_CRYPTO_KEY_BYTES


def test_t3_the_old_kernels_bug_hands_out_the_first_keys_data_unit_size(key: MasterKey) -> None:
    big = policy_for(key, DIRECT, ADIANTUM)
    small = policy_for(key, DIRECT, ADIANTUM, log2_data_unit_size=9)
    first = KeySetup(big, key, EXT4, first_data_unit_size_wins=True).contents_key(1, NONCE)
    second = KeySetup(small, key, EXT4, first_data_unit_size_wins=True).contents_key(2, NONCE)
    assert second is first
    assert second.crypto_cfg.data_unit_size == 4096


def test_a_v1_key_that_was_removed_derives_nothing() -> None:
    v1, policy = MasterKeyV1(RAW, bytes(8)), Policy(version=1, master_key=bytes(8))
    v1.wipe_secret()
    with pytest.raises(SecretWiped, match="ENOKEY"):
        inode_key_bytes(policy, v1, EXT4, FSCRYPT_MODES[ModeNum.AES_256_XTS], NONCE)


def test_a_wrapped_blob_goes_with_the_secret() -> None:
    wrapped = MasterKey.from_hw_wrapped(BLOB, SW_SECRET)
    assert wrapped.wrapped_blob == BLOB
    wrapped.wipe_secret()
    with pytest.raises(SecretWiped, match="ENOKEY"):
        _ = wrapped.wrapped_blob


def test_only_the_same_key_is_put_back_and_of_v1_only_the_same_descriptor(key: MasterKey) -> None:
    old, new = MasterKeyV1(RAW, bytes(8)), MasterKeyV1(SHORT_RAW, bytes(8))
    for target, again in (
        (key, MasterKey.from_raw(SHORT_RAW)),
        (key, old),
        (old, MasterKeyV1(RAW, bytes(range(8)))),
        (old, key),
    ):
        with pytest.raises(ValueError, match="put back"):
            target.put_back(again)
    old.put_back(new)
    assert old.raw == SHORT_RAW


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_descriptor_has_8_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"has 8 bytes, not {size}"):
        MasterKeyV1(RAW, bytes(size))
