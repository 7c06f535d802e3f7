"""An image compared with the record of what was written into it: one golden case, all its objects."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.ext4.volume import Ext4Volume
from blkcrypto.fs.image.contents import CHUNK_BYTES, FileContents
from blkcrypto.fs.image.keys import ImageKeys
from blkcrypto.fs.image.tree import EncryptedImage, Node
from blkcrypto.fs.selftest.cases import GoldenCase, GoldenObject, load
from blkcrypto.fs.selftest.report import SelfTestReport

_NOKEY_PREFIX_BYTES = 149


def case_keys(case: GoldenCase) -> ImageKeys:
    """The master key of a case, under the name its policy has for it."""
    raw = bytes.fromhex(case.master_key)
    policy = case.parsed_policy
    return ImageKeys((raw,), ((policy.master_key, raw),) if policy.version == 1 else ())


def compare(volume: Ext4Volume, path: Path) -> SelfTestReport:
    """Look every object of a case up, with its key and without, and compare with the record.

    Raises:
        BadInput: ``path`` is no golden case, or one of another filesystem; the image is damaged.
    """
    case = load(path, GoldenCase)
    uuid = volume.superblock.uuid.hex()
    if case.fs.type != "ext4" or case.fs.uuid != uuid:
        raise BadInput(f"records {case.fs.type} {case.fs.uuid}, but the image is {uuid}", where=str(path))
    try:
        return _Comparison(volume, case, path.name).run()
    except ValueError as error:
        raise BadInput(f"not a golden case: {error}", where=str(path)) from None


class _Comparison:
    def __init__(self, volume: Ext4Volume, case: GoldenCase, title: str) -> None:
        self._case = case
        self._title = title
        self._image = EncryptedImage(volume, case_keys(case))
        self._keyless = EncryptedImage(volume)
        self._report = SelfTestReport()

    def run(self) -> SelfTestReport:
        with_key = {node.inode.ino: node for node in self._nodes(self._image)}
        without = {node.inode.ino: node for node in self._nodes(self._keyless)}
        for item in self._case.objects:
            node, locked = with_key.get(item.ino), without.get(item.ino)
            if node is None or locked is None:
                self._check(False, item, "existence")
                continue
            self._compare_names(item, node, locked)
            if item.context is not None:
                self._check((node.stored_context or b"").hex() == item.context, item, "context")
            if item.type == "file":
                self._compare_file(item, self._image.contents(node))
            elif item.type == "symlink":
                self._compare_symlink(item, node, locked)
        return self._report

    def _nodes(self, image: EncryptedImage) -> Iterator[Node]:
        """All that has the case's policy; other cases may share the image."""
        wanted = self._case.parsed_policy
        for top in image.children(image.root):
            if top.policy == wanted:
                yield from image.walk(top)

    def _compare_names(self, item: GoldenObject, node: Node, locked: Node) -> None:
        if item.name_bytes is None:
            return
        self._check(node.name == item.name_bytes, item, "name")
        prefix, rest = node.stored_name[:_NOKEY_PREFIX_BYTES], node.stored_name[_NOKEY_PREFIX_BYTES:]
        if item.disk_name is not None:
            self._check(node.stored_name.hex() == item.disk_name, item, "stored name")
        elif item.disk_name_first149 is not None:
            digest = hashlib.sha256(rest).hexdigest()
            recorded = (item.disk_name_first149, item.disk_name_rest_sha256)
            self._check((prefix.hex(), digest) == recorded, item, "stored name")
        if item.nokey_name is not None:
            self._check(locked.name.decode() == item.nokey_name, item, "no-key name")

    def _compare_symlink(self, item: GoldenObject, node: Node, locked: Node) -> None:
        target = self._image.target(node)
        self._check(target == (item.target or "").encode(), item, "symlink target")
        if item.nokey_target is not None:
            self._check(self._keyless.target(locked).decode() == item.nokey_target, item, "no-key symlink")
        if item.i_size is not None:
            self._check(node.inode.size == item.i_size, item, "symlink size")

    def _compare_file(self, item: GoldenObject, contents: FileContents) -> None:
        self._check(contents.size == item.size, item, "size")
        differs = _first_difference(item, contents)
        self._check(differs < 0, item, "contents", f"byte {differs}")

    def _check(self, agrees: bool, item: GoldenObject, what: str, where: str = "") -> None:
        self._report.check(agrees, self._title, item.title, what, where)


def _first_difference(item: GoldenObject, contents: FileContents) -> int:
    """First byte of the file that is not what was written, or -1."""
    segments = [(part.offset, np.frombuffer(part.plaintext(), dtype=np.uint8)) for part in item.segments]
    for pos in range(0, contents.size, CHUNK_BYTES):
        got = np.frombuffer(contents.read(pos, CHUNK_BYTES), dtype=np.uint8)
        expected = np.zeros(len(got), dtype=np.uint8)
        for offset, data in segments:
            first, last = max(offset, pos), min(offset + len(data), pos + len(got))
            if first < last:
                expected[first - pos : last - pos] = data[first - offset : last - offset]
        differs = got != expected
        if differs.any():
            return pos + int(np.argmax(differs))
    return -1
