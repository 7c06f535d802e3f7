"""Storage that takes what a recorded one took, request by request: no model of it, and no guess.

A recorded time runs from issue to completion, so queueing inside the recorded device is in it: requests are
served side by side, whatever their number.  A merged request takes the longest of its bios' times; a part of
a split one takes the whole of its bio's.
"""

from array import array

import numpy as np
import numpy.typing as npt

from hwmodel.request import Request


class RecordedMedia:
    """Times by row number: ``append`` those of the next rows before they arrive."""

    def __init__(self) -> None:
        self._times_ns = array("q")
        self._percent = 100

    def append(self, times_ns: npt.NDArray[np.int64]) -> None:
        """Times of the next rows, ``int64``, in ns."""
        self._times_ns.frombytes(times_ns.tobytes())

    def serve(self, request: Request, now: int) -> int:
        """When ``request`` is done; sets its ``media``."""
        rows = [bio.row for bio in request.members] or [request.row]
        request.media = max(self._times_ns[row] for row in rows) * self._percent // 100
        return now + request.media

    def reset(self, now: int) -> None:
        """Nothing is kept between requests."""

    def power_off(self, now: int) -> None:
        """Nothing is kept between requests."""

    def slow_down(self, percent: int) -> None:
        """From here on take ``percent`` of what was recorded."""
        self._percent = percent
