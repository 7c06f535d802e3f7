"""Storage that tells which unit serves whom, while it does exactly what ``hwmodel.storage`` does.

There is one for every kind: flash with and without shared channels, and each way of writing behind a cache.
"""

from typing import ClassVar

import numpy as np

from hwmodel.background import Die, InOrder, Program, Yielding
from hwmodel.channels import ChanneledMedia
from hwmodel.device import Media as MediaFacts
from hwmodel.media import Media
from hwmodel.observer import Observer
from hwmodel.request import Request
from hwmodel.writecache import CachedMedia, IsFua


class WatchedMedia(Media):
    """Flash that tells which unit serves whom."""

    __slots__ = ("_first", "_observer", "_row")

    def watch(self, observer: Observer, first: int = 0) -> None:
        """Tell ``observer`` from here on; units are numbered from ``first``."""
        self._observer, self._first = observer, first

    def serve(self, request: Request, now: int) -> int:
        """As ``Media.serve``."""
        self._row = request.row
        done = super().serve(request, now)
        if self.takes_any:
            self._observer.served(-1, request.row, done - request.media, done)
        return done

    def _serve_piece(self, op: int, nbytes: int, stripe_index: int, now: int) -> tuple[int, int]:
        start, done = super()._serve_piece(op, nbytes, stripe_index, now)
        self._observer.served(self._first + stripe_index % self.units, self._row, start, done)
        return start, done


class WatchedChanneledMedia(ChanneledMedia):
    """The same of flash whose dies share channels."""

    def watch(self, observer: Observer, first: int = 0) -> None:
        """Tell ``observer`` from here on; dies are numbered from ``first``."""
        self._observer, self._first = observer, first

    def serve(self, request: Request, now: int) -> int:
        """As ``ChanneledMedia.serve``."""
        self._row = request.row
        return super().serve(request, now)

    def _serve_piece(self, op: int, index: int, nbytes: int, now: int) -> tuple[int, int]:
        begins, ends = super()._serve_piece(op, index, nbytes, now)
        self._observer.served(self._first + index % len(self._free), self._row, begins, ends)
        return begins, ends


_Flash = WatchedMedia | WatchedChanneledMedia


def _watched_flash(facts: MediaFacts, rng: np.random.Generator) -> _Flash:
    return WatchedChanneledMedia(facts, rng) if facts.channels.value else WatchedMedia(facts, rng)


class WatchedInOrder(InOrder):
    """Dies behind a cache that serve in order.  Where programs have dies of their own, these come last."""

    _new_flash: ClassVar = staticmethod(_watched_flash)

    def watch(self, observer: Observer, units: int) -> None:
        """Tell ``observer`` from here on; ``units`` serve reads."""
        reading, programming = self._reading, self._units
        assert isinstance(reading, _Flash)
        assert isinstance(programming, _Flash)
        programming.watch(observer, first=units)
        reading.watch(observer)  # last: they may be the same


class WatchedYielding(Yielding):
    """Dies behind a cache that read first.  A program is told when it is done or suspended, if it ever is."""

    def watch(self, observer: Observer, units: int) -> None:
        """Tell ``observer`` from here on."""
        self._observer = observer

    def _read_piece(self, die: Die, request: Request, nbytes: int, now: int) -> int:
        begins = super()._read_piece(die, request, nbytes, now)
        self._observer.served(die.number, request.row, begins, die.free_ns)
        return begins

    def _leave(self, die: Die, now: int) -> Program:
        program = super()._leave(die, now)
        self._observer.served(die.number, program.write.row, die.since_ns, now)
        return program


class WatchedCachedMedia(CachedMedia):
    """The units behind a cache."""

    _in_order_type: ClassVar = WatchedInOrder
    _yielding_type: ClassVar = WatchedYielding

    def __init__(self, facts: MediaFacts, rng: np.random.Generator, is_fua: IsFua | None = None) -> None:
        super().__init__(facts, rng, is_fua)
        self._units = facts.units.value

    def watch(self, observer: Observer) -> None:
        """Tell ``observer`` from here on."""
        assert isinstance(self._flash, WatchedInOrder | WatchedYielding)
        self._flash.watch(observer, self._units)


WatchedStorage = WatchedMedia | WatchedChanneledMedia | WatchedCachedMedia


def watched_storage(
    facts: MediaFacts, rng: np.random.Generator, is_fua: IsFua | None = None
) -> WatchedStorage:
    """What ``hwmodel.storage.storage`` makes of the same, but watched."""
    return WatchedCachedMedia(facts, rng, is_fua) if facts.cache_bytes.value else _watched_flash(facts, rng)
