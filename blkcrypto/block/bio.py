"""The bio: one run of sectors, the memory it moves, and who wants to know when it is done.

Rules (block/bio.c; reference block-layer.md sections 2.3, 3.10 and 7.1 invariant 22):

- A bio completes once.  A chained bio reports to its parent, which completes when its own part and all
  of its chain are done, with the first error among them.
- Splitting off a front gives the front the original DUN and advances the rest.
- A clone shares memory and copies the context.
"""

import enum
import errno
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block import bvec
from blkcrypto.block.bvec import BioVec, BvecIter
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.mempool import Mempool
from blkcrypto.block.op import ReqOp
from blkcrypto.block.waiting import Steps, Task

if TYPE_CHECKING:
    from blkcrypto.block.device import BlockDevice


class ReqFlags(enum.IntFlag):
    """``REQ_*`` flags the layer looks at; the values are our own.

    ``&`` gives a plain int, as it is asked some fifteen times for every bio and a member costs a microsecond;
    ``ReqFlags(...)`` makes it one where it is kept.
    """

    __and__ = int.__and__  # type: ignore[assignment]  # an int where IntFlag promises a member
    __rand__ = int.__rand__  # type: ignore[assignment]  # the same

    NONE = 0
    SYNC = 1
    NOMERGE = 2
    FUA = 4
    PREFLUSH = 8
    NOWAIT = 16
    ATOMIC = 32
    INTEGRITY = 64
    IDLE = 128


NOMERGE_FLAGS: Final = ReqFlags.NOMERGE | ReqFlags.PREFLUSH | ReqFlags.FUA
DATALESS_OPS: Final = frozenset({ReqOp.DISCARD, ReqOp.SECURE_ERASE, ReqOp.WRITE_ZEROES})


class SplitRefused(BlkCryptoError):
    """A bio cannot be split there: nothing or everything in front, or it is atomic."""

    errno = errno.EINVAL


class Bio:
    """``struct bio``.

    Args:
        bdev: the device it goes to.
        op: what to do.
        sector: first sector on ``bdev``.
        vecs: its memory; empty for a flush or a discard.
        nbytes: size of an operation without memory.
        flags: ``ReqFlags``.
        end_io: called once, with the bio, when it is done.
        ioprio: priority class and level as the kernel packs them; 0 is none.
        write_hint: lifetime hint.
        write_stream: stream on the device.
        blkg: the cgroup it is charged to.
    """

    __slots__ = (
        "bdev",
        "blkg",
        "crypt_ctx",
        "ctx_pool",
        "done",
        "end_io",
        "flags",
        "ioprio",
        "it",
        "op",
        "private",
        "remaining",
        "remapped",
        "status",
        "traced",
        "vecs",
        "write_hint",
        "write_stream",
    )

    def __init__(
        self,
        bdev: "BlockDevice",
        op: ReqOp,
        sector: int,
        vecs: Sequence[BioVec] = (),
        *,
        nbytes: int = 0,
        flags: ReqFlags = ReqFlags.NONE,
        end_io: Callable[["Bio"], None] | None = None,
        ioprio: int = 0,
        write_hint: int = 0,
        write_stream: int = 0,
        blkg: object = None,
    ) -> None:
        self.bdev = bdev
        self.op = op
        self.flags = flags
        self.vecs = tuple(vecs)
        if len(self.vecs) == 1:  # most bios, and quicker than the sum
            nbytes = self.vecs[0].length
        elif self.vecs:
            nbytes = sum(vec.length for vec in self.vecs)
        self.it = BvecIter(sector, nbytes)
        self.end_io = end_io
        self.private: object = None
        self.status = BlkStatus.OK
        self.remaining = 1
        self.done = False
        self.remapped = False
        self.traced = False
        self.crypt_ctx: BioCryptCtx | None = None
        self.ctx_pool: Mempool | None = None
        self.ioprio = ioprio
        self.write_hint = write_hint
        self.write_stream = write_stream
        self.blkg = blkg

    def __repr__(self) -> str:
        key = f" {self.crypt_ctx.key.label} dun {self.crypt_ctx.dun}" if self.crypt_ctx else ""
        return f"<Bio {self.op.name} {self.sector} + {self.sectors}{key}>"

    @property
    def sector(self) -> int:
        """First sector that is left."""
        return self.it.sector

    @property
    def nbytes(self) -> int:
        """Bytes that are left."""
        return self.it.size

    @property
    def sectors(self) -> int:
        """512-byte sectors that are left."""
        return self.it.size >> SECTOR_SHIFT

    @property
    def end_sector(self) -> int:
        """The sector after the last."""
        return self.it.sector + (self.it.size >> SECTOR_SHIFT)

    @property
    def has_data(self) -> bool:
        """Whether memory goes with it: not for size 0, discard, secure erase, write zeroes."""
        return self.it.size > 0 and self.op not in DATALESS_OPS

    @property
    def is_write(self) -> bool:
        """Whether the data direction is towards the device: the low bit of the operation."""
        return bool(self.op & 1)

    def bvecs(self) -> Iterator[BioVec]:
        """Multi-page vectors that are left."""
        return bvec.bvecs(self.vecs, self.it)

    def set_ctx(self, task: Task, pool: Mempool, key: BlkCryptoKey, dun: int) -> Steps[None]:
        """``bio_crypt_set_ctx()``: wait for a context and attach it.  Nothing is checked."""
        if not pool.try_alloc(task):
            yield from pool.alloc(task)
        self.crypt_ctx, self.ctx_pool = BioCryptCtx(key, dun, task.name), pool

    def free_ctx(self) -> None:
        """Give the context back, if there is one."""
        if self.crypt_ctx is not None:
            if self.ctx_pool is not None:
                self.ctx_pool.free(self.crypt_ctx.owner)
            self.crypt_ctx = self.ctx_pool = None

    def advance(self, nbytes: int) -> None:
        """Move on in memory, on the device and in DUNs."""
        self.it = bvec.advance(self.vecs, self.it, nbytes)
        if self.crypt_ctx is not None:
            self.crypt_ctx.advance(nbytes)

    def clone(self, task: Task) -> Steps["Bio"]:
        """A bio over the same memory, with a copy of the context.  Nobody is told when it is done."""
        twin = Bio(self.bdev, self.op, self.it.sector, flags=self.flags)
        twin.vecs, twin.it, twin.remapped = self.vecs, self.it, self.remapped
        twin.ioprio, twin.write_hint, twin.write_stream = self.ioprio, self.write_hint, self.write_stream
        twin.blkg = self.blkg
        if self.crypt_ctx is not None:
            if self.ctx_pool is not None:
                yield from self.ctx_pool.alloc(task)
            twin.crypt_ctx, twin.ctx_pool = self.crypt_ctx.copy(task.name), self.ctx_pool
        return twin

    def split(self, task: Task, sectors: int) -> Steps["Bio"]:
        """Cut off the first ``sectors`` sectors: ``bio_split()``.

        Raises:
            SplitRefused: not more than 0 and fewer than all sectors, or an atomic write.
        """
        if not 0 < sectors < self.sectors:
            raise SplitRefused(f"cannot split {sectors} of {self.sectors} sectors")
        if self.flags & ReqFlags.ATOMIC:
            raise SplitRefused("an atomic write is never split")
        front = yield from self.clone(task)
        front.it = front.it._replace(size=sectors << SECTOR_SHIFT)
        self.advance(sectors << SECTOR_SHIFT)
        return front

    def chain(self, parent: "Bio", then: Callable[[], None] = lambda: None) -> None:
        """Report to ``parent``, which completes only when this bio has: ``bio_chain()``.

        Args:
            then: called just before, to free what this bio was made of.
        """
        parent.remaining += 1

        def report(bio: Bio) -> None:
            then()
            parent.complete(bio.status)

        self.end_io = report

    def complete(self, status: BlkStatus | None = None) -> None:
        """``bio_endio()``: one part is done; the last one runs ``end_io``.

        Args:
            status: set first, if given and no earlier part failed.
        """
        if status is not None:
            self.fail(status)
        assert not self.done, f"{self!r} completed twice"
        self.remaining -= 1
        if self.remaining:
            return
        self.done = True
        self.free_ctx()
        if self.end_io is not None:
            self.end_io(self)

    def reopen(self, end_io: Callable[["Bio"], None] | None, private: object) -> None:
        """Undo a completion that was only intercepted: the bio will complete again, to ``end_io``."""
        self.done = False
        self.remaining = 1
        self.end_io = end_io
        self.private = private

    def fail(self, status: BlkStatus) -> None:
        """Remember ``status`` unless an earlier error is there: the first one wins."""
        if self.status is BlkStatus.OK:
            self.status = status
