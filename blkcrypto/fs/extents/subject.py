"""A filesystem with extents as the battery and the attacker see it: one directory, one key, one store."""

import copy
from collections.abc import Hashable, Sequence

import numpy as np

from blkcrypto.fs.attacker import Image
from blkcrypto.fs.battery.subject import Held, Loot, Place
from blkcrypto.fs.errors import NoSuchFile
from blkcrypto.fs.extents import checksums, namespace
from blkcrypto.fs.extents.balance import balance
from blkcrypto.fs.extents.designs import FLAG_IV_FROM_FS, ExtentDesign, StoredForm
from blkcrypto.fs.extents.disk import ExtentDisk, Subvolume
from blkcrypto.fs.extents.file import ExtentFile
from blkcrypto.fs.extents.items import BLOCK_BYTES, END_OF_FILE, DirItem, Extent, FileExtent, InodeItem
from blkcrypto.fs.extents.volume import Volume
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.modes import ModeNum
from blkcrypto.fs.fscrypt.policy import IDENTIFIER_BYTES, Policy, PolicyFlags
from blkcrypto.fs.store import SoftwareStore

_DIRECTORY = "d"


def policy_for(
    design: ExtentDesign,
    identifier: bytes,
    modes: tuple[ModeNum, ModeNum] = (ModeNum.AES_256_XTS, ModeNum.AES_256_CTS),
) -> Policy:
    """A v2 policy that ``design`` takes."""
    flag = FLAG_IV_FROM_FS if design.form is StoredForm.IV else 0
    return Policy(
        contents_mode=modes[0],
        filenames_mode=modes[1],
        flags=int(PolicyFlags.PAD_32) | flag,
        master_key=identifier,
    )


class ExtentSubject:
    """``battery.Subject`` and ``attacker.Attackable`` for one design.

    Args:
        design: the row.
        raw_key: the master key.
        rng: of nonces and IVs.
        store: the device; a software store unless given.
        max_extent_bytes: largest extent.
        device_blocks: size of the device.
    """

    def __init__(
        self,
        design: ExtentDesign,
        raw_key: bytes,
        rng: np.random.Generator,
        *,
        store: SoftwareStore | None = None,
        max_extent_bytes: int = 4 * BLOCK_BYTES,
        device_blocks: int = 1 << 32,
    ) -> None:
        self.store = SoftwareStore(BLOCK_BYTES) if store is None else store
        self.disk = ExtentDisk(design, blocks=device_blocks, max_extent_bytes=max_extent_bytes)
        self._raw_key = raw_key
        self.rng = rng
        self._last_snapshot: Subvolume | None = None
        self.volume = Volume(self.disk, self.store, rng)
        identifier = MasterKey.from_raw(raw_key).identifier
        self.spec = KeySpecifier(KeySpecType.IDENTIFIER, identifier)
        self.policy = policy_for(design, identifier)
        namespace.make_dir(self.volume, _DIRECTORY, self.policy)

    @property
    def name(self) -> str:
        """The design's."""
        return self.disk.design.name

    def add_key(self) -> None:
        """See ``Subject``."""
        spec = KeySpecifier(KeySpecType.IDENTIFIER, bytes(IDENTIFIER_BYTES))
        self.volume.add_key(AddKeyArg(spec=spec, raw=self._raw_key, raw_size=len(self._raw_key)))

    def remove_key(self) -> bool:
        """See ``Subject``."""
        return not self.volume.remove_key(self.spec)

    def open(self, path: str, *, make: bool = False) -> ExtentFile:
        """Open a file; ``make`` it where it does not exist."""
        try:
            return namespace.open_file(self.volume, f"{_DIRECTORY}/{path}")
        except NoSuchFile:
            if not make:
                raise
            return namespace.create(self.volume, f"{_DIRECTORY}/{path}")

    def write(self, path: str, pos: int, data: bytes) -> None:
        """See ``Subject``."""
        file = self.open(path, make=True)
        try:
            file.write(pos, data)
        finally:
            file.close()

    def read(self, path: str) -> bytes:
        """See ``Subject``."""
        return _whole(self.open(path))

    def hold(self, path: str) -> Held:
        """See ``Opens``."""
        return self.open(path)

    def sync(self) -> None:
        """See ``Subject``."""
        self.volume.sync_filesystem()

    def remount(self) -> None:
        """See ``Subject``."""
        try:
            self.volume.unmount()
        finally:
            self.volume = Volume(self.disk, self.store, self.rng)

    def duplicate(self, source: str, target: str) -> None:
        """See ``Shares``: a reflink."""
        old, new = self.open(source), self.open(target, make=True)
        try:
            new.clone_from(old, 0, 0, old.size)
        finally:
            old.close()
            new.close()

    def snapshot(self) -> None:
        """See ``Snapshots``."""
        self._last_snapshot = namespace.snapshot(self.volume)

    def read_snapshot(self, path: str) -> bytes:
        """See ``Snapshots``."""
        if self._last_snapshot is None:
            raise NoSuchFile("there is no snapshot")
        return _whole(namespace.open_file(self.volume, f"{_DIRECTORY}/{path}", self._last_snapshot))

    def move(self) -> int:
        """See ``Subject``: balance."""
        balance(self.volume)
        return sum(extent.blocks for extent in self.disk.extents.values())

    def truncate(self, path: str, size: int) -> None:
        """See ``Subject``."""
        file = self.open(path)
        try:
            file.truncate(size)
        finally:
            file.close()

    def delete(self, path: str) -> None:
        """See ``Subject``."""
        namespace.unlink(self.volume, f"{_DIRECTORY}/{path}")

    def delete_without_key(self) -> bool:
        """See ``Subject``."""
        stored = next(iter(namespace.stored_names(self.volume, _DIRECTORY)))
        namespace.unlink_stored(self.volume, _DIRECTORY, stored)
        return True

    def image(self) -> Image:
        """See ``Attackable``."""
        return image_of(self.disk, self.store)

    def save(self) -> object:
        """See ``Subject``."""
        self.sync()
        return copy.deepcopy(self.disk), dict(self.store.medium)

    def restore(self, saved: object) -> None:
        """See ``Subject``."""
        self.volume.unmount()
        assert isinstance(saved, tuple)
        disk, medium = saved
        self.disk = copy.deepcopy(disk)
        self.store.medium.clear()
        self.store.medium.update(medium)
        self._last_snapshot = None
        self.volume = Volume(self.disk, self.store, self.rng)

    def places(self, path: str) -> Sequence[Place]:
        """See ``Subject``: blocks of extents that are not compressed."""
        self.sync()
        return [Place(path, index) for index in self._addresses(path)]

    def _addresses(self, path: str) -> dict[int, int]:
        """Block of the device by block of the file."""
        file = self.open(path)
        file.close()
        walk = file.inode.subvolume.tree.walk((file.inode.ino, 0, 0), (file.inode.ino + 1, 0, 0))
        return {
            key[2] // BLOCK_BYTES + at: block
            for key, item in walk
            if isinstance(item, FileExtent) and not item.extent.compression
            for at, block in enumerate(_blocks(item))
        }

    def lift(self, place: Place) -> Loot:
        """See ``Subject``."""
        return Loot(self.store.medium[self._addresses(place.path)[place.unit]])

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        """See ``Subject``."""
        block = self._addresses(place.path)[place.unit]
        self.store.medium[block] = loot.ciphertext
        if mend:
            checksums.record(self.disk.csums, block, loot.ciphertext)


def _whole(file: ExtentFile) -> bytes:
    try:
        return file.read(0, file.size)
    finally:
        file.close()


def image_of(disk: ExtentDisk, store: SoftwareStore) -> Image:
    """A copy of the device: metadata of such a filesystem is in clear, names and contents are not."""
    sizes: list[int] = []
    names: list[bytes] = []
    contexts: list[bytes] = []
    links: dict[Hashable, set[int]] = {}
    for subvolume in disk.subvolumes.values():
        for key, item in subvolume.tree.walk((0, 0, 0), (END_OF_FILE, 0, 0)):
            if isinstance(item, InodeItem) and not item.is_dir:
                sizes.append(item.size)
            elif isinstance(item, DirItem):
                names.append(item.name)
            elif isinstance(item, FileExtent):
                contexts.append(item.context)
                links.setdefault((subvolume.number, key[0]), set()).update(_blocks(item))
    in_use = frozenset(block for extent in disk.extents.values() for block in _all_blocks(extent))
    return Image(
        units=dict(store.medium),
        in_use=in_use,
        sizes=tuple(sizes),
        names=tuple(names),
        contexts=tuple(contexts),
        compressed=tuple(
            (extent.ram_bytes, extent.blocks * BLOCK_BYTES)
            for extent in disk.extents.values()
            if extent.compression
        ),
        links={owner: frozenset(blocks) for owner, blocks in links.items()},
    )


def _all_blocks(extent: Extent) -> range:
    return range(extent.block, extent.block + extent.blocks)


def _blocks(item: FileExtent) -> range:
    """Blocks that the item shows: all of a compressed extent, else its part."""
    if item.extent.compression:
        return _all_blocks(item.extent)
    first = item.extent.block + item.offset // BLOCK_BYTES
    return range(first, first + item.length // BLOCK_BYTES)
