"""xfstests that verify ciphertext, each under its name: the medium is as an independent program computes it.

As there: files of zeroes and of random bytes, names of telling lengths with every padding, read raw.
Modes that the oracle lacks (Adiantum, HCTR2, SM4) are compared with what Linux wrote instead.
"""

from pathlib import Path

import numpy as np
import pytest

from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like, f2fs_like
from blkcrypto.fs.fscrypt.policy import Policy, PolicyFlags, parse_context
from blkcrypto.fs.selftest import SelfTestReport
from blkcrypto.fs.selftest.cases import GoldenCase, load
from blkcrypto.fs.selftest.runner import check_case
from blkcrypto.fs.smallfs import namei
from blkcrypto.fs.smallfs.mount import Mount
from tests.fscrypt_world import CLASSIC, GOLDEN, RAW, SHORT_RAW, UUID, needs_golden
from tests.oracle import fscrypt_files as oracle
from tests.small_world import add_key, encrypted_dir, new_mount, read, wrap, write

LBLK_64, LBLK_32 = PolicyFlags.IV_INO_LBLK_64, PolicyFlags.IV_INO_LBLK_32
XTS, CBC = (1, 4), (5, 6)
NAME_LENGTHS = (1, 3, 15, 16, 17, 32, 100, 254, 255)
DESCRIPTOR = bytes(range(8))


def check_directory(mount: Mount, path: str, subject_of: object) -> int:
    """Compare every block and name under ``path`` with the oracle; how many blocks were compared."""
    assert callable(subject_of)
    mount.drop_caches()
    directory = namei.existing(mount, path)
    policy = parse_context(directory.disk.context or b"").policy
    size = 1 << policy.data_unit_bits(mount.fs)
    plain_names = dict.fromkeys(namei.readdir(mount, path))
    expected = {oracle.name(subject_of(directory), policy.filenames_mode, name) for name in plain_names}
    assert set(directory.disk.entries) == expected
    compared = 0
    for name in plain_names:
        file = f"{path}/{name.decode()}"
        inode, contents = namei.existing(mount, file), read(mount, file)
        for lblk, block in inode.disk.blocks.items():
            start = lblk * mount.fs.block_size
            plain = contents[start : start + mount.fs.block_size].ljust(mount.fs.block_size, b"\0")
            units = [
                oracle.contents_unit(
                    subject_of(inode), policy.contents_mode, (start + at) // size, plain[at : at + size]
                )
                for at in range(0, len(plain), size)
            ]
            assert mount.device.drive.medium[block] == b"".join(units)
            compared += 1
    return compared


def verify(
    fs: FileSystem,
    modes: tuple[int, int],
    flags: int = 0,
    *,
    log2_data_unit_size: int = 0,
    v1: bool = False,
    wrapped: bool = False,
) -> None:
    """``_verify_ciphertext_for_encryption_policy`` of xfstests, on the small filesystem."""
    mount = new_mount(fs)
    raw = wrap(SHORT_RAW) if wrapped else RAW
    spec = add_key(mount, raw, descriptor=DESCRIPTOR if v1 else b"", wrapped=wrapped)
    random = np.random.default_rng(7)
    for padding in range(4):
        path = f"pad{padding}"
        encrypted_dir(
            mount, path, spec, modes=modes, flags=flags | padding, log2_data_unit_size=log2_data_unit_size
        )
        write(mount, f"{path}/zeroes", bytes(4 * fs.block_size))
        write(mount, f"{path}/random", random.bytes(4 * fs.block_size - 100))
        for length in NAME_LENGTHS:
            write(mount, f"{path}/{'n' * length}", b"")

        def subject(inode: object, *, flags: int = flags | padding) -> oracle.Subject:
            disk = inode.disk  # type: ignore[attr-defined]  # an Incore
            return oracle.Subject(
                oracle.sw_secret(SHORT_RAW) if wrapped else raw,
                flags,
                UUID,
                disk.ino,
                parse_context(disk.context).nonce,
                version=1 if v1 else 2,
                hw_raw_key=SHORT_RAW if wrapped else b"",
            )

        assert check_directory(mount, path, subject) == 8


def verify_golden(*names: str) -> None:
    report = SelfTestReport()
    for name in names:
        path = Path(GOLDEN / name)
        check_case(name, path.parent, load(path, GoldenCase), report)
    assert report.mismatches == []
    assert report.matched["contents"] > 0
    assert report.matched["name"] > 0


EXT4 = ext4_like(UUID, kernel=CLASSIC)
F2FS = f2fs_like(UUID, kernel=CLASSIC)


@pytest.mark.parametrize("fs", [EXT4, F2FS])
def test_generic_368_hardware_wrapped_key_with_lblk_64(fs: FileSystem) -> None:
    verify(fs, XTS, LBLK_64, wrapped=True)


def test_generic_369_hardware_wrapped_key_with_lblk_32() -> None:
    verify(EXT4, XTS, LBLK_32, wrapped=True)


def test_generic_548_v1_with_aes_256() -> None:
    verify(EXT4, XTS, v1=True)


def test_generic_549_v1_with_aes_128() -> None:
    verify(EXT4, CBC, v1=True)


@needs_golden
def test_generic_550_v1_with_adiantum_with_and_without_direct_key() -> None:
    verify_golden("ext4-4k-allmodes/v1-adiantum.json", "ext4-4k-allmodes/v1-adiantum-direct.json")


@pytest.mark.parametrize("fs", [EXT4, ext4_like(UUID, block_size=1024), F2FS])
def test_generic_582_v2_with_aes_256(fs: FileSystem) -> None:
    verify(fs, XTS)


def test_generic_583_v2_with_aes_128() -> None:
    verify(EXT4, CBC)


@needs_golden
def test_generic_584_v2_with_adiantum_with_and_without_direct_key() -> None:
    verify_golden("ext4-4k-allmodes/v2-adiantum.json", "ext4-4k-allmodes/v2-adiantum-direct.json")


@pytest.mark.parametrize("fs", [EXT4, F2FS])
def test_generic_592_v2_with_lblk_64(fs: FileSystem) -> None:
    verify(fs, XTS, LBLK_64)


@pytest.mark.parametrize("fs", [EXT4, F2FS])
def test_generic_602_v2_with_lblk_32(fs: FileSystem) -> None:
    verify(fs, XTS, LBLK_32)


@needs_golden
def test_generic_693_hctr2_names_alone_and_with_each_lblk_flag() -> None:
    verify_golden(
        "ext4-4k-allmodes/v2-hctr2-names.json",
        "ext4-4k-allmodes/v2-hctr2-lblk64.json",
        "ext4-4k-allmodes/v2-hctr2-lblk32.json",
    )


@pytest.mark.parametrize("log2_data_unit_size", [9, 10])
@pytest.mark.parametrize("modes", [XTS, CBC])
def test_generic_739_data_units_smaller_than_a_block(
    modes: tuple[int, int], log2_data_unit_size: int
) -> None:
    verify(EXT4, modes, log2_data_unit_size=log2_data_unit_size)


def test_a_hole_a_hidden_tail_and_a_rewritten_block_are_as_the_oracle_says() -> None:
    mount = new_mount(EXT4)
    spec = add_key(mount)
    policy = encrypted_dir(mount, "d", spec, flags=0)
    assert isinstance(policy, Policy)
    write(mount, "d/f", b"first" * 2000)
    mount.sync_filesystem()
    write(mount, "d/f", b"second" * 3000, pos=3 * 4096)
    write(mount, "d/f", b"again", pos=100)

    def subject(inode: object) -> oracle.Subject:
        disk = inode.disk  # type: ignore[attr-defined]  # an Incore
        return oracle.Subject(RAW, 0, UUID, disk.ino, parse_context(disk.context).nonce)

    # 10,000 bytes from 0 are blocks 0 to 2, 18,000 from 12,288 are blocks 3 to 7.
    assert check_directory(mount, "d", subject) == 8
