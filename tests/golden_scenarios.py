"""Plays the scenarios of the golden errno files on the small filesystem."""

import errno
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.era import kernel_profile
from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like, f2fs_like
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import (
    AddKeyArg,
    KeySpecifier,
    KeySpecType,
    parse_remove_arg,
    parse_status_arg,
)
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.modes import ModeNum
from blkcrypto.fs.fscrypt.nokey import NokeyName
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.fscrypt.process_keys import LOGON_PAYLOAD_BYTES, logon_payload
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.store import SoftwareStore

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

    def __init__(self, facts: dict[str, Any], version: str, keys: dict[str, str], scenario_id: str) -> None:
        fs = filesystem(facts, version)
        self.keys = {name: bytes.fromhex(text) for name, text in keys.items()}
        self.store = SoftwareStore(fs.block_size)
        self.disk = Disk()
        self.mount = Mount(
            self.disk,
            fs,
            self.store,
            np.random.default_rng(1),
            fs_name=facts["type"],
            has_encryption="encrypt" in facts["features"],
            has_ioctls=facts["type"] in ("ext4", "f2fs"),
            refuses_misaligned_dio=facts["type"] == "f2fs",
            devices=(lambda config: True,),
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
        action = OPS.get(op)
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
        self._with_open(top, lambda file: ioctls.set_policy(file, policy.to_bytes()))
        for name, seed in (("f", b"contents"), ("g", b""), ("h", b"")):
            self._write(f"{top}/{name}", seed * 100)
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

    def _with_open(self, path: str, action: Callable[[files.OpenFile], Any]) -> Any:
        file = files.open_file(self.mount, path)
        try:
            return action(file)
        finally:
            file.close()

    def _write(self, path: str, data: bytes) -> None:
        file = files.open_file(self.mount, path, make=True)
        file.write(0, data)
        file.close()


def _make(kind: InodeKind) -> Callable[[Player, Step], None]:
    def make(player: Player, step: Step) -> None:
        path = player.path(step)
        namei.create(player.mount, path, kind, player.caller(step))
        player.remember(path)

    return make


def _write_file(player: Player, step: Step) -> None:
    path = player.path(step)
    player._write(path, bytes(step["bytes"]))
    player.remember(path)


def _symlink(player: Player, step: Step) -> None:
    path = player.path(step)
    namei.symlink(player.mount, b"t" * step["target_len"], path)
    player.remember(path)


def _set_policy(player: Player, step: Step) -> None:
    name, version = step["key"], step["policy_version"]
    if version == 2:
        key = player.identifier(name)
    elif name in player.specs:
        key = player.specs[name].key[:8]
    else:
        key = bytes.fromhex(name) if name not in player.keys else bytes(8)
    policy = Policy(
        version=version,
        contents_mode=step["contents"],
        filenames_mode=step["filenames"],
        flags=step["flags"],
        master_key=key,
        log2_data_unit_size=step["log2_data_unit_size"],
    )
    inode = namei.existing(player.mount, player.path(step))
    # Opening a special file would block or need its driver; the ioctl says ENOTTY in any case.
    file = files.OpenFile(player.mount, inode, ())
    if inode.disk.kind is not InodeKind.SPECIAL:
        file = files.open_file(player.mount, player.path(step))
    else:
        inode.opens += 1
    try:
        ioctls.set_policy(file, policy.to_bytes(), player.caller(step))
    finally:
        file.close()


def _set_policy_dead(player: Player, step: Step) -> None:
    file = files.open_file(player.mount, step["path"])
    namei.rmdir(player.mount, step["path"])
    policy = Policy(master_key=player.identifier("K1"), flags=0)
    try:
        ioctls.set_policy(file, policy.to_bytes())
    finally:
        file.close()


def _set_policy_root(player: Player, step: Step) -> None:
    policy = Policy(master_key=player.identifier("K1"), flags=0)
    player._with_open("", lambda file: ioctls.set_policy(file, policy.to_bytes()))


def _add_key(player: Player, step: Step) -> Outcome:
    kind = KeySpecType.IDENTIFIER
    key = bytes(16)
    if "descriptor" in step:
        kind, key = KeySpecType.DESCRIPTOR, bytes.fromhex(step["descriptor"])
    raw = player.keys[step["key"]]
    arg = AddKeyArg(spec=KeySpecifier(kind, key), raw=raw, raw_size=step["size"], flags=step.get("flags", 0))
    spec = ioctls.add_key(player.mount, arg, player.caller(step))
    player.specs[step["key"]] = spec
    return {"id": spec.key.hex()}


def _remove(all_users: bool) -> Callable[[Player, Step], Outcome]:
    def remove(player: Player, step: Step) -> Outcome:
        flags = ioctls.remove_key(player.mount, player.spec(step), player.caller(step), all_users=all_users)
        return {"removal_status_flags": int(flags)}

    return remove


def _status(player: Player, step: Step) -> Outcome:
    report = ioctls.key_status(player.mount, player.spec(step), player.caller(step))
    return {
        "status": report.status.name,
        "status_flags": int(report.flags),
        "user_count": report.user_count,
    }


def _raw_arg(what: str, size: int) -> bytearray:
    """The argument that ``what`` describes, without what only ADD_KEY has."""
    identifier = "unknown descriptor" not in what and "descriptor" not in what.split(":")[0]
    data = bytearray(KeySpecifier(KeySpecType(2 if identifier else 1), bytes(range(1, 9))).to_bytes())
    data += bytes(size - 40)
    if what.startswith("key_spec.type"):
        data[0] = int(what.split()[-1])
    elif what.startswith("key_spec.__reserved"):
        data[4] = 1
    return data


def _add_key_raw(player: Player, step: Step) -> None:
    what = step["what"]
    raw = bytes(range(64))
    data = _raw_arg(what, 80)
    data[40:44] = struct.pack("<I", 0xFFFFFFFF if "0xffffffff" in what else len(raw))
    if "__reserved[0]" in what:
        data[52] = 1
    elif "__reserved[6]" in what:
        data[76] = 1
    elif "trailing union" in what:
        data[20] = 1
    elif "identifier field nonzero" in what:
        data[8] = 0xAA
    if "key_id" in what:
        data[44:48] = struct.pack("<I", _serial(player, what))
        if "both set" not in what:
            data[40:44] = bytes(4)
            raw = b""
    arg = AddKeyArg.from_bytes(bytes(data) + raw)
    ioctls.add_key(player.mount, arg, player.caller(step))


def _serial(player: Player, what: str) -> int:
    keys = player.mount.process_keys
    if "does not exist" in what:
        return 0x7FFFFFF0
    if "'user' key" in what:
        return keys.add("user", "u", bytes(72))
    kind = 1 if "of type descriptor" in what else 2
    return keys.add("fscrypt-provisioning", f"p{kind}", struct.pack("<II", kind, 0) + bytes(range(64)))


def _status_raw(player: Player, step: Step) -> Outcome:
    data = _raw_arg(step["what"], 128)
    if "last word" in step["what"]:
        data[63] = 1
    elif "first reserved word" in step["what"]:
        data[40] = 1
    return {"status": int(ioctls.key_status(player.mount, parse_status_arg(bytes(data))).status)}


def _remove_raw(player: Player, step: Step) -> None:
    data = _raw_arg(step["what"], 64)
    if "last word" in step["what"]:
        data[63] = 1
    ioctls.remove_key(player.mount, parse_remove_arg(bytes(data)))


PROVISIONING = {
    "payload too short": bytes(4),
    "reserved/flags nonzero": struct.pack("<II", 2, 2) + bytes(64),
    "bad type 7": struct.pack("<II", 7, 0) + bytes(64),
    "short 15 byte key": struct.pack("<II", 2, 0) + bytes(15),
    "16 byte key": struct.pack("<II", 2, 0) + bytes(16),
    "64 byte key": struct.pack("<II", 2, 0) + bytes(64),
    "65 byte key": struct.pack("<II", 2, 0) + bytes(65),
    "128 byte key": struct.pack("<II", 2, 0) + bytes(128),
    "129 byte key": struct.pack("<II", 2, 0) + bytes(129),
    "hw-wrapped flag, 64 bytes": struct.pack("<II", 2, 1) + bytes(64),
}


def _provisioning(player: Player, step: Step) -> None:
    player.mount.process_keys.add("fscrypt-provisioning", step["what"], PROVISIONING[step["what"]])


def _logon(player: Player, step: Step) -> None:
    payload = logon_payload(bytes(range(1, step["key_bytes"] + 1)), step["size_field"])
    payload = payload[: step["payload_bytes"]].ljust(step["payload_bytes"], b"\0")
    assert len(payload) <= LOGON_PAYLOAD_BYTES
    kind = "user" if step["op"].endswith("user") else "logon"
    player.mount.process_keys.add(kind, step["description"], payload)  # type: ignore[arg-type]  # one of two literals


def _open(player: Player, step: Step) -> None:
    if step["mode"] == "path":
        namei.existing(player.mount, player.path(step))
        return
    files.open_file(player.mount, player.path(step)).close()


def _hold(player: Player, step: Step) -> None:
    player.held[step["path"]] = files.open_file(player.mount, player.path(step))


def _close_held(player: Player, step: Step) -> None:
    player.held.pop(step["path"]).close()


def _open_read(player: Player, step: Step) -> Outcome:
    data: bytes = player._with_open(player.path(step), lambda file: file.read(0, 800))
    return {"plaintext_intact": data == b"contents" * 100}


def _readdir(player: Player, step: Step) -> Outcome:
    names = namei.readdir(player.mount, player.path(step))
    return {"entries": len(names), "sees_plain_names": b"g" in names}


def _lstat(player: Player, step: Step) -> None:
    namei.existing(player.mount, player.path(step))


def _rename(flags: namei.RenameFlags) -> Callable[[Player, Step], None]:
    def rename(player: Player, step: Step) -> None:
        namei.rename(player.mount, player.path(step), player.path(step, "to"), flags)

    return rename


def _link(player: Player, step: Step) -> None:
    namei.link(player.mount, player.path(step), player.path(step, "to"))


def _ioctl(get: Callable[[files.OpenFile], bytes]) -> Callable[[Player, Step], Outcome]:
    def ioctl(player: Player, step: Step) -> Outcome:
        data: bytes = player._with_open(player.path(step), get)
        return {"policy": data.hex(), "policy_bytes": len(data), "nonce_bytes": len(data)}

    return ioctl


def _policy_ex_sized(player: Player, step: Step) -> Outcome:
    size = step["policy_size"]
    data: bytes = player._with_open(step["path"], lambda file: ioctls.get_policy_ex(file, size))
    return {"policy_bytes": len(data)}


def _on_file(action: Callable[[files.OpenFile, Step], Any]) -> Callable[[Player, Step], Outcome]:
    def run(player: Player, step: Step) -> Outcome:
        result = player._with_open(player.path(step), lambda file: action(file, step))
        return {"bytes": len(result)} if isinstance(result, bytes) else {"bytes": result}

    return run


def _copy_range(player: Player, step: Step) -> Outcome:
    source = files.open_file(player.mount, step["path"])
    target = files.open_file(player.mount, step["path"].replace("/f", "/g"), make=True)
    copied = target.write(0, source.read(0, 4096))
    source.close()
    target.close()
    return {"bytes": copied}


def _tmpfile(player: Player, step: Step) -> None:
    files.open_tmpfile(player.mount, step["path"]).close()


OPS: dict[str, Callable[[Player, Step], Outcome | None]] = {
    "mkdir": _make(InodeKind.DIRECTORY),
    "create": _make(InodeKind.REGULAR),
    "mknod": _make(InodeKind.SPECIAL),
    "write_file": _write_file,
    "symlink": _symlink,
    "set_policy": _set_policy,
    "set_policy on an open, already removed directory": _set_policy_dead,
    "set_policy on the mount's root directory": _set_policy_root,
    "add_key": _add_key,
    "remove_key": _remove(all_users=False),
    "remove_key_all_users": _remove(all_users=True),
    "get_key_status": _status,
    "add_key raw": _add_key_raw,
    "get_key_status raw": _status_raw,
    "remove_key raw": _remove_raw,
    "add_key(2) fscrypt-provisioning": _provisioning,
    "add_key(2) logon": _logon,
    "add_key(2) user": _logon,
    "open": _open,
    "open_and_hold": _hold,
    "close_held": _close_held,
    "read_held": lambda player, step: {"bytes": len(player.held[step["path"]].read(0, 10))},
    "write_held": lambda player, step: {"bytes": player.held[step["path"]].write(0, bytes(10))},
    "fsync_held": lambda player, step: player.held[step["path"]].fsync(),
    "open+read": _open_read,
    "readdir": _readdir,
    "readdir names decrypt to the plaintext": lambda player, step: {
        "has_f": b"f" in namei.readdir(player.mount, step["path"])
    },
    "lstat": _lstat,
    "truncate": lambda player, step: files.truncate(player.mount, player.path(step), step["size"]),
    "readlink": lambda player, step: {"len": len(namei.readlink(player.mount, player.path(step)))},
    "unlink": lambda player, step: namei.unlink(player.mount, player.path(step)),
    "rmdir": lambda player, step: namei.rmdir(player.mount, player.path(step)),
    "link": _link,
    "rename": _rename(namei.RenameFlags.NONE),
    "rename_exchange": _rename(namei.RenameFlags.EXCHANGE),
    "rename_noreplace": _rename(namei.RenameFlags.NOREPLACE),
    "rename_whiteout": _rename(namei.RenameFlags.WHITEOUT),
    "get_policy (v1 ioctl)": _ioctl(ioctls.get_policy_v1),
    "get_policy_ex": _ioctl(ioctls.get_policy_ex),
    "get_policy_ex with policy_size": _policy_ex_sized,
    "get_nonce": _ioctl(ioctls.get_nonce),
    "O_DIRECT read": _on_file(lambda file, step: file.direct_read(step["offset"], step["length"])),
    "O_DIRECT write": _on_file(lambda file, step: file.direct_write(step["offset"], bytes(step["length"]))),
    "fallocate plain": _on_file(lambda file, step: file.allocate(step["offset"], step["length"])),
    "fallocate keep_size": _on_file(
        lambda file, step: file.allocate(step["offset"], step["length"], keep_size=True)
    ),
    "fallocate punch_hole": _on_file(lambda file, step: file.punch_hole(step["offset"], step["length"])),
    "fallocate punch_hole unaligned": _on_file(
        lambda file, step: file.punch_hole(step["offset"], step["length"])
    ),
    "fallocate zero_range": _on_file(lambda file, step: file.punch_hole(step["offset"], step["length"])),
    "fallocate collapse_range": _on_file(
        lambda file, step: file.collapse_range(step["offset"], step["length"])
    ),
    "fallocate insert_range": _on_file(lambda file, step: file.insert_range(step["offset"], step["length"])),
    "copy_file_range": _copy_range,
    "open O_TMPFILE": _tmpfile,
}
# Values of ``out`` that depend on chance, or on what this filesystem does not model.
_NOT_COMPARED = {"nonzero", "STATX_DIOALIGN in mask", "flags_before", "names"}


def differences(step: Step, got: Outcome) -> list[str]:
    """What of a step is not as recorded."""
    if step["op"].startswith("readdir") and {got["result"], step["result"]} == {"OK", "EIO"}:
        raise NotExpressed("whether a wrong key gives possible names is chance")
    wrong = [] if got["result"] == step["result"] else [f"result {got['result']}"]
    if got["result"] == "OK" == step["result"]:
        for name, value in step.get("out", {}).items():
            if name in got and name not in _NOT_COMPARED and got[name] != value:
                wrong.append(f"{name} {got[name]!r}")
    return wrong


def play_scenario(
    data: dict[str, Any], scenario: dict[str, Any], skipped: Counter[str]
) -> tuple[int, list[str]]:
    """Steps that agree, and what differs; ``skipped`` counts steps not expressed, by reason."""
    version = ".".join(data["kernel"].split(".")[:2])
    facts = data["filesystems"][scenario["fs"]]
    player = Player(facts, version, data["keys"], scenario["id"])
    agreed, wrong = 0, list[str]()
    for number, step in enumerate(scenario["steps"]):
        try:
            found = differences(step, player.play(step))
        except NotExpressed as error:
            skipped[str(error)] += 1
            continue
        if found:
            wrong.append(f"{scenario['fs']} {scenario['id']} step {number} {step}: {', '.join(found)}")
        else:
            agreed += 1
    return agreed, wrong
