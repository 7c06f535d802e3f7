"""Quantities as a person would write them in a scenario: exact, with the shortest unit."""

from decimal import Decimal

from blkcrypto.base.units import NS_PER_SECOND, format_size

_DURATIONS = (("s", NS_PER_SECOND), ("ms", 1_000_000), ("us", 1_000))
_RATES = (("GB/s", 10**9), ("MB/s", 10**6), ("kB/s", 10**3))
# Sizes whose kernel name carries no unit.
_SIZES = frozenset({"data_unit_size", "byte"})


def spell(field: str, value: int) -> str:
    """``value`` of a field whose name says the unit: ``spell("read_ns", 63500)`` is ``63.5us``.

    Text that a scenario reads back as the same value; a plain number when the name says no unit.  Rates
    are of bytes: rates of events are no whole numbers.
    """
    if field.endswith("_ns"):
        return _scaled(value, _DURATIONS, "ns")
    if field.endswith("_per_s"):
        return _scaled(value, _RATES, "B/s")
    if field.endswith("_bytes") or field in _SIZES:
        return format_size(value)
    return str(value)


def _scaled(value: int, units: tuple[tuple[str, int], ...], smallest: str) -> str:
    for unit, size in units:
        # At most three digits after the point, or the next smaller unit.
        if value >= size and value % (size // 1000) == 0:
            return f"{(Decimal(value) / size).normalize():f}{unit}"
    return f"{value}{smallest}"
