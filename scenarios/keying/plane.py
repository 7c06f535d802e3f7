"""The byte plane as designs need it: data of inodes has a key that the hardware never saw."""

from collections import Counter
from collections.abc import Sequence

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.dataplane import VerifyingPlane
from hwmodel.plane import Outage, PlaneInFront
from hwmodel.request import READ, WRITE, Request
from scenarios.keying.inline_data import Region


class DesignPlane(PlaneInFront):
    """``VerifyingPlane`` without background I/O, and with the keys of inline regions.

    Args:
        plane: moves the bytes.
        regions: what a DUN without a key means, counted from 1.
    """

    def __init__(self, plane: VerifyingPlane, regions: Sequence[Region]) -> None:
        super().__init__(plane)
        self._regions = regions

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """See ``DataPlane``."""
        if request.row >= 0:
            super().complete(request, self._key(request, key))

    def _key(self, request: Request, key: BlkCryptoKey | None) -> BlkCryptoKey | None:
        """The key of ``request``, whose DUN becomes the data's own where the filesystem encrypted it.

        A request with a key of its own that got none failed, and has a DUN of the usual kind.
        """
        if (
            key is None
            and request.key is None
            and request.dun
            and (request.op == READ or request.op == WRITE)
        ):
            key, request.dun = self._regions[request.dun - 1]
        return key

    def power_cut(self, outage: Outage) -> Counter[str]:
        """See ``DataPlane``."""
        data = [(each, self._key(each, key)) for each, key in outage.interrupted if _carries_data(each)]
        return super().power_cut(outage._replace(interrupted=data))


def _carries_data(request: Request) -> bool:
    """Neither background I/O nor a companion, which has no key though its bio has one."""
    parent = request.parent
    return request.row >= 0 and not (parent is not None and parent.key is not None and request.key is None)
