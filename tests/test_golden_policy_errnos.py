"""Every policy that Linux was asked to set on an empty directory: the same errno, or none."""

import gzip
import json
from collections import Counter
from typing import Any

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.era import kernel_profile
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like, f2fs_like
from blkcrypto.fs.fscrypt.policy import parse_policy
from blkcrypto.fs.fscrypt.validate import check_supported
from tests.fscrypt_world import GOLDEN, needs_golden

FILES = ("errno-6.18.json.gz", "errno-7.2.json.gz")
# Rows recorded where set_policy ends before it looks at the policy's fields.
NO_ENCRYPTION = "no-encryption-on-this-fs"


def load(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(gzip.decompress((GOLDEN / "errno" / name).read_bytes()))
    return data


def filesystem(facts: dict[str, Any], kernel: str) -> FileSystem:
    version = kernel_profile(".".join(kernel.split(".")[:2]))
    inlinecrypt = "inlinecrypt" in facts["mount_options"]
    if facts["type"] == "f2fs":
        return f2fs_like(bytes(16), inlinecrypt=inlinecrypt, kernel=version)
    return ext4_like(
        bytes(16),
        block_size=facts["block_size"],
        stable_inodes="stable_inodes" in facts["features"],
        inlinecrypt=inlinecrypt,
        kernel=version,
    )


def struct_of(row: list[Any]) -> bytes:
    version, contents, names, flags, log2_size, reserved, _ = row
    head = bytes([version, contents, names, flags])
    return head + (bytes([log2_size]) + bytes.fromhex(reserved) + bytes(16) if version == 2 else bytes(20))


def outcome(row: list[Any], fs: FileSystem) -> str:
    try:
        check_supported(parse_policy(struct_of(row)), fs)
    except BlkCryptoError as error:
        return error.errno_name
    return "OK"


@needs_golden
@pytest.mark.parametrize("name", FILES)
def test_every_policy_of_the_sweeps_is_judged_as_linux_judged_it(name: str) -> None:
    data = load(name)
    wrong: list[str] = []
    checked: Counter[str] = Counter()
    for sweep in data["sweeps"]:
        if sweep["name"] == NO_ENCRYPTION:
            assert {row[-1] for row in sweep["rows"]} <= {"EOPNOTSUPP", "ENOTTY"}
            continue
        fs = filesystem(data["filesystems"][sweep["fs"]], data["kernel"])
        for row in sweep["rows"]:
            checked[row[-1]] += 1
            if outcome(row, fs) != row[-1]:
                wrong.append(f"{sweep['fs']}, {sweep['name']}: {row}, but we say {outcome(row, fs)}")
    assert wrong == []
    assert min(checked["OK"], checked["EINVAL"]) > 100
