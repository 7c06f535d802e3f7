"""Requests held back between creation and dispatch: where bios still merge.

The rules are ``blkcrypto.block``'s own: its scheduler, its merge conditions, its limits.  Here they meet
requests in time.  A bio is tried against the held requests before it asks for a tag; one that merges takes
neither tag nor keyslot and completes with the request that took it.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, cast

from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import BioVec
from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.merge import Merge
from blkcrypto.block.op import ReqOp
from blkcrypto.block.request import Request as BlockRequest
from blkcrypto.block.scheduler import MqDeadline
from hwmodel.request import Request

if TYPE_CHECKING:
    from blkcrypto.block.device import BlockDevice
    from blkcrypto.block.queue import RequestQueue

PAGE_BYTES: Final = 4096


class Staging:
    """An ``mq-deadline`` queue in front of the device.

    Args:
        limits: of the queue.
        now: the clock, for deadlines.
        encrypted_below: the block layer sees key and DUN; otherwise software encrypted the bio before.
        freed: called with a request that was merged into its neighbour: its tag and keyslot are free.
        is_fua: which rows are FUA writes, which never merge.
    """

    def __init__(
        self,
        limits: QueueLimits,
        *,
        now: Callable[[], int],
        encrypted_below: bool,
        freed: Callable[[Request], None],
        is_fua: Callable[[int], bool] | None = None,
    ) -> None:
        self.merges = 0
        self._encrypted_below = encrypted_below
        self._freed = freed
        self._is_fua = is_fua
        self._scheduler = MqDeadline(limits, self._dropped, now)
        self._holders: dict[BlockRequest, Request] = {}

    def _bio(self, request: Request) -> Bio:
        """The block layer's view of ``request``; it belongs to no queue, and nothing here asks for one."""
        bio = Bio(
            cast("BlockDevice", None),
            ReqOp(request.op),
            request.sector,
            [BioVec(0, request.nbytes)] if request.nbytes else (),
        )
        bio.private = request
        if self._is_fua is not None and request.op == ReqOp.WRITE and self._is_fua(request.row):
            bio.flags |= ReqFlags.FUA
        if request.key is not None and self._encrypted_below:
            bio.crypt_ctx = BioCryptCtx(request.key, request.dun)
        return bio

    def merge(self, request: Request) -> bool:
        """Whether a held request took ``request`` in."""
        if request.op > ReqOp.WRITE:
            return False
        merged = self._scheduler.merge_bio(self._bio(request), _segments(request)) is not Merge.NONE
        self.merges += merged
        return merged

    def insert(self, request: Request) -> None:
        """Hold ``request``, which has its tag and keyslot."""
        bio = self._bio(request)
        held = BlockRequest(cast("RequestQueue", None), bio, _segments(request), bio.op)
        held.crypt_ctx = None if bio.crypt_ctx is None else bio.crypt_ctx.copy()
        self._holders[held] = request
        self._scheduler.insert(held)

    def _dropped(self, held: BlockRequest) -> None:
        self.merges += 1
        self._freed(self._holders.pop(held))

    def next(self) -> tuple[Request, list[Request], int, int] | None:
        """The request to dispatch: who holds its keyslot, all its bios, first sector, bytes."""
        held = self._scheduler.next()
        if held is None:
            return None
        return self._holders.pop(held), list(_bios(held.bios)), held.sector, held.nbytes


def _bios(bios: Iterable[Bio]) -> Iterable[Request]:
    for bio in bios:
        assert isinstance(bio.private, Request)
        yield bio.private


def _segments(request: Request) -> int:
    """Every page is a segment of its own: what a page cache without large folios gives."""
    return max(1, -(-request.nbytes // PAGE_BYTES))
