"""What lies on the disk: inodes with their contexts, directory entries as ciphertext, blocks.

Nothing here knows a key; an unmounted ``Disk`` is what an attacker has.
"""

from dataclasses import dataclass, field
from typing import Final

from blkcrypto.fs.fscrypt.inherit import InodeKind

ROOT_INO: Final = 2
_FIRST_INO: Final = 12


@dataclass(slots=True)
class DiskInode:
    """An inode.

    Attributes:
        ino: its number.
        kind: directory, file, symlink or special.
        uid: owner.
        nlink: names it has.
        context: encryption context; None when it is not encrypted.
        entries: of a directory, name on disk to inode number, oldest first.
        symlink: of a symlink, what is stored.
        size: of a file, bytes.
        blocks: of a file, logical to physical block; what is missing is a hole.
    """

    ino: int
    kind: InodeKind
    uid: int = 0
    nlink: int = 1
    context: bytes | None = None
    entries: dict[bytes, int] = field(default_factory=dict)
    symlink: bytes = b""
    size: int = 0
    blocks: dict[int, int] = field(default_factory=dict)


class Disk:
    """Inodes of one filesystem, and which blocks are free."""

    def __init__(self, blocks: int = 1 << 20) -> None:
        self.inodes: dict[int, DiskInode] = {ROOT_INO: DiskInode(ROOT_INO, InodeKind.DIRECTORY, nlink=2)}
        self._next_ino = _FIRST_INO
        self._next_block = 1
        self._blocks = blocks
        self._freed: list[int] = []

    def new_inode(self, kind: InodeKind, uid: int) -> DiskInode:
        """A new inode, not yet in any directory."""
        inode = DiskInode(self._next_ino, kind, uid)
        self._next_ino += 1
        self.inodes[inode.ino] = inode
        return inode

    def allocate(self) -> int:
        """A free block: a new one while there is one, so that neighbours in a file are neighbours on disk."""
        if self._next_block < self._blocks:
            self._next_block += 1
            return self._next_block - 1
        if not self._freed:
            raise OSError("the small filesystem is full: give it more blocks")
        return self._freed.pop()

    def free(self, block: int) -> None:
        """A block no file uses any more; its ciphertext stays until it is written again."""
        self._freed.append(block)
