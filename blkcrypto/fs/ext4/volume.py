"""An ext4 filesystem in an image: inodes, their blocks, their names, their attributes.

Every method raises ``BadInput`` for damage, and names the inode or block.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.ext4.blockmap import map_extents
from blkcrypto.fs.ext4.checksum import crc32c, crc32c_without
from blkcrypto.fs.ext4.directory import DirEntry, block_entries, checksum_span, dx_hash_version
from blkcrypto.fs.ext4.extents import Extent, node_checksum_at, tree_extents
from blkcrypto.fs.ext4.features import Compat, InodeFlags
from blkcrypto.fs.ext4.groups import descriptor_checksum_holds, descriptor_place, inode_table
from blkcrypto.fs.ext4.inode import I_BLOCK_BYTES, Inode, checksum_seed, inode_checksum_holds, parse_inode
from blkcrypto.fs.ext4.store import ByteStore
from blkcrypto.fs.ext4.superblock import Superblock
from blkcrypto.fs.ext4.xattrs import (
    BLOCK_CHECKSUM_AT,
    INDEX_ENCRYPTION,
    INDEX_SYSTEM,
    NAME_CONTEXT,
    NAME_DATA,
    Xattr,
    block_xattrs,
    inode_xattrs,
)

ROOT_INO: Final = 2
_CHECKSUM_ADVICE: Final = "run e2fsck on a copy, or pass --no-checksums"
_BAD_CHECKSUM: Final = f"its checksum is wrong: {_CHECKSUM_ADVICE}"
_EXTENT_TAIL_BYTES: Final = 4
# An inline directory begins with its parent's number; entries follow, without "." and "..".
_INLINE_PARENT_BYTES: Final = 4


class Ext4Volume:
    """A filesystem to read from.

    Args:
        store: the image's bytes.
        check_checksums: whether metadata with a wrong checksum is refused, as Linux does.

    Raises:
        BadInput: no ext4, damaged, or with features this reader does not know.
    """

    def __init__(self, store: ByteStore, *, check_checksums: bool = True) -> None:
        self.store = store
        self.name = store.name
        self.superblock = Superblock.read(store, check_checksums=check_checksums)
        self.block_size = self.superblock.block_size
        self._checked = check_checksums and self.superblock.has_checksums
        self._inode_tables: dict[int, int] = {}

    def read_blocks(self, pblk: int, count: int = 1) -> bytes:
        """Blocks as they lie on disk."""
        sb = self.superblock
        # The superblock's own block and those before it belong to no file and no table.
        if not sb.first_data_block < pblk <= sb.blocks_count - count:
            self._fail(f"the filesystem has no {count} blocks there", f"block {pblk}")
        size = count * self.block_size
        data = self.store.read(pblk * self.block_size, size)
        if len(data) < size:
            self._fail("the image ends before it", f"block {pblk}")
        return data

    def read_span(self, extent: Extent, start: int, nbytes: int) -> bytes:
        """Bytes of an extent of ``extents()``, from byte ``start`` of it."""
        data = self.store.read(extent.pblk * self.block_size + start, nbytes)
        if len(data) < nbytes:
            self._fail("the image ends before it", f"block {extent.pblk + start // self.block_size}")
        return data

    def write_span(self, extent: Extent, start: int, data: bytes) -> None:
        """Overwrite bytes of a written extent, from byte ``start`` of it; nothing else is ever written."""
        if not extent.written or start + len(data) > extent.count * self.block_size:
            raise ValueError("only the data of written extents is ever written")
        self.store.write(extent.pblk * self.block_size + start, data)

    def inode(self, ino: int) -> Inode:
        """The inode ``ino``, in use or not."""
        sb = self.superblock
        if not 0 < ino <= sb.inodes_count:
            self._fail(f"there are {sb.inodes_count} inodes", f"inode {ino}")
        group, index = divmod(ino - 1, sb.inodes_per_group)
        block, at = divmod(index * sb.inode_size, self.block_size)
        data = self.read_blocks(self._inode_table(group) + block)[at : at + sb.inode_size]
        if self._checked and not inode_checksum_holds(sb.checksum_seed, ino, data):
            self._fail(_BAD_CHECKSUM, f"inode {ino}")
        with self._at(f"inode {ino}"):
            return parse_inode(ino, data)

    def extents(self, inode: Inode) -> list[Extent]:
        """The file's mapped blocks in order, neighbours joined; what is not there is a hole."""
        with self._at(f"inode {inode.ino}"):
            return self._joined(self._raw_extents(inode))

    def entries(self, inode: Inode) -> Iterator[DirEntry]:
        """Names in a directory but ``.`` and ``..``, in the order of its blocks."""
        hashed = inode.is_encrypted and inode.is_casefolded
        for part in self._directory_parts(inode):
            with self._at(f"inode {inode.ino}"):
                found = list(block_entries(part, hashed=hashed))
            for entry in found:
                if entry.name not in (b".", b".."):
                    yield entry

    def xattr(self, inode: Inode, index: int, name: bytes) -> bytes | None:
        """An extended attribute's value; None when there is none."""
        with self._at(f"inode {inode.ino}"):
            for item in self._xattrs(inode):
                if (item.index, item.name) == (index, name):
                    if item.value is None:
                        raise ValueError("an extended attribute lies in an inode of its own: not supported")
                    return item.value
        return None

    def context(self, inode: Inode) -> bytes | None:
        """The encryption context of an encrypted inode, as stored; None for an inode not encrypted."""
        if not inode.is_encrypted:
            return None
        stored = self.xattr(inode, INDEX_ENCRYPTION, NAME_CONTEXT)
        if stored is None:
            self._fail("is marked as encrypted and has no encryption context", f"inode {inode.ino}")
        return stored

    def inline_data(self, inode: Inode) -> bytes | None:
        """Contents that lie in the inode itself; None when they lie in blocks."""
        if not inode.flags & InodeFlags.INLINE_DATA:
            return None
        more = self.xattr(inode, INDEX_SYSTEM, NAME_DATA) or b""
        return (inode.i_block + more)[: inode.size]

    def symlink(self, inode: Inode) -> bytes:
        """What a symlink stores: its target, or length and ciphertext of an encrypted one."""
        if inode.is_fast_symlink:
            return inode.i_block[: inode.size]
        if not 0 < inode.size <= self.block_size:
            self._fail(f"is a symlink of {inode.size} bytes", f"inode {inode.ino}")
        stored = self.inline_data(inode)
        if stored is None:
            mapped = self.extents(inode)
            if not mapped or mapped[0].lblk or not mapped[0].written:
                self._fail("is a symlink without a block", f"inode {inode.ino}")
            stored = self.read_blocks(mapped[0].pblk)[: inode.size]
        return stored

    def hash_version(self, inode: Inode) -> int | None:
        """Hash version by which Linux orders a directory's names when it lists them; None if it does not.

        Source: ``is_dx_dir()``, ``dx_probe()``, fs/ext4.
        """
        sb = self.superblock
        if not sb.compat & Compat.DIR_INDEX:
            return None
        if inode.flags & InodeFlags.INDEX:
            first = next(iter(self._directory_parts(inode)), b"")
            if len(first) == self.block_size:
                return dx_hash_version(first)
        is_small = inode.size == self.block_size or inode.flags & InodeFlags.INLINE_DATA
        return sb.hash_version if is_small else None

    def _inode_table(self, group: int) -> int:
        table = self._inode_tables.get(group)
        if table is None:
            sb = self.superblock
            block, at = descriptor_place(sb, group)
            descriptor = self.read_blocks(block)[at : at + sb.desc_size]
            if self._checked and not descriptor_checksum_holds(sb, group, descriptor):
                self._fail(_BAD_CHECKSUM, f"group descriptor {group}")
            table = self._inode_tables[group] = inode_table(descriptor)
        return table

    def _raw_extents(self, inode: Inode) -> Iterable[Extent]:
        if inode.flags & InodeFlags.INLINE_DATA:
            return ()
        if inode.flags & InodeFlags.EXTENTS:
            return tree_extents(inode.i_block, lambda pblk: self._extent_node(inode, pblk))
        blocks = -(-inode.size // self.block_size)
        return map_extents(inode.i_block, self.block_size, blocks, self.read_blocks)

    def _extent_node(self, inode: Inode, pblk: int) -> bytes:
        node = self.read_blocks(pblk)
        if self._checked:
            at = node_checksum_at(node)
            self._check_own(inode, node[:at], node[at : at + _EXTENT_TAIL_BYTES], f"block {pblk}")
        return node

    def _joined(self, parts: Iterable[Extent]) -> list[Extent]:
        """Neighbours joined, every block inside the filesystem, and no more blocks than it has."""
        sb = self.superblock
        joined: list[Extent] = []
        total = 0
        for part in parts:
            if not sb.first_data_block < part.pblk <= sb.blocks_count - part.count:
                raise ValueError(f"maps {part.count} blocks at {part.pblk}, outside the filesystem")
            total += part.count
            if total > sb.blocks_count:
                raise ValueError(f"maps more blocks than the filesystem's {sb.blocks_count}")
            last = joined[-1] if joined else None
            if last is not None and part.follows(last):
                joined[-1] = Extent(last.lblk, last.pblk, last.count + part.count, last.written)
            else:
                joined.append(part)
        return joined

    def _directory_parts(self, inode: Inode) -> Iterator[bytes]:
        """Blocks of a directory, or the two parts of an inline one."""
        inline = self.inline_data(inode)
        if inline is not None:
            yield from (inline[_INLINE_PARENT_BYTES:I_BLOCK_BYTES], inline[I_BLOCK_BYTES:])
            return
        blocks = -(-inode.size // self.block_size)
        for extent in self.extents(inode):
            if not extent.written:
                self._fail("is a directory with blocks never written", f"inode {inode.ino}")
            for at in range(max(0, min(extent.count, blocks - extent.lblk))):
                block = self.read_blocks(extent.pblk + at)
                if self._checked:
                    is_root = bool(inode.flags & InodeFlags.INDEX) and extent.lblk + at == 0
                    self._check_directory_block(inode, block, extent.pblk + at, is_root=is_root)
                yield block

    def _check_directory_block(self, inode: Inode, block: bytes, pblk: int, *, is_root: bool) -> None:
        span = checksum_span(block, is_dx_root=is_root)
        where = f"inode {inode.ino}, block {pblk}"
        if span is None:
            self._fail(
                "a directory block without a checksum: run e2fsck on a copy, or pass --no-checksums", where
            )
        self._check_own(inode, *span, where)

    def _xattrs(self, inode: Inode) -> Iterator[Xattr]:
        yield from inode_xattrs(inode.xattr_space)
        if inode.xattr_block:
            block = self.read_blocks(inode.xattr_block)
            if self._checked:
                at = BLOCK_CHECKSUM_AT
                state = crc32c(self.superblock.checksum_seed, inode.xattr_block.to_bytes(8, "little"))
                if crc32c_without(state, block, at, 4).to_bytes(4, "little") != block[at : at + 4]:
                    self._fail(_BAD_CHECKSUM, f"inode {inode.ino}, block {inode.xattr_block}")
            yield from block_xattrs(block)

    def _check_own(self, inode: Inode, covered: bytes, stored: bytes, where: str) -> None:
        """Compare the checksum of a block that belongs to ``inode``."""
        seed = checksum_seed(self.superblock.checksum_seed, inode.ino, inode.generation)
        if crc32c(seed, covered).to_bytes(4, "little") != stored:
            self._fail(_BAD_CHECKSUM, where)

    @contextmanager
    def _at(self, where: str) -> Iterator[None]:
        """Parsers know no names of places: add the place to what they say."""
        try:
            yield
        except ValueError as error:
            raise BadInput(str(error), where=f"{self.name}: {where}") from None

    def _fail(self, what: str, where: str) -> NoReturn:
        raise BadInput(what, where=f"{self.name}: {where}")
