"""From blocks of a file to bios.

Rules (fs/ext4/page-io.c, fs/mpage.c, fs/iomap/direct-io.c and fs/crypto/bio.c; reference fscrypt.md sections
3.6, 3.7):

- A bio holds blocks that follow each other on disk, in at most 256 vectors, none across a page of memory.
- Buffered I/O asks before each block whether it may join: same key, next DUN.  So a bio of an encrypted file
  ends at a hole, and at the wrap of IV_INO_LBLK_32.
- Direct I/O does not ask.  It maps extents, each cut by ``fscrypt_limit_io_blocks()``; the bios of an extent
  are its own.
- Contents that the filesystem encrypts itself go without context, and so join by their place on disk alone;
  nor has ciphertext that moves a context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blkcrypto.block.bvec import BIO_MAX_VECS, U8, BioVec
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.fscrypt.contents_bio import crypt_ctx, mergeable_bio
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo
from blkcrypto.fs.fscrypt.paths import ContentsPath
from blkcrypto.fs.smallfs.device import FileBio, sector_of
from blkcrypto.fs.smallfs.errors import KeyRequired
from blkcrypto.fs.smallfs.incore import Incore

FS_LAYER_ZEROOUT_PAGES: Final = 16
"""Pages of encrypted zeroes that ``fscrypt_zeroout_range()`` writes at a time where it encrypts itself."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Blocks of a file, and the memory they go from or to.

    Attributes:
        op: READ or WRITE.
        lblks: logical block of each.
        blocks: physical block of each.
        data: ``uint8[len(blocks) * block size]``, in order.
        addresses: virtual address of each block's memory; neighbours share pages, pages never follow.
    """

    op: ReqOp
    lblks: Sequence[int]
    blocks: Sequence[int]
    data: U8
    addresses: Sequence[int]


class BioBuilder:
    """Makes the bios of one filesystem's files."""

    def __init__(self, fs: FileSystem) -> None:
        self._size = fs.block_size
        self._page = fs.page_size

    def buffered(self, inode: Incore, io: Transfer) -> Iterator[FileBio]:
        """Bios between disk and page cache; raises as ``file_ctx``."""
        start = 0
        ctx: BioCryptCtx | None = None
        for index, lblk in enumerate(io.lblks):
            wanted = None if encrypts_itself(inode) else self.file_ctx(inode, lblk)
            held = index - start
            if not held or io.blocks[index] != io.blocks[start] + held:
                joins = False
            else:
                joins = mergeable_bio(ctx, held * self._size, wanted)
            if not joins:
                yield from self._bios(io, range(start, index), ctx)
                start, ctx = index, wanted
        yield from self._bios(io, range(start, len(io.lblks)), ctx)

    def direct(self, inode: Incore, io: Transfer, max_vecs: int = BIO_MAX_VECS) -> Iterator[FileBio]:
        """Bios between disk and a user's memory; raises as ``file_ctx``."""
        start = 0
        while start < len(io.blocks):
            ctx = None if encrypts_itself(inode) else self.file_ctx(inode, io.lblks[start])
            count = min(consecutive(io.blocks, start), consecutive(io.lblks, start))
            if ctx is not None and inode.info is not None and inode.info.setup is not None:
                count = inode.info.setup.limit_io_blocks(inode.disk.ino, io.lblks[start], count)
            yield from self._bios(io, range(start, start + count), ctx, max_vecs)
            start += count

    def moving(self, io: Transfer) -> Iterator[FileBio]:
        """Bios of ciphertext that moves, whoever's it is."""
        start = 0
        while start < len(io.blocks):
            count = consecutive(io.blocks, start)
            yield from self._bios(io, range(start, start + count), None)
            start += count

    def file_ctx(self, inode: Incore, lblk: int) -> BioCryptCtx | None:
        """Key of a file and DUN of its block ``lblk``, whoever encrypts; None for an unencrypted file.

        Raises:
            KeyRequired: the inode is encrypted and its key not set up: no plaintext goes to disk (ENOKEY).
        """
        info = _usable_info(inode)
        if info is None or info.setup is None:
            return None
        return crypt_ctx(info.setup, inode.disk.ino, info.nonce, lblk * self._size)

    def _bios(
        self, io: Transfer, part: range, ctx: BioCryptCtx | None, max_vecs: int = BIO_MAX_VECS
    ) -> Iterator[FileBio]:
        """Bios of blocks that follow each other in every respect but memory."""
        done = part.start
        vecs: list[BioVec] = []
        for first, last in self._same_page(io, part):
            if len(vecs) == max_vecs:
                yield self._bio(io, done, vecs, ctx, part)
                vecs, done = [], first
            memory = io.data[first * self._size : last * self._size]
            vecs.append(BioVec(self._physical(io.addresses[first]), len(memory), memory))
        if vecs:
            yield self._bio(io, done, vecs, ctx, part)

    def _bio(
        self, io: Transfer, first: int, vecs: list[BioVec], ctx: BioCryptCtx | None, part: range
    ) -> FileBio:
        if ctx is not None:
            ctx = ctx.copy()
            ctx.advance((first - part.start) * self._size)
        return FileBio(io.op, sector_of(io.blocks[first], self._size), tuple(vecs), ctx)

    def _same_page(self, io: Transfer, part: range) -> Iterator[tuple[int, int]]:
        """Index ranges of blocks that follow each other inside a page of memory."""
        first = part.start
        for index in part[1:]:
            address = io.addresses[index]
            if address % self._page == 0 or address != io.addresses[index - 1] + self._size:
                yield first, index
                first = index
        if part:
            yield first, part.stop

    def _physical(self, address: int) -> int:
        """Every other page, so that no two are taken for contiguous memory."""
        return 2 * (address - address % self._page) + address % self._page


def encrypts_itself(inode: Incore) -> bool:
    """Whether the filesystem, not the block layer, encrypts the contents."""
    return inode.info is not None and inode.info.path is ContentsPath.FS_LAYER


def _usable_info(inode: Incore) -> CryptInfo | None:
    if inode.disk.context is not None and (inode.info is None or inode.info.setup is None):
        raise KeyRequired(f"the key of inode {inode.disk.ino} is not set up")
    return inode.info


def consecutive(numbers: Sequence[int], start: int) -> int:
    """How many of ``numbers`` from index ``start`` on follow each other; at least 1."""
    count = 1
    while start + count < len(numbers) and numbers[start + count] == numbers[start] + count:
        count += 1
    return count
