"""The smallest fscrypt world that tests share: a key, a nonce, a filesystem, and where golden data lies."""

import json
from pathlib import Path
from typing import Any

import pytest

from blkcrypto.block.era import kernel_profile
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.modes import ModeNum
from blkcrypto.fs.fscrypt.policy import Policy, PolicyFlags

GOLDEN = Path(__file__).parents[1].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"no golden data at {GOLDEN}: it is kept apart from the repository"
)
KAT: dict[str, Any] = json.loads((Path(__file__).parent / "vectors/fscrypt-known-answers.json").read_text())
RAW = bytes.fromhex(KAT["inputs"]["master_key"])
SHORT_RAW = bytes.fromhex(KAT["inputs"]["short_master_key"])
NONCE = bytes.fromhex(KAT["inputs"]["nonce"])
UUID = bytes.fromhex(KAT["inputs"]["uuid"])
INO: int = KAT["inputs"]["inode"]
CLASSIC = kernel_profile("7.2")
EXT4 = ext4_like(UUID)
ADIANTUM = (ModeNum.ADIANTUM, ModeNum.ADIANTUM)


def policy_for(
    key: MasterKey,
    flags: int = PolicyFlags.PAD_32,
    modes: tuple[int, int] = (ModeNum.AES_256_XTS, ModeNum.AES_256_CTS),
    log2_data_unit_size: int = 0,
) -> Policy:
    """A v2 policy that names ``key``."""
    return Policy(
        contents_mode=modes[0],
        filenames_mode=modes[1],
        flags=flags,
        master_key=key.identifier,
        log2_data_unit_size=log2_data_unit_size,
    )


def small_ext4(block_size: int = 1024) -> FileSystem:
    """An ext4 whose blocks are smaller than pages, under a kernel that lets contents bypass blk-crypto."""
    return ext4_like(UUID, block_size=block_size, kernel=CLASSIC)
