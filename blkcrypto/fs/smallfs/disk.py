"""What lies on the disk: inodes with their contexts, directory entries as ciphertext, blocks.

Nothing here knows a key; an unmounted ``Disk`` is what an attacker has.
"""

from typing import Final

from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.smallfs.allocator import BlockAllocator, NextFree
from blkcrypto.fs.smallfs.directory import Directory

ROOT_INO: Final = 2
FIRST_INO: Final = 12
_ROOT_UID: Final = 0


class DiskInode:
    """An inode.  Directory and map of blocks are made when first needed: there may be a million inodes.

    Attributes:
        ino: its number.
        kind: directory, file, symlink or special.
        uid: owner.
        nlink: names it has.
        context: encryption context; None when it is not encrypted.
        symlink: of a symlink, what is stored.
        size: of a file, bytes.
    """

    __slots__ = ("_blocks", "_directory", "context", "ino", "kind", "nlink", "size", "symlink", "uid")

    def __init__(self, ino: int, kind: InodeKind, uid: int, nlink: int = 1) -> None:
        self.ino = ino
        self.kind = kind
        self.uid = uid
        self.nlink = nlink
        self.context: bytes | None = None
        self.symlink = b""
        self.size = 0
        self._directory: Directory | None = None
        self._blocks: dict[int, int] | None = None

    @property
    def directory(self) -> Directory:
        """Of a directory: what it holds."""
        if self._directory is None:
            self._directory = Directory()
        return self._directory

    @property
    def entries(self) -> dict[bytes, int]:
        """Of a directory: name on disk to inode number, oldest first."""
        return self.directory.entries

    @property
    def is_casefolded(self) -> bool:
        """Whether it is a directory that finds names without regard to case."""
        return self._directory is not None and self._directory.casefolded

    @property
    def blocks(self) -> dict[int, int]:
        """Of a file: logical to physical block; what is missing is a hole."""
        if self._blocks is None:
            self._blocks = {}
        return self._blocks

    @blocks.setter
    def blocks(self, blocks: dict[int, int]) -> None:
        self._blocks = blocks

    @property
    def is_empty(self) -> bool:
        """Whether a directory has no entries."""
        return self._directory is None or not self._directory.entries


class Disk:
    """Inodes of one filesystem, and whose its blocks are.

    Args:
        allocator: hands out blocks; the next free one by default.
        first_ino: number of the first inode made.

    Attributes:
        inodes: by number.
        owners: inode and logical block of every block in use; what a summary area holds.
    """

    def __init__(self, allocator: BlockAllocator | None = None, first_ino: int = FIRST_INO) -> None:
        self.inodes: dict[int, DiskInode] = {
            ROOT_INO: DiskInode(ROOT_INO, InodeKind.DIRECTORY, _ROOT_UID, nlink=2)
        }
        self.owners: dict[int, tuple[int, int]] = {}
        self._next_ino = first_ino
        self._allocator = NextFree() if allocator is None else allocator

    def new_inode(self, kind: InodeKind, uid: int) -> DiskInode:
        """A new inode, not yet in any directory."""
        inode = DiskInode(self._next_ino, kind, uid)
        self._next_ino += 1
        self.inodes[inode.ino] = inode
        return inode

    def allocate(self, ino: int, lblk: int) -> int:
        """A free block for logical block ``lblk`` of an inode.

        Raises:
            NoSpace: ENOSPC.
        """
        block = self._allocator.allocate(ino, lblk)
        self.owners[block] = (ino, lblk)
        return block

    def free(self, block: int) -> None:
        """A block no file uses any more; its ciphertext stays until it is written again."""
        del self.owners[block]
        self._allocator.free(block)
