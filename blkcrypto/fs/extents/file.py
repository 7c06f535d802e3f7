"""Open files: read, write, truncate, punch, preallocate, clone.

Rules (reference fscrypt.md sections 1.5, 5.4, 6.1, 6.2):

- Opening a file needs its master key, except where the inode is unlocked already.
- A write lands in pages; a new extent exists after writeback.
- A clone shares extents and copies their contexts; before it, both files are written back.  The heavyweight,
  nonce-only and IV designs compare policies before they change anything; the lightweight one as posted only
  asks whether both are encrypted or neither, and a mismatch shows when the clone is read.
- Collapsing and inserting ranges is refused, though DUNs that count from the extent would allow it.
"""

from dataclasses import dataclass

from blkcrypto.fs.extents import ranges
from blkcrypto.fs.extents.designs import CloneCheck
from blkcrypto.fs.extents.errors import CloneMismatch, InvalidRange, RangeOperationRefused
from blkcrypto.fs.extents.incore import Incore
from blkcrypto.fs.extents.items import BLOCK_BYTES, END_OF_FILE
from blkcrypto.fs.extents.volume import Volume
from blkcrypto.fs.units import pieces


@dataclass(slots=True, eq=False)
class ExtentFile:
    """An open file; ``close`` it.  Meanwhile its directory, if it was opened by name, stays cached too."""

    volume: Volume
    inode: Incore
    directory: Incore | None = None
    is_open: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return self.inode.item.size

    def read(self, pos: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``pos``; fewer at the end of the file.

        Raises:
            BlkCryptoError: loading an extent failed, as ``ExtentKeys.set_up``; ``ChecksumMismatch`` (EIO).
        """
        end = min(pos + length, self.size)
        if end <= pos:
            return b""
        first, last = pos // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        _fill(self.volume, self.inode, first, last + 1)
        data = b"".join(self.inode.pages[block] for block in range(first, last + 1))
        return data[pos - first * BLOCK_BYTES : end - first * BLOCK_BYTES]

    def write(self, pos: int, data: bytes) -> int:
        """Write into pages; raises as ``read`` where it changes only part of a block."""
        pages = self.inode.pages
        for piece in pieces(pos, data, BLOCK_BYTES):
            if len(piece.data) == BLOCK_BYTES:
                pages[piece.unit] = bytearray(piece.data)
            else:
                _fill(self.volume, self.inode, piece.unit, piece.unit + 1)
                pages[piece.unit][piece.start : piece.start + len(piece.data)] = piece.data
            self.volume.mark_dirty(self.inode, piece.unit)
        self.volume.set_size(self.inode, max(self.size, pos + len(data)))
        return len(data)

    def fsync(self) -> None:
        """Write back; raises as ``Writeback.write_back``."""
        self.volume.writeback.write_back(self.inode)

    def truncate(self, size: int) -> None:
        """End the file at ``size``; the rest of the last block becomes zeroes."""
        if size < self.size:
            self._zero_part(size, min(self.size, -(-size // BLOCK_BYTES) * BLOCK_BYTES))
            self._unmap(-(-size // BLOCK_BYTES) * BLOCK_BYTES, END_OF_FILE)
        self.volume.set_size(self.inode, size)

    def punch_hole(self, start: int, length: int) -> None:
        """Zeroes from ``start`` on; whole blocks lose their extents."""
        if start < 0 or length <= 0:
            raise InvalidRange(f"a hole of {length} bytes at {start}")
        end = min(start + length, self.size)
        first, last = -(-start // BLOCK_BYTES) * BLOCK_BYTES, end // BLOCK_BYTES * BLOCK_BYTES
        if end == self.size:
            last = max(first, -(-end // BLOCK_BYTES) * BLOCK_BYTES)
        self._zero_part(start, min(first, end))
        if last > first:
            self._unmap(first, last)
        if first <= last < end:
            self._zero_part(last, end)

    def preallocate(self, start: int, length: int) -> None:
        """``fallocate`` without flags: extents for every hole in the range, of whole blocks."""
        if start < 0 or length <= 0:
            raise InvalidRange(f"preallocating {length} bytes at {start}")
        first = start // BLOCK_BYTES * BLOCK_BYTES
        end = -(-(start + length) // BLOCK_BYTES) * BLOCK_BYTES
        self.volume.writeback.preallocate(self.inode, first, end)
        self.volume.set_size(self.inode, max(self.size, start + length))

    def collapse_range(self, start: int, length: int) -> None:
        """Take a range out.

        Raises:
            RangeOperationRefused: on an encrypted file (EOPNOTSUPP); plain ones are not modelled either.
        """
        raise RangeOperationRefused(f"collapsing {length} bytes at {start}: ciphertext is bound to its place")

    def clone_from(self, source: "ExtentFile", source_pos: int, pos: int, length: int) -> None:
        """``FICLONERANGE``: share ``length`` bytes of ``source``, in whole blocks or up to its end.

        A length of 0 means up to the end, as in ioctl_ficlonerange(2).

        Raises:
            CloneMismatch, InvalidRange: EINVAL.
            BlkCryptoError: writing back failed.
        """
        _check_clone(self.volume.clone_check, source.inode, self.inode)
        if not length:
            length = source.size - source_pos
            if not length:
                return
        end = source_pos + length
        if end > source.size or length < 0 or source_pos % BLOCK_BYTES or pos % BLOCK_BYTES:
            raise InvalidRange("a clone's offsets are whole blocks, inside the source")
        if length % BLOCK_BYTES and (end != source.size or pos + length < self.size):
            raise InvalidRange("a clone's length is whole blocks, or up to the end of both files")
        if source.inode is self.inode and source_pos < pos + length and pos < end:
            raise InvalidRange("source and target overlap")
        source.fsync()
        self.fsync()
        _share(self.volume, source.inode, self.inode, source_pos, pos, -(-length // BLOCK_BYTES))
        self.volume.set_size(self.inode, max(self.size, pos + length))

    def close(self) -> None:
        """Close it; what is dirty is written back later."""
        if self.is_open:
            self.is_open = False
            self.inode.opens -= 1
            if self.directory is not None:
                self.directory.opens -= 1

    def _zero_part(self, start: int, end: int) -> None:
        if end > start:
            _fill(self.volume, self.inode, start // BLOCK_BYTES, start // BLOCK_BYTES + 1)
            page = self.inode.pages[start // BLOCK_BYTES]
            page[start % BLOCK_BYTES : start % BLOCK_BYTES + end - start] = bytes(end - start)
            self.volume.mark_dirty(self.inode, start // BLOCK_BYTES)

    def _unmap(self, start: int, end: int) -> None:
        inode = self.inode
        forget_pages(inode, start, end)
        gone = ranges.cut(inode.subvolume.tree, inode.ino, start, end)
        self.volume.writeback.forget_cut(inode, gone)


def open_inode(volume: Volume, inode: Incore, directory: Incore | None = None) -> ExtentFile:
    """Open a file, found in ``directory``.

    Raises:
        BlkCryptoError: as ``Volume.unlock``.
    """
    volume.unlock(inode)
    inode.opens += 1
    if directory is not None:
        directory.opens += 1
    return ExtentFile(volume, inode, directory)


def forget_pages(inode: Incore, start: int, end: int) -> None:
    """Drop cached blocks of a range of whole blocks, dirty ones too."""
    first, last = start // BLOCK_BYTES, end // BLOCK_BYTES
    if last - first > len(inode.pages):
        blocks: list[int] | range = [block for block in inode.pages if first <= block < last]
    else:
        blocks = range(first, last)
    for block in blocks:
        inode.pages.pop(block, None)
        inode.dirty.pop(block, None)


def _fill(volume: Volume, inode: Incore, first: int, end: int) -> None:
    """Read blocks that are not cached yet; holes are zeroes."""
    tree, pages = inode.subvolume.tree, inode.pages
    block = first
    while block < end:
        if block in pages:
            block += 1
            continue
        stop = block + 1
        while stop < end and stop not in pages:
            stop += 1
        pos = block * BLOCK_BYTES
        found = ranges.item_at(tree, inode.ino, pos)
        if found is None:
            nbytes = min(stop * BLOCK_BYTES, ranges.next_start(tree, inode.ino, pos)) - pos
            data = bytes(nbytes)
        else:
            start, item = found
            nbytes = min(stop * BLOCK_BYTES, start + item.length) - pos
            data = volume.io.read(inode, item, item.offset + pos - start, nbytes)
        for at in range(0, nbytes, BLOCK_BYTES):
            pages[block] = bytearray(data[at : at + BLOCK_BYTES])
            block += 1


def _check_clone(check: CloneCheck, source: Incore, target: Incore) -> None:
    if check is CloneCheck.SAME_POLICY and source.policy != target.policy:
        raise CloneMismatch("source and target of a clone need the same policy")
    if (source.policy is None) != (target.policy is None):
        raise CloneMismatch("source and target of a clone are both encrypted or neither")


def _share(volume: Volume, source: Incore, target: Incore, source_pos: int, pos: int, blocks: int) -> None:
    end = source_pos + blocks * BLOCK_BYTES
    found = list(ranges.items_in(source.subvolume.tree, source.ino, source_pos, end))
    parts = []
    for start, item in found:
        low, high = max(start, source_pos), min(start + item.length, end)
        parts.append((low - source_pos, item.part(low - start, high - low)))
        item.extent.cloned = True
    forget_pages(target, pos, pos + blocks * BLOCK_BYTES)
    gone = ranges.cut(target.subvolume.tree, target.ino, pos, pos + blocks * BLOCK_BYTES)
    for at, part in parts:
        ranges.put(target.subvolume.tree, target.ino, pos + at, part)
    volume.writeback.forget_cut(target, gone)
