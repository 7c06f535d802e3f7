"""Cached inodes."""

from dataclasses import dataclass, field

from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo
from blkcrypto.fs.smallfs.disk import DiskInode


@dataclass(slots=True, eq=False)
class Incore:
    """A cached inode.

    Attributes:
        disk: its form on disk.
        info: encryption state, once its key was needed and there.
        opens: open files.
        pins: open files below this directory.
        pages: page cache, by logical block.
        dirty: logical blocks to write back.
    """

    disk: DiskInode
    info: CryptInfo | None = None
    opens: int = 0
    pins: int = 0
    pages: dict[int, bytearray] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)

    @property
    def busy(self) -> bool:
        """Whether eviction must leave it."""
        return bool(self.opens or self.pins or self.dirty)
