"""A cached inode of a filesystem with extents."""

from blkcrypto.fs.extents.disk import Subvolume
from blkcrypto.fs.extents.items import FileExtent, InodeItem
from blkcrypto.fs.extents.keys import ExtentInfo
from blkcrypto.fs.fscrypt.key_entry import MasterKeyEntry
from blkcrypto.fs.fscrypt.names import NameCipher
from blkcrypto.fs.fscrypt.policy import Policy


class Incore:
    """An inode in the cache.

    A shared extent is loaded once for every inode that uses it: extent maps belong to inodes.

    Attributes:
        uid: its number on its master key's list; unlike inode numbers, no two subvolumes share one.
        subvolume: where it lives.
        ino: inode number there.
        item: its inode item; written to the tree when it changes.
        policy: None when it is not encrypted.
        entry: the master key it holds, once unlocked.
        names: a directory's name cipher, once unlocked.
        infos: loaded extents by number; ``map_item`` and ``unmap_item`` say how long.
        pages: cached blocks by their index in the file.
        dirty: which of them are to be written, in the order of writing.
        maps: items whose extent is loaded: the kernel's extent maps.
        uses: for each loaded extent, how many of ``maps`` are of it.
        opens: open files.
    """

    __slots__ = (
        "dirty", "entry", "infos", "ino", "item", "maps", "names", "opens", "pages", "policy",
        "subvolume", "uid", "uses",
    )  # fmt: skip

    def __init__(
        self, uid: int, subvolume: Subvolume, ino: int, item: InodeItem, policy: Policy | None
    ) -> None:
        self.uid = uid
        self.subvolume = subvolume
        self.ino = ino
        self.item = item
        self.policy = policy
        self.entry: MasterKeyEntry | None = None
        self.names: NameCipher | None = None
        self.infos: dict[int, ExtentInfo] = {}
        self.maps: dict[FileExtent, None] = {}
        self.uses: dict[int, int] = {}
        self.pages: dict[int, bytearray] = {}
        self.dirty: dict[int, None] = {}
        self.opens = 0

    def map_item(self, item: FileExtent) -> None:
        """``item`` uses its extent's info, which is in ``infos``."""
        if item not in self.maps:
            self.maps[item] = None
            number = item.extent.number
            self.uses[number] = self.uses.get(number, 0) + 1

    def unmap_item(self, item: FileExtent, parts: tuple[FileExtent, ...]) -> ExtentInfo | None:
        """``item`` was cut, ``parts`` stay: the extent's info, if the file uses it no more."""
        if item not in self.maps:
            return None
        for part in parts:
            self.map_item(part)
        del self.maps[item]
        number = item.extent.number
        self.uses[number] -= 1
        if self.uses[number]:
            return None
        del self.uses[number]
        return self.infos.pop(number)

    def take_infos(self) -> tuple[ExtentInfo, ...]:
        """All loaded extents, which are loaded no more."""
        infos = tuple(self.infos.values())
        self.infos, self.maps, self.uses = {}, {}, {}
        return infos

    @property
    def busy(self) -> bool:
        """Whether eviction must leave it."""
        return bool(self.opens or self.dirty)
