"""The fscrypt ioctls of a real kernel, for the scripts beside this file.  Standard library only; needs root.

linux_fscrypt.py add-key MOUNT KEYHEX [DESCRIPTORHEX]   prints the identifier or descriptor
linux_fscrypt.py set-policy DIR POLICYHEX               a policy struct of 12 or 24 bytes
linux_fscrypt.py record MOUNT                           JSON lines: what Linux shows of everything below
linux_fscrypt.py case-keys CASE.json...                 lines of key, descriptor or "-", top directory
"""

import fcntl
import hashlib
import json
import os
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path

FS_IOC_SET_ENCRYPTION_POLICY = 0x800C6613
FS_IOC_ADD_ENCRYPTION_KEY = 0xC0506617
SPEC_DESCRIPTOR, SPEC_IDENTIFIER = 1, 2


def add_key(mount: str, key: str, descriptor: str = "") -> None:
    raw, name = bytes.fromhex(key), bytes.fromhex(descriptor)
    kind = SPEC_DESCRIPTOR if name else SPEC_IDENTIFIER
    arg = bytearray(struct.pack("<II32sIII28s", kind, 0, name, len(raw), 0, 0, b"") + raw)
    directory = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(directory, FS_IOC_ADD_ENCRYPTION_KEY, arg)
    finally:
        os.close(directory)
    print((arg[8:16] if name else arg[8:24]).hex())


def set_policy(path: str, policy: str) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(directory, FS_IOC_SET_ENCRYPTION_POLICY, bytes.fromhex(policy))
    finally:
        os.close(directory)


def record(mount: str) -> None:
    root = os.fsencode(mount)
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            found = os.lstat(path)
            row = {
                "ino": found.st_ino,
                "path": os.fsdecode(path[len(root) :]),
                "mode": stat.filemode(found.st_mode),
            }
            if stat.S_ISLNK(found.st_mode):
                row["target"] = os.fsdecode(os.readlink(path))
            if stat.S_ISREG(found.st_mode):
                row["size"] = found.st_size
                row["sha256"] = digest(path)
            print(json.dumps(row))


def digest(path: bytes) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error.strerror


def case_keys(*paths: str) -> None:
    for path in paths:
        case = json.loads(Path(path).read_text())
        print(case["master_key"], case["policy"].get("master_key_descriptor", "-"), case["top_dir"])


COMMANDS: dict[str, Callable[..., None]] = {
    "add-key": add_key,
    "set-policy": set_policy,
    "record": record,
    "case-keys": case_keys,
}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
