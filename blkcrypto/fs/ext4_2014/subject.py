"""The 2014 draft as the battery tries it: one user, whose wrapping key is the key that comes and goes."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from blkcrypto.fs.attacker import Image
from blkcrypto.fs.battery.subject import Held, Loot, Place
from blkcrypto.fs.errors import NoSuchFile
from blkcrypto.fs.ext4_2014.layout import ROOT_INO, Inode, mkfs
from blkcrypto.fs.ext4_2014.open_file import OpenFile
from blkcrypto.fs.ext4_2014.packet import UserKey
from blkcrypto.fs.ext4_2014.volume import Volume

_BLOCKS: Final = 256
_INODES: Final = 32


@dataclass(frozen=True, slots=True)
class _HeldFile:
    """A file that is written through."""

    file: OpenFile

    def read(self, pos: int, length: int) -> bytes:
        return self.file.read()[pos : pos + length]

    def write(self, pos: int, data: bytes) -> None:
        self.file.write(pos, data)

    def fsync(self) -> None:
        pass

    def close(self) -> None:
        pass


class Ext42014Subject:
    """``battery.Subject``.

    Args:
        user: whose files they are.
        rng: of data keys, nonces and IVs.
    """

    name = "ext4-2014-multi-user"

    def __init__(self, user: UserKey, rng: np.random.Generator) -> None:
        self._user = user
        self._rng = rng
        self.volume = Volume(mkfs(_BLOCKS, _INODES), rng)

    def add_key(self) -> None:
        """See ``Subject``."""
        self.volume.keyring[self._user.signature] = self._user

    def remove_key(self) -> bool:
        """See ``Subject``."""
        self.volume.keyring.clear()
        return True

    def write(self, path: str, pos: int, data: bytes) -> None:
        """See ``Subject``."""
        if path in self.volume.names():
            self.volume.open(path).write(pos, data)
        else:
            self.volume.create(path, [self._user]).write(pos, data)

    def read(self, path: str) -> bytes:
        """See ``Subject``."""
        return self.volume.open(path).read()

    def hold(self, path: str) -> Held:
        """See ``Opens``."""
        return _HeldFile(self.volume.open(path))

    def sync(self) -> None:
        """See ``Subject``: everything is written through."""

    def remount(self) -> None:
        """See ``Subject``."""
        self.volume = Volume(self.volume.layout.medium, self._rng)

    def _inodes(self) -> list[Inode]:
        return [self.volume.stat(name) for name in self.volume.names()]

    def move(self) -> int:
        """See ``Subject``."""
        layout, moved = self.volume.layout, 0
        for inode in self._inodes():
            for index, old in enumerate(inode.blocks):
                if old:
                    inode.blocks[index] = self.volume.allocate()
                    layout.block(inode.blocks[index])[:] = layout.block(old)
                    self.volume.free_blocks([old])
                    moved += 1
            layout.store(inode)
        return moved

    def truncate(self, path: str, size: int) -> None:
        """See ``Subject``."""
        self.volume.open(path).truncate(size)

    def delete(self, path: str) -> None:
        """See ``Subject``."""
        self.volume.delete(path)

    def delete_without_key(self) -> bool:
        """See ``Subject``."""
        self.volume.delete(self.volume.names()[0])
        return True

    def image(self) -> Image:
        """See ``Attackable``: units are the data blocks that are not metadata; names are in clear."""
        layout, inodes = self.volume.layout, self._inodes()
        root = layout.load(ROOT_INO)
        assert root is not None, "mkfs makes the root directory"
        metadata = {*root.blocks, *(inode.xattr_block for inode in inodes)}
        data = set(range(layout.first_data_block, layout.blocks)) - metadata
        blocks = {at: bytes(layout.block(at)) for at in sorted(data)}
        links: dict[Hashable, frozenset[int]] = {
            inode.ino: frozenset(filter(None, inode.blocks)) for inode in inodes
        }
        return Image(
            units={at: block for at, block in blocks.items() if any(block)},
            in_use=frozenset[int]().union(*links.values()),
            sizes=tuple(inode.size for inode in inodes),
            names=tuple(name.encode() for name in self.volume.names()),
            contexts=tuple(self.volume.root_packet(inode) for inode in inodes),
            links=links,
        )

    def save(self) -> object:
        """See ``Subject``."""
        return bytes(self.volume.layout.medium)

    def restore(self, saved: object) -> None:
        """See ``Subject``."""
        assert isinstance(saved, bytes)
        self.volume = Volume(bytearray(saved), self._rng)

    def places(self, path: str) -> Sequence[Place]:
        """See ``Subject``."""
        return [Place(path, index) for index, block in enumerate(self.volume.stat(path).blocks) if block]

    def _block(self, place: Place) -> memoryview:
        block = self.volume.stat(place.path).blocks[place.unit]
        if not block:
            raise NoSuchFile(f"page {place.unit} of {place.path!r} is a hole")
        return self.volume.layout.block(block)

    def lift(self, place: Place) -> Loot:
        """See ``Subject``."""
        return Loot(bytes(self._block(place)))

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        """See ``Subject``: there are no checksums."""
        del mend
        self._block(place)[:] = loot.ciphertext
