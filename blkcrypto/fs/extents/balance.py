"""Relocation and scrub: what works on ciphertext alone.

Rules (reference fscrypt.md sections 6.1, trap T17): neither needs a key, since nothing about a place enters
key or IV and checksums cover ciphertext.  Items refer to extents, so moving one is one change, however many
files share it (on disk every item has the address; btrfs rewrites them through the extent's back references).
"""

from blkcrypto.fs.extents.errors import ChecksumMismatch
from blkcrypto.fs.extents.volume import Volume


def relocate(volume: Volume, number: int) -> None:
    """Move an extent elsewhere.

    Raises:
        ChecksumMismatch: it is damaged; it stays where it is (EIO).
        NoSpace: ENOSPC.
    """
    extent = volume.disk.extents[number]
    old = extent.block
    target = volume.disk.allocate(extent.blocks)
    try:
        volume.io.move(extent, target)
    except ChecksumMismatch:
        volume.disk.give_back(target, extent.blocks)
        raise
    volume.disk.give_back(old, extent.blocks)


def balance(volume: Volume) -> int:
    """Move every extent; how many."""
    numbers = tuple(volume.disk.extents)
    for number in numbers:
        relocate(volume, number)
    return len(numbers)


def scrub(volume: Volume) -> list[int]:
    """Numbers of extents with a block that does not have its checksum."""
    return [number for number, extent in volume.disk.extents.items() if not volume.io.is_sound(extent)]
