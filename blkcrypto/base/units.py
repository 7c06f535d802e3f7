"""Sizes, durations and rates as people write them, and as the model keeps them.

The model keeps bytes, 512-byte sectors and integer nanoseconds.  Text with units is
converted here, at the edge, and nowhere else.  Sizes are powers of 1024, as fio reads
them (``4k`` is 4096); ``MB/s`` in a rate is a power of 1000, as data sheets write it.
"""

import re
from decimal import Decimal
from typing import Final

SECTOR_SHIFT: Final = 9
SECTOR_BYTES: Final = 1 << SECTOR_SHIFT
NS_PER_SECOND: Final = 1_000_000_000

# An exponent of more digits is no quantity of anything, and more than ``Decimal`` can multiply.
_QUANTITY = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?)\s*([A-Za-zµ/]*)\s*")
_SIZE_SHIFT = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_DURATION_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "min": 60 * NS_PER_SECOND,
    "h": 3600 * NS_PER_SECOND,
}
_RATE_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
# Every quantity of the model fits a signed 64-bit column.
_LARGEST = 2**63 - 1


class UnitError(ValueError):
    """Text that is not a size, duration or rate; the message says what would be."""


def _split(text: str, kind: str, example: str) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f"{text!r} is not a {kind}: write it like {example}")
    return Decimal(match[1].replace("_", "")), match[2]


def _whole(value: Decimal, text: str, kind: str, unit: str) -> int:
    if value > _LARGEST:
        raise UnitError(f"{text!r} is too large for a {kind}: at most {_LARGEST} {unit}")
    if value != value.to_integral_value():
        raise UnitError(f"{text!r} is not a whole number of {unit}")
    return int(value)


def parse_size(text: str) -> int:
    """Bytes in ``text``: ``512``, ``4k``, ``4KiB``, ``1.5M``, powers of 1024.

    Raises:
        UnitError: not a size, not whole bytes, or past 2**63 - 1.
    """
    value, suffix = _split(text, "size", "4096, 4k or 1M")
    letters = suffix.lower().removesuffix("ib") if suffix.lower() != "ib" else "?"
    letters = letters.removesuffix("b") if letters != "b" else ""
    if letters not in _SIZE_SHIFT:
        raise UnitError(f"{text!r} has no known size suffix: use k, M, G, T, P or E")
    return _whole(value * (1 << _SIZE_SHIFT[letters]), text, "size", "bytes")


def parse_duration_ns(text: str) -> int:
    """Nanoseconds in ``text``: ``80us``, ``1.5ms``, ``2s``.  A bare number has no unit and is refused.

    Raises:
        UnitError: not a duration, no unit, a fraction of a nanosecond, or past 2**63 - 1.
    """
    value, suffix = _split(text, "duration", "80us, 1.5ms or 2s")
    if suffix not in _DURATION_NS:
        raise UnitError(f"{text!r} has no known time unit: use ns, us, ms, s, min or h")
    return _whole(value * _DURATION_NS[suffix], text, "duration", "ns")


def parse_rate(text: str) -> int:
    """Bytes per second in ``text``: ``2900MB/s`` (powers of 1000) or ``2GiB/s``.

    Raises:
        UnitError: not a rate, or past 2**63 - 1.
    """
    value, suffix = _split(text, "rate", "2900MB/s or 2GiB/s")
    unit, slash, per = suffix.lower().partition("/")
    if not slash or per != "s" or unit not in _RATE_BYTES:
        raise UnitError(f"{text!r} has no known rate unit: use kB/s, MB/s, GB/s, MiB/s or GiB/s")
    return _whole(value * _RATE_BYTES[unit], text, "rate", "bytes per second")


def format_size(nbytes: int) -> str:
    """Shortest exact spelling of a size: ``4096`` is ``4k``, ``4097`` stays ``4097``."""
    for suffix, shift in reversed(_SIZE_SHIFT.items()):
        if shift and nbytes and nbytes % (1 << shift) == 0:
            return f"{nbytes >> shift}{suffix if suffix == 'k' else suffix.upper()}"
    return str(nbytes)


def format_duration(ns: float) -> str:
    """A duration for people: three significant digits and the largest unit that keeps it at or above 1."""
    for unit, size in (("s", NS_PER_SECOND), ("ms", 1_000_000), ("us", 1_000)):
        if abs(ns) >= size:
            value = ns / size
            return f"{value:.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"
    return f"{ns:.0f} ns"
