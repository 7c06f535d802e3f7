"""A filesystem that keeps small encrypted files in their inodes, as f2fs or ext4 would use the helper.

Rules (reference fscrypt.md sections 7.1 to 7.3):

- A file is inline while it fits, the feature bit is set and its key allows it; else it is in blocks.  It is
  never inline in plaintext.
- Writing past the room moves the data to blocks; a file that shrinks may move back.
- Writeback runs under NOFS.  What it cannot encrypt stays dirty.
- A kernel that does not know the feature does not mount an image that has it.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.key import CryptoConfig
from blkcrypto.block.waiting import Task
from blkcrypto.fs.fscrypt.caller import Caller
from blkcrypto.fs.fscrypt.contents_bio import crypt_ctx
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo, InodeCrypto
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier
from blkcrypto.fs.fscrypt.key_entry import NoSuchMasterKey
from blkcrypto.fs.fscrypt.keyring import FsKeyring
from blkcrypto.fs.fscrypt.policy import Context
from blkcrypto.fs.fscrypt.process_keys import ProcessKeyring
from blkcrypto.fs.inline_data.region import ALIGNMENT, Alternative, RegionCrypto
from blkcrypto.fs.inline_data.volume import (
    BLOCK_BYTES,
    FLAG_ENCRYPTED,
    FLAG_INLINE,
    INCOMPAT_ENCRYPTED_INLINE_DATA,
    InodeRecord,
    UnknownFeature,
    Volume,
)
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import Ctx
from blkcrypto.fs.store import BlockStore

# The caller's data unit number for a region: there is one unit, so its first.
_REGION_DUN: Final = 0


@dataclass(slots=True)
class CachedFile:
    """An encrypted regular file in the inode cache.

    Attributes:
        ino: its number.
        info: key and policy.
        data: the whole file in clear: its page cache.
        dirty: whether ``data`` must be written back.
        opens: open files; whoever has it read in is the first.
    """

    ino: int
    info: CryptInfo
    data: bytearray
    dirty: bool = False
    opens: int = 1


@dataclass(slots=True)
class IoFigures:
    """What reached the device.

    Attributes:
        inode_writes: inodes written.
        block_writes: bios of file blocks written.
        block_reads: bios of file blocks read.
    """

    inode_writes: int = 0
    block_writes: int = 0
    block_reads: int = 0


@dataclass(slots=True)
class InlineMount:
    """One mount.

    Args:
        volume: what to mount.
        fs: facts of the filesystem.
        blocks: takes file blocks.
        alternative: a row of ``ALTERNATIVES``.
        checker: judges where keys are set up.
        knows_feature: whether this kernel knows the feature bit.
        devices: for every device, whether it supports a config.
        derive_sw_secret: the device's operation on wrapped keys, if it has one.

    Raises:
        UnknownFeature: EINVAL.
    """

    volume: Volume
    fs: FileSystem
    blocks: BlockStore
    alternative: Alternative
    checker: ContextChecker
    knows_feature: bool = True
    devices: Collection[Callable[[CryptoConfig], bool]] = (lambda _config: True,)
    derive_sw_secret: Callable[[bytes], bytes] | None = None
    figures: IoFigures = field(default_factory=IoFigures)
    process_keys: ProcessKeyring = field(default_factory=ProcessKeyring)
    keyring: FsKeyring = field(init=False)
    region: RegionCrypto = field(init=False)
    _crypto: InodeCrypto = field(init=False)
    _cache: dict[int, CachedFile] = field(init=False, default_factory=dict)
    _task: Task = field(init=False, default_factory=lambda: Task("writeback"))

    def __post_init__(self) -> None:
        knows = self.knows_feature and self.alternative.stores_inline
        if self.volume.features & INCOMPAT_ENCRYPTED_INLINE_DATA and not knows:
            raise UnknownFeature("the image has encrypted inline data: use a kernel that knows it")
        evict = self.blocks.evict_key
        self.keyring = FsKeyring(self.fs, self, evict_key=evict, derive_sw_secret=self.derive_sw_secret)
        self._crypto = InodeCrypto(self.fs, "f2fs", self.keyring, evict_key=evict, devices=self.devices)
        self.region = RegionCrypto(self.alternative, self.fs, self.checker)

    def add_key(self, arg: AddKeyArg, caller: Caller) -> KeySpecifier:
        """``FS_IOC_ADD_ENCRYPTION_KEY``; raises as ``FsKeyring.add``."""
        return self.keyring.add(arg, caller)

    def create(self, ino: int, context: Context) -> CachedFile:
        """A new empty file, opened.

        Raises:
            BlkCryptoError: as ``InodeCrypto.new``.
        """
        info = self._crypto.new(ino, InodeKind.REGULAR, context, process_keys=self.process_keys)
        self._store(ino, InodeRecord(FLAG_ENCRYPTED, 0, context.to_bytes(), b""))
        return self._cached(CachedFile(ino, info, bytearray()))

    def open(self, ino: int) -> CachedFile:
        """Open; the whole file is read.

        Raises:
            NoSuchMasterKey: the key is not here (ENOKEY).
            InodeCorrupt: EUCLEAN.
            RegionNotSupported: inline data under a key that this alternative does not take (EOPNOTSUPP).
        """
        cached = self._cache.get(ino)
        if cached is not None:
            cached.opens += 1
            return cached
        record = self.volume.load(ino)
        info = self._crypto.load(ino, InodeKind.REGULAR, record.context, process_keys=self.process_keys)
        if info is None:
            raise NoSuchMasterKey(f"the key of inode {ino} is not here")
        file = self._cached(CachedFile(ino, info, bytearray()))
        try:
            file.data[:] = self._read(file, record)
        except BlkCryptoError:
            file.opens = 0
            self._evict(file)
            raise
        return file

    def _cached(self, file: CachedFile) -> CachedFile:
        self._cache[file.ino] = file
        self.region.opened(self._task, file.ino, file.info)
        return file

    def _read(self, file: CachedFile, record: InodeRecord) -> bytes:
        if record.flags & FLAG_INLINE:
            length = -(-record.size // ALIGNMENT) * ALIGNMENT
            if not length:
                return b""
            stored = record.area[:length]
            plain = self.region.crypt(self._task, file.ino, file.info, stored, dun=_REGION_DUN, encrypt=False)
            return plain[: record.size]
        numbers = memoryview(record.area)
        parts = []
        for lblk in range(-(-record.size // BLOCK_BYTES)):
            block = int.from_bytes(numbers[4 * lblk : 4 * lblk + 4], "little")
            parts.append(self.blocks.read(self._ctx(file, lblk), block, BLOCK_BYTES))
            self.figures.block_reads += 1
        return b"".join(parts)[: record.size]

    def _ctx(self, file: CachedFile, lblk: int) -> BioCryptCtx:
        assert file.info.setup is not None, "a regular file has contents keys"
        return crypt_ctx(file.info.setup, file.ino, file.info.nonce, lblk * BLOCK_BYTES)

    def write(self, file: CachedFile, pos: int, data: bytes) -> None:
        """Write into the page cache."""
        file.data.extend(bytes(max(0, pos + len(data) - len(file.data))))
        file.data[pos : pos + len(data)] = data
        file.dirty = True

    def truncate(self, file: CachedFile, size: int) -> None:
        """Set the size in the page cache."""
        del file.data[size:]
        file.data.extend(bytes(size - len(file.data)))
        file.dirty = True

    def may_inline(self, file: CachedFile) -> bool:
        """Whether the file's data goes into its inode."""
        return (
            bool(self.volume.features & INCOMPAT_ENCRYPTED_INLINE_DATA)
            and len(file.data) <= self.volume.layout.usable
            and self.region.possible(file.info)
        )

    def writeback(self, file: CachedFile) -> None:
        """Write a dirty file; one that fails stays dirty.

        Raises:
            RegionKeyMissing: the region's key was never set up, and the master key is gone (ENOKEY).
        """
        if not file.dirty:
            return
        with self.checker.entering(self._task, Ctx.NOFS):
            record = self._inline(file) if self.may_inline(file) else self._in_blocks(file)
        self._store(file.ino, record)
        file.dirty = False

    def _inline(self, file: CachedFile) -> InodeRecord:
        padded = bytes(file.data).ljust(-(-len(file.data) // ALIGNMENT) * ALIGNMENT, b"\0")
        area = (
            self.region.crypt(self._task, file.ino, file.info, padded, dun=_REGION_DUN, encrypt=True)
            if padded
            else b""
        )
        return InodeRecord(FLAG_ENCRYPTED | FLAG_INLINE, len(file.data), self._context(file), area)

    def _in_blocks(self, file: CachedFile) -> InodeRecord:
        old = self.volume.load(file.ino)
        count = -(-len(file.data) // BLOCK_BYTES)
        if 4 * count > self.volume.layout.area_bytes:
            raise OSError(f"this small filesystem's inodes have {self.volume.layout.area_bytes // 4} blocks")
        numbers = [
            int.from_bytes(old.area[4 * at : 4 * at + 4], "little") if not old.flags & FLAG_INLINE else 0
            for at in range(count)
        ]
        for lblk in range(count):
            if not numbers[lblk]:
                numbers[lblk] = self.volume.next_block
                self.volume.next_block += 1
            page = bytes(file.data[lblk * BLOCK_BYTES : (lblk + 1) * BLOCK_BYTES]).ljust(BLOCK_BYTES, b"\0")
            self.blocks.write(self._ctx(file, lblk), numbers[lblk], page)
            self.figures.block_writes += 1
        area = b"".join(number.to_bytes(4, "little") for number in numbers)
        return InodeRecord(FLAG_ENCRYPTED, len(file.data), self._context(file), area)

    def _context(self, file: CachedFile) -> bytes:
        return Context(file.info.policy, file.info.nonce).to_bytes()

    def _store(self, ino: int, record: InodeRecord) -> None:
        self.volume.store(ino, record)
        self.figures.inode_writes += 1

    def delete(self, ino: int) -> None:
        """Remove an inode that nobody has open; no key is needed.  Its blocks keep their ciphertext."""
        file = self._cache.get(ino)
        if file is not None:
            assert not file.opens, "an open file is deleted"
            self._evict(file)
        del self.volume.inodes[ino]

    def close(self, file: CachedFile) -> None:
        """Close; the inode stays cached."""
        file.opens -= 1

    def sync_filesystem(self) -> None:
        """Write back every dirty file; the first error is raised when all were tried."""
        failure: BlkCryptoError | None = None
        for file in self._cache.values():
            try:
                self.writeback(file)
            except BlkCryptoError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def evict_unlocked(self, inos: Iterable[int]) -> None:
        """Evict those that are neither open nor dirty."""
        for ino in inos:
            file = self._cache.get(ino)
            if file is not None and not file.opens and not file.dirty:
                self._evict(file)

    def _evict(self, file: CachedFile) -> None:
        del self._cache[file.ino]
        self.region.drop(file.ino)
        self._crypto.drop(file.ino, file.info)

    def unmount(self) -> None:
        """Write back, evict, and remove every key.

        Raises:
            BlkCryptoError: something could not be written, and is lost now.
        """
        try:
            self.sync_filesystem()
        finally:
            for file in tuple(self._cache.values()):
                self._evict(file)
            self.keyring.unmount()
