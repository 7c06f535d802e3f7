"""Between page cache and disk: bios of file contents.

Rules (fs/ext4/page-io.c, readpage.c as they use fscrypt; reference fscrypt.md sections 3.6, 3.7):

- A bio holds blocks that follow each other on disk and whose DUNs follow too; else a new bio begins.
- An encrypted inode's bios carry its key; ciphertext that moves carries none.
- The last block is written whole, zeroes behind the end of the file.
- Zeroing an encrypted range on disk writes encrypted zeroes.
"""

from collections.abc import Iterable, Iterator

from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.fs.fscrypt.contents_bio import crypt_ctx, mergeable_bio
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.errors import KeyRequired
from blkcrypto.fs.smallfs.incore import Incore
from blkcrypto.fs.smallfs.store import BlockStore

# Context, first physical block, logical blocks.
FileBio = tuple[BioCryptCtx | None, int, list[int]]


class FileBlocks:
    """Reads and writes blocks of files of one filesystem."""

    def __init__(self, disk: Disk, fs: FileSystem, store: BlockStore) -> None:
        self._disk = disk
        self._size = fs.block_size
        self._store = store

    def context(self, inode: Incore, lblk: int) -> BioCryptCtx | None:
        """Context of a bio that begins at logical block ``lblk``; None for an unencrypted file.

        Raises:
            KeyRequired: the inode is encrypted and its key not set up: no plaintext goes to disk (ENOKEY).
        """
        info = inode.info
        if info is None or info.setup is None:
            if inode.disk.context is not None:
                raise KeyRequired(f"the key of inode {inode.disk.ino} is not set up")
            return None
        return crypt_ctx(info.setup, inode.disk.ino, info.nonce, lblk * self._size)

    def _bios(self, inode: Incore, lblks: Iterable[int]) -> Iterator[FileBio]:
        """Bios of mapped blocks, in order."""
        ctx: BioCryptCtx | None = None
        first, held = 0, list[int]()
        for lblk in lblks:
            wanted = self.context(inode, lblk)
            block = inode.disk.blocks[lblk]
            follows = held and block == first + len(held)
            if follows and mergeable_bio(ctx, len(held) * self._size, wanted):
                held.append(lblk)
                continue
            if held:
                yield ctx, first, held
            ctx, first, held = wanted, block, [lblk]
        if held:
            yield ctx, first, held

    def page(self, inode: Incore, lblk: int) -> bytearray:
        """The cached page of a block, read if needed; a hole is zeroes."""
        page = inode.pages.get(lblk)
        if page is None:
            block = inode.disk.blocks.get(lblk)
            if block is None:
                page = bytearray(self._size)
            else:
                page = bytearray(self._store.read(self.context(inode, lblk), block, self._size))
            inode.pages[lblk] = page
        return page

    def write_back(self, inode: Incore) -> None:
        """Write every dirty page, allocating what is a hole."""
        if not inode.has_dirty:
            return
        lblks = sorted(inode.dirty)
        for lblk in lblks:
            if lblk not in inode.disk.blocks:
                inode.disk.blocks[lblk] = self._disk.allocate()
        for ctx, block, held in self._bios(inode, lblks):
            self._store.write(ctx, block, b"".join(inode.pages[lblk] for lblk in held))
        inode.dirty.clear()

    def read_disk(self, inode: Incore, lblks: Iterable[int]) -> bytes:
        """Blocks past the page cache, in order; holes are zeroes."""
        mapped = [lblk for lblk in lblks if lblk in inode.disk.blocks]
        found: dict[int, bytes] = {}
        for ctx, block, held in self._bios(inode, mapped):
            data = self._store.read(ctx, block, len(held) * self._size)
            for index, lblk in enumerate(held):
                found[lblk] = data[index * self._size : (index + 1) * self._size]
        return b"".join(found.get(lblk, bytes(self._size)) for lblk in lblks)

    def write_disk(self, inode: Incore, first: int, data: bytes) -> None:
        """Whole blocks from logical block ``first`` on, past the page cache."""
        lblks = range(first, first + len(data) // self._size)
        for lblk in lblks:
            if lblk not in inode.disk.blocks:
                inode.disk.blocks[lblk] = self._disk.allocate()
        for ctx, block, held in self._bios(inode, lblks):
            start = (held[0] - first) * self._size
            self._store.write(ctx, block, data[start : start + len(held) * self._size])

    def zero_out(self, inode: Incore, lblks: range) -> None:
        """Write zeroes to blocks on disk, encrypted to an encrypted file: ``fscrypt_zeroout_range()``."""
        self.write_disk(inode, lblks.start, bytes(len(lblks) * self._size))

    def unmap(self, inode: Incore, lblks: Iterable[int]) -> None:
        """Make holes; ciphertext stays on the medium."""
        for lblk in lblks:
            inode.pages.pop(lblk, None)
            inode.dirty.pop(lblk, None)
            block = inode.disk.blocks.pop(lblk, None)
            if block is not None:
                self._disk.free(block)

    def relocate(self, inode: Incore, lblk: int) -> None:
        """Move a block elsewhere on disk as ciphertext, without any key: f2fs garbage collection."""
        old = inode.disk.blocks[lblk]
        new = self._disk.allocate()
        self._store.write(None, new, self._store.read(None, old, self._size))
        inode.disk.blocks[lblk] = new
        self._disk.free(old)
