"""A byte range of a file in terms of its units."""

from collections.abc import Iterator
from typing import NamedTuple


class Piece(NamedTuple):
    """What of a byte range lies in one unit.

    Attributes:
        unit: its index in the file.
        start: first byte, in the unit.
        data: of the range.
    """

    unit: int
    start: int
    data: bytes

    def over(self, whole: bytes) -> bytes:
        """``whole`` with the piece written into it."""
        return whole[: self.start] + self.data + whole[self.start + len(self.data) :]


def pieces(pos: int, data: bytes, unit_bytes: int) -> Iterator[Piece]:
    """Cut a write of ``data`` at byte ``pos`` at the borders of units."""
    done = 0
    while done < len(data):
        index, start = divmod(pos + done, unit_bytes)
        part = data[done : done + unit_bytes - start]
        yield Piece(index, start, part)
        done += len(part)
