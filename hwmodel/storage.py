"""What a controller needs of the storage behind it, and which one a device's facts describe."""

from typing import Protocol

import numpy as np

from hwmodel.channels import flash
from hwmodel.device import Media as MediaFacts
from hwmodel.request import Request
from hwmodel.writecache import CachedMedia, IsFua


class Storage(Protocol):
    """A time for every request, and what faults do to it."""

    def serve(self, request: Request, now: int) -> int:
        """Reserve what ``request`` needs; when it is done.

        Adds its wait to ``request.device_queue`` and sets ``request.media``.
        """

    def reset(self, now: int) -> None:
        """Give up what is served."""

    def power_off(self, now: int) -> None:
        """After a boot all is idle."""

    def slow_down(self, percent: int) -> None:
        """From here on take ``percent`` of the normal time."""


def storage(facts: MediaFacts, rng: np.random.Generator, is_fua: IsFua | None = None) -> Storage:
    """The storage that ``facts`` describe.

    Args:
        rng: draws service times.
        is_fua: which rows are FUA writes; None for none.
    """
    # Without a volatile cache Linux drops FUA: every write is on the flash when it is done.
    return CachedMedia(facts, rng, is_fua) if facts.cache_bytes.value else flash(facts, rng)
