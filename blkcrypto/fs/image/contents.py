"""Contents of a regular file: plaintext by byte range, and where each byte lies on disk.

Whole data units are decrypted, holes and space never written read as zeroes, and nothing past the end of
the file is shown.  Memory is that of one chunk, whatever the size of the file.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from blkcrypto.fs.ext4.extents import Extent
from blkcrypto.fs.ext4.inode import Inode
from blkcrypto.fs.ext4.volume import Ext4Volume
from blkcrypto.fs.image.unlock import UnitCrypt

CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive bytes of a file that lie in one extent, or in none.

    Attributes:
        pos: first byte in the file.
        nbytes: how many.
        extent: where they lie; None for a hole.
    """

    pos: int
    nbytes: int
    extent: Extent | None


class FileContents:
    """A regular file to read.

    Args:
        volume: its filesystem.
        inode: the file.
        units: its cipher; None for a file that is not encrypted.
    """

    def __init__(self, volume: Ext4Volume, inode: Inode, units: UnitCrypt | None) -> None:
        self.volume = volume
        self.inode = inode
        self.size = inode.size
        self.units = units
        self.inline = volume.inline_data(inode)
        self.extents = [] if self.inline is not None else volume.extents(inode)
        self._starts = [extent.lblk for extent in self.extents]

    @property
    def data_unit_size(self) -> int:
        """Bytes encrypted as one; a block where nothing is encrypted."""
        return self.volume.block_size if self.units is None else self.units.data_unit_size

    def chunks(self) -> Iterator[bytes]:
        """The whole file in order, in pieces of 1 MiB or less."""
        for pos in range(0, self.size, CHUNK_BYTES):
            yield self.read(pos, CHUNK_BYTES)

    def read(self, pos: int, nbytes: int) -> bytes:
        """Up to ``nbytes`` of plaintext from ``pos``; less only at the end of the file."""
        nbytes = max(0, min(nbytes, self.size - pos))
        if self.inline is not None:
            return self.inline[pos : pos + nbytes].ljust(nbytes, b"\0")
        unit = self.data_unit_size
        first = pos // unit * unit
        whole = self.read_units(first, -(-(pos + nbytes) // unit) * unit - first)
        return whole[pos - first : pos - first + nbytes]

    def read_units(self, pos: int, nbytes: int) -> bytes:
        """Plaintext of whole data units, also past the end of the file."""
        parts = []
        for piece in self.pieces(pos, nbytes):
            extent = piece.extent
            if extent is None or not extent.written:
                parts.append(bytes(piece.nbytes))
                continue
            start = piece.pos - extent.lblk * self.volume.block_size
            data = self.volume.read_span(extent, start, piece.nbytes)
            if self.units is not None:
                data = self.units.decrypt(piece.pos // self.data_unit_size, data)
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, pos: int, nbytes: int) -> Iterator[Piece]:
        """A byte range, cut where extents and holes begin."""
        block_size = self.volume.block_size
        end = pos + nbytes
        at = max(0, bisect_right(self._starts, pos // block_size) - 1)
        while pos < end:
            extent = self.extents[at] if at < len(self.extents) else None
            if extent is not None and extent.end * block_size <= pos:
                at += 1
                continue
            if extent is None or pos < extent.lblk * block_size:
                stop = end if extent is None else min(end, extent.lblk * block_size)
                yield Piece(pos, stop - pos, None)
            else:
                stop = min(end, extent.end * block_size)
                yield Piece(pos, stop - pos, extent)
            pos = stop
