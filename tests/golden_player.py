"""One golden scenario's world: a small filesystem, and what the steps' words stand for."""

import errno
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.era import kernel_profile
from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like, f2fs_like
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import (
    KeySpecifier,
    KeySpecType,
)
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.modes import ModeNum
from blkcrypto.fs.fscrypt.nokey import NokeyName
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.device import BackingDevice
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.drive import MemoryDrive
from blkcrypto.fs.smallfs.mount import Mount

Step = dict[str, Any]
Outcome = dict[str, Any]
# What the two recorded kernels were built without.
MISSING = {
    "6.18": {ModeNum.AES_128_CBC, ModeNum.ADIANTUM, ModeNum.AES_256_HCTR2, ModeNum.SM4_XTS, ModeNum.SM4_CTS},
    "7.2": set[ModeNum](),
}
NOT_EXPRESSED = {
    "get_pwsalt": "deprecated ioctl without effect on encryption",
    "chmod": "no modes and times",
    "utime": "no modes and times",
    "setxattr user.a": "no user xattrs",
    "getxattr user.a": "no user xattrs",
    "listxattr": "no user xattrs",
    "removexattr of the context by name 'encryption.c'": "no user xattrs",
    "FICLONE": "no shared extents",
    "FS_IOC_SETFLAGS toggling FS_ENCRYPT_FL": "no inode flags",
    "FS_IOC_SETFLAGS setting FS_COMPR_FL": "no inode flags",
    "statx": "no statx",
}


class NotExpressed(Exception):
    """The small filesystem has no such operation; the message says why."""


def errno_name(error: BlkCryptoError) -> str:
    # Linux has one number for ENOTSUP and EOPNOTSUPP and calls it by the latter.
    return "EOPNOTSUPP" if error.errno == errno.EOPNOTSUPP else errno.errorcode[error.errno]


def filesystem(facts: dict[str, Any], version: str) -> FileSystem:
    kernel = kernel_profile(version)
    inlinecrypt = "inlinecrypt" in facts["mount_options"]
    if facts["type"] == "f2fs":
        return f2fs_like(bytes(16), inlinecrypt=inlinecrypt, kernel=kernel)
    return ext4_like(
        bytes(16),
        block_size=facts["block_size"],
        stable_inodes="stable_inodes" in facts["features"],
        inlinecrypt=inlinecrypt,
        kernel=kernel,
    )


class Player:
    """One scenario on a fresh filesystem."""

    def __init__(
        self,
        facts: dict[str, Any],
        version: str,
        keys: dict[str, str],
        scenario_id: str,
        ops: "Mapping[str, Op]",
    ) -> None:
        self.ops = ops
        fs = filesystem(facts, version)
        self.keys = {name: bytes.fromhex(text) for name, text in keys.items()}
        self.disk = Disk()
        self.mount = Mount(
            self.disk,
            fs,
            BackingDevice(MemoryDrive(fs.block_size), era=fs.kernel),
            np.random.default_rng(1),
            fs_name=facts["type"],
            has_encryption="encrypt" in facts["features"],
            has_ioctls=facts["type"] in ("ext4", "f2fs"),
            refuses_misaligned_dio=facts["type"] == "f2fs",
            missing=MISSING[version],
        )
        self.scenario_id = scenario_id
        self.held: dict[str, files.OpenFile] = {}
        self.nokey: dict[str, str] = {}
        self.specs: dict[str, KeySpecifier] = {}
        self.tampered: set[str] = set()

    def play(self, step: Step) -> Outcome:
        """What the step gives here: ``result`` and, where recorded, values of ``out``."""
        op = step["op"]
        if op in NOT_EXPRESSED:
            raise NotExpressed(NOT_EXPRESSED[op])
        self._prepare(step)
        action = self.ops.get(op)
        if action is None:
            raise NotExpressed(f"operation {op!r}")
        try:
            return {"result": "OK", **(action(self, step) or {})}
        except BlkCryptoError as error:
            return {"result": errno_name(error)}

    def _prepare(self, step: Step) -> None:
        if self.scenario_id == "readonly" and (step["op"], step.get("path")) == ("set_policy", "d"):
            self.mount.read_only = True
        if "tampered" in step and step["path"].split("/")[0] not in self.tampered:
            self._tamper(step)

    def _tamper(self, step: Step) -> None:
        top = step["path"].split("/")[0]
        self.tampered.add(top)
        namei.create(self.mount, top, InodeKind.DIRECTORY)
        policy = Policy(master_key=MasterKey.from_raw(self.keys["T1"]).identifier, flags=0)
        self.with_open(top, lambda file: ioctls.set_policy(file, policy.to_bytes()))
        for name, seed in (("f", b"contents"), ("g", b""), ("h", b"")):
            self.write(f"{top}/{name}", seed * 100)
        target = namei.existing(self.mount, f"{top}/f" if step["tampered"] == "file" else top)
        text = step["new_bytes"]
        new = MasterKey.from_raw(self.keys["T2"]).identifier if text == "<T2>" else bytes.fromhex(text)
        context = bytearray(target.disk.context or b"")
        at = step["context_offset"]
        context[at : at + len(new)] = new
        self.mount.drop_caches()
        target.disk.context = bytes(context)

    def path(self, step: Step, key: str = "path") -> str:
        """The step's path, with what it describes in words put in."""
        parts: list[str] = []
        for part in step[key].split("/"):
            if part.startswith("<no-key name of "):
                part = self.nokey["/".join([*parts, part[16:-1]])]
            elif part.startswith("<43 x 'A'"):
                part = "A" * 43
            elif part.startswith("<"):
                part = "n" * int(part[1:].split()[0])
            parts.append(part)
        return "/".join(parts)

    def caller(self, step: Step) -> Caller:
        return Caller(step["as_uid"]) if "as_uid" in step else ROOT

    def spec(self, step: Step) -> KeySpecifier:
        name = step["key"]
        if name in self.specs:
            return self.specs[name]
        if name in self.keys:
            return KeySpecifier(KeySpecType.IDENTIFIER, self.identifier(name))
        return KeySpecifier(KeySpecType.DESCRIPTOR, bytes.fromhex(name))

    def identifier(self, name: str) -> bytes:
        raw = self.keys.get(name, b"")
        return MasterKey.from_raw(raw).identifier if 16 <= len(raw) <= 64 else b"\xff" * 16

    def remember(self, path: str) -> None:
        """Keep the no-key name of what was just made."""
        found = namei.lookup(self.mount, path)
        if found.disk_name is not None:
            self.nokey[path] = NokeyName.of(found.disk_name).encode()

    def with_open(self, path: str, action: Callable[[files.OpenFile], Any]) -> Any:
        file = files.open_file(self.mount, path)
        try:
            return action(file)
        finally:
            file.close()

    def write(self, path: str, data: bytes) -> None:
        file = files.open_file(self.mount, path, make=True)
        file.write(0, data)
        file.close()


Op = Callable[[Player, Step], Outcome | None]
