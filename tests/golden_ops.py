"""The operations of the golden scenarios, on the small filesystem."""

import struct
from collections.abc import Callable
from typing import Any

from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import (
    AddKeyArg,
    KeySpecifier,
    KeySpecType,
    parse_remove_arg,
    parse_status_arg,
)
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.fscrypt.process_keys import LOGON_PAYLOAD_BYTES, logon_payload
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.rename import RenameFlags, rename
from blkcrypto.fs.smallfs.symlink import readlink, symlink
from tests.golden_player import Op, Outcome, Player, Step


def _make(kind: InodeKind) -> Callable[[Player, Step], None]:
    def make(player: Player, step: Step) -> None:
        path = player.path(step)
        namei.create(player.mount, path, kind, player.caller(step))
        player.remember(path)

    return make


def _write_file(player: Player, step: Step) -> None:
    path = player.path(step)
    player.write(path, bytes(step["bytes"]))
    player.remember(path)


def _symlink(player: Player, step: Step) -> None:
    path = player.path(step)
    symlink(player.mount, b"t" * step["target_len"], path)
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
    player.with_open("", lambda file: ioctls.set_policy(file, policy.to_bytes()))


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
    data: bytes = player.with_open(player.path(step), lambda file: file.read(0, 800))
    return {"plaintext_intact": data == b"contents" * 100}


def _readdir(player: Player, step: Step) -> Outcome:
    names = namei.readdir(player.mount, player.path(step))
    return {"entries": len(names), "sees_plain_names": b"g" in names}


def _lstat(player: Player, step: Step) -> None:
    namei.existing(player.mount, player.path(step))


def _rename(flags: RenameFlags) -> Callable[[Player, Step], None]:
    def move(player: Player, step: Step) -> None:
        rename(player.mount, player.path(step), player.path(step, "to"), flags)

    return move


def _link(player: Player, step: Step) -> None:
    namei.link(player.mount, player.path(step), player.path(step, "to"))


def _ioctl(get: Callable[[files.OpenFile], bytes]) -> Callable[[Player, Step], Outcome]:
    def ioctl(player: Player, step: Step) -> Outcome:
        data: bytes = player.with_open(player.path(step), get)
        return {"policy": data.hex(), "policy_bytes": len(data), "nonce_bytes": len(data)}

    return ioctl


def _policy_ex_sized(player: Player, step: Step) -> Outcome:
    size = step["policy_size"]
    data: bytes = player.with_open(step["path"], lambda file: ioctls.get_policy_ex(file, size))
    return {"policy_bytes": len(data)}


def _on_file(action: Callable[[files.OpenFile, Step], Any]) -> Callable[[Player, Step], Outcome]:
    def run(player: Player, step: Step) -> Outcome:
        result = player.with_open(player.path(step), lambda file: action(file, step))
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


OPS: dict[str, Op] = {
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
    "readlink": lambda player, step: {"len": len(readlink(player.mount, player.path(step)))},
    "unlink": lambda player, step: namei.unlink(player.mount, player.path(step)),
    "rmdir": lambda player, step: namei.rmdir(player.mount, player.path(step)),
    "link": _link,
    "rename": _rename(RenameFlags.NONE),
    "rename_exchange": _rename(RenameFlags.EXCHANGE),
    "rename_noreplace": _rename(RenameFlags.NOREPLACE),
    "rename_whiteout": _rename(RenameFlags.WHITEOUT),
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
