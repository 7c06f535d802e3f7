"""A write cache in front of the flash.

A write is done when it is in the cache.  From there it goes to the flash at once, in the background, and
keeps its room until it has arrived; a write that finds no room waits, and later ones wait behind it.  A write
larger than the cache passes it.  FLUSH waits for everything accepted before it.  Reads go to the flash, which
writing in the background keeps busy.
"""

from heapq import heappop, heappush

import numpy as np

from blkcrypto.block.op import ReqOp
from hwmodel.device import Media as MediaFacts
from hwmodel.media import Media
from hwmodel.request import WRITE, Request

_FLUSH = int(ReqOp.FLUSH)


class CachedMedia:
    """The units behind a cache; to its user it is a ``Media``."""

    def __init__(self, facts: MediaFacts, rng: np.random.Generator) -> None:
        self._flash = Media(facts, rng)
        self._capacity = facts.cache_bytes.value
        self._write_ns = facts.cache_write_ns.value
        self._flush_ns = facts.flush_ns.value
        self._used = 0
        self._draining: list[tuple[int, int]] = []  # (when it is on the flash, bytes)
        self._drained_at = 0  # when everything accepted so far is on the flash
        self._accepted_at = 0

    def serve(self, request: Request, now: int) -> int:
        """Reserve what ``request`` needs; when it will be done.

        Adds its wait to ``request.device_queue`` and sets ``request.media``.
        """
        if request.op == WRITE:
            return self._write(request, now)
        if request.op == _FLUSH:
            begins = max(now, self._drained_at)
            request.device_queue += begins - now
            request.media = self._flush_ns
            return begins + self._flush_ns
        return self._flash.serve(request, now)

    def _write(self, request: Request, now: int) -> int:
        nbytes, waited = request.nbytes, request.device_queue
        accepted = self._room_for(min(nbytes, self._capacity), max(now, self._accepted_at))
        self._accepted_at = accepted
        drained = self._flash.serve(request, accepted)
        self._drained_at = max(self._drained_at, drained)
        self._used += min(nbytes, self._capacity)
        heappush(self._draining, (drained, min(nbytes, self._capacity)))
        done = accepted + self._write_ns if nbytes <= self._capacity else drained
        request.device_queue = waited + accepted - now
        request.media = done - accepted
        return done

    def _room_for(self, nbytes: int, now: int) -> int:
        """From when on ``nbytes`` fit."""
        draining = self._draining
        while draining and (draining[0][0] <= now or self._used + nbytes > self._capacity):
            when, freed = heappop(draining)
            self._used -= freed
            now = max(now, when)
        return now

    def reset(self, now: int) -> None:
        """Commands are given up; what is in the cache stays and is on the flash when it would have been."""
        self._flash.reset(now)
        self._accepted_at = now

    def power_off(self, now: int) -> None:
        """The cache is empty."""
        self._flash.reset(now)
        self._draining.clear()
        self._used = 0
        self._drained_at = self._accepted_at = now

    def slow_down(self, percent: int) -> None:
        """From here on let the flash take ``percent`` of its time."""
        self._flash.slow_down(percent)
