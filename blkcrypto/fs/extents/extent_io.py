"""Between extents and the store: contexts of bios, their sizes, compression and checksums.

Rules (reference fscrypt.md sections 3.6, 6.1, 6.2):

- A bio stays inside one extent: another one has another key.  It has at most 256 segments of one block;
  with IV-from-filesystem one block.
- A compressed extent is encrypted after compression: its bios cover the compressed bytes, from offset 0,
  zero-padded to whole blocks; reading any of it decrypts all of it.
- An unencrypted file's bios have no context.
- What moves (relocation) moves as ciphertext, without context, and is compared with its checksums.
"""

import zlib
from typing import Final

from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.fs.extents import checksums as sums
from blkcrypto.fs.extents.disk import ExtentDisk
from blkcrypto.fs.extents.errors import ChecksumMismatch, KeyRequired
from blkcrypto.fs.extents.incore import Incore
from blkcrypto.fs.extents.items import BLOCK_BYTES, COMPRESS_NONE, Extent, FileExtent
from blkcrypto.fs.extents.keys import ExtentInfo, ExtentKeys, dun_at
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.store import BlockStore

# No bounce bio is larger, so larger bios would fail on a checksummed filesystem.
_BIO_BLOCKS: Final = sums.MAX_SEGMENTS


class ExtentIo:
    """Reads and writes extents of one mount.

    Attributes:
        bios: bios submitted so far.
    """

    def __init__(
        self,
        disk: ExtentDisk,
        store: BlockStore,
        keys: ExtentKeys,
        fs: FileSystem,
        *,
        checksums: bool,
    ) -> None:
        self._disk = disk
        self._store = store
        self._keys = keys
        self._block_bits = fs.block_bits
        self._checksums = checksums
        self._bio_blocks = disk.design.bio_blocks or _BIO_BLOCKS
        self.bios = 0

    def info(self, inode: Incore, item: FileExtent) -> ExtentInfo | None:
        """The loaded extent of ``item``, set up if needed; None in an unencrypted file.

        Raises:
            BlkCryptoError: as ``ExtentKeys.set_up``.
        """
        if inode.policy is None:
            return None
        info = inode.infos.get(item.extent.number)
        if info is None:
            info = inode.infos[item.extent.number] = self.set_up(inode, item.context)
        inode.map_item(item)
        return info

    def set_up(self, inode: Incore, context: bytes) -> ExtentInfo:
        """Key of an extent of an encrypted inode; raises as ``ExtentKeys.set_up``."""
        if inode.policy is None or inode.entry is None:
            raise KeyRequired(f"inode {inode.ino} is not unlocked")
        return self._keys.set_up(inode.policy, inode.entry, context)

    def _context(self, inode: Incore, info: ExtentInfo | None, offset: int) -> BioCryptCtx | None:
        if info is None or inode.policy is None:
            return None
        return BioCryptCtx(info.key, dun_at(info, offset, inode.policy.contents, self._block_bits))

    def write(self, inode: Incore, info: ExtentInfo | None, extent: Extent, offset: int, data: bytes) -> None:
        """Whole blocks to byte ``offset`` of what the extent stores on the device."""
        step = self._bio_blocks * BLOCK_BYTES
        for at in range(0, len(data), step):
            part = data[at : at + step]
            block = extent.block + (offset + at) // BLOCK_BYTES
            sums.check_segments(len(part) // BLOCK_BYTES, checksums=self._checksums)
            self._store.write(self._context(inode, info, offset + at), block, part)
            self.bios += 1
            if self._checksums:
                # The callback's place: after encryption, before anything else could happen to the block.
                sums.record(self._disk.csums, block, self._store.read(None, block, len(part)))

    def read(self, inode: Incore, item: FileExtent, offset: int, nbytes: int) -> bytes:
        """Contents of ``item`` from byte ``offset`` of the *extent* on; both are whole blocks.

        Raises:
            BlkCryptoError: as ``ExtentKeys.set_up``.
            ChecksumMismatch: EIO.
        """
        if item.prealloc:
            return bytes(nbytes)
        info = self.info(inode, item)
        if item.extent.compression == COMPRESS_NONE:
            return self._read_stored(inode, info, item.extent, offset, nbytes)
        stored = self._read_stored(inode, info, item.extent, 0, item.extent.blocks * BLOCK_BYTES)
        return decompress(stored, item.extent.ram_bytes)[offset : offset + nbytes]

    def _read_stored(
        self, inode: Incore, info: ExtentInfo | None, extent: Extent, offset: int, nbytes: int
    ) -> bytes:
        parts = []
        step = self._bio_blocks * BLOCK_BYTES
        for at in range(offset, offset + nbytes, step):
            size = min(step, offset + nbytes - at)
            block = extent.block + at // BLOCK_BYTES
            if self._checksums:
                sums.verify(self._disk.csums, block, self._store.read(None, block, size))
            parts.append(self._store.read(self._context(inode, info, at), block, size))
            self.bios += 1
        return b"".join(parts)

    def is_sound(self, extent: Extent) -> bool:
        """Whether every block of an extent has its checksum."""
        try:
            raw = self._store.read(None, extent.block, extent.blocks * BLOCK_BYTES)
            sums.verify(self._disk.csums, extent.block, raw)
        except ChecksumMismatch:
            return False
        return True

    def move(self, extent: Extent, block: int) -> None:
        """Copy an extent's ciphertext to ``block``, with its checksums; no key is needed.

        Raises:
            ChecksumMismatch: EIO; the extent stays where it is.
        """
        raw = self._store.read(None, extent.block, extent.blocks * BLOCK_BYTES)
        csums = self._disk.csums
        sums.verify(csums, extent.block, raw)
        self._store.write(None, block, raw)
        for index in range(extent.blocks):
            csum = csums.pop(extent.block + index, None)
            if csum is not None:
                csums[block + index] = csum
        extent.block = block


def compress(data: bytes) -> bytes | None:
    """``data`` deflated and zero-padded to whole blocks; None unless that saves a block."""
    packed = zlib.compress(data)
    blocks = -(-len(packed) // BLOCK_BYTES)
    if blocks >= len(data) // BLOCK_BYTES:
        return None
    return packed.ljust(blocks * BLOCK_BYTES, b"\0")


def decompress(stored: bytes, ram_bytes: int) -> bytes:
    """Inverse of ``compress``.

    Raises:
        ChecksumMismatch: not what ``compress`` made: a wrong key, or damage (EIO).
    """
    try:
        data = zlib.decompressobj().decompress(stored, ram_bytes)
    except zlib.error as error:
        raise ChecksumMismatch(f"a compressed extent does not decompress: {error}") from None
    if len(data) != ram_bytes:
        raise ChecksumMismatch(f"a compressed extent holds {len(data)} bytes, not {ram_bytes}")
    return data
