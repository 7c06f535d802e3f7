"""Cached inodes."""

from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo
from blkcrypto.fs.smallfs.disk import DiskInode


class Incore:
    """A cached inode.  The page cache is made with the first page: most of a million inodes have none.

    Attributes:
        disk: its form on disk.
        info: encryption state, once its key was needed and there.
        opens: open files.
        pins: open files below this directory.
    """

    __slots__ = ("_dirty", "_pages", "disk", "info", "opens", "pins")

    def __init__(self, disk: DiskInode) -> None:
        self.disk = disk
        self.info: CryptInfo | None = None
        self.opens = 0
        self.pins = 0
        self._pages: dict[int, bytearray] | None = None
        self._dirty: dict[int, None] | None = None

    @property
    def pages(self) -> dict[int, bytearray]:
        """Page cache, by logical block."""
        if self._pages is None:
            self._pages = {}
        return self._pages

    @property
    def dirty(self) -> dict[int, None]:
        """Logical blocks to write back."""
        if self._dirty is None:
            self._dirty = {}
        return self._dirty

    @property
    def busy(self) -> bool:
        """Whether eviction must leave it."""
        return bool(self.opens or self.pins or self._dirty)

    @property
    def has_dirty(self) -> bool:
        """Whether there is something to write back."""
        return bool(self._dirty)

    def drop_pages(self) -> None:
        """Forget the page cache, what is dirty too."""
        self._pages = self._dirty = None
