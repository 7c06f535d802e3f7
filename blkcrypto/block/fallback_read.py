"""The read path of the fallback: plain I/O first, decryption by a worker afterwards.

Rules (block/blk-crypto-fallback.c; reference block-layer.md section 4.4):

- At submission the context, the end_io and *the iterator* are kept, the context is freed, and the bio goes
  on as plain I/O.  It may be split below; the worker decrypts what the kept iterator covers, once, whole.
- A failed read is not decrypted.  Completion must not sleep and decryption may, hence the worker.
- No slot is held while the device works.
"""

from collections.abc import Callable
from dataclasses import dataclass

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import Bio
from blkcrypto.block.bvec import BvecIter, segments
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.era import AlignmentCheck
from blkcrypto.block.fallback_cipher import crypt, misaligned
from blkcrypto.block.fallback_slots import FallbackEngine
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.mempool import Mempool
from blkcrypto.block.waiting import RunLoop, Steps, Task, WorkQueue


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
        self._work.queue(lambda _worker: self._decrypt(bio, kept))

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
