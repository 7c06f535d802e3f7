"""A filesystem with encrypted inline data as the battery tries it: names are kept apart, by inode number."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from blkcrypto.fs.attacker import Image
from blkcrypto.fs.battery.subject import Held, Loot, Place
from blkcrypto.fs.errors import NoSuchFile
from blkcrypto.fs.fscrypt.caller import ROOT
from blkcrypto.fs.fscrypt.filesystem import ext4_like
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.policy import NONCE_BYTES, Context, Policy
from blkcrypto.fs.inline_data.mount import CachedFile, InlineMount
from blkcrypto.fs.inline_data.region import ALIGNMENT, ALTERNATIVES
from blkcrypto.fs.inline_data.volume import (
    BLOCK_BYTES,
    FLAG_INLINE,
    INCOMPAT_ENCRYPTED_INLINE_DATA,
    InlineLayout,
    InodeRecord,
    Volume,
)
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import Strictness
from blkcrypto.fs.store import SoftwareStore

_UUID: Final = bytes(range(16))
_FIRST_INO: Final = 12
# Where inline areas stand among the addresses of an image: above all blocks.
_INODES: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class _HeldFile:
    mount: InlineMount
    file: CachedFile

    def read(self, pos: int, length: int) -> bytes:
        return bytes(self.file.data[pos : pos + length])

    def write(self, pos: int, data: bytes) -> None:
        self.mount.write(self.file, pos, data)

    def fsync(self) -> None:
        self.mount.writeback(self.file)

    def close(self) -> None:
        self.mount.close(self.file)


class InlineSubject:
    """``battery.Subject`` for one alternative and one user of the helper.

    Args:
        alternative: ``A0`` to ``A4``.
        layout: f2fs-like or ext4-like.
        raw_key: the master key.
        rng: of nonces.

    Attributes:
        checker: judges where region keys are set up.
    """

    def __init__(
        self, alternative: str, layout: InlineLayout, raw_key: bytes, rng: np.random.Generator
    ) -> None:
        self.name = f"inline-data-{alternative.lower()}"
        self.alternative = ALTERNATIVES[alternative]
        self.checker = ContextChecker(Strictness.KERNEL_REAL)
        features = INCOMPAT_ENCRYPTED_INLINE_DATA if self.alternative.stores_inline else 0
        self.volume = Volume(layout, features=features)
        self.store = SoftwareStore(BLOCK_BYTES)
        self.inos: dict[str, int] = {}
        self._raw_key = raw_key
        self._rng = rng
        self.spec = KeySpecifier(KeySpecType.IDENTIFIER, MasterKey.from_raw(raw_key).identifier)
        self._policy = Policy(flags=0, master_key=self.spec.key)
        self._mount = self._mounted()

    def _mounted(self) -> InlineMount:
        return InlineMount(self.volume, ext4_like(_UUID), self.store, self.alternative, self.checker)

    def add_key(self) -> None:
        """See ``Subject``."""
        arg = AddKeyArg(spec=self.spec, raw=self._raw_key, raw_size=len(self._raw_key))
        self._mount.add_key(arg, ROOT)

    def remove_key(self) -> bool:
        """See ``Subject``."""
        return not self._mount.keyring.remove(self.spec, ROOT)

    def _open(self, path: str) -> CachedFile:
        if path not in self.inos:
            raise NoSuchFile(f"no file {path!r}")
        return self._mount.open(self.inos[path])

    def write(self, path: str, pos: int, data: bytes) -> None:
        """See ``Subject``."""
        if path in self.inos:
            file = self._open(path)
        else:
            ino = max(self.inos.values(), default=_FIRST_INO - 1) + 1
            file = self._mount.create(ino, Context(self._policy, self._rng.bytes(NONCE_BYTES)))
            self.inos[path] = ino
        self._mount.write(file, pos, data)
        self._mount.close(file)

    def read(self, path: str) -> bytes:
        """See ``Subject``."""
        file = self._open(path)
        self._mount.close(file)
        return bytes(file.data)

    def hold(self, path: str) -> Held:
        """See ``Opens``."""
        return _HeldFile(self._mount, self._open(path))

    def sync(self) -> None:
        """See ``Subject``."""
        self._mount.sync_filesystem()

    def remount(self) -> None:
        """See ``Subject``."""
        try:
            self._mount.unmount()
        finally:
            self._mount = self._mounted()

    def move(self) -> int:
        """See ``Subject``: blocks; inline data stays with its inode."""
        moved = 0
        for ino in self.inos.values():
            record = self.volume.load(ino)
            if record.flags & FLAG_INLINE:
                continue
            blocks = [self._relocate(block) for block in _block_numbers(record)]
            area = b"".join(block.to_bytes(4, "little") for block in blocks)
            self.volume.store(ino, replace(record, area=area))
            moved += len(blocks)
        return moved

    def _relocate(self, old: int) -> int:
        new = self.volume.next_block
        self.volume.next_block += 1
        self.store.write(None, new, self.store.read(None, old, BLOCK_BYTES))
        return new

    def truncate(self, path: str, size: int) -> None:
        """See ``Subject``."""
        file = self._open(path)
        self._mount.truncate(file, size)
        self._mount.close(file)

    def delete(self, path: str) -> None:
        """See ``Subject``."""
        if path not in self.inos:
            raise NoSuchFile(f"no file {path!r}")
        self._mount.delete(self.inos.pop(path))

    def delete_without_key(self) -> bool:
        """See ``Subject``."""
        self.delete(next(iter(self.inos)))
        return True

    def image(self) -> Image:
        """See ``Attackable``: units are blocks, and the inline areas of inodes."""
        units = dict(self.store.medium)
        records = {ino: self.volume.load(ino) for ino in self.volume.inodes}
        links: dict[Hashable, frozenset[int]] = {}
        for ino, record in records.items():
            if record.flags & FLAG_INLINE:
                units[_INODES + ino] = _region(record)
                links[ino] = frozenset({_INODES + ino})
            else:
                links[ino] = frozenset(_block_numbers(record))
        return Image(
            units=units,
            in_use=frozenset[int]().union(*links.values()),
            sizes=tuple(record.size for record in records.values()),
            contexts=tuple(record.context for record in records.values()),
            links=links,
        )

    def save(self) -> object:
        """See ``Subject``."""
        self.sync()
        return copy.deepcopy(self.volume), dict(self.store.medium), dict(self.inos)

    def restore(self, saved: object) -> None:
        """See ``Subject``."""
        self._mount.unmount()
        assert isinstance(saved, tuple)
        volume, medium, inos = saved
        self.volume = copy.deepcopy(volume)
        self.store.medium.clear()
        self.store.medium.update(medium)
        self.inos = dict(inos)
        self._mount = self._mounted()

    def places(self, path: str) -> Sequence[Place]:
        """See ``Subject``: an inline region is one unit."""
        self.sync()
        record = self.volume.load(self.inos[path])
        count = 1 if record.flags & FLAG_INLINE else len(_block_numbers(record))
        return [Place(path, index) for index in range(count)]

    def lift(self, place: Place) -> Loot:
        """See ``Subject``."""
        record = self.volume.load(self.inos[place.path])
        if record.flags & FLAG_INLINE:
            return Loot(_region(record))
        return Loot(self.store.medium[_block_numbers(record)[place.unit]])

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        """See ``Subject``: there are no checksums.  What does not fit a region is cut off."""
        del mend
        ino = self.inos[place.path]
        record = self.volume.load(ino)
        if record.flags & FLAG_INLINE:
            self.volume.store(ino, replace(record, area=loot.ciphertext[: len(_region(record))]))
        else:
            block = _block_numbers(record)[place.unit]
            self.store.medium[block] = loot.ciphertext.ljust(BLOCK_BYTES, b"\0")


def _region(record: InodeRecord) -> bytes:
    """Ciphertext of inline data."""
    return record.area[: -(-record.size // ALIGNMENT) * ALIGNMENT]


def _block_numbers(record: InodeRecord) -> list[int]:
    count = -(-record.size // BLOCK_BYTES)
    return [int.from_bytes(record.area[4 * at : 4 * at + 4], "little") for at in range(count)]
