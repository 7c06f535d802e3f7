"""Blocks of files between page cache, user memory and disk.

Rules (fs/ext4/inode.c, fs/crypto/bio.c; reference fscrypt.md section 3.6):

- A hole reads as zeroes and needs no bio; what is written first gets a block.
- The last block is written whole, zeroes behind the end of the file.
- Zeroing an encrypted range on disk writes encrypted zeroes, one bio after the other.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from blkcrypto.block.bvec import BIO_MAX_VECS, U8
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.smallfs.bios import FS_LAYER_ZEROOUT_PAGES, BioBuilder, Transfer, encrypts_itself
from blkcrypto.fs.smallfs.contents import FsLayerContents
from blkcrypto.fs.smallfs.device import BackingDevice
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.incore import Incore


class FileBlocks:
    """Reads and writes blocks of files of one filesystem."""

    def __init__(self, disk: Disk, fs: FileSystem, device: BackingDevice) -> None:
        self._disk = disk
        self._size = fs.block_size
        self._page = fs.page_size
        self._device = device
        self._bios = BioBuilder(fs)
        self.contents = FsLayerContents(self._bios, fs.block_size)

    def evict_key(self, key: BlkCryptoKey) -> None:
        """Make whoever encrypts with ``key`` forget it; its I/O is over."""
        self.contents.forget(key)
        self._device.evict_key(key)

    def load(self, inode: Incore, lblks: Iterable[int]) -> None:
        """Bring blocks into the page cache, those that lie on disk in as few bios as can be."""
        missing = [lblk for lblk in lblks if lblk not in inode.pages]
        mapped = [lblk for lblk in missing if lblk in inode.disk.blocks]
        read = dict(zip(mapped, self._read(inode, mapped), strict=True))
        for lblk in missing:
            inode.pages[lblk] = read.get(lblk) or bytearray(self._size)

    def _read(self, inode: Incore, lblks: Sequence[int]) -> list[bytearray]:
        if not lblks:
            return []
        io = self._transfer(ReqOp.READ, inode, lblks, self._zeroes(lblks), self._cache_addresses(lblks))
        self._device.submit(self._bios.buffered(inode, io))
        if encrypts_itself(inode):
            self.contents.decrypt(inode, io.lblks, io.data)
        return [bytearray(block) for block in io.data.reshape(-1, self._size)]

    def page(self, inode: Incore, lblk: int) -> bytearray:
        """The cached page of a block, read if needed."""
        if lblk not in inode.pages:
            self.load(inode, (lblk,))
        return inode.pages[lblk]

    def write_back(self, inode: Incore) -> None:
        """Write every dirty page, allocating what is a hole.

        Raises:
            IoFailed: EIO; what was to be written stays dirty.
            NoSpace: ENOSPC; likewise.
        """
        if not inode.has_dirty:
            return
        lblks = sorted(inode.dirty)
        data = np.frombuffer(b"".join(inode.pages[lblk] for lblk in lblks), np.uint8)
        io = self._write(inode, lblks, data, self._cache_addresses(lblks))
        self._device.submit(self._bios.buffered(inode, io))
        inode.dirty.clear()

    def read_direct(self, inode: Incore, lblks: range, address: int) -> bytes:
        """Blocks past the page cache, to a buffer at ``address``; holes are zeroes."""
        mapped = [lblk for lblk in lblks if lblk in inode.disk.blocks]
        places = [address + (lblk - lblks.start) * self._size for lblk in mapped]
        io = self._transfer(ReqOp.READ, inode, mapped, self._zeroes(mapped), places)
        self._device.submit(self._bios.direct(inode, io))
        buffer = self._zeroes(lblks).reshape(-1, self._size)
        buffer[[lblk - lblks.start for lblk in mapped]] = io.data.reshape(-1, self._size)
        return buffer.tobytes()

    def write_direct(self, inode: Incore, first: int, data: bytes, address: int) -> None:
        """Whole blocks from logical block ``first`` on, past the page cache, from a buffer at ``address``."""
        lblks = range(first, first + len(data) // self._size)
        places = range(address, address + len(data), self._size)
        io = self._write(inode, lblks, np.frombuffer(data, np.uint8), places)
        self._device.submit(self._bios.direct(inode, io))

    def zero_out(self, inode: Incore, lblks: range) -> None:
        """Write zeroes to blocks on disk, encrypted to an encrypted file: ``fscrypt_zeroout_range()``."""
        places = [lblk * self._size % self._page for lblk in range(len(lblks))]  # one page of zeroes for all
        io = self._write(inode, lblks, self._zeroes(lblks), places)
        most = FS_LAYER_ZEROOUT_PAGES if encrypts_itself(inode) else BIO_MAX_VECS
        for bio in self._bios.direct(inode, io, most):
            self._device.submit((bio,))

    def unmap(self, inode: Incore, lblks: Iterable[int]) -> None:
        """Make holes; ciphertext stays on the medium."""
        for lblk in lblks:
            inode.pages.pop(lblk, None)
            inode.dirty.pop(lblk, None)
            block = inode.disk.blocks.pop(lblk, None)
            if block is not None:
                self._disk.free(block)

    def shift(self, inode: Incore, first: int, by: int) -> None:
        """Move what lies from logical block ``first`` on by ``by`` blocks; what is in the way is unmapped."""
        self.unmap(inode, range(first, first - by))
        moved = {lblk + by * (lblk >= first): block for lblk, block in inode.disk.blocks.items()}
        inode.disk.blocks = moved
        self._disk.owners.update((block, (inode.disk.ino, lblk)) for lblk, block in moved.items())
        inode.pages.clear()

    def _write(self, inode: Incore, lblks: Sequence[int], data: U8, addresses: Sequence[int]) -> Transfer:
        """A write of plaintext: holes get blocks, and the filesystem encrypts if that is its part."""
        for lblk in lblks:
            if lblk not in inode.disk.blocks:
                inode.disk.blocks[lblk] = self._disk.allocate(inode.disk.ino, lblk)
        if encrypts_itself(inode):
            data = self.contents.encrypted(inode, lblks, data)
        return self._transfer(ReqOp.WRITE, inode, lblks, data, addresses)

    @staticmethod
    def _transfer(
        op: ReqOp, inode: Incore, lblks: Sequence[int], data: U8, addresses: Sequence[int]
    ) -> Transfer:
        return Transfer(op, lblks, [inode.disk.blocks[lblk] for lblk in lblks], data, addresses)

    def _zeroes(self, lblks: Sequence[int]) -> U8:
        return np.zeros(len(lblks) * self._size, np.uint8)

    def _cache_addresses(self, lblks: Sequence[int]) -> list[int]:
        """A byte lies in its page of the cache as it lies in its file."""
        return [lblk * self._size for lblk in lblks]
