"""Policies that Linux was asked to set on an empty directory: accepted or not, row by row."""

import gzip
import zlib
from pathlib import Path

import msgspec

from blkcrypto.base.errors import BadInput, BlkCryptoError
from blkcrypto.block.era import kernel_profile
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like, f2fs_like
from blkcrypto.fs.fscrypt.policy import parse_policy
from blkcrypto.fs.fscrypt.validate import check_supported
from blkcrypto.fs.selftest.report import SelfTestReport

_FILES = ("errno/errno-6.18.json.gz", "errno/errno-7.2.json.gz")
_UUID = bytes(16)
_NO_ENCRYPTION = "policy errno: the filesystem refuses before it looks at the policy"

# Version byte, contents mode, filenames mode, flags, log2_data_unit_size, reserved bytes in hex, result.
_Row = tuple[int, int, int, int, int, str, str]


class _Filesystem(msgspec.Struct, frozen=True):
    type: str
    block_size: int
    features: list[str]
    mount_options: list[str]


class _Sweep(msgspec.Struct, frozen=True):
    fs: str
    name: str
    rows: list[_Row]


class _ErrnoFile(msgspec.Struct, frozen=True):
    kernel: str
    filesystems: dict[str, _Filesystem]
    sweeps: list[_Sweep]


def check_policies(directory: Path, report: SelfTestReport) -> None:
    """Judge every policy of the errno files as Linux did.

    Raises:
        BadInput: a file is missing or damaged.
    """
    for name in _FILES:
        file = _load(directory / name)
        version = ".".join(file.kernel.split(".")[:2])
        for sweep in file.sweeps:
            fs = _filesystem(file.filesystems[sweep.fs], version)
            if fs is None:
                report.skip(_NO_ENCRYPTION, len(sweep.rows))
                continue
            for row in sweep.rows:
                got = _outcome(row, fs)
                report.check(got == row[-1], name, f"{sweep.fs}, {row}", "policy errno", f"we say {got}")


def _load(path: Path) -> _ErrnoFile:
    try:
        return msgspec.json.decode(gzip.decompress(path.read_bytes()), type=_ErrnoFile)
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
        raise BadInput(f"not a golden errno file: {error}", where=str(path)) from error


def _filesystem(facts: _Filesystem, version: str) -> FileSystem | None:
    """None where the filesystem has no encryption."""
    if "encrypt" not in facts.features:
        return None
    kernel = kernel_profile(version)
    if facts.type == "f2fs":
        return f2fs_like(_UUID, kernel=kernel)
    stable = "stable_inodes" in facts.features
    return ext4_like(_UUID, block_size=facts.block_size, stable_inodes=stable, kernel=kernel)


def _outcome(row: _Row, fs: FileSystem) -> str:
    version, contents, names, flags, log2_size, reserved, _ = row
    head = bytes((version, contents, names, flags))
    # The row gives no key; a v2 struct has more fields before its key than any other.
    tail = bytes((log2_size,)) + bytes.fromhex(reserved) + bytes(16) if version == 2 else bytes(20)
    try:
        check_supported(parse_policy(head + tail), fs)
    except BlkCryptoError as error:
        return error.errno_name
    return "OK"
