"""A device's figures as people write them; a figure's name says its unit."""

from typing import Final

from blkcrypto.base.units import format_duration, format_size

# Suffix of a figure's name -> its unit.
_UNITS: Final = {"_ns": "ns", "_bytes": "bytes", "_per_s": "bytes/s", "_percent": "%"}


def unit(name: str) -> str:
    """Unit of the figure ``name``; a count has none."""
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")


def shown(name: str, value: int) -> str:
    """The figure ``name`` for people."""
    match unit(name):
        case "ns":
            return format_duration(value)
        case "bytes":
            return format_size(value)
        case "bytes/s":
            return f"{value / 1e6:g} MB/s"
        case _:
            return str(value)


def sizes(mask: int) -> str:
    """A mask of data unit sizes: ``0x1200`` is ``512, 4k``."""
    return ", ".join(format_size(1 << bit) for bit in range(mask.bit_length()) if mask >> bit & 1)
