"""What a watched machine tells (``hwmodel.watched``)."""

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.clock import Row
from hwmodel.request import Request


class Observer:
    """Who is told what a machine does: it hears everything and does nothing, its heirs override what matters.

    Times are ns; a part of a split bio and the carrier of a merged one have its row.
    """

    def arrived(self, row: Row) -> None:
        """A bio, or I/O of a key design (number below 0), is submitted; not before its time ``row[0]``."""

    def reached(self, request: Request) -> None:
        """``request`` has passed another stage or several; its fields say how long they took."""

    def tagged(self, request: Request, now: int) -> None:
        """``request`` got a tag."""

    def untagged(self, request: Request, now: int) -> None:
        """``request`` gives its tag up."""

    def ran(self, cpu: int, row: int, begin: int, end: int, then: str) -> None:
        """A CPU works for a bio; ``then`` is what it goes on with."""

    def served(self, unit: int, row: int, begin: int, end: int) -> None:
        """A media unit works for a bio; ``unit`` -1: any that is free.

        Behind a write cache a program is told when it is certain, which may be long after its bio is done.
        """

    def used(self, slot: int, begin: int, end: int) -> None:
        """Somebody held a reference on ``slot``."""

    def programmed(self, slot: int, key: BlkCryptoKey, row: int, begin: int, end: int) -> None:
        """``slot`` holds ``key`` from ``end`` on, programmed for a bio."""

    def emptied(self, slot: int, now: int) -> None:
        """``slot`` holds no key any more."""

    def completed(self, records: npt.NDArray[np.int64]) -> None:
        """Bios are complete; ``records`` is as ``Machine`` hands them on, but comes sooner."""

    def locked(self, begin: int, begun: int, end: int, row: int) -> None:
        """The profile lock was held for writing, for a bio or for row -1: for none.

        From ``begin`` to ``begun`` its holder waited until the device was empty.
        """


class Observers(Observer):
    """Tells each of several."""

    def __init__(self, *each: Observer) -> None:
        self._each = each

    def arrived(self, row: Row) -> None:
        """Tell each."""
        for one in self._each:
            one.arrived(row)

    def reached(self, request: Request) -> None:
        """Tell each."""
        for one in self._each:
            one.reached(request)

    def tagged(self, request: Request, now: int) -> None:
        """Tell each."""
        for one in self._each:
            one.tagged(request, now)

    def untagged(self, request: Request, now: int) -> None:
        """Tell each."""
        for one in self._each:
            one.untagged(request, now)

    def ran(self, cpu: int, row: int, begin: int, end: int, then: str) -> None:
        """Tell each."""
        for one in self._each:
            one.ran(cpu, row, begin, end, then)

    def served(self, unit: int, row: int, begin: int, end: int) -> None:
        """Tell each."""
        for one in self._each:
            one.served(unit, row, begin, end)

    def used(self, slot: int, begin: int, end: int) -> None:
        """Tell each."""
        for one in self._each:
            one.used(slot, begin, end)

    def programmed(self, slot: int, key: BlkCryptoKey, row: int, begin: int, end: int) -> None:
        """Tell each."""
        for one in self._each:
            one.programmed(slot, key, row, begin, end)

    def emptied(self, slot: int, now: int) -> None:
        """Tell each."""
        for one in self._each:
            one.emptied(slot, now)

    def completed(self, records: npt.NDArray[np.int64]) -> None:
        """Tell each."""
        for one in self._each:
            one.completed(records)

    def locked(self, begin: int, begun: int, end: int, row: int) -> None:
        """Tell each."""
        for one in self._each:
            one.locked(begin, begun, end, row)
