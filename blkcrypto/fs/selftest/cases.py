"""Golden cases as structs: what a Linux kernel wrote under one policy, with everything needed to redo it.

Integers are decimal, byte strings lower-case hex.  Fields that no check reads are left out.
"""

import hashlib
import lzma
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BadInput
from blkcrypto.block.era import kernel_profile
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like, f2fs_like
from blkcrypto.fs.fscrypt.policy import Policy, parse_policy

EXT4_FEATURE_COMPAT_STABLE_INODES = 0x0800

Struct = TypeVar("Struct")


class FsFacts(msgspec.Struct, frozen=True):
    """The filesystem a case was written on; the last fields are ext4's."""

    type: Literal["ext4", "f2fs"]
    block_size: int
    uuid: str
    mount_options: list[str]
    hash_seed: str = ""
    def_hash_version: int = 0
    sb_flags: int = 0
    feature_compat: int = 0


class PolicyFacts(msgspec.Struct, frozen=True):
    """The policy of a case, as the ioctl's struct and in words."""

    raw: str
    contents_mode_name: str
    filenames_mode_name: str
    padding: int
    data_unit_size: int


class ImageFacts(msgspec.Struct, frozen=True):
    """The image file a case lies in."""

    file: str
    size: int


class Segment(msgspec.Struct, frozen=True):
    """Plaintext of a byte range: ``shake_128(seed)``, or zeroes."""

    offset: int
    length: int
    seed: str = ""
    zero: bool = False

    def plaintext(self) -> bytes:
        """The segment's bytes."""
        return bytes(self.length) if self.zero else hashlib.shake_128(self.seed.encode()).digest(self.length)


class Run(msgspec.Struct, frozen=True):
    """Consecutive blocks of a file that are consecutive on disk; ``bin_offset`` is absent in images."""

    lblk: int
    pblk: int
    count: int
    bin_offset: int | None = None


class GoldenObject(msgspec.Struct, frozen=True):
    """A directory, file or symlink; fields a kind lacks keep their defaults."""

    ino: int
    type: Literal["dir", "file", "symlink"]
    nonce: str | None = None
    context: str | None = None
    parent_ino: int | None = None
    name: str | None = None
    name_hex: str | None = None
    disk_name: str | None = None
    disk_name_first149: str | None = None
    disk_name_rest_sha256: str | None = None
    nokey_name: str | None = None
    dirent_hash: list[int] | str | int | None = None
    size: int = 0
    segments: list[Segment] = []
    runs: list[Run] = []
    target: str | None = None
    disk_target: str | None = None
    nokey_target: str | None = None
    stat_size: int | None = None
    i_size: int | None = None
    iv_wrap_at_lblk: int | None = None

    @property
    def nonce_bytes(self) -> bytes:
        """The inode's nonce; empty when the record does not know it."""
        return bytes.fromhex(self.nonce or "")

    @property
    def name_bytes(self) -> bytes | None:
        """The plaintext name, or None for the top directory."""
        if self.name_hex is not None:
            return bytes.fromhex(self.name_hex)
        return None if self.name is None else self.name.encode()

    @property
    def title(self) -> str:
        """How reports call it."""
        return f"{self.type} {self.name or self.name_hex or '(top)'}"


class GoldenCase(msgspec.Struct, frozen=True, dict=True):
    """One golden file."""

    kernel: str
    fs: FsFacts
    policy: PolicyFacts
    master_key: str
    objects: list[GoldenObject]
    image: ImageFacts | None = None
    bin: str | None = None

    @cached_property
    def parsed_policy(self) -> Policy:
        """The policy from its raw struct."""
        return parse_policy(bytes.fromhex(self.policy.raw))

    @cached_property
    def filesystem(self) -> FileSystem:
        """What key setup asks about the filesystem."""
        uuid = bytes.fromhex(self.fs.uuid)
        kernel = kernel_profile(".".join(self.kernel.split(".")[:2]))
        inlinecrypt = "inlinecrypt" in self.fs.mount_options
        if self.fs.type == "f2fs":
            return f2fs_like(uuid, inlinecrypt=inlinecrypt, kernel=kernel)
        return ext4_like(
            uuid,
            block_size=self.fs.block_size,
            stable_inodes=bool(self.fs.feature_compat & EXT4_FEATURE_COMPAT_STABLE_INODES),
            inlinecrypt=inlinecrypt,
            kernel=kernel,
        )


def load(path: Path, kind: type[Struct]) -> Struct:
    """Decode a JSON file of the golden directory.

    Raises:
        BadInput: missing, not JSON, or not of this shape.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise BadInput(f"cannot read: {error.strerror}", where=str(path)) from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"not a golden file: {error}", where=str(path)) from error


def load_ciphertext(directory: Path, case: GoldenCase) -> npt.NDArray[np.uint8]:
    """The raw blocks of a case: its ``.bin``, or the whole image, decompressed.

    Raises:
        BadInput: a file is missing or damaged.
    """
    name = case.image.file if case.image else case.bin
    if name is None:
        return np.empty(0, dtype=np.uint8)
    return np.frombuffer(load_bytes(directory / name), dtype=np.uint8)


def load_bytes(path: Path) -> bytes:
    """A binary file, decompressed if it is an ``.xz``.

    Raises:
        BadInput: missing or damaged.
    """
    try:
        data = path.read_bytes()
        return lzma.decompress(data) if path.suffix == ".xz" else data
    except (OSError, lzma.LZMAError) as error:
        raise BadInput(f"cannot read the ciphertext: {error}", where=str(path)) from error


def run_offset(case: GoldenCase, run: Run) -> int:
    """Where a run's blocks begin in the array of ``load_ciphertext``."""
    return run.pblk * case.fs.block_size if run.bin_offset is None else run.bin_offset
