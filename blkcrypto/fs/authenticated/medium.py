"""A medium of 4096-byte blocks that counts writes and can lose power between two of them."""

from typing import Final, Protocol

BLOCK_BYTES: Final = 4096


class PowerLost(Exception):
    """The write did not happen, nor does any after it."""


class BlockMedium(Protocol):
    """Blocks in memory, or on a disk.

    Attributes:
        writes: blocks written so far.
    """

    writes: int

    @property
    def data(self) -> bytearray | memoryview:
        """All of them, to look at without reading."""

    @property
    def blocks(self) -> int:
        """How many."""

    def write(self, block: int, data: bytes) -> None:
        """Write whole blocks, one after the other."""

    def read(self, block: int, count: int = 1) -> bytes:
        """Read whole blocks."""


class Medium:
    """Blocks in memory.  A block is written whole or not at all, in the order of the calls.

    Attributes:
        data: all blocks.
        writes: blocks written so far.
        reads: blocks read so far.
        writes_left: writes until power is lost; None for ever.
    """

    def __init__(self, blocks: int) -> None:
        self.data = bytearray(blocks * BLOCK_BYTES)
        self.writes = 0
        self.reads = 0
        self.writes_left: int | None = None

    @property
    def blocks(self) -> int:
        """How many."""
        return len(self.data) // BLOCK_BYTES

    def write(self, block: int, data: bytes) -> None:
        """Write whole blocks, one after the other.

        Raises:
            PowerLost: before the block that is one too many.
        """
        for at in range(0, len(data), BLOCK_BYTES):
            if self.writes_left is not None:
                if not self.writes_left:
                    raise PowerLost
                self.writes_left -= 1
            start = block * BLOCK_BYTES + at
            self.data[start : start + BLOCK_BYTES] = data[at : at + BLOCK_BYTES].ljust(BLOCK_BYTES, b"\0")
            self.writes += 1

    def read(self, block: int, count: int = 1) -> bytes:
        """Read whole blocks; past the end there are none."""
        self.reads += count
        return bytes(self.data[block * BLOCK_BYTES : (block + count) * BLOCK_BYTES])
