"""The write path of the fallback: ciphertext in bounce pages, submitted in place of the source.

Rules (block/blk-crypto-fallback.c; reference block-layer.md sections 4.2 and 4.3):

From 7.0, above the block layer: the submitter takes a slot and encrypts chunks of at most 256 single-page
segments into bounce pages, taken all at once.  Each chunk is submitted as soon as it is full; the source
completes with the last one, with the first error.  An error ends the write: what was submitted is on its
way.  The slot is held until the last chunk is submitted.

Before 7.0, inside it: a bio of more than 256 segments is split and the rest submitted anew; bounce pages
are taken one at a time, so that several writers may each hold some and wait for more for ever.  The slot is
put before submission.

Deviation: a chunk is never larger than the reserve of bounce pages, so that a reserve below 256 cannot
block for ever.  Linux's reserve is 256.
"""

from collections.abc import Callable, Sequence
from functools import partial

from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.bio import Bio
from blkcrypto.block.bvec import BIO_MAX_VECS, U8, BioVec, segments
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.era import AlignmentCheck
from blkcrypto.block.fallback_cipher import KeyedPage, crypt, crypt_together, misaligned
from blkcrypto.block.fallback_slots import FallbackEngine
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.mempool import Mempool
from blkcrypto.block.pages import Page
from blkcrypto.block.submit import submit_bio_noacct
from blkcrypto.block.waiting import Steps, Task
from blkcrypto.crypto.cipher import DataUnitCipher


class WritePath:
    """Writes through the fallback.

    Args:
        kernel: the system.
        bounce_pages: pages set aside.
        bios: bios set aside for ciphertext, or for splitting before 7.0.
        kmalloc_fails: whether a small allocation fails now; only kernels before 7.0 make one.
    """

    def __init__(
        self, kernel: Kernel, bounce_pages: int, bios: int, kmalloc_fails: Callable[[], bool]
    ) -> None:
        self._kernel = kernel
        self._kmalloc_fails = kmalloc_fails
        self.pages = Mempool("bounce pages", bounce_pages, kernel.memory)
        self.bios = Mempool("bios of the fallback", bios, kernel.memory)
        self._next_page = 1

    def _parts(self, bio: Bio) -> list[BioVec]:
        return list(segments(bio.vecs, bio.it, self._kernel.page_bytes))

    def above(self, task: Task, bio: Bio, engine: FallbackEngine) -> Steps[None]:
        """``blk_crypto_fallback_encrypt_bio()`` of 7.0: consumes ``bio``, which completes in any case."""
        ctx = bio.crypt_ctx
        assert ctx is not None
        profile = engine.profile
        grant = profile.hit(ctx.key) or (yield from profile.get_keyslot(ctx.key))
        if grant.status is not BlkStatus.OK:
            bio.complete(grant.status)
            return
        cipher, parts = engine.slots.cipher(grant.slot), self._parts(bio)
        most = min(BIO_MAX_VECS, self.pages.min_nr)
        for first in range(0, len(parts), most):
            twin = yield from self._next_chunk(task, bio, parts[first : first + most], ctx, cipher)
            if twin is None:
                break
            if first + most < len(parts):
                bio.remaining += 1
            yield from submit_bio_noacct(self._kernel, task, twin)
        engine.profile.put_keyslot(grant.slot)

    def _next_chunk(
        self, task: Task, source: Bio, parts: Sequence[BioVec], ctx: BioCryptCtx, cipher: DataUnitCipher
    ) -> Steps[Bio | None]:
        """The next ciphertext bio, and ``source`` moved past it; None when that failed ``source``."""
        if not self.bios.try_alloc(task):
            yield from self.bios.alloc(task)
        if len(parts) > 1 or not self.pages.try_alloc(task):
            yield from self.pages.alloc_bulk(task, len(parts))

        def done(twin: Bio) -> None:
            self.pages.free(task.name, len(parts))
            self.bios.free(task.name)
            source.complete(twin.status)

        if misaligned(parts, ctx.key.crypto_cfg.data_unit_size):
            status, ciphertext = BlkStatus.INVAL, None
        else:
            status, ciphertext = crypt(parts, ctx.key, ctx.dun, cipher, encrypt=True)
        twin = self._bounce(source, parts, ciphertext, done)
        if status is not BlkStatus.OK:
            twin.complete(status)
            return None
        # Linux keeps the running DUN aside and leaves the context's alone; nobody looks at it again.
        size = twin.nbytes
        source.advance(size)
        return twin

    def take_pages(self, task: Task, pages: Sequence[KeyedPage]) -> list[Page] | None:
        """The same for pages, encrypted together: the ciphertext to submit in their place.

        Returns:
            None, and nothing is done, when a pool is short or a cipher refuses.
        """
        count, owner = len(pages), task.name
        if not self.bios.try_alloc(task, count):
            return None
        if not self.pages.try_alloc(task, count):
            self.bios.free(owner, count)
            return None
        ciphertexts = crypt_together(pages, encrypt=True)
        if ciphertexts is None:
            self.bios.free(owner, count)
            self.pages.free(owner, count)
            return None
        return [
            page.without_ctx(ciphertext, partial(self._page_ended, owner, page))
            for (page, _, _), ciphertext in zip(pages, ciphertexts, strict=True)
        ]

    def _page_ended(self, owner: str, source: Page, status: BlkStatus) -> None:
        self.pages.free(owner)
        self.bios.free(owner)
        source.ended(status)

    def _bounce(
        self, source: Bio, parts: Sequence[BioVec], ciphertext: U8 | None, done: Callable[[Bio], None]
    ) -> Bio:
        """A bio over fresh bounce pages, at the offsets of ``parts``, with ``ciphertext`` and no context."""
        page, offset = self._kernel.page_bytes, 0
        vecs = []
        for part in parts:
            length = part.length
            data = None if ciphertext is None else ciphertext[offset : offset + length]
            # Every other page: bounce pages are single pages, never taken for contiguous ones.
            vecs.append(BioVec(2 * self._next_page * page + part.address % page, length, data))
            self._next_page += 1
            offset += length
        twin = Bio(
            source.bdev,
            source.op,
            source.sector,
            vecs,
            flags=source.flags,
            end_io=done,
            ioprio=source.ioprio,
            write_hint=source.write_hint,
            write_stream=source.write_stream,
            blkg=source.blkg,
        )
        twin.remapped = source.remapped
        return twin

    def inside(self, task: Task, bio: Bio, engine: FallbackEngine) -> Steps[Bio | None]:
        """The same before 7.0: the ciphertext bio to submit in place of ``bio``, or None when it failed."""
        bio = yield from self._split(task, bio)
        ctx = bio.crypt_ctx
        assert ctx is not None
        assert self._kernel.era.alignment_check is AlignmentCheck.AT_SUBMISSION
        if self._kmalloc_fails():  # the ciphertext bio
            bio.complete(BlkStatus.RESOURCE)
            return None
        grant = yield from engine.profile.get_keyslot(ctx.key)
        if grant.status is not BlkStatus.OK:
            bio.complete(grant.status)
            return None
        status, ciphertext, parts = BlkStatus.RESOURCE, None, self._parts(bio)
        if not self._kmalloc_fails():  # the cipher request
            for _ in parts:
                yield from self.pages.alloc(task)
            status, ciphertext = crypt(parts, ctx.key, ctx.dun, engine.slots.cipher(grant.slot), encrypt=True)
            if status is not BlkStatus.OK:
                self.pages.free(task.name, len(parts))
        engine.profile.put_keyslot(grant.slot)
        if status is not BlkStatus.OK:
            bio.complete(status)
            return None

        def done(twin: Bio) -> None:
            self.pages.free(task.name, len(parts))
            bio.complete(twin.status)

        twin = self._bounce(bio, parts, ciphertext, done)
        twin.traced = bio.traced
        return twin

    def _split(self, task: Task, bio: Bio) -> Steps[Bio]:
        """The front of ``bio`` that has at most 256 segments; the rest is submitted anew."""
        size = sum(part.length for part in self._parts(bio)[:BIO_MAX_VECS])
        if size == bio.nbytes:
            return bio
        yield from self.bios.alloc(task)
        front = yield from bio.split(task, size >> SECTOR_SHIFT)
        front.chain(bio, then=lambda: self.bios.free(task.name))
        yield from submit_bio_noacct(self._kernel, task, bio)
        return front
