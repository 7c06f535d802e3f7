"""The smallest world in which the block layer does real I/O: a disk in memory that encrypts for real."""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from blkcrypto.base.dun import duns_to_ivs
from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import start_using_key
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import BioVec
from blkcrypto.block.capabilities import Capabilities, capabilities
from blkcrypto.block.device import BlockDevice, Disk
from blkcrypto.block.era import kernel_profile
from blkcrypto.block.fallback import Fallback
from blkcrypto.block.init_key import init_key
from blkcrypto.block.kernel import SPLIT_BIOS, Kernel
from blkcrypto.block.key import BlkCryptoKey, ConfigFlags, CryptoModeNum, KeyType
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.mempool import Grant, plenty
from blkcrypto.block.modes import MODES
from blkcrypto.block.op import ReqOp
from blkcrypto.block.plug import plugged
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.block.queue import RequestQueue
from blkcrypto.block.request import Request
from blkcrypto.block.submit import blk_crypto_submit_bio
from blkcrypto.block.trace import BlockEvent
from blkcrypto.block.waiting import RunLoop, Steps, Task
from blkcrypto.crypto.cipher import new_cipher

U8 = npt.NDArray[np.uint8]
XTS = CryptoModeNum.AES_256_XTS
ANY_SIZE = capabilities({XTS: 0x1FE00}, max_dun_bytes=32)


class ProgramFailed(BlkCryptoError):
    errno = errno.EBUSY


@dataclass
class MemoryDisk:
    """A driver with keyslots.  It keeps requests until told to complete one."""

    medium: U8
    queue: RequestQueue | None = None
    pending: list[Request] = field(default_factory=list)
    slots: dict[int, BlkCryptoKey] = field(default_factory=dict)
    calls: list[tuple[str, str, int]] = field(default_factory=list)
    seen: list[tuple[ReqOp, int, int, int | None]] = field(default_factory=list)
    program_error: BlkCryptoError | None = None
    busy: int = 0
    status: BlkStatus = BlkStatus.OK
    during_program: Callable[[], None] = lambda: None

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        self.calls.append(("program", key.label, slot))
        self.during_program()
        if self.program_error is not None:
            raise self.program_error
        self.slots[slot] = key

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        self.calls.append(("evict", key.label, slot))
        self.slots.pop(slot, None)

    def queue_rq(self, rq: Request) -> BlkStatus:
        if self.busy:
            self.busy -= 1
            return BlkStatus.RESOURCE
        dun = None if rq.crypt_ctx is None else rq.crypt_ctx.dun
        self.seen.append((rq.op, rq.sector, rq.sectors, dun))
        self.pending.append(rq)
        return BlkStatus.OK

    def reset(self) -> None:
        """The controller loses its keyslots."""
        self.slots.clear()

    def complete_next(self, pick: int = 0) -> Request:
        rq = self.pending.pop(pick)
        assert self.queue is not None
        if self.status is BlkStatus.OK:
            self.transfer(rq, rq.nbytes)
        self.queue.complete(rq, self.status)
        return rq

    def complete_part(self, nbytes: int) -> Request:
        rq = self.pending[0]
        assert self.queue is not None
        self.transfer(rq, nbytes)
        if not self.queue.complete(rq, BlkStatus.OK, nbytes):
            self.pending.pop(0)
        return rq

    def transfer(self, rq: Request, nbytes: int) -> None:
        """Move data between the request's memory and the medium, through the engine."""
        parts = [vec.data for bio in rq.bios for vec in bio.bvecs()]
        data = [part for part in parts if part is not None]
        if not data or rq.op not in (ReqOp.READ, ReqOp.WRITE):
            return
        medium = self.medium[rq.sector * 512 : rq.sector * 512 + nbytes]
        if rq.op is ReqOp.WRITE:
            plain = np.concatenate(data)[:nbytes]
            medium[:] = self.engine(rq, plain, encrypt=True)
            return
        plain = self.engine(rq, medium.copy(), encrypt=False)
        done = 0
        for part in data:
            take = min(len(part), nbytes - done)
            part[:take] = plain[done : done + take]
            done += take

    def engine(self, rq: Request, data: U8, *, encrypt: bool) -> U8:
        ctx = rq.crypt_ctx
        if ctx is None:
            return data
        assert self.queue is not None
        profile = self.queue.profile
        assert profile is not None
        if profile.num_slots:
            assert self.slots.get(rq.keyslot) is ctx.key, f"slot {rq.keyslot} does not hold {ctx.key}"
        return crypt_units(ctx.key, ctx.dun, data, encrypt=encrypt)


def crypt_units(key: BlkCryptoKey, dun: int, data: U8, *, encrypt: bool) -> U8:
    """What hardware makes of whole data units: an independent path from the fallback's."""
    cfg = key.crypto_cfg
    mode = MODES[cfg.crypto_mode]
    cipher = new_cipher(mode.name, key.raw)
    units = np.ascontiguousarray(data).reshape(-1, cfg.data_unit_size)
    ivs = duns_to_ivs(dun, len(units), iv_bytes=mode.iv_bytes)
    return (cipher.encrypt if encrypt else cipher.decrypt)(ivs, units).reshape(-1)


def plain_fallback(kernel: Kernel, loop: RunLoop) -> Fallback:
    return Fallback(kernel, loop, np.random.default_rng(7))


class World:
    """One kernel, one disk, one run loop.

    Args:
        era: kernel version.
        native: what the disk can encrypt; None for a disk that cannot.
        slots: keyslots of the disk.
        fallback: makes the fallback; None for one with Linux's defaults.
        built: whether the kernel has a fallback at all.
        choose: how the run loop picks, also among pending requests.
        driver: of the disks.
    """

    def __init__(
        self,
        era: str = "7.3",
        *,
        native: Capabilities | None = ANY_SIZE,
        slots: int = 2,
        fallback: Callable[[Kernel, RunLoop], Fallback] | None = None,
        capacity: int = 1 << 14,
        limits: QueueLimits | None = None,
        depth: int = 31,
        scheduler: str = "none",
        page_bytes: int = 4096,
        memory: Grant = plenty,
        ctx_reserve: int = 128,
        rq_ctx_reserve: int | None = None,
        split_reserve: int = SPLIT_BIOS,
        choose: Callable[[int], int] = lambda _n: 0,
        built: bool = True,
        driver: type[MemoryDisk] = MemoryDisk,
    ) -> None:
        self.events: list[BlockEvent] = []
        self.kernel = Kernel(
            kernel_profile(era),
            page_bytes=page_bytes,
            memory=memory,
            ctx_reserve=ctx_reserve,
            rq_ctx_reserve=rq_ctx_reserve,
            tracer=self.events.append,
        )
        self.choose = choose
        self.loop = RunLoop(self.let_a_device_work, choose)
        self.disks: list[MemoryDisk] = []
        self._driver = driver
        self._address = 1 << 20
        self._split_reserve = split_reserve
        self.limits = limits or QueueLimits(page_bytes=page_bytes)
        if built:
            (fallback or plain_fallback)(self.kernel, self.loop)
        self.memory_disk, self.disk = self.add_disk(
            "sda", native, slots, capacity=capacity, depth=depth, scheduler=scheduler
        )
        self.bdev = self.disk.whole
        self.done: list[tuple[str, BlkStatus]] = []

    def add_disk(
        self,
        name: str,
        native: Capabilities | None,
        slots: int = 2,
        *,
        capacity: int = 1 << 14,
        depth: int = 31,
        scheduler: str = "none",
    ) -> tuple[MemoryDisk, Disk]:
        driver = self._driver(np.zeros(capacity * 512, dtype=np.uint8))
        profile = None
        if native is not None:
            kernel = self.kernel
            profile = CryptoProfile(name, slots, native, driver, era=kernel.era, warn=kernel.warn)
        queue = RequestQueue(
            self.kernel,
            name,
            self.limits,
            driver,
            depth=depth,
            scheduler=scheduler,
            profile=profile,
            split_reserve=self._split_reserve,
        )
        driver.queue = queue
        self.disks.append(driver)
        return driver, queue.make_disk(capacity)

    @property
    def queue(self) -> RequestQueue:
        assert self.memory_disk.queue is not None
        return self.memory_disk.queue

    @property
    def profile(self) -> CryptoProfile:
        assert self.disk.profile is not None
        return self.disk.profile

    def let_a_device_work(self) -> bool:
        """Complete one request somewhere; False when there is none."""
        busy = [disk for disk in self.disks if disk.pending]
        if not busy:
            for disk in self.disks:
                assert disk.queue is not None
                disk.queue.run()
            return any(disk.pending for disk in self.disks)
        disk = busy[self.choose(len(busy))]
        disk.complete_next(self.choose(len(disk.pending)))
        return True

    def key(
        self,
        label: str,
        *,
        size: int = 512,
        allow_hw: bool = True,
        start: bool = True,
        dun_bytes: int = 8,
        bdev: BlockDevice | None = None,
    ) -> BlkCryptoKey:
        raw = np.random.default_rng(list(label.encode())).bytes(64)
        flags = ConfigFlags.ALLOW_HW if allow_hw else ConfigFlags.NONE
        key = init_key(
            raw, XTS, dun_bytes=dun_bytes, data_unit_size=size, flags=flags, era=self.kernel.era, label=label
        )
        if start:
            start_using_key(self.kernel, bdev or self.bdev, key)
        return key

    def wrapped_key(self, label: str, *, size: int = 512) -> BlkCryptoKey:
        return init_key(
            label.encode().ljust(68, b"."),
            XTS,
            dun_bytes=8,
            data_unit_size=size,
            key_type=KeyType.HW_WRAPPED,
            era=self.kernel.era,
            label=label,
        )

    def vecs(self, data: U8 | int, layout: Sequence[int] = (), *, gap: int = 1 << 16) -> list[BioVec]:
        """Memory: vectors of ``layout`` bytes, then the rest in one, each at the start of a page.

        ``data`` may be a number of bytes, for memory without payload.
        """
        size = data if isinstance(data, int) else len(data)
        lengths = [*layout]
        assert sum(lengths) <= size
        if sum(lengths) < size:
            lengths.append(size - sum(lengths))
        vecs, done = [], 0
        for length in lengths:
            part = None if isinstance(data, int) else data[done : done + length]
            vecs.append(BioVec(self._address, length, part))
            done += length
            self._address += -(-(length + gap) // gap) * gap
        return vecs

    def bio(
        self,
        op: ReqOp,
        sector: int,
        data: U8 | int = 0,
        *,
        layout: Sequence[int] = (),
        vecs: Sequence[BioVec] | None = None,
        flags: ReqFlags = ReqFlags.NONE,
        name: str = "",
        bdev: BlockDevice | None = None,
        nbytes: int = 0,
        end_io: Callable[[Bio], None] | None = None,
    ) -> Bio:
        """A bio whose end is recorded in ``done``."""
        if vecs is None:
            vecs = self.vecs(data, layout) if not isinstance(data, int) or data else ()

        def finished(bio: Bio) -> None:
            self.done.append((name, bio.status))
            if end_io is not None:
                end_io(bio)

        return Bio(bdev or self.bdev, op, sector, vecs, nbytes=nbytes, flags=flags, end_io=finished)

    def submission(
        self, task: Task, bios: Sequence[tuple[Bio, BlkCryptoKey | None, int]], *, plug: bool = False
    ) -> Steps[None]:
        """Attach contexts and submit, one bio after the other."""
        if plug:
            with plugged(task):
                yield from self._submit_each(task, bios)
        else:
            yield from self._submit_each(task, bios)

    def _submit_each(self, task: Task, bios: Sequence[tuple[Bio, BlkCryptoKey | None, int]]) -> Steps[None]:
        for bio, key, dun in bios:
            if key is not None:
                yield from bio.set_ctx(task, self.kernel.ctx_pool, key, dun)
            yield from blk_crypto_submit_bio(self.kernel, task, bio)

    def submit(
        self, *bios: tuple[Bio, BlkCryptoKey | None, int], plug: bool = False, task: str = "task"
    ) -> None:
        """Submit from one task and run until it sleeps or is done; devices do not work meanwhile."""
        running = Task(task)
        self.loop.spawn(running, self.submission(running, bios, plug=plug))
        while self.loop.step():
            pass

    def write(self, sector: int, data: U8, key: BlkCryptoKey | None = None, dun: int = 0) -> None:
        self.submit((self.bio(ReqOp.WRITE, sector, data), key, dun))
        self.loop.run()

    def read(self, sector: int, size: int, key: BlkCryptoKey | None = None, dun: int = 0) -> U8:
        data = np.zeros(size, dtype=np.uint8)
        self.submit((self.bio(ReqOp.READ, sector, data), key, dun))
        self.loop.run()
        return data


def pattern(size: int, seed: int = 1) -> U8:
    """Plaintext that repeats nowhere."""
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
