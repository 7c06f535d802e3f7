"""What there is once per system: the version, the pools, the fallback, the log.

Everything else takes it as an argument; there is no global state.
"""

from typing import TYPE_CHECKING, Final

from blkcrypto.block.bvec import PAGE_BYTES
from blkcrypto.block.era import NEWEST, KernelProfile
from blkcrypto.block.mempool import Grant, Mempool, plenty
from blkcrypto.block.trace import BlockEvent, Tracepoint, Tracer, no_trace

if TYPE_CHECKING:
    from blkcrypto.block.bio import Bio
    from blkcrypto.block.fallback import Fallback
    from blkcrypto.block.request import Request

PREALLOC_CRYPT_CTXS: Final = 128
"""``num_prealloc_crypt_ctxs``."""
SPLIT_BIOS: Final = 4
"""``BIO_POOL_SIZE``: bios a queue keeps for splitting."""


class Kernel:
    """The system-wide state of one kernel.

    Bios and requests take their contexts from the same pool, as in Linux.  A request copies the context of
    its bio, so a task may need two elements at once: the reserve keeps its promise only with more elements
    than tasks that hold the first and wait for the second.  ``rq_ctx_reserve`` gives requests a pool of
    their own, which removes that hazard.

    Args:
        era: which version.
        page_bytes: 4, 16 or 64 KiB.
        memory: what ordinary memory grants; ``plenty`` or ``exhausted``, or anything between.
        ctx_reserve: preallocated contexts.
        rq_ctx_reserve: preallocated contexts for requests alone; None shares the bios' pool.
        tracer: told every block event.
    """

    def __init__(
        self,
        era: KernelProfile = NEWEST,
        *,
        page_bytes: int = PAGE_BYTES,
        memory: Grant = plenty,
        ctx_reserve: int = PREALLOC_CRYPT_CTXS,
        rq_ctx_reserve: int | None = None,
        tracer: Tracer = no_trace,
    ) -> None:
        self.era = era
        self.page_bytes = page_bytes
        self.memory = memory
        self.ctx_pool = Mempool("crypt contexts", ctx_reserve, memory)
        self.rq_ctx_pool = (
            self.ctx_pool
            if rq_ctx_reserve is None
            else Mempool("crypt contexts of requests", rq_ctx_reserve, memory)
        )
        self.fallback: Fallback | None = None
        self.traced = tracer is not no_trace
        self._tracer = tracer
        self.log: list[str] = []

    def warn(self, text: str) -> None:
        """What the kernel would print."""
        self.log.append(text)

    def warn_once(self, text: str) -> None:
        """The same, but only the first time."""
        if text not in self.log:
            self.log.append(text)

    def trace(self, point: Tracepoint, device: str, io: "Bio | Request", arg: int | None = None) -> None:
        """Report an event about a bio or request; ``arg`` is its sectors when not given.

        Every bio comes by five times: who reports asks ``traced`` first.
        """
        self._tracer(BlockEvent(point, device, io.op, io.sector, io.sectors if arg is None else arg))
