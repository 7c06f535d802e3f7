"""V1 and V2: a transform of its own for every extent, made at I/O or at open."""

from blkcrypto.block.waiting import Steps, Task
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.cipher import DataUnitCipher
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import ALLOC_SKCIPHER, KEY_SEMAPHORE, KMALLOC_KEY_OBJECT
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


def full_setup(
    checker: ContextChecker, task: Task, master: ExtentMasterKey, extent: Extent
) -> DataUnitCipher:
    """All that fscrypt does for a new key without blk-crypto, in its order."""
    checker.does(task, KEY_SEMAPHORE)
    checker.does(task, KMALLOC_KEY_OBJECT)
    checker.does(task, ALLOC_SKCIPHER)
    return derive_and_set(checker, task, master, extent)


class FullSetupAtIo:
    """V1: everything at every I/O, nothing kept."""

    name = "V1"

    def __init__(self, checker: ContextChecker, on_cpu: OnCpu = at_once) -> None:
        self.checker = checker
        self._on_cpu = on_cpu

    def open_file(self, task: Task, file: ExtentFile) -> None:
        """Nothing."""

    def crypt(self, task: Task, file: ExtentFile, io: ExtentIo) -> Steps[U8Array]:
        """See ``KeySetupVariant``."""
        cipher = full_setup(self.checker, task, file.master, io.extent)
        yield from self._on_cpu(task)
        result = run(self.checker, task, cipher, io)
        cipher.wipe()
        return result

    def close_file(self, file: ExtentFile) -> None:
        """Nothing."""

    def free_extent(self, file: ExtentFile, extent: Extent) -> None:
        """Nothing."""

    def remove_key(self, master: ExtentMasterKey) -> None:
        """Nothing."""

    @property
    def memory_bytes(self) -> int:
        """None."""
        return 0

    @property
    def keys_held(self) -> int:
        """None."""
        return 0


class AllAtOpen:
    """V2: every extent when the file is opened.

    An extent that is made later, as each write on a copy-on-write filesystem makes one, was not there at
    open: it gets its full setup at its first I/O.
    """

    name = "V2"

    def __init__(self, checker: ContextChecker, on_cpu: OnCpu = at_once) -> None:
        self.checker = checker
        self._on_cpu = on_cpu
        self._ciphers: dict[ExtentFile, dict[Extent, DataUnitCipher]] = {}

    def open_file(self, task: Task, file: ExtentFile) -> None:
        """Set up every extent; a failure leaves nothing behind."""
        ready: dict[Extent, DataUnitCipher] = {}
        try:
            for extent in file.extents:
                ready[extent] = full_setup(self.checker, task, file.master, extent)
        except BaseException:
            for cipher in ready.values():
                cipher.wipe()
            raise
        self._ciphers[file] = ready

    def crypt(self, task: Task, file: ExtentFile, io: ExtentIo) -> Steps[U8Array]:
        """See ``KeySetupVariant``."""
        ready = self._ciphers[file]
        cipher = ready.get(io.extent)
        if cipher is None:
            cipher = ready[io.extent] = full_setup(self.checker, task, file.master, io.extent)
        yield from self._on_cpu(task)
        return run(self.checker, task, cipher, io)

    def close_file(self, file: ExtentFile) -> None:
        """Free all of the file's transforms."""
        for cipher in self._ciphers.pop(file, {}).values():
            cipher.wipe()

    def free_extent(self, file: ExtentFile, extent: Extent) -> None:
        """Free one."""
        cipher = self._ciphers.get(file, {}).pop(extent, None)
        if cipher is not None:
            cipher.wipe()

    def remove_key(self, master: ExtentMasterKey) -> None:
        """Nothing: open files keep working, as their keys are theirs."""

    @property
    def memory_bytes(self) -> int:
        """A transform per extent of every open file."""
        return TRANSFORM_BYTES * sum(map(len, self._ciphers.values()))

    @property
    def keys_held(self) -> int:
        """One per extent of every open file."""
        return sum(map(len, self._ciphers.values()))
