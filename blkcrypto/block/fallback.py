"""The crypto API fallback: encryption on the CPU for devices that cannot.

Entry (block/blk-crypto-fallback.c; reference block-layer.md section 4.1): the mode was started, else a
warning and an I/O error; then the key is raw (7.3) or the fallback's profile takes its configuration
(before), else NOTSUPP.  The two directions are in ``fallback_write`` and ``fallback_read``.

There is one fallback per system, with 100 keyslots of its own in a profile like any other.
"""

import errno
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import Bio
from blkcrypto.block.capabilities import ALL_SIZES, capabilities
from blkcrypto.block.device import BlockDevice
from blkcrypto.block.fallback_cipher import KeyedPage, in_slot
from blkcrypto.block.fallback_read import ReadPath
from blkcrypto.block.fallback_slots import (
    NUM_KEYSLOTS,
    CipherProvider,
    FallbackEngine,
    FallbackSlots,
    SoftwareCiphers,
)
from blkcrypto.block.fallback_write import WritePath
from blkcrypto.block.kernel import PREALLOC_CRYPT_CTXS, Kernel
from blkcrypto.block.key import BlkCryptoKey, CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.block.modes import MODES, REAL_MODES
from blkcrypto.block.op import ReqOp
from blkcrypto.block.pages import Page
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.block.waiting import RunLoop, Steps, Task

BIO_SET: Final = 64
DUN_BYTES: Final = 32


class AlgorithmMissing(BlkCryptoError):
    """The kernel was built without the mode's algorithm."""

    errno = errno.ENOPKG


class TakenPages(NamedTuple):
    """Pages that the fallback took together.

    Attributes:
        plain: what to submit in their place, in order.
        slots: held for the writes until that is done.
    """

    plain: Sequence[Page] = ()
    slots: Sequence[int] = ()


class Fallback:
    """``blk-crypto-fallback``.

    Args:
        kernel: the system; the fallback registers itself there.
        loop: runs the workers that decrypt.
        rng: makes the blank key.
        num_keyslots: boot parameter.
        bounce_pages: boot parameter; the kernel version's default when None.
        read_contexts: boot parameter.
        bios: bios set aside for ciphertext, or for splitting before 7.0.
        workers: CPUs that decrypt.
        provider: where ciphers come from.
        kmalloc_fails: whether a small allocation fails now; only kernels before 7.0 make one.
    """

    def __init__(
        self,
        kernel: Kernel,
        loop: RunLoop,
        rng: np.random.Generator,
        *,
        num_keyslots: int = NUM_KEYSLOTS,
        bounce_pages: int | None = None,
        read_contexts: int = PREALLOC_CRYPT_CTXS,
        bios: int = BIO_SET,
        workers: int = 1,
        provider: CipherProvider | None = None,
        kmalloc_fails: Callable[[], bool] = lambda: False,
    ) -> None:
        self._kernel = kernel
        self._rng = rng
        self._num_keyslots = num_keyslots
        self._provider: CipherProvider = provider or SoftwareCiphers()
        self._started: set[CryptoModeNum] = set()
        self.engine: FallbackEngine | None = None
        self.writes = WritePath(kernel, bounce_pages or kernel.era.bounce_pages, bios, kmalloc_fails)
        self.reads = ReadPath(kernel, loop, read_contexts, workers)
        kernel.fallback = self

    def start_using_mode(self, num: CryptoModeNum) -> None:
        """Make all ciphers of a mode: ``blk_crypto_fallback_start_using_mode()``.

        Raises:
            AlgorithmMissing: ENOPKG.
            BlkCryptoError: what the provider raised; nothing is kept of a failed start.
        """
        if num in self._started:
            return
        if self.engine is None:
            self.engine = self._build()
        try:
            self._provider.allocate(MODES[num], self._num_keyslots)
        except BlkCryptoError as error:
            if error.errno == errno.ENOENT:
                raise AlgorithmMissing(f"the crypto API has no {MODES[num].name}") from error
            raise
        self._started.add(num)

    def _build(self) -> FallbackEngine:
        """Profile, workqueue and pools, at the first start of any mode."""
        self._provider.build_pools()
        slots = FallbackSlots(self._num_keyslots, self._provider, self._rng)
        can = capabilities({row.num: ALL_SIZES for row in REAL_MODES}, max_dun_bytes=DUN_BYTES)
        kernel = self._kernel
        profile = CryptoProfile(
            "blk-crypto-fallback", self._num_keyslots, can, slots, era=kernel.era, warn=kernel.warn
        )
        return FallbackEngine(profile, slots)

    def evict_key(self, key: BlkCryptoKey) -> None:
        """Forget ``key``; it was never there when the fallback, or (some kernels) its mode, never started."""
        if self.engine is None:
            return
        if self._kernel.era.evict_skips_unstarted_modes and key.crypto_cfg.crypto_mode not in self._started:
            return
        self.engine.profile.evict_key(key)

    def _admit(self, bio: Bio) -> FallbackEngine | None:
        """The engine for ``bio``, or None when it was refused and has completed."""
        assert bio.crypt_ctx is not None
        config = bio.crypt_ctx.key.crypto_cfg
        if self.engine is None or config.crypto_mode not in self._started:
            self._kernel.warn_once(f"I/O with {MODES[config.crypto_mode].name} before its mode was started")
            bio.complete(BlkStatus.IOERR)
            return None
        supported = self._supports(self.engine, config)
        if not supported:
            bio.complete(BlkStatus.NOTSUPP)
            return None
        return self.engine

    def _supports(self, engine: FallbackEngine, config: CryptoConfig) -> bool:
        if self._kernel.era.fallback_checks_config:
            return engine.profile.capabilities.supports(config, self._kernel.era)
        return config.key_type == KeyType.RAW

    def take_above(self, task: Task, bio: Bio) -> Steps[bool]:
        """``blk_crypto_fallback_bio_prep()`` of 7.0.

        Returns:
            True when the caller submits ``bio`` itself (a read); False when it was consumed.
        """
        engine = self._admit(bio)
        if engine is None:
            return False
        if bio.is_write:
            yield from self.writes.above(task, bio, engine)
            return False
        yield from self.reads.hook(task, bio, engine)
        return True

    def take_pages(self, task: Task, bdev: BlockDevice, pages: Sequence[Page]) -> TakenPages:
        """``take_above`` for those of ``pages`` in front for which no step would wait or fail.

        They have contexts that the device of ``bdev`` does not support.
        """
        engine = self.engine
        if engine is None:
            return TakenPages()
        run: list[Page] = []
        writes: list[KeyedPage] = []
        for page in pages:
            if not self._admits(engine, page, run[-1].key if run else None):
                break
            if page.op is ReqOp.WRITE:
                keyed = in_slot(engine, page, writes)
                if keyed is None:
                    break
                writes.append(keyed)
            run.append(page)
        slots = [keyed.slot for keyed in writes]
        plain = self._in_place_of(task, bdev, run, writes, engine)
        if not plain:
            engine.profile.put_keyslots(slots)
            return TakenPages()
        return TakenPages(plain, slots)

    def _admits(self, engine: FallbackEngine, page: Page, admitted: BlkCryptoKey | None) -> bool:
        """Whether ``page`` may be taken; its key need not be looked at when it is ``admitted``."""
        key = page.key
        assert key is not None
        config = key.crypto_cfg
        if key is not admitted and not (
            config.crypto_mode in self._started and self._supports(engine, config)
        ):
            return False
        return not len(page.data) % config.data_unit_size

    def _in_place_of(
        self,
        task: Task,
        bdev: BlockDevice,
        run: Sequence[Page],
        writes: Sequence[KeyedPage],
        engine: FallbackEngine,
    ) -> list[Page]:
        """What to submit instead; nothing, and nothing is done, when a pool is short or a cipher refuses."""
        reads = [page for page in run if page.op is ReqOp.READ]
        if not self.reads.contexts.try_alloc(task, len(reads)):
            return []
        ciphertext = self.writes.take_pages(task, writes) if writes else []
        if ciphertext is None:
            self.reads.contexts.free(task.name, len(reads))
            return []
        of_op = {
            ReqOp.WRITE: iter(ciphertext),
            ReqOp.READ: iter(self.reads.take_pages(task, bdev, reads, engine)),
        }
        return [next(of_op[page.op]) for page in run]

    def put_keyslots(self, slots: Sequence[int]) -> None:
        """Release what ``take_pages`` held."""
        if self.engine is not None:
            self.engine.profile.put_keyslots(slots)

    def take_inside(self, task: Task, bio: Bio) -> Steps[Bio | None]:
        """The same before 7.0: the bio to submit in place of ``bio``, or None when it has failed."""
        engine = self._admit(bio)
        if engine is None:
            return None
        if bio.is_write:
            return (yield from self.writes.inside(task, bio, engine))
        yield from self.reads.hook(task, bio, engine)
        return bio
