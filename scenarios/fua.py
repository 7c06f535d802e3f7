"""Which bios are FUA writes: a share of them, by number, without a table of all."""

from typing import Final

from hwmodel.writecache import IsFua
from scenarios.streams import stream

_WORD: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15


def fua_rows(share: float, seed: int) -> IsFua | None:
    """Tells FUA writes by row number, a ``share`` of all of them; None for none."""
    if not share:
        return None
    salt = int(stream(seed, "fua").integers(1 << 63))
    below = round(share * (_WORD + 1))

    def is_fua(row: int) -> bool:
        return _mixed(row * _GOLDEN + salt & _WORD) < below

    return is_fua


def _mixed(word: int) -> int:
    """``word`` with all its bits mixed; splitmix64's finaliser (Steele, Lea and Flood, OOPSLA 2014)."""
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & _WORD
    return word ^ word >> 31
