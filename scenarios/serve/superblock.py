"""The first block of images that hold more than data units: what they are, so that none is mistaken.

Images of designs whose keys and DUNs follow from the address have none: they are data units and nothing else.
The block is written last when an image is made, so one that was not finished is not taken for a whole one.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import format_size

BLOCK_BYTES: Final = 4096
_MAGIC: Final = b"blkserve"
_FORMAT = struct.Struct("<8sIQII32s")
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Superblock:
    """What an image says of itself.

    Attributes:
        design: whose.
        size: bytes that clients see.
        unit_bytes: of the design's units.
    """

    design: str
    size: int
    unit_bytes: int

    def to_bytes(self) -> bytes:
        """One block."""
        fields = (_MAGIC, _VERSION, self.size, self.unit_bytes)
        checksum = zlib.crc32(repr((fields, self.design)).encode())
        return _FORMAT.pack(*fields, checksum, self.design.encode()).ljust(BLOCK_BYTES, b"\0")

    @classmethod
    def from_bytes(cls, block: bytes) -> "Superblock | None":
        """Inverse of ``to_bytes``; None for anything else."""
        if len(block) < _FORMAT.size:
            return None
        _, _, size, unit_bytes, _, design = _FORMAT.unpack_from(block)
        found = cls(design.rstrip(b"\0").decode(errors="replace"), size, unit_bytes)
        return found if found.to_bytes()[: _FORMAT.size] == block[: _FORMAT.size] else None


def read_superblock(path: Path) -> Superblock | None:
    """That of the image at ``path``; None where there is none, or no image.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        with path.open("rb") as image:
            return Superblock.from_bytes(image.read(BLOCK_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"cannot open it: {error.strerror}", where=str(path)) from None


def agree(
    path: Path, size: int | None, design: str, unit_bytes: int, needed: Callable[[int], int]
) -> tuple[Superblock, bool]:
    """The superblock of the image at ``path``, or of the one to be made there, and whether it must be made.

    Args:
        size: bytes that clients see, for a new image; None for those of an image that is there.
        needed: image bytes for so many bytes seen by clients.

    Raises:
        BadInput: another design's image, another size, or not one of ours.
    """
    found = read_superblock(path)
    if found is not None:
        if (found.design, found.unit_bytes) != (design, unit_bytes):
            what = f"it was made for {found.design} with units of {found.unit_bytes} bytes"
            raise BadInput(f"{what}: serve it with that, or choose another file", where=str(path))
        if size not in (None, found.size):
            what = f"the image has {format_size(found.size)}, not {format_size(size or 0)}: leave --size out"
            raise BadInput(what, where=str(path))
        return found, False
    there = path.stat().st_size if path.exists() else 0
    if size is None:
        what = "no finished image of this design" if there else "there is no image yet"
        raise BadInput(f"{what}: give --size, e.g. --size 1G", where=str(path))
    if there and (there != needed(size) or _begins_with_data(path)):
        raise BadInput(f"it is no image of {design}: choose another file", where=str(path))
    return Superblock(design, size, unit_bytes), True


def _begins_with_data(path: Path) -> bool:
    with path.open("rb") as image:
        return any(image.read(BLOCK_BYTES))


def refuse_superblock(path: Path, design: str) -> None:
    """An image that holds more than data units is not one of ``design``, which has nothing else.

    Raises:
        BadInput: it is.
    """
    found = read_superblock(path)
    if found is not None:
        raise BadInput(f"it was made for {found.design}, not {design}: choose another file", where=str(path))
