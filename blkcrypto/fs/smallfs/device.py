"""The block device of a small filesystem: a queue with its drive, the kernel's fallback, and who waits.

A filesystem's submitter holds a plug while it submits, as writeback and direct I/O do, and then waits for
all of its bios.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block import api
from blkcrypto.block.bio import Bio
from blkcrypto.block.bvec import PAGE_BYTES, BioVec
from blkcrypto.block.capabilities import Capabilities
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.era import NEWEST, KernelProfile
from blkcrypto.block.fallback import Fallback
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.key import BlkCryptoKey, CryptoConfig
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.plug import plugged
from blkcrypto.block.profile import CryptoProfile, WrappedKeysNotSupported
from blkcrypto.block.queue import RequestQueue
from blkcrypto.block.submit import blk_crypto_submit_bio
from blkcrypto.block.waiting import RunLoop, Steps, Task
from blkcrypto.fs.smallfs.drive import MemoryDrive
from blkcrypto.fs.smallfs.errors import IoFailed

_SECTORS = 1 << 40


@dataclass(frozen=True, slots=True)
class FileBio:
    """A bio of a filesystem, before it is one.

    Attributes:
        op: READ or WRITE.
        sector: first 512-byte sector.
        vecs: its memory.
        ctx: key and DUN of its first byte; None without encryption by the block layer.
    """

    op: ReqOp
    sector: int
    vecs: tuple[BioVec, ...]
    ctx: BioCryptCtx | None


class BackingDevice:
    """A disk with whatever encrypts for it.

    Args:
        drive: keeps the data.
        native: what the drive's engine can encrypt; None for a drive without one.
        keyslots: of the engine.
        era: kernel version; the same as the filesystem's.
        limits: of the queue; whole blocks of the filesystem at least.
        page_bytes: page size of the machine.
        has_fallback: whether the kernel was built with one.
        watch: told of every bio the filesystem submits.

    Attributes:
        drive: as given.
        kernel: with the pools and the log.
        queue: with its counts.
    """

    def __init__(
        self,
        drive: MemoryDrive,
        *,
        native: Capabilities | None = None,
        keyslots: int = 16,
        era: KernelProfile = NEWEST,
        limits: QueueLimits | None = None,
        page_bytes: int = PAGE_BYTES,
        has_fallback: bool = True,
        watch: Callable[[Bio], None] = lambda _bio: None,
    ) -> None:
        self.drive = drive
        self.kernel = Kernel(era, page_bytes=page_bytes)
        self._loop = RunLoop(drive.work)
        self.watch = watch
        if has_fallback:
            # Its only use of randomness is the key that fills an evicted slot.
            Fallback(self.kernel, self._loop, np.random.default_rng(0))
        profile = None
        if native is not None:
            profile = CryptoProfile("fsdev", keyslots, native, drive, era=era, warn=self.kernel.warn)
        block = drive.block_size
        limits = limits or QueueLimits(
            logical_block_size=block, physical_block_size=block, page_bytes=page_bytes
        )
        self.queue = drive.queue = RequestQueue(self.kernel, "fsdev", limits, drive, profile=profile)
        self._bdev = self.queue.make_disk(_SECTORS).whole

    def submit(self, bios: Iterable[FileBio]) -> None:
        """Submit ``bios`` under one plug and wait for all of them.

        Raises:
            IoFailed: one of them ended with an error, the first of which is named (EIO).
        """
        failed: list[Bio] = []

        def ended(bio: Bio) -> None:
            if bio.status is not BlkStatus.OK:
                failed.append(bio)

        task = Task("filesystem")
        self._loop.spawn(task, self._submission(task, bios, ended))
        self._loop.run()
        if failed:
            raise IoFailed(f"{failed[0]!r} ended with {failed[0].status}")

    def _submission(self, task: Task, bios: Iterable[FileBio], ended: Callable[[Bio], None]) -> Steps[None]:
        with plugged(task):
            for each in bios:
                bio = Bio(self._bdev, each.op, each.sector, each.vecs, end_io=ended)
                if each.ctx is not None:
                    yield from bio.set_ctx(task, self.kernel.ctx_pool, each.ctx.key, each.ctx.dun)
                self.watch(bio)
                yield from blk_crypto_submit_bio(self.kernel, task, bio)

    def config_supported(self, config: CryptoConfig) -> bool:
        """Whether hardware or fallback takes ``config``; kernels up to 7.2 ask."""
        return api.config_supported(self.kernel, self._bdev, config)

    def start_using_key(self, key: BlkCryptoKey) -> None:
        """Make sure that I/O with ``key`` can work.

        Raises:
            NoHardwareForWrappedKey: EOPNOTSUPP.
            FallbackNotBuilt, AlgorithmMissing: ENOPKG.
        """
        api.start_using_key(self.kernel, self._bdev, key)

    def evict_key(self, key: BlkCryptoKey) -> None:
        """Make drive or fallback forget ``key``; its I/O is over."""
        api.evict_key(self.kernel, self._bdev, key)

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        """Software secret of a wrapped key.

        Raises:
            WrappedKeysNotSupported: the drive takes none (EOPNOTSUPP).
            BlkCryptoError: what the hardware says (EBADMSG).
        """
        if self.queue.profile is None:
            raise WrappedKeysNotSupported("this drive takes no hardware-wrapped keys")
        return self.queue.profile.derive_sw_secret(eph_key)

    @property
    def keys_held(self) -> frozenset[BlkCryptoKey]:
        """Keys in a slot of the drive or of the fallback."""
        profiles = [self.queue.profile]
        if self.kernel.fallback is not None and self.kernel.fallback.engine is not None:
            profiles.append(self.kernel.fallback.engine.profile)
        tables = [profile.table for profile in profiles if profile is not None]
        return frozenset(key for table in tables if table is not None for _, key in table.programmed())


def sector_of(block: int, block_size: int) -> int:
    """First 512-byte sector of a block."""
    return block * block_size >> SECTOR_SHIFT
