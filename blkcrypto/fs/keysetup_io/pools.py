"""V3 and V4: transforms made beforehand, keyed anew for every I/O; per file, or per mode for all files.

A task that holds a transform never waits for another, so a pool of one is enough for progress.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from blkcrypto.block.mempool import Mempool, exhausted
from blkcrypto.block.waiting import Steps, Task
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import ALLOC_SKCIPHER, TAKE_TRANSFORM
from blkcrypto.fs.keysetup_io.extent_io import (
    TRANSFORM_BYTES,
    Extent,
    ExtentFile,
    ExtentIo,
    OnCpu,
    at_once,
    derive_and_set,
    run,
)
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey

TRANSFORMS_PER_FILE: Final = 128


def allocate_transforms(checker: ContextChecker, task: Task, count: int) -> None:
    """Make the transforms of a pool, which I/O cannot.

    Raises:
        OutOfMemory: ENOMEM.
    """
    for _ in range(count):
        checker.does(task, ALLOC_SKCIPHER)


Pool = TypeVar("Pool")


class ModePools(Generic[Pool]):
    """A pool per mode, made when the first file of the mode is opened.

    Args:
        checker: judges where transforms are made.
        size: transforms per mode.
        make: a pool of that many transforms of a mode.
    """

    def __init__(self, checker: ContextChecker, size: int, make: Callable[[str, int], Pool]) -> None:
        self._checker = checker
        self._size = size
        self._make = make
        self.by_mode: dict[str, Pool] = {}

    def prepare(self, task: Task, file: ExtentFile) -> None:
        """The pools of all modes of the file; raises as ``of``."""
        for extent in file.extents:
            self.of(task, extent.mode)

    def of(self, task: Task, mode: str) -> Pool:
        """The pool of a mode, made if it is the first time.

        Raises:
            OutOfMemory: ENOMEM.
        """
        pool = self.by_mode.get(mode)
        if pool is None:
            allocate_transforms(self._checker, task, self._size)
            pool = self.by_mode[mode] = self._make(mode, self._size)
        return pool

    @property
    def memory_bytes(self) -> int:
        """Of all transforms."""
        return TRANSFORM_BYTES * self._size * len(self.by_mode)


def crypt_from_pool(
    checker: ContextChecker, on_cpu: OnCpu, pool: Mempool, task: Task, file: ExtentFile, io: ExtentIo
) -> Steps[U8Array]:
    """Take a transform, derive, set the key, use it, give it back; also when deriving fails."""
    checker.does(task, TAKE_TRANSFORM)
    yield from pool.alloc(task)
    try:
        with checker.holding(task, TAKE_TRANSFORM):
            cipher = derive_and_set(checker, task, file.master, io.extent)
            yield from on_cpu(task)
            result = run(checker, task, cipher, io)
            cipher.wipe()
            return result
    finally:
        pool.free(task.name)


class PoolPerFile:
    """V3: a fixed pool of transforms for every open file.

    All its transforms are of one mode: files of mixed modes would need a pool per mode.

    Args:
        size: transforms per file.
    """

    name = "V3"

    def __init__(
        self, checker: ContextChecker, on_cpu: OnCpu = at_once, *, size: int = TRANSFORMS_PER_FILE
    ) -> None:
        self.checker = checker
        self._on_cpu = on_cpu
        self._size = size
        self._pools: dict[ExtentFile, Mempool] = {}

    def open_file(self, task: Task, file: ExtentFile) -> None:
        """Make the pool."""
        allocate_transforms(self.checker, task, self._size)
        # Ordinary memory never helps: a transform cannot be made during I/O.
        self._pools[file] = Mempool("transforms of the file", self._size, exhausted)

    def crypt(self, task: Task, file: ExtentFile, io: ExtentIo) -> Steps[U8Array]:
        """See ``KeySetupVariant``."""
        return crypt_from_pool(self.checker, self._on_cpu, self._pools[file], task, file, io)

    def close_file(self, file: ExtentFile) -> None:
        """Free the pool."""
        pool = self._pools.pop(file)
        assert not pool.in_use, "a file is closed while its I/O is under way"

    def free_extent(self, file: ExtentFile, extent: Extent) -> None:
        """Nothing."""

    def remove_key(self, master: ExtentMasterKey) -> None:
        """Nothing: no transform keeps a key between I/Os."""

    @property
    def memory_bytes(self) -> int:
        """A pool per open file."""
        return TRANSFORM_BYTES * self._size * len(self._pools)

    @property
    def keys_held(self) -> int:
        """None."""
        return 0


def _mempool(mode: str, size: int) -> Mempool:
    return Mempool(f"transforms of {mode}", size, exhausted)


class GlobalPool:
    """V4: one pool per mode, made when the first file of the mode is opened.

    Args:
        size: transforms per mode.
    """

    name = "V4"

    def __init__(
        self, checker: ContextChecker, on_cpu: OnCpu = at_once, *, size: int = TRANSFORMS_PER_FILE
    ) -> None:
        self.checker = checker
        self._on_cpu = on_cpu
        self._pools: ModePools[Mempool] = ModePools(checker, size, _mempool)

    def open_file(self, task: Task, file: ExtentFile) -> None:
        """Make the pools of modes not seen before."""
        self._pools.prepare(task, file)

    def crypt(self, task: Task, file: ExtentFile, io: ExtentIo) -> Steps[U8Array]:
        """See ``KeySetupVariant``."""
        pool = self._pools.of(task, io.extent.mode)
        return crypt_from_pool(self.checker, self._on_cpu, pool, task, file, io)

    def close_file(self, file: ExtentFile) -> None:
        """Nothing."""

    def free_extent(self, file: ExtentFile, extent: Extent) -> None:
        """Nothing."""

    def remove_key(self, master: ExtentMasterKey) -> None:
        """Nothing: no transform keeps a key between I/Os."""

    @property
    def memory_bytes(self) -> int:
        """A pool per mode."""
        return self._pools.memory_bytes

    @property
    def keys_held(self) -> int:
        """None."""
        return 0
