"""From dirty pages to extents.

Rules (btrfs's delayed allocation; reference fscrypt.md sections 6.1, 6.2, 6.4):

- New data goes to a new extent with a new nonce or IV, so no (key, DUN) pair encrypts twice.
- What was preallocated is written in place, at its offset in the preallocated extent, once; and so is all of
  a NOCOW file, which loses that property.  Neither happens to an extent that may be shared.
- A key is set up before anything is allocated: where that fails, the pages stay dirty.
- Compressed extents hold at most 128 KiB of a file.
"""

from collections.abc import Callable, Iterator

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.errors import NoSpace
from blkcrypto.fs.extents import ranges
from blkcrypto.fs.extents.disk import MAX_COMPRESSED_BYTES, ExtentDisk
from blkcrypto.fs.extents.extent_io import ExtentIo, compress
from blkcrypto.fs.extents.incore import Incore
from blkcrypto.fs.extents.items import (
    BLOCK_BYTES,
    COMPRESS_NONE,
    COMPRESS_ZLIB,
    Extent,
    FileExtent,
)
from blkcrypto.fs.extents.keys import ExtentInfo, ExtentKeys


class Writeback:
    """Writes pages of one mount's inodes.

    Args:
        disk: where extents come from.
        io: writes them.
        keys: makes their keys.
        random: gives that many random bytes.
    """

    def __init__(
        self, disk: ExtentDisk, io: ExtentIo, keys: ExtentKeys, random: Callable[[int], bytes]
    ) -> None:
        self._disk = disk
        self._io = io
        self._keys = keys
        self.random = random

    def write_back(self, inode: Incore) -> None:
        """Write the inode's dirty pages; what is written before a failure is clean.

        Raises:
            BlkCryptoError: as ``ExtentKeys.set_up``; ``NoSpace``.
        """
        for first, count in tuple(_runs(sorted(inode.dirty))):
            done = 0
            while done < count:
                done += self._write_some(inode, first + done, count - done)

    def _write_some(self, inode: Incore, first: int, count: int) -> int:
        """Write up to ``count`` dirty blocks from ``first`` on; how many."""
        pos = first * BLOCK_BYTES
        found = ranges.item_at(inode.subvolume.tree, inode.ino, pos)
        if found is not None and self._in_place(inode, found[1]):
            start, item = found
            count = min(count, (start + item.length - pos) // BLOCK_BYTES)
            self._overwrite(inode, found, pos, _data(inode, first, count))
        else:
            limit = MAX_COMPRESSED_BYTES if inode.item.compress else self._disk.max_extent_bytes
            count = min(count, limit // BLOCK_BYTES, self._until_in_place(inode, pos, count))
            self._copy_on_write(inode, pos, _data(inode, first, count))
        for block in range(first, first + count):
            del inode.dirty[block]
        return count

    def _in_place(self, inode: Incore, item: FileExtent) -> bool:
        if self._disk.is_shared(inode.subvolume, item.extent) or item.extent.compression:
            return False
        return item.prealloc or inode.item.nocow

    def _until_in_place(self, inode: Incore, pos: int, count: int) -> int:
        """Blocks before the first item that is written in place, at most ``count``."""
        end = pos + count * BLOCK_BYTES
        for start, item in ranges.items_in(inode.subvolume.tree, inode.ino, pos, end):
            if start > pos and self._in_place(inode, item):
                return (start - pos) // BLOCK_BYTES
        return count

    def _overwrite(self, inode: Incore, found: ranges.Mapped, pos: int, data: bytes) -> None:
        start, item = found
        info = self._io.info(inode, item)
        self._io.write(inode, info, item.extent, item.offset + pos - start, data)
        if item.prealloc:
            written = item.part(pos - start, len(data)).written()
            self._put(inode, pos, written, info)

    def _copy_on_write(self, inode: Incore, pos: int, data: bytes) -> None:
        packed = compress(data) if inode.item.compress else None
        stored = data if packed is None else packed
        compression = COMPRESS_NONE if packed is None else COMPRESS_ZLIB
        extent, info, context = self._new_extent(inode, len(stored), len(data), compression)
        try:
            self._io.write(inode, info, extent, 0, stored)
        except BlkCryptoError:
            self._disk.free(extent)
            if info is not None:
                self._keys.drop(info)
            raise
        self._put(inode, pos, FileExtent(extent, 0, len(data), False, context, self._disk), info)

    def _put(self, inode: Incore, pos: int, item: FileExtent, info: ExtentInfo | None) -> None:
        """Map ``item``, whose extent is loaded as ``info``."""
        # Before the cut: an item that replaces part of its own extent's keeps the info in use.
        if info is not None:
            inode.infos[item.extent.number] = info
            inode.map_item(item)
        self.forget_cut(inode, ranges.put(inode.subvolume.tree, inode.ino, pos, item))

    def _new_extent(
        self, inode: Incore, stored_bytes: int, ram_bytes: int, compression: int
    ) -> tuple[Extent, ExtentInfo | None, bytes]:
        """An extent with its key and context: the key first, for it may be refused."""
        if inode.policy is None:
            return self._disk.new_extent(stored_bytes // BLOCK_BYTES, ram_bytes, compression), None, b""
        context = self._keys.new_context(inode.policy, self.random)
        info = self._io.set_up(inode, context)
        try:
            extent = self._disk.new_extent(stored_bytes // BLOCK_BYTES, ram_bytes, compression)
        except NoSpace:
            self._keys.drop(info)
            raise
        return extent, info, context

    def forget_cut(self, inode: Incore, cut: list[ranges.Cut]) -> None:
        """Drop keys of extents that the file no longer uses, whoever else does."""
        for item, parts in cut:
            info = inode.unmap_item(item, parts)
            if info is not None:
                self._keys.drop(info)

    def preallocate(self, inode: Incore, start: int, end: int) -> None:
        """Extents for the holes between ``start`` and ``end``, which read as zeroes until written.

        Raises:
            BlkCryptoError: as ``ExtentKeys.set_up``; ``NoSpace``.
        """
        tree, pos = inode.subvolume.tree, start
        while pos < end:
            found = ranges.item_at(tree, inode.ino, pos)
            if found is not None:
                pos = found[0] + found[1].length
                continue
            length = min(end, ranges.next_start(tree, inode.ino, pos)) - pos
            length = min(length, self._disk.max_extent_bytes)
            extent, info, context = self._new_extent(inode, length, length, COMPRESS_NONE)
            self._put(inode, pos, FileExtent(extent, 0, length, True, context, self._disk), info)
            pos += length


def _data(inode: Incore, first: int, count: int) -> bytes:
    return b"".join(inode.pages[block] for block in range(first, first + count))


def _runs(blocks: list[int]) -> Iterator[tuple[int, int]]:
    first = count = 0
    for block in blocks:
        if count and block == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = block, 1
    if count:
        yield first, count
