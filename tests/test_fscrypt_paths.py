"""Which path contents take, and what a filesystem may put into one bio."""

import pytest

from blkcrypto.block.era import KernelProfile, kernel_profile
from blkcrypto.block.key import CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.fs.fscrypt.contents_bio import crypt_ctx, mergeable_bio
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ceph_like, ext4_like, ubifs_like
from blkcrypto.fs.fscrypt.inherit import (
    InconsistentPolicy,
    InodeKind,
    InodePolicy,
    PolicyMismatch,
    Unreadable,
    check_found,
    check_move,
)
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.paths import ContentsPath, WrappedKeyNeedsInlineEncryption, select_path
from blkcrypto.fs.fscrypt.policy import IvScheme, Policy, PolicyFlags
from tests.fscrypt_world import CLASSIC, EXT4, NONCE, RAW, UUID, policy_for

NEW = kernel_profile("7.3")
CONFIG = CryptoConfig(crypto_mode=CryptoModeNum.AES_256_XTS, data_unit_size=4096, dun_bytes=8)
WRAPPED = CryptoConfig(
    crypto_mode=CryptoModeNum.AES_256_XTS, data_unit_size=4096, dun_bytes=8, key_type=KeyType.HW_WRAPPED
)


def yes(config: CryptoConfig) -> bool:
    return True


def no(config: CryptoConfig) -> bool:
    return False


def mounted(kernel: KernelProfile, *, inlinecrypt: bool, block_size: int = 4096) -> FileSystem:
    return ext4_like(UUID, block_size=block_size, inlinecrypt=inlinecrypt, kernel=kernel)


@pytest.mark.parametrize(
    ("kernel", "inlinecrypt", "devices", "path"),
    [
        (CLASSIC, False, [yes], ContentsPath.FS_LAYER),
        (CLASSIC, True, [yes], ContentsPath.BLK_CRYPTO),
        (CLASSIC, True, [yes, no], ContentsPath.FS_LAYER),
        (NEW, False, [no], ContentsPath.BLK_CRYPTO),
        (NEW, True, [no], ContentsPath.BLK_CRYPTO),
    ],
)
def test_the_mount_option_decides_on_old_kernels_and_only_allows_hardware_on_new_ones(
    kernel: KernelProfile, inlinecrypt: bool, devices: list[object], path: ContentsPath
) -> None:
    fs = mounted(kernel, inlinecrypt=inlinecrypt)
    assert select_path(fs, IvScheme.PER_FILE_KEY, CONFIG, devices) is path  # type: ignore[arg-type]  # parametrised


@pytest.mark.parametrize("fs", [ubifs_like(UUID), ceph_like(UUID)])
def test_filesystems_without_bios_encrypt_for_themselves(fs: FileSystem) -> None:
    assert select_path(fs, IvScheme.PER_FILE_KEY, CONFIG, []) is ContentsPath.FS_LAYER


def test_lblk_32_with_small_blocks_stays_off_blk_crypto_on_old_kernels() -> None:
    fs = mounted(CLASSIC, inlinecrypt=True, block_size=1024)
    assert select_path(fs, IvScheme.IV_INO_LBLK_32, CONFIG, [yes]) is ContentsPath.FS_LAYER
    assert select_path(fs, IvScheme.IV_INO_LBLK_64, CONFIG, [yes]) is ContentsPath.BLK_CRYPTO


@pytest.mark.parametrize(
    ("kernel", "inlinecrypt", "device"), [(CLASSIC, False, yes), (CLASSIC, True, no), (NEW, False, yes)]
)
def test_a_wrapped_key_never_falls_to_the_filesystem(
    kernel: KernelProfile, inlinecrypt: bool, device: object
) -> None:
    fs = mounted(kernel, inlinecrypt=inlinecrypt)
    with pytest.raises(WrappedKeyNeedsInlineEncryption, match="EINVAL"):
        select_path(fs, IvScheme.IV_INO_LBLK_64, WRAPPED, [device])  # type: ignore[list-item]  # parametrised


@pytest.fixture
def key() -> MasterKey:
    return MasterKey.from_raw(RAW)


def test_a_bio_takes_the_next_block_of_the_same_file_only(key: MasterKey) -> None:
    setup = KeySetup(policy_for(key), key, EXT4)
    bio = crypt_ctx(setup, 1, NONCE, 8192)
    assert mergeable_bio(bio, 4096, crypt_ctx(setup, 1, NONCE, 12288))
    assert not mergeable_bio(bio, 4096, crypt_ctx(setup, 1, NONCE, 16384))
    assert not mergeable_bio(bio, 4096, crypt_ctx(setup, 2, bytes(16), 12288))


def test_a_bio_never_mixes_ciphertext_that_moves_with_what_is_encrypted(key: MasterKey) -> None:
    bio = crypt_ctx(KeySetup(policy_for(key), key, EXT4), 1, NONCE, 0)
    assert mergeable_bio(None, 4096, None)
    assert not mergeable_bio(bio, 4096, None)
    assert not mergeable_bio(None, 4096, bio)


def test_a_bio_ends_at_the_lblk_32_wrap(key: MasterKey) -> None:
    setup = KeySetup(policy_for(key, PolicyFlags.IV_INO_LBLK_32), key, EXT4)
    wrapping = 24209004  # its block 56 has DUN ffffffff
    bio = crypt_ctx(setup, wrapping, NONCE, 55 * 4096)
    assert mergeable_bio(bio, 4096, crypt_ctx(setup, wrapping, NONCE, 56 * 4096))
    assert not mergeable_bio(bio, 8192, crypt_ctx(setup, wrapping, NONCE, 57 * 4096))


def test_files_under_a_shared_key_merge_when_their_duns_happen_to_follow(key: MasterKey) -> None:
    setup = KeySetup(policy_for(key, PolicyFlags.IV_INO_LBLK_64), key, EXT4)
    last = crypt_ctx(setup, 7, NONCE, (2**32 - 1) * 4096)
    assert mergeable_bio(last, 4096, crypt_ctx(setup, 8, bytes(16), 0))


def test_sub_block_data_units_advance_the_dun_by_all_units_of_a_block(key: MasterKey) -> None:
    setup = KeySetup(policy_for(key, log2_data_unit_size=9), key, EXT4)
    assert [crypt_ctx(setup, 1, NONCE, pos).dun for pos in (0, 512, 4096)] == [0, 1, 8]


ONE, OTHER = Policy(master_key=bytes(16)), Policy(master_key=bytes(16), flags=PolicyFlags.PAD_4)


@pytest.mark.parametrize(
    ("directory", "child", "kind", "permitted"),
    [
        (None, ONE, InodeKind.REGULAR, True),
        (None, None, InodeKind.DIRECTORY, True),
        (ONE, ONE, InodeKind.REGULAR, True),
        (ONE, OTHER, InodeKind.REGULAR, False),
        (ONE, None, InodeKind.REGULAR, False),
        (ONE, None, InodeKind.DIRECTORY, False),
        (ONE, None, InodeKind.SYMLINK, False),
        (ONE, None, InodeKind.SPECIAL, True),
        (ONE, Unreadable.UNREADABLE, InodeKind.REGULAR, False),
        (Unreadable.UNREADABLE, Unreadable.UNREADABLE, InodeKind.REGULAR, False),
    ],
)
def test_encrypted_directories_hold_their_own_policy_only(
    directory: InodePolicy, child: InodePolicy, kind: InodeKind, permitted: bool
) -> None:
    if permitted:
        check_move(directory, child, kind)
        check_found(directory, child, kind)
    else:
        with pytest.raises(PolicyMismatch, match="EXDEV"):
            check_move(directory, child, kind)
        with pytest.raises(InconsistentPolicy, match="EPERM"):
            check_found(directory, child, kind)
