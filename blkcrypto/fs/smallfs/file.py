"""Files: open, read, write, truncate, holes, direct I/O.

Rules (``fscrypt_file_open()``, ``fscrypt_prepare_setattr()``, ext4 and f2fs; reference fscrypt.md
sections 1.5, 5.4):

- Opening a regular file needs its key, then checks its policy against its directory's.  Truncating needs it.
- An open file works on after its key was removed.
- Direct I/O goes past the page cache only where blk-crypto encrypts, or nobody does, and only when position,
  length and memory are whole blocks; else it is buffered, except where the filesystem refuses what its device
  could not take.
- Ranges cannot be collapsed or inserted: ciphertext is bound to its position.
"""

from dataclasses import dataclass

from blkcrypto.base.units import SECTOR_BYTES
from blkcrypto.fs.fscrypt.caller import ROOT, Caller
from blkcrypto.fs.fscrypt.inherit import InodeKind, check_found
from blkcrypto.fs.fscrypt.paths import ContentsPath
from blkcrypto.fs.smallfs.errors import InvalidOffset, NoEntry, OperationNotSupported
from blkcrypto.fs.smallfs.incore import Incore
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.namei import create, lookup, new_inode
from blkcrypto.fs.smallfs.symlink import readlink


@dataclass(slots=True, eq=False)
class OpenFile:
    """An open file; ``close`` it."""

    mount: Mount
    inode: Incore
    parents: tuple[Incore, ...]
    is_open: bool = True

    def read(self, pos: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``pos``; fewer at the end of the file."""
        size = self.mount.fs.block_size
        end = min(pos + length, self.inode.disk.size)
        if pos >= end:
            return b""
        lblks = range(pos // size, -(-end // size))
        self.mount.blocks.load(self.inode, lblks)
        data = b"".join(self.inode.pages[lblk] for lblk in lblks)
        return data[pos % size : pos % size + end - pos]

    def write(self, pos: int, data: bytes) -> int:
        """Write into the page cache; on disk after ``fsync``, or when something else writes back."""
        self.mount.want_write()
        size = self.mount.fs.block_size
        done = 0
        while done < len(data):
            lblk, start = divmod(pos + done, size)
            part = data[done : done + size - start]
            self.mount.blocks.page(self.inode, lblk)[start : start + len(part)] = part
            self.inode.dirty[lblk] = None
            done += len(part)
        self.inode.disk.size = max(self.inode.disk.size, pos + len(data))
        return len(data)

    def fsync(self) -> None:
        """Write back this file."""
        self.mount.blocks.write_back(self.inode)

    def direct_read(self, pos: int, length: int, address: int = 0) -> bytes:
        """Read past the page cache where that is possible, to a buffer at ``address``.

        Raises:
            InvalidOffset: EINVAL.
        """
        if not self._goes_direct(pos, length, address):
            return self.read(pos, length)
        self.fsync()
        size = self.mount.fs.block_size
        lblks = range(pos // size, (pos + length) // size)
        data = self.mount.blocks.read_direct(self.inode, lblks, address)
        return data[: max(0, min(length, self.inode.disk.size - pos))]

    def direct_write(self, pos: int, data: bytes, address: int = 0) -> int:
        """Write past the page cache where that is possible, from a buffer at ``address``.

        Raises:
            InvalidOffset: EINVAL.
        """
        self.mount.want_write()
        if not self._goes_direct(pos, len(data), address):
            written = self.write(pos, data)
            self.fsync()
            return written
        self.fsync()
        first = pos // self.mount.fs.block_size
        self.mount.blocks.write_direct(self.inode, first, data, address)
        for lblk in range(first, first + len(data) // self.mount.fs.block_size):
            self.inode.pages.pop(lblk, None)
        self.inode.disk.size = max(self.inode.disk.size, pos + len(data))
        return len(data)

    def _goes_direct(self, pos: int, length: int, address: int) -> bool:
        info = self.inode.info
        if info is not None and info.path is ContentsPath.FS_LAYER:
            return False
        refuses = info is None or self.mount.refuses_misaligned_dio
        if refuses and (pos | length | address) % SECTOR_BYTES:
            raise InvalidOffset(f"direct I/O of {length} bytes at {pos} is not in whole sectors")
        return not (pos | length | address) % self.mount.fs.block_size

    def truncate(self, size: int) -> None:
        """Set the size; what is cut off is gone, what is added is a hole."""
        truncate_inode(self.mount, self.inode, size)

    def punch_hole(self, pos: int, length: int) -> None:
        """Zero a range: whole blocks become holes, the rest is zeroed in the page cache."""
        self.mount.want_write()
        size = self.mount.fs.block_size
        end = min(pos + length, -(-self.inode.disk.size // size) * size)
        first, last = -(-pos // size), end // size
        if first >= last:
            self._zero(pos, end)
        else:
            self._zero(pos, first * size)
            self._zero(last * size, end)
            self.mount.blocks.unmap(self.inode, range(first, last))

    def _zero(self, pos: int, end: int) -> None:
        size = self.mount.fs.block_size
        while pos < end:
            lblk, start = divmod(pos, size)
            stop = min(size, start + end - pos)
            if lblk in self.inode.pages or lblk in self.inode.disk.blocks:
                self.mount.blocks.page(self.inode, lblk)[start:stop] = bytes(stop - start)
                self.inode.dirty[lblk] = None
            pos += stop - start

    def allocate(self, pos: int, length: int, *, keep_size: bool = False) -> None:
        """Reserve space.  What was never written reads as zeroes, so no block is needed before a write."""
        self.mount.want_write()
        if not keep_size:
            self.inode.disk.size = max(self.inode.disk.size, pos + length)

    def collapse_range(self, pos: int, length: int) -> None:
        """Take whole blocks out of an unencrypted file.

        Raises:
            OperationNotSupported: the file is encrypted (EOPNOTSUPP).
        """
        self._shift(pos, -length)

    def insert_range(self, pos: int, length: int) -> None:
        """Put a hole of whole blocks into an unencrypted file; raises as ``collapse_range``."""
        self._shift(pos, length)

    def _shift(self, pos: int, by: int) -> None:
        if self.inode.disk.context is not None:
            raise OperationNotSupported("ciphertext is bound to its position in the file")
        size = self.mount.fs.block_size
        if (pos | abs(by)) % size:
            raise InvalidOffset("ranges move by whole blocks")
        self.mount.want_write()
        self.fsync()
        self.mount.blocks.shift(self.inode, pos // size, by // size)
        self.inode.disk.size += by

    def close(self) -> None:
        """The inode may now be evicted, or freed when it has no name left."""
        if self.is_open:
            self.is_open = False
            self.inode.opens -= 1
            for directory in self.parents:
                directory.pins -= 1
            self.mount.forget_if_unused(self.inode)


def open_file(mount: Mount, path: str, *, make: bool = False, caller: Caller = ROOT) -> OpenFile:
    """Open a file, directory or what a symlink leads to.

    Args:
        mount: the filesystem.
        path: from its root.
        make: create a regular file that is not there (``O_CREAT``).
        caller: owner of a new file.

    Raises:
        KeyRequired: the file's key is not there (ENOKEY).
        InconsistentPolicy: the file has another policy than its directory (EPERM).
        BlkCryptoError: as ``InodeCrypto.load`` and ``namei.lookup``.
    """
    found = lookup(mount, path)
    inode = found.inode
    if inode is None:
        if not make:
            raise NoEntry(f"no {path!r}")
        inode = create(mount, path, caller=caller)
    if inode.disk.kind is InodeKind.SYMLINK:
        target = readlink(mount, path).decode("utf-8", "surrogateescape")
        parent = path.rpartition("/")[0]
        return open_file(mount, target if target.startswith("/") else f"{parent}/{target}", caller=caller)
    if inode.disk.kind is InodeKind.REGULAR and mount.require_key(inode) is not None:
        check_found(mount.policy_of(found.directory), mount.policy_of(inode), inode.disk.kind)
    inode.opens += 1
    parents = tuple(directory for directory in found.parents if directory is not inode)
    for directory in parents:
        directory.pins += 1
    return OpenFile(mount, inode, parents)


def open_tmpfile(mount: Mount, path: str, caller: Caller = ROOT) -> OpenFile:
    """``O_TMPFILE``: a file without a name, with the policy of the directory at ``path``.

    Raises:
        KeyRequired: the directory's key is not there (ENOKEY).
    """
    found = lookup(mount, path)
    if found.inode is None:
        raise NoEntry(f"no {path!r}")
    inode = new_inode(mount, found.inode, InodeKind.REGULAR, caller)
    inode.disk.nlink = 0
    inode.opens += 1
    return OpenFile(mount, inode, ())


def truncate(mount: Mount, path: str, size: int) -> None:
    """Set a file's size by name.

    Raises:
        KeyRequired: the file's key is not there (ENOKEY).
    """
    found = lookup(mount, path)
    if found.inode is None:
        raise NoEntry(f"no {path!r}")
    mount.want_write()
    mount.require_key(found.inode)
    truncate_inode(mount, found.inode, size)


def truncate_inode(mount: Mount, inode: Incore, size: int) -> None:
    """Set the size of an inode whose key is there, if it needs one."""
    mount.want_write()
    block_size = mount.fs.block_size
    keep = -(-size // block_size)
    beyond = [lblk for lblk in {*inode.pages, *inode.disk.blocks} if lblk >= keep]
    mount.blocks.unmap(inode, beyond)
    if size < inode.disk.size and size % block_size:
        lblk, start = divmod(size, block_size)
        if lblk in inode.pages or lblk in inode.disk.blocks:
            page = mount.blocks.page(inode, lblk)
            page[start:] = bytes(block_size - start)
            inode.dirty[lblk] = None
    inode.disk.size = size
