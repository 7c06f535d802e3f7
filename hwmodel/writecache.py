"""A write cache in front of the flash.

A write is done when it is in the cache.  From there it goes to the flash in the background and keeps its
room until it has arrived; a write that finds no room waits, and later ones wait behind it.  A write larger
than the cache passes it.  FLUSH waits for everything accepted before it.  A FUA write is done when it is on
the flash itself; a device without FUA is sent a FLUSH after the write instead, as Linux does.  Reads go to
the flash, where ``hwmodel.background`` says how they get past the programs.

Source: Documentation/block/writeback_cache_control.rst.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import ClassVar

import numpy as np

from blkcrypto.block.op import ReqOp
from hwmodel.background import Background, InOrder, Yielding
from hwmodel.device import Media as MediaFacts
from hwmodel.request import WRITE, Request

_FLUSH = int(ReqOp.FLUSH)

IsFua = Callable[[int], bool]
"""Whether the bio of a row is a FUA write."""


class CachedMedia:
    """The units behind a cache."""

    _in_order_type: ClassVar = InOrder
    _yielding_type: ClassVar = Yielding

    def __init__(self, facts: MediaFacts, rng: np.random.Generator, is_fua: IsFua | None = None) -> None:
        yields = facts.programs in ("yield", "suspend")
        make = self._yielding_type if yields else self._in_order_type
        self._flash: Background = make(facts, rng, self._on_flash)
        self._is_fua = is_fua
        self._has_fua = facts.fua
        self._capacity = facts.cache_bytes.value
        self._write_ns = facts.cache_write_ns.value
        self._flush_ns = facts.flush_ns.value
        self._used = 0
        self._draining: list[
            tuple[int, int]
        ] = []  # (when it is on the flash, bytes), of those it is certain of
        self._drained_at = 0  # when all of these are on the flash
        self._accepted_at = 0

    def serve(self, request: Request, now: int) -> int:
        """Reserve what ``request`` needs; when it will be done.

        Adds its wait to ``request.device_queue`` and sets ``request.media``.
        """
        if request.op == WRITE:
            return self._write(request, now)
        if request.op == _FLUSH:
            begins = max(now, self._all_on_flash(now))
            request.device_queue += begins - now
            request.media = self._flush_ns
            return begins + self._flush_ns
        return self._flash.read(request, now)

    def _all_on_flash(self, now: int) -> int:
        self._flash.settle(now)
        while self._flash.hurry():
            pass
        return self._drained_at

    def _write(self, request: Request, now: int) -> int:
        nbytes = request.nbytes
        # Not later than now: a read that is yet to come goes before programs that have not begun.
        self._flash.settle(now)
        accepted = self._room_for(min(nbytes, self._capacity), max(now, self._accepted_at))
        self._accepted_at = accepted
        self._used += min(nbytes, self._capacity)
        done = accepted + self._write_ns
        forced = self._is_fua is not None and self._is_fua(request.row)
        if nbytes > self._capacity or (forced and self._has_fua):
            done = max(self._flash.program_now(request, accepted), done if forced else 0)
        else:
            self._flash.program(request, accepted)
        if forced and not self._has_fua:
            done = max(done, self._all_on_flash(accepted)) + self._flush_ns
        request.device_queue += accepted - now
        request.media = done - accepted
        return done

    def _on_flash(self, when: int, nbytes: int) -> None:
        """A write will be on the flash at ``when``, whatever comes."""
        self._drained_at = max(self._drained_at, when)
        heappush(self._draining, (when, min(nbytes, self._capacity)))

    def _room_for(self, nbytes: int, now: int) -> int:
        """From when on ``nbytes`` fit."""
        draining = self._draining
        while True:
            while draining and (draining[0][0] <= now or self._used + nbytes > self._capacity):
                when, freed = heappop(draining)
                self._used -= freed
                now = max(now, when)
            if self._used + nbytes <= self._capacity or not self._flash.hurry():
                return now

    def reset(self, now: int) -> None:
        """Commands are given up; what is in the cache stays and is on the flash when it would have been."""
        self._flash.reset(now)
        self._accepted_at = now

    def power_off(self, now: int) -> None:
        """The cache is empty."""
        self._flash.power_off(now)
        self._draining.clear()
        self._used = 0
        self._drained_at = self._accepted_at = now

    def slow_down(self, percent: int) -> None:
        """From here on let the flash take ``percent`` of its time."""
        self._flash.slow_down(percent)
