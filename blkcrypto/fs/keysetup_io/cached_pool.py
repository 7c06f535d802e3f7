"""V5: a pool whose transforms keep their last key, found again by (master key, nonce, mode).

Rules:

- The name of a key is its value, not an object: two files that share an extent share the transform.
- A hit costs no HKDF and no setkey; a keyed transform serves any number of tasks at once.
- A miss takes the least recently used idle transform, and waits while there is none.
- An entry is purged, and its key wiped, when its extent is freed and when its master key is removed: a hit
  must not outlive what it derives from.

Source: reference fscrypt.md section 6.4.
"""

from dataclasses import dataclass

from blkcrypto.block.keyslots import KeyslotTable
from blkcrypto.block.waiting import Steps, Task, WaitQueue
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.cipher import DataUnitCipher
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import TAKE_TRANSFORM
from blkcrypto.fs.keysetup_io.extent_io import (
    Extent,
    ExtentFile,
    ExtentIo,
    OnCpu,
    at_once,
    derive_and_set,
    run,
)
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey
from blkcrypto.fs.keysetup_io.pools import TRANSFORMS_PER_FILE, ModePools

CacheKey = tuple[bytes, bytes, str]
"""Master key identifier, nonce, mode."""


def cache_key(master: ExtentMasterKey, extent: Extent) -> CacheKey:
    """What an extent's key depends on.  The data unit size does not enter: a transform has none."""
    return (master.identifier, extent.nonce, extent.mode)


@dataclass(slots=True)
class CacheFigures:
    """How the cache did."""

    hits: int = 0
    misses: int = 0


class _ModePool:
    """The transforms of one mode: which holds which key, and who waits for one."""

    def __init__(self, mode: str, size: int) -> None:
        self.table: KeyslotTable[CacheKey] = KeyslotTable(size)
        self.ciphers: list[DataUnitCipher | None] = [None] * size
        self.idled = WaitQueue(f"an idle transform of {mode}")

    def blank(self, slot: int) -> None:
        """Wipe what the transform holds."""
        old, self.ciphers[slot] = self.ciphers[slot], None
        if old is not None:
            old.wipe()

    def put(self, slot: int) -> None:
        """Release it."""
        if self.table.put(slot):
            self.idled.wake_all()


class CachedPool:
    """V5.

    Args:
        size: transforms per mode.

    Attributes:
        figures: hits, misses, purges.
    """

    name = "V5"

    def __init__(
        self, checker: ContextChecker, on_cpu: OnCpu = at_once, *, size: int = TRANSFORMS_PER_FILE
    ) -> None:
        self.checker = checker
        self.figures = CacheFigures()
        self._on_cpu = on_cpu
        self._pools: ModePools[_ModePool] = ModePools(checker, size, _ModePool)

    def open_file(self, task: Task, file: ExtentFile) -> None:
        """Make the pools of modes not seen before."""
        self._pools.prepare(task, file)

    def crypt(self, task: Task, file: ExtentFile, io: ExtentIo) -> Steps[U8Array]:
        """See ``KeySetupVariant``."""
        pool = self._pools.of(task, io.extent.mode)
        self.checker.does(task, TAKE_TRANSFORM)
        slot = yield from self._take(pool, task, file.master, io.extent)
        try:
            with self.checker.holding(task, TAKE_TRANSFORM):
                yield from self._on_cpu(task)
                cipher = pool.ciphers[slot]
                assert cipher is not None
                return run(self.checker, task, cipher, io)
        finally:
            pool.put(slot)

    def _take(self, pool: _ModePool, task: Task, master: ExtentMasterKey, extent: Extent) -> Steps[int]:
        name = cache_key(master, extent)
        while True:
            slot = pool.table.get(name)
            if slot >= 0:
                self.figures.hits += 1
                return slot
            slot = pool.table.victim()
            if slot >= 0:
                self.figures.misses += 1
                cipher = derive_and_set(self.checker, task, master, extent)
                pool.blank(slot)
                pool.ciphers[slot] = cipher
                pool.table.install(slot, name)
                return slot
            yield pool.idled

    def close_file(self, file: ExtentFile) -> None:
        """Nothing: what it keyed may be hit again."""

    def free_extent(self, file: ExtentFile, extent: Extent) -> None:
        """Purge its key."""
        pool = self._pools.by_mode.get(extent.mode)
        if pool is not None:
            slot = pool.table.find(cache_key(file.master, extent))
            if slot >= 0:
                self._purge(pool, slot)

    def remove_key(self, master: ExtentMasterKey) -> None:
        """Purge every key derived from it."""
        for pool in self._pools.by_mode.values():
            doomed = [slot for slot, name in pool.table.programmed() if name[0] == master.identifier]
            for slot in doomed:
                self._purge(pool, slot)

    def _purge(self, pool: _ModePool, slot: int) -> None:
        in_use = pool.table.unlink(slot)
        assert not in_use, "a key is purged while I/O uses it"
        pool.blank(slot)

    @property
    def memory_bytes(self) -> int:
        """A pool per mode."""
        return self._pools.memory_bytes

    @property
    def keys_held(self) -> int:
        """One per transform that was used and not purged."""
        return sum(cipher is not None for pool in self._pools.by_mode.values() for cipher in pool.ciphers)
