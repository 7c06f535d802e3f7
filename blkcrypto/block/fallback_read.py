"""The read path of the fallback: plain I/O first, decryption by a worker afterwards.

Rules (block/blk-crypto-fallback.c; reference block-layer.md section 4.4):

- At submission the context, the end_io and *the iterator* are kept, the context is freed, and the bio goes
  on as plain I/O.  It may be split below; the worker decrypts what the kept iterator covers, once, whole.
- A failed read is not decrypted.  Completion must not sleep and decryption may, hence the worker.
- No slot is held while the device works.
- What was read is decrypted in order; pages in a row whose keys are in slots are decrypted together.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import Bio
from blkcrypto.block.bvec import BvecIter, segments
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.device import BlockDevice
from blkcrypto.block.era import AlignmentCheck
from blkcrypto.block.fallback_cipher import KeyedPage, crypt, crypt_together, in_slot, misaligned
from blkcrypto.block.fallback_slots import FallbackEngine
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.mempool import Mempool
from blkcrypto.block.pages import Page
from blkcrypto.block.waiting import RunLoop, Steps, Task, WorkQueue


class _KeptPage(NamedTuple):
    """The same of a page: what it was before its context was taken off."""

    engine: FallbackEngine
    bdev: BlockDevice
    page: Page
    owner: str

    def bio(self) -> tuple[Bio, "_Kept"]:
        """The bio that it stands for, read but not decrypted."""
        page, bio = self.page, self.page.bio(self.bdev)
        assert page.key is not None
        return bio, _Kept(
            self.engine, BioCryptCtx(page.key, page.dun), bio.it, bio.end_io, bio.private, self.owner
        )


@dataclass(slots=True, eq=False)
class _Kept:
    """``struct bio_fallback_crypt_ctx``."""

    engine: FallbackEngine
    ctx: BioCryptCtx
    it: BvecIter
    end_io: Callable[[Bio], None] | None
    private: object
    owner: str


class ReadPath:
    """Reads through the fallback.

    Args:
        kernel: the system.
        loop: runs the workers.
        contexts: read contexts set aside.
        workers: CPUs that decrypt.
    """

    def __init__(self, kernel: Kernel, loop: RunLoop, contexts: int, workers: int) -> None:
        self._kernel = kernel
        self.contexts = Mempool("fallback read contexts", contexts, kernel.memory)
        self._work = WorkQueue("blk_crypto_wq", loop, workers)
        self._workers = workers
        # While it holds any, a work item is queued or running that will come to them.
        self._done: deque[tuple[Bio, _Kept] | _KeptPage] = deque()

    def hook(self, task: Task, bio: Bio, engine: FallbackEngine) -> Steps[None]:
        """Take the context off ``bio`` and be told when the device has read it."""
        if not self.contexts.try_alloc(task):
            yield from self.contexts.alloc(task)
        assert bio.crypt_ctx is not None
        kept = _Kept(engine, bio.crypt_ctx.copy(), bio.it, bio.end_io, bio.private, task.name)
        bio.private = None
        bio.end_io = lambda done: self._device_done(done, kept)
        bio.free_ctx()

    def _device_done(self, bio: Bio, kept: _Kept) -> None:
        bio.reopen(kept.end_io, kept.private)
        if bio.status is not BlkStatus.OK:
            self.contexts.free(kept.owner)
            bio.complete()
            return
        self._read_is_done((bio, kept))

    def take_pages(
        self, task: Task, bdev: BlockDevice, pages: Sequence[Page], engine: FallbackEngine
    ) -> list[Page]:
        """``hook`` for pages, for which contexts were taken: what to submit in their place."""
        kept = [_KeptPage(engine, bdev, page, task.name) for page in pages]
        return [each.page.without_ctx(each.page.data, partial(self._page_done, each)) for each in kept]

    def _page_done(self, kept: _KeptPage, status: BlkStatus) -> None:
        if status is BlkStatus.OK:
            self._read_is_done(kept)
        else:
            self._end(kept, status)

    def _end(self, kept: _KeptPage, status: BlkStatus) -> None:
        self.contexts.free(kept.owner)
        kept.page.ended(status)

    def _read_is_done(self, done: tuple[Bio, _Kept] | _KeptPage) -> None:
        self._done.append(done)
        if len(self._done) <= self._workers:
            self._work.queue(self._decrypt_all)

    def _decrypt_all(self, _worker: Task) -> Steps[None]:
        while self._done:
            self._decrypt_together()
            if self._done:
                first = self._done.popleft()
                if self._done:
                    self._work.queue(self._decrypt_all)  # for a worker that need not wait for this one
                bio, kept = first.bio() if isinstance(first, _KeptPage) else first
                yield from self._decrypt(bio, kept)

    def _decrypt_together(self) -> None:
        """Decrypt and complete the pages in front whose keys are in slots."""
        run: list[_KeptPage] = []
        keyed: list[KeyedPage] = []
        for kept in self._done:
            found = in_slot(kept.engine, kept.page, keyed) if isinstance(kept, _KeptPage) else None
            if not isinstance(kept, _KeptPage) or found is None:
                break
            run.append(kept)
            keyed.append(found)
        if not run:
            return
        plaintexts = crypt_together(keyed, encrypt=False)
        run[0].engine.profile.put_keyslots([each.slot for each in keyed])
        if plaintexts is None:
            return  # one after the other then, to find out whose cipher refuses
        for kept, plaintext in zip(run, plaintexts, strict=True):
            self._done.popleft()
            kept.page.data[:] = plaintext
            self._end(kept, BlkStatus.OK)

    def _decrypt(self, bio: Bio, kept: _Kept) -> Steps[None]:
        profile = kept.engine.profile
        key = kept.ctx.key
        grant = profile.hit(key) or (yield from profile.get_keyslot(key))
        status = grant.status
        if status is BlkStatus.OK:
            status = self._decrypt_in(bio, kept, grant.slot)
            profile.put_keyslot(grant.slot)
        self.contexts.free(kept.owner)
        bio.complete(status)

    def _decrypt_in(self, bio: Bio, kept: _Kept, slot: int) -> BlkStatus:
        key = kept.ctx.key
        parts = list(segments(bio.vecs, kept.it, self._kernel.page_bytes))
        if self._kernel.era.alignment_check is AlignmentCheck.WHERE_USED and misaligned(
            parts, key.crypto_cfg.data_unit_size
        ):
            return BlkStatus.INVAL
        status, plaintext = crypt(parts, key, kept.ctx.dun, kept.engine.slots.cipher(slot), encrypt=False)
        if plaintext is not None:
            offset = 0
            for part in parts:
                assert part.data is not None
                part.data[:] = plaintext[offset : offset + part.length]
                offset += part.length
        return status
