"""Images that tests share, in memory, each decompressed once; and surgery on copies of them."""

import functools
import json
import lzma
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blkcrypto.fs.ext4 import Ext4Volume
from blkcrypto.fs.image import EncryptedImage, ImageKeys, Node
from tests.fscrypt_world import GOLDEN

LAYOUTS = Path(__file__).parent / "vectors" / "images"
CASES = sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.glob("image-*/*.json"))
CONTEXT_ENTRY = struct.Struct("<BBHII4x")


@dataclass
class MemoryStore:
    """An image in memory that counts what is asked of it."""

    data: bytearray
    name: str = "test.img"
    size: int = field(init=False)
    reads: int = 0
    bytes_read: int = 0
    flushes: int = 0

    def __post_init__(self) -> None:
        self.size = len(self.data)

    def read(self, offset: int, nbytes: int) -> bytes:
        self.reads += 1
        found = bytes(self.data[offset : offset + nbytes])
        self.bytes_read += len(found)
        return found

    def write(self, offset: int, data: bytes) -> None:
        assert offset + len(data) <= self.size
        self.data[offset : offset + len(data)] = data

    def flush(self) -> None:
        self.flushes += 1


@functools.cache
def pristine(path: Path) -> bytes:
    """The bytes of an ``.img.xz``."""
    return lzma.decompress(path.read_bytes())


def golden_image(group: str) -> bytearray:
    """A copy of the image of a golden group, e.g. ``image-4k``."""
    return bytearray(pristine(GOLDEN / group / f"{group}.img.xz"))


def layout_image(name: str) -> bytearray:
    """A copy of an image of ``vectors/images``."""
    return bytearray(pristine(LAYOUTS / f"{name}.img.xz"))


def golden_case(path: str) -> dict[str, Any]:
    """A golden case of one's own, e.g. ``image-4k/v2-perfile.json``, as it stands in JSON."""
    case: dict[str, Any] = json.loads((GOLDEN / path).read_text())
    return case


def keys_of(case: dict[str, Any]) -> ImageKeys:
    raw = bytes.fromhex(case["master_key"])
    descriptor = case["policy"].get("master_key_descriptor")
    return ImageKeys((raw,), ((bytes.fromhex(descriptor), raw),) if descriptor else ())


def opened(data: bytearray, keys: ImageKeys | None = None, *, checksums: bool = True) -> EncryptedImage:
    return EncryptedImage(Ext4Volume(MemoryStore(data), check_checksums=checksums), keys)


def opened_case(path: str, *, with_key: bool) -> EncryptedImage:
    case = golden_case(path)
    return opened(golden_image(path.split("/")[0]), keys_of(case) if with_key else None)


def by_ino(image: EncryptedImage, top: str) -> dict[int, Node]:
    """Everything in a top directory, the directory itself included."""
    return {node.inode.ino: node for node in image.walk(image.find(top.encode()))}


def item_of(case: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in case["objects"] if item.get("name") == name)
    return found


def read_all(image: EncryptedImage, node: Node) -> bytes:
    return b"".join(image.contents(node).chunks())


class Surgeon:
    """Changes single fields of an image, without a thought for checksums."""

    def __init__(self, data: bytearray) -> None:
        self.data = data
        self.block_size = 1024 << self.u32(1024 + 24)
        self.inode_size = self.u16(1024 + 88)
        self._per_group = self.u32(1024 + 40)
        descriptor = self.block_size * (1024 // self.block_size + 1)
        self.inode_table = self.u32(descriptor + 8)

    def u16(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 2], "little")

    def u32(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 4], "little")

    def put(self, at: int, data: bytes) -> None:
        self.data[at : at + len(data)] = data

    def put16(self, at: int, value: int) -> None:
        self.put(at, value.to_bytes(2, "little"))

    def put32(self, at: int, value: int) -> None:
        self.put(at, value.to_bytes(4, "little"))

    def inode_at(self, ino: int) -> int:
        """Byte of an inode of the first group."""
        assert ino <= self._per_group
        return self.inode_table * self.block_size + (ino - 1) * self.inode_size

    def set_flag(self, ino: int, flag: int, *, on: bool = True) -> None:
        at = self.inode_at(ino) + 0x20
        flags = self.u32(at)
        self.put32(at, flags | flag if on else flags & ~flag)

    def extents(self, ino: int) -> list[tuple[int, int, int]]:
        """(logical block, count, physical block) of an inode whose extents lie in it."""
        at = self.inode_at(ino) + 0x28
        assert (self.u16(at), self.u16(at + 6)) == (0xF30A, 0)
        rows = [
            struct.unpack_from("<IHHI", self.data, at + 12 * (1 + row)) for row in range(self.u16(at + 2))
        ]
        return [(lblk, count, low) for lblk, count, _, low in rows]

    def free_block(self, nth: int = 0) -> int:
        """A block of zeroes that nothing uses."""
        free = range(len(self.data) // self.block_size - 1, 0, -1)
        empty = (at for at in free if not any(self.data[at * self.block_size : (at + 1) * self.block_size]))
        for _ in range(nth):
            next(empty)
        return next(empty)

    def context_at(self, ino: int) -> int:
        """Byte of the encryption context in the inode's own attributes."""
        start = self.inode_at(ino) + 128 + self.u16(self.inode_at(ino) + 128) + 4
        name_bytes, index, offset, _, size = CONTEXT_ENTRY.unpack_from(self.data, start)
        assert (name_bytes, index, size) in ((1, 9, 28), (1, 9, 40))
        return start + int(offset)
