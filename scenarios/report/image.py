"""What an encrypted image holds, as text and as JSON."""

import json
import stat
from collections.abc import Iterable
from typing import TypedDict

from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.modes import FSCRYPT_MODES
from blkcrypto.fs.fscrypt.policy import Policy
from blkcrypto.fs.image import EncryptedImage, Node
from blkcrypto.fs.image.verify import VerifyReport


class PolicyRow(TypedDict):
    """A policy in JSON."""

    version: int
    master_key: str
    contents_mode: str
    filenames_mode: str
    flags: int
    iv: str
    padding: int
    data_unit_size: int


class NodeRow(TypedDict):
    """An inode in JSON; names that are not UTF-8 carry their bytes as lone surrogates, as Python does."""

    path: str
    ino: int
    type: str
    mode: str
    size: int
    locked: bool
    policy: PolicyRow | None
    target: str | None


def node_row(image: EncryptedImage, node: Node) -> NodeRow:
    """All that ``ls`` tells about an inode."""
    is_symlink = node.inode.kind is InodeKind.SYMLINK
    target = image.target(node) if is_symlink else None
    policy = node.context.policy if node.context is not None else None
    return NodeRow(
        path=_exact(node.path),
        ino=node.inode.ino,
        type=node.inode.kind.value,
        mode=stat.filemode(node.inode.mode),
        # As stat() tells it: of a symlink, the length of what readlink() returns.
        size=node.inode.size if target is None else len(target),
        locked=image.is_locked(node),
        policy=None if policy is None else _policy_row(policy, image.volume.block_size),
        target=None if target is None else _exact(target),
    )


def _policy_row(policy: Policy, block_size: int) -> PolicyRow:
    bits = policy.log2_data_unit_size
    return PolicyRow(
        version=policy.version,
        master_key=policy.master_key.hex(),
        contents_mode=_mode_name(policy.contents_mode),
        filenames_mode=_mode_name(policy.filenames_mode),
        flags=policy.flags,
        iv=policy.iv_scheme.value,
        padding=policy.padding,
        data_unit_size=1 << bits if bits else block_size,
    )


def _mode_name(number: int) -> str:
    mode = FSCRYPT_MODES.get(number)
    return f"mode {number}" if mode is None else mode.name


def long_line(row: NodeRow) -> str:
    """One line of ``ls -l``: mode, inode, size, policy, contents mode, IVs, data unit, key, path."""
    policy = row["policy"]
    if policy is None:
        facts = f"{'-':35}  {'-':17}  {'-':14}  {'-':>5}  {'-':8}"
    else:
        key = f"v{policy['version']} {policy['master_key']}"
        state = "locked" if row["locked"] else "unlocked"
        facts = (
            f"{key:35}  {policy['contents_mode']:17}  {policy['iv']:14}  "
            f"{policy['data_unit_size']:5}  {state:8}"
        )
    target = "" if row["target"] is None else f" -> {shown(row['target'])}"
    return f"{row['mode']}  {row['ino']:6}  {row['size']:10}  {facts}  {shown(row['path'])}{target}"


def rows_json(rows: Iterable[NodeRow]) -> str:
    """Rows as a JSON list, one line each."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    return f"[\n{lines}\n]\n" if lines else "[]\n"


def shown(text: str) -> str:
    r"""A name for people: control characters and bytes that are no text as ``\xHH``, a backslash doubled.

    Names in an image are anyone's, and a terminal obeys what it is shown.
    """
    return "".join(map(_shown_character, text))


def _shown_character(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _exact(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def verify_lines(report: VerifyReport) -> list[str]:
    """Problems, keys that are missing, and the counts."""
    lines = [f"PROBLEM {shown(problem)}" for problem in report.problems]
    if report.problem_count > len(report.problems):
        lines.append(f"and {report.problem_count - len(report.problems)} more")
    lines += [f"locked: give {key}" for key in report.wanted]
    counted = report.checked
    lines.append(
        f"{counted['directories']} directories, {counted['names']} encrypted names, "
        f"{counted['symlinks']} symlinks, {counted['files']} files with {counted['bytes']} bytes decrypted: "
        f"{report.problem_count} problems, {report.locked} locked"
    )
    return lines
