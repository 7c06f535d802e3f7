"""crc32c, with which ext4 guards its metadata (the feature ``metadata_csum``).

Sources: RFC 3720, appendix B.4 (the polynomial); Documentation/filesystems/ext4/checksums.rst (what is
summed).
"""

from typing import Final

_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli's, bits reversed
SEED: Final = 0xFFFFFFFF


def _row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE: Final = tuple(_row(byte) for byte in range(256))


def crc32c(state: int, data: bytes | memoryview) -> int:
    """The checksum's state after ``data``; ext4 begins with ``SEED`` and never inverts the result."""
    table = _TABLE
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state


def crc32c_without(state: int, data: bytes, at: int, nbytes: int) -> int:
    """The same, with ``nbytes`` from ``at``, where the checksum itself is stored, taken as zeroes."""
    return crc32c(state, data[:at] + bytes(nbytes) + data[at + nbytes :])
