"""An open file of the 2014 draft: its data key is known, and pages go straight to the medium."""

import errno
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.cipher import DataUnitCipher
from blkcrypto.fs.ext4_2014.layout import BLOCK_BYTES, BLOCKS_PER_INODE, Inode, Layout
from blkcrypto.fs.units import pieces


class FileTooLarge(BlkCryptoError):
    """More pages than an inode has room for."""

    errno = errno.EFBIG


class Blocks(Protocol):
    """The volume, as a file needs it."""

    layout: Layout

    def allocate(self) -> int:
        """A free block; ENOSPC."""

    def free_blocks(self, blocks: Iterable[int]) -> None:
        """Free those that are not 0."""


class OpenFile:
    """A file whose data key is known: it works on when every wrapping key has gone."""

    def __init__(self, volume: Blocks, inode: Inode, cipher: DataUnitCipher) -> None:
        self._volume = volume
        self.inode = inode
        self._cipher = cipher

    def read(self) -> bytes:
        """The whole file; holes are zeroes."""
        pages = -(-self.inode.size // BLOCK_BYTES)
        return b"".join(self.read_page(index) for index in range(pages))[: self.inode.size]

    def read_page(self, index: int) -> bytes:
        """One page; a hole is zeroes."""
        block = self.inode.blocks[index]
        if not block:
            return bytes(BLOCK_BYTES)
        stored = np.frombuffer(self._volume.layout.block(block), dtype=np.uint8).reshape(1, -1)
        return self._cipher.decrypt_run(index, stored).tobytes()

    def write(self, pos: int, data: bytes) -> None:
        """Write through to the medium.

        Raises:
            FileTooLarge: EFBIG.
            NoSpace: ENOSPC; pages before the one that failed are written.
        """
        _check_size(pos + len(data))
        for piece in pieces(pos, data, BLOCK_BYTES):
            whole = len(piece.data) == BLOCK_BYTES
            self.write_page(piece.unit, piece.data if whole else piece.over(self.read_page(piece.unit)))
            end = piece.unit * BLOCK_BYTES + piece.start + len(piece.data)
            self.inode.size = max(self.inode.size, end)
        self._volume.layout.store(self.inode)

    def write_page(self, index: int, page: bytes) -> None:
        """One whole page; the inode is not stored.

        Raises:
            NoSpace: ENOSPC.
        """
        if not self.inode.blocks[index]:
            self.inode.blocks[index] = self._volume.allocate()
        plain = np.frombuffer(page, dtype=np.uint8).reshape(1, -1)
        self._volume.layout.block(self.inode.blocks[index])[:] = self._cipher.encrypt_run(
            index, plain
        ).tobytes()

    def truncate(self, size: int) -> None:
        """Cut off, or add a hole; bytes past the end in the last page become zeroes.

        Raises:
            FileTooLarge: EFBIG.
        """
        _check_size(size)
        keep = -(-size // BLOCK_BYTES)
        if size < self.inode.size and size % BLOCK_BYTES and self.inode.blocks[keep - 1]:
            last = self.read_page(keep - 1)[: size % BLOCK_BYTES]
            self.write_page(keep - 1, last.ljust(BLOCK_BYTES, b"\0"))
        self._volume.free_blocks(self.inode.blocks[keep:])
        self.inode.blocks[keep:] = [0] * (BLOCKS_PER_INODE - keep)
        self.inode.size = size
        self._volume.layout.store(self.inode)


def _check_size(size: int) -> None:
    if size > BLOCKS_PER_INODE * BLOCK_BYTES:
        raise FileTooLarge(f"{size} bytes, but inodes have {BLOCKS_PER_INODE} blocks")
