"""Entries of a directory as they lie on disk.

Rules (fs/ext4/namei.c, dir.c; Documentation/filesystems/ext4/directory.rst):

- A casefolded directory finds names by the hash of their folded form.  In an encrypted one that hash is
  keyed, and stored beside the name, so that no-key names can carry it.
- Names keep the case they were made with.
"""

from collections.abc import Sequence
from typing import TypeAlias

Hashes: TypeAlias = tuple[int, int]
"""Major and minor hash of a name."""


class Directory:
    """Names on disk, oldest first.

    Attributes:
        casefolded: whether names are found without regard to case.
        entries: name on disk to inode number.
        hashes: in a casefolded directory, of each name.
    """

    __slots__ = ("_by_hash", "casefolded", "entries", "hashes")

    def __init__(self) -> None:
        self.casefolded = False
        self.entries: dict[bytes, int] = {}
        self.hashes: dict[bytes, Hashes] = {}
        self._by_hash: dict[Hashes, list[bytes]] = {}

    def put(self, name: bytes, ino: int, hashes: Hashes | None = None) -> None:
        """Enter a name, or give one that is there another inode."""
        if name not in self.entries and hashes is not None:
            self.hashes[name] = hashes
            self._by_hash.setdefault(hashes, []).append(name)
        self.entries[name] = ino

    def remove(self, name: bytes) -> None:
        """Take a name out."""
        del self.entries[name]
        hashes = self.hashes.pop(name, None)
        if hashes is not None:
            self._by_hash[hashes].remove(name)
            if not self._by_hash[hashes]:
                del self._by_hash[hashes]

    def with_hashes(self, hashes: Hashes) -> Sequence[bytes]:
        """Names on disk that have these hashes."""
        return self._by_hash.get(hashes, ())
