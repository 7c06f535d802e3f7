"""Which block the next block of a file gets: the seam, and its simplest form."""

from typing import Protocol

from blkcrypto.fs.smallfs.errors import NoSpace


class BlockAllocator(Protocol):
    """Hands out blocks of one disk."""

    def allocate(self, ino: int, lblk: int) -> int:
        """A free block for logical block ``lblk`` of inode ``ino``.

        Raises:
            NoSpace: ENOSPC.
        """

    def free(self, block: int) -> None:
        """``block`` holds nothing any more."""


class NextFree:
    """A new block while there is one, so that neighbours in a file are neighbours on disk; then freed ones.

    Args:
        first: first block to hand out.
        end: the block after the last.
    """

    def __init__(self, first: int = 1, end: int = 1 << 20) -> None:
        self._next = first
        self._end = end
        self._freed: list[int] = []

    def allocate(self, ino: int, lblk: int) -> int:
        """See ``BlockAllocator``."""
        if self._next < self._end:
            self._next += 1
            return self._next - 1
        if not self._freed:
            raise NoSpace(f"no block for block {lblk} of inode {ino}: make the disk larger")
        return self._freed.pop()

    def free(self, block: int) -> None:
        """See ``BlockAllocator``."""
        self._freed.append(block)
