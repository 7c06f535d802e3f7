"""V6: always blk-crypto; here its fallback, so that the bytes can be seen.

Rules:

- A mode is started when the first file of it is opened: the 100 keyslots' ciphers are made there.
- An extent map entry has room for the extent's key object, so loading it needs no memory of its own, and
  happens where the map is read, before I/O begins.
- An extent that is written before its map entry exists takes a key object from a reserve for as long as the
  write lasts, and evicts the key before it gives the object back.
- During I/O: a keyslot, waited for as the second stage after a key object.

``load_as_posted`` is how version 7 of the series loads one: it takes the master-key semaphore, and allocates
in a ``memalloc_nofs`` scope.

Source: reference fscrypt.md sections 6.1, 6.4.
"""

import errno

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus, blk_status_to_errno
from blkcrypto.block.fallback import Fallback
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import BlkCryptoKey, CryptoModeNum
from blkcrypto.block.mempool import Mempool, exhausted
from blkcrypto.block.modes import MODES, REAL_MODES
from blkcrypto.block.waiting import Steps, Task
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import (
    EVICT_KEY,
    GET_KEYSLOT,
    HKDF_EXPAND,
    INIT_KEY,
    KEY_SEMAPHORE,
    KMALLOC_KEY_OBJECT,
    START_USING_KNOWN_MODE,
    START_USING_NEW_MODE,
    TAKE_KEY_OBJECT,
    Ctx,
)
from blkcrypto.fs.keysetup_io.extent_io import (
    TRANSFORM_BYTES,
    Extent,
    ExtentFile,
    ExtentIo,
    OnCpu,
    at_once,
    run,
)
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey

_MODE_OF = {row.name: row.num for row in REAL_MODES}
# Extents are at most 128 MiB, but keys promise DUNs for the largest file.
_DUN_BYTES = 8


class KeyslotFailed(BlkCryptoError):
    """The key could not be programmed."""

    errno = errno.EIO


class AlwaysBlkCrypto:
    """V6.

    Args:
        fallback: of the kernel; its keyslots are shared with all other users.
        new_extent_keys: reserve of key objects for extents without a map entry.
    """

    name = "V6"

    def __init__(
        self,
        checker: ContextChecker,
        fallback: Fallback,
        on_cpu: OnCpu = at_once,
        *,
        new_extent_keys: int = 1,
    ) -> None:
        self.checker = checker
        self._fallback = fallback
        self._on_cpu = on_cpu
        self._started: set[CryptoModeNum] = set()
        self._loaded: dict[ExtentFile, dict[Extent, BlkCryptoKey]] = {}
        self._reserve = Mempool("key objects of new extents", new_extent_keys, exhausted)

    def open_file(self, task: Task, file: ExtentFile) -> None:
        """Start the file's modes, and load the extents known."""
        loaded = self._loaded[file] = {}
        for extent in file.extents:
            self._start(task, extent.mode)
            loaded[extent] = self._new_key(task, file.master, extent)

    def load_as_posted(self, task: Task, file: ExtentFile, extent: Extent) -> None:
        """Load one extent's key as version 7 does, in a ``memalloc_nofs`` scope of its own."""
        with self.checker.entering(task, Ctx.NOFS, memalloc_scope=True):
            self.checker.does(task, KMALLOC_KEY_OBJECT)
            self.checker.does(task, KEY_SEMAPHORE)
            self._start(task, extent.mode)
            self._loaded.setdefault(file, {})[extent] = self._new_key(task, file.master, extent)

    def _start(self, task: Task, mode: str) -> None:
        number = _MODE_OF[mode]
        self.checker.does(task, START_USING_KNOWN_MODE if number in self._started else START_USING_NEW_MODE)
        self._fallback.start_using_mode(number)
        self._started.add(number)

    def _new_key(self, task: Task, master: ExtentMasterKey, extent: Extent) -> BlkCryptoKey:
        number = _MODE_OF[extent.mode]
        self.checker.does(task, HKDF_EXPAND)
        raw = master.extent_key(extent.nonce, MODES[number].key_bytes)
        self.checker.does(task, INIT_KEY)
        label = f"extent {extent.nonce.hex()[:8]}"
        return init_key(raw, number, dun_bytes=_DUN_BYTES, data_unit_size=extent.data_unit_size, label=label)

    def crypt(self, task: Task, file: ExtentFile, io: ExtentIo) -> Steps[U8Array]:
        """See ``KeySetupVariant``; EIO when the key cannot be programmed."""
        key = self._loaded[file].get(io.extent)
        if key is not None:
            return (yield from self._with_slot(task, key, io))
        self.checker.does(task, TAKE_KEY_OBJECT)
        yield from self._reserve.alloc(task)
        try:
            with self.checker.holding(task, TAKE_KEY_OBJECT):
                self._start(task, io.extent.mode)
                key = self._new_key(task, file.master, io.extent)
                try:
                    return (yield from self._with_slot(task, key, io))
                finally:
                    self.checker.does(task, EVICT_KEY)
                    self._fallback.evict_key(key)
        finally:
            self._reserve.free(task.name)

    def _with_slot(self, task: Task, key: BlkCryptoKey, io: ExtentIo) -> Steps[U8Array]:
        engine = self._fallback.engine
        assert engine is not None, "a mode was started"
        self.checker.does(task, GET_KEYSLOT)
        grant = yield from engine.profile.get_keyslot(key)
        if grant.status is not BlkStatus.OK:
            raise KeyslotFailed(f"{key!r}: {grant.status}, errno {blk_status_to_errno(grant.status)}")
        try:
            with self.checker.holding(task, GET_KEYSLOT):
                yield from self._on_cpu(task)
                return run(self.checker, task, engine.slots.cipher(grant.slot), io)
        finally:
            engine.profile.put_keyslot(grant.slot)

    def close_file(self, file: ExtentFile) -> None:
        """Evict all of the file's keys."""
        for key in self._loaded.pop(file, {}).values():
            self._fallback.evict_key(key)

    def free_extent(self, file: ExtentFile, extent: Extent) -> None:
        """Evict its key."""
        key = self._loaded.get(file, {}).pop(extent, None)
        if key is not None:
            self._fallback.evict_key(key)

    def remove_key(self, master: ExtentMasterKey) -> None:
        """Nothing: keys go with the extent maps of the files that are still open."""

    @property
    def memory_bytes(self) -> int:
        """A key object per extent loaded, the reserve, and the fallback's transform per keyslot and mode."""
        objects = self._reserve.min_nr + self.keys_held
        engine = self._fallback.engine
        slots = 0 if engine is None else engine.profile.num_slots
        return BLK_CRYPTO_KEY_BYTES * objects + TRANSFORM_BYTES * slots * len(self._started)

    @property
    def keys_held(self) -> int:
        """One per extent loaded."""
        return sum(map(len, self._loaded.values()))
