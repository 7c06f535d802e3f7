"""Flash whose dies share channels: data passes the channel before a program and after a read.

A die is busy from the first to the last of both.  A channel carries one piece at a time; a piece takes the
first gap that is long enough for it, after its die has read it.
"""

from bisect import bisect, insort
from typing import Final

import numpy as np

from blkcrypto.base.units import SECTOR_SHIFT
from hwmodel.device import Media as MediaFacts
from hwmodel.media import Media, service_times, size_ns
from hwmodel.request import READ, WRITE, Request


def flash(facts: MediaFacts, rng: np.random.Generator) -> "Media | ChanneledMedia":
    """The flash that a device's facts describe, without its cache."""
    return ChanneledMedia(facts, rng) if facts.channels.value else Media(facts, rng)


class Channel:
    """When it is taken."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: list[tuple[int, int]] = []  # (from, until), in order, apart

    def reserve(self, earliest: int, ns: int, now: int) -> int:
        """Take the first gap of ``ns`` that begins at ``earliest`` or later; when it begins."""
        taken = self._taken
        while taken and taken[0][1] <= now:
            del taken[0]
        start = earliest
        for index in range(max(0, bisect(taken, (earliest, 0)) - 1), len(taken)):
            begins, ends = taken[index]
            if begins - start >= ns:
                break
            start = max(start, ends)
        insort(taken, (start, start + ns))
        return start

    def clear(self) -> None:
        """Nobody needs it any more."""
        self._taken.clear()


class ChanneledMedia:
    """Dies, striped by address and dealt out to channels in turn."""

    def __init__(self, facts: MediaFacts, rng: np.random.Generator) -> None:
        self._stripe: Final = facts.stripe_bytes.value
        self._channel_per_s: Final = facts.channel_per_s.value
        self._channels = [Channel() for _ in range(facts.channels.value)]
        self._free = [0] * facts.units.value  # by die
        self._draw_ns = service_times(facts, rng)
        self._percent = 100

    def serve(self, request: Request, now: int) -> int:
        """Reserve the dies and channels ``request`` needs; when it will be done.

        Adds the wait until its first piece starts to ``request.device_queue`` and sets ``request.media``.
        """
        offset, stripe = request.sector << SECTOR_SHIFT, self._stripe
        end = offset + request.nbytes
        start, done = 1 << 62, now
        for index in range(offset // stripe, max(-(-end // stripe), offset // stripe + 1)):
            nbytes = min(end, (index + 1) * stripe) - max(offset, index * stripe)
            begins, ends = self._serve_piece(request.op, index, nbytes, now)
            start, done = min(start, begins), max(done, ends)
        request.device_queue += start - now
        request.media = done - start
        return done

    def _serve_piece(self, op: int, index: int, nbytes: int, now: int) -> tuple[int, int]:
        die = index % len(self._free)
        channel = self._channels[die % len(self._channels)]
        begins = max(now, self._free[die])
        service = self._draw_ns(op, nbytes) * self._percent // 100
        carried = size_ns(nbytes, self._channel_per_s) * self._percent // 100
        if op == READ:
            ends = channel.reserve(begins + service, carried, now) + carried
        elif op == WRITE:
            ends = channel.reserve(begins, carried, now) + carried + service
        else:
            ends = begins + service
        self._free[die] = ends
        return begins, ends

    def reset(self, now: int) -> None:
        """Give up what is served: every die and channel is free."""
        self._free = [now] * len(self._free)
        for channel in self._channels:
            channel.clear()

    def power_off(self, now: int) -> None:
        """After a boot every die is free."""
        self.reset(now)

    def slow_down(self, percent: int) -> None:
        """From here on take ``percent`` of the normal time."""
        self._percent = percent
