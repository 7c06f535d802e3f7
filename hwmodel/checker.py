"""What a checked machine knows of itself: tags given out, bios under way, and what each went through."""

from collections.abc import Callable

from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from hwmodel.clock import Row
from hwmodel.invariants import (
    BYTES,
    EXACTLY_ONCE,
    NO_NEGATIVE_STAGE,
    NOTHING_LEFT,
    REFERENCES,
    STAGE_SUMS,
    TAGS,
    InvariantBroken,
)
from hwmodel.observer import Observer
from hwmodel.request import STAGE_FIELDS, Request


class Bio:
    """One bio's history, and how much of it is under way: a row may stand for several pieces."""

    __slots__ = ("moments", "nbytes", "pieces")

    def __init__(self) -> None:
        self.moments: list[tuple[int, str]] = []
        self.pieces = self.nbytes = 0

    def __str__(self) -> str:
        return ", ".join(f"{what} at {now} ns" for now, what in self.moments)


class Checker(Observer):
    """Hears what a machine does and objects when it cannot be.

    Attributes:
        tags_out: tags given out and not given up.
    """

    def __init__(self) -> None:
        self.tags_out = 0
        self._bios: dict[int, Bio] = {}
        self._ended = (-1, Bio())

    # --- what is told ---------------------------------------------------------------------------------

    def arrived(self, row: Row) -> None:
        """A bio is submitted."""
        if row[1] < 0:
            return  # I/O that a key design makes for itself
        bio = self._bios.get(row[1])
        if bio is None:
            bio = self._bios[row[1]] = Bio()
        bio.pieces += 1
        bio.nbytes += row[4]
        bio.moments.append((row[0], f"{ReqOp(row[2]).name} of {row[4]} bytes at sector {row[3]} arrived"))

    def tagged(self, request: Request, now: int) -> None:
        """``request`` got a tag."""
        self.tags_out += 1
        self.note(request.row, now, "got a tag")

    def untagged(self, request: Request, now: int) -> None:
        """``request`` gives its tag up."""
        self.tags_out -= 1
        self.note(request.row, now, "gives its tag up")
        if self.tags_out < 0:
            raise InvariantBroken(TAGS, f"{request!r} gives up a tag, and nobody had one")

    def programmed(self, slot: int, key: BlkCryptoKey, row: int, begin: int, end: int) -> None:
        """A key was programmed for a bio."""
        self.note(row, begin, f"programs {key!r} into keyslot {slot}")
        self.note(row, end, "has programmed it")

    def served(self, unit: int, row: int, begin: int, end: int) -> None:
        """A media unit works for a bio."""
        which = f"media unit {unit}" if unit >= 0 else "a media unit"
        self.note(row, begin, f"{which} serves it until {end} ns")

    def note(self, row: int, now: int, what: str) -> None:
        """Add to the history of ``row``, if that is a bio under way."""
        bio = self._bios.get(row)
        if bio is not None:
            bio.moments.append((now, what))

    # --- what is asked --------------------------------------------------------------------------------

    def completed_one(self, request: Request, now: int) -> None:
        """A bio is complete, its record about to be made."""
        row = request.row
        if row < 0:
            return
        self.note(row, now, "completes")
        bio = self._bios.get(row)
        if bio is None:
            raise InvariantBroken(EXACTLY_ONCE, f"{request!r} completes, and is not under way")
        bio.pieces -= 1
        bio.nbytes -= request.nbytes
        if not bio.pieces:
            self._ended = row, self._bios.pop(row)
            if bio.nbytes:
                raise InvariantBroken(
                    BYTES, f"{bio.nbytes} bytes of {request!r} arrived and did not complete"
                )
        self._check_stages(request, now)
        if request.slot >= 0:
            raise InvariantBroken(REFERENCES, f"{request!r} completes and still holds keyslot {request.slot}")

    def _check_stages(self, request: Request, now: int) -> None:
        stages = {stage: getattr(request, stage) for stage in STAGE_FIELDS}
        if min(stages.values()) < 0:
            raise InvariantBroken(NO_NEGATIVE_STAGE, _in_words(stages))
        if sum(stages.values()) != now - request.arrived:
            total = now - request.arrived
            raise InvariantBroken(STAGE_SUMS, f"{total} ns in all, but {_in_words(stages)}")

    def check_end(self, is_idle: Callable[[], bool]) -> None:
        """The run is over."""
        for row in self._bios:
            raise InvariantBroken(NOTHING_LEFT, f"{len(self._bios)} bios never complete", self.history(row))
        if self.tags_out:
            raise InvariantBroken(TAGS, f"{self.tags_out} tags were never given up")
        if not is_idle():
            raise InvariantBroken(NOTHING_LEFT, "a tag, a keyslot, the lock or a bounce page is still held")

    def power_off(self) -> None:
        """Everything is forgotten: no tag is given out."""
        self.tags_out = 0

    def bio(self, row: int) -> Bio | None:
        """The bio of ``row``, if that is under way."""
        return self._bios.get(row)

    def history(self, row: int) -> str:
        """What the bio of ``row`` went through so far; empty for none."""
        ended, last = self._ended
        bio = last if row == ended and row not in self._bios else self._bios.get(row)
        return f"bio {row}: {bio}" if bio is not None else ""


def _in_words(stages: dict[str, int]) -> str:
    return "stages in ns are " + (", ".join(f"{name} {ns}" for name, ns in stages.items() if ns) or "all 0")
