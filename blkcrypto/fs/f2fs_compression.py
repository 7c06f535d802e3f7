"""Compressed and encrypted files of f2fs: clusters of blocks, compressed first, then encrypted.

Rules (fs/f2fs/compress.c, data.c; xfstests f2fs/002; reference fscrypt.md trap T18):

- A cluster of 4 blocks is compressed as one.  If that saves no block, its blocks are stored as they are, each
  with its own index in the file.
- The compressed bytes begin with a header: length (LE32), CRC-32 (LE32) and 16 reserved bytes.  They fill
  blocks from the cluster's second slot on, the first slot holding a marker that is no block: so compressed
  block i has the index ``cluster start + 1 + i``, as if the marker were a block.

Deviations: zlib's deflate, where f2fs has LZO, LZ4 and zstd; slots are kept in memory.
"""

import errno
import zlib
from dataclasses import dataclass, field
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.contents_bio import crypt_ctx
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.store import BlockStore

BLOCK_BYTES: Final = 4096
CLUSTER_BLOCKS: Final = 4
HEADER_BYTES: Final = 24
_HOLE: Final = 0
COMPRESS_ADDR: Final = -2
"""``COMPRESS_ADDR``: the slot that says its cluster is compressed."""


class ClusterDamaged(BlkCryptoError):
    """A compressed cluster that has no valid header, or does not decompress."""

    errno = errno.EUCLEAN  # EFSCORRUPTED


@dataclass(slots=True)
class CompressedFile:
    """A file that f2fs compresses.

    Args:
        setup: of the file's policy.
        ino: inode number.
        nonce: the inode's 16 bytes.
        store: takes the blocks.
        next_block: first free block of the store.

    Attributes:
        slots: block by index in the file: ``COMPRESS_ADDR``, or 0 for a hole, or a block of the store.
    """

    setup: KeySetup
    ino: int
    nonce: bytes
    store: BlockStore
    next_block: int = 1
    slots: dict[int, int] = field(default_factory=dict)

    def write_cluster(self, cluster: int, data: bytes) -> None:
        """Write one whole cluster: ``CLUSTER_BLOCKS * BLOCK_BYTES`` bytes."""
        if len(data) != CLUSTER_BLOCKS * BLOCK_BYTES:
            raise ValueError(f"a cluster has {CLUSTER_BLOCKS * BLOCK_BYTES} bytes, not {len(data)}")
        start = cluster * CLUSTER_BLOCKS
        packed = zlib.compress(data)
        head = len(packed).to_bytes(4, "little") + zlib.crc32(packed).to_bytes(4, "little")
        stored = head.ljust(HEADER_BYTES, b"\0") + packed
        count = -(-len(stored) // BLOCK_BYTES)
        for index in range(start, start + CLUSTER_BLOCKS):
            self.slots[index] = _HOLE
        if count < CLUSTER_BLOCKS:
            self.slots[start] = COMPRESS_ADDR
            self._put(start + 1, stored.ljust(count * BLOCK_BYTES, b"\0"))
        else:
            self._put(start, data)

    def _put(self, first: int, data: bytes) -> None:
        """Encrypt blocks by their index in the file, one bio each."""
        for at in range(0, len(data), BLOCK_BYTES):
            index = first + at // BLOCK_BYTES
            self.slots[index] = self.next_block
            self.next_block += 1
            ctx = crypt_ctx(self.setup, self.ino, self.nonce, index * BLOCK_BYTES)
            self.store.write(ctx, self.slots[index], data[at : at + BLOCK_BYTES])

    def read_cluster(self, cluster: int) -> bytes:
        """One whole cluster.

        Raises:
            ClusterDamaged: EUCLEAN.
        """
        start = cluster * CLUSTER_BLOCKS
        indices = range(start, start + CLUSTER_BLOCKS)
        if self.slots.get(start) != COMPRESS_ADDR:
            return b"".join(self._block(index) for index in indices)
        stored = b"".join(self._block(index) for index in indices[1:] if self.slots[index])
        length, checksum = (int.from_bytes(stored[at : at + 4], "little") for at in (0, 4))
        packed = stored[HEADER_BYTES : HEADER_BYTES + length]
        if len(packed) != length or zlib.crc32(packed) != checksum:
            raise ClusterDamaged(f"cluster {cluster} does not have its length and checksum")
        return zlib.decompress(packed)

    def _block(self, index: int) -> bytes:
        """A block in clear; a hole is zeroes."""
        block = self.slots.get(index, _HOLE)
        if not block:
            return bytes(BLOCK_BYTES)
        ctx = crypt_ctx(self.setup, self.ino, self.nonce, index * BLOCK_BYTES)
        return self.store.read(ctx, block, BLOCK_BYTES)
