"""What a filesystem with extents really costs: counted from its bytes and its loaded objects."""

from dataclasses import dataclass
from typing import Final

from blkcrypto.fs.extents.designs import ITEM_HEADER_BYTES, stored_bytes
from blkcrypto.fs.extents.disk import ExtentDisk
from blkcrypto.fs.extents.items import END_OF_FILE, FILE_EXTENT_BYTES, FileExtent, InodeItem, encode
from blkcrypto.fs.extents.overhead import CSUM_BYTES
from blkcrypto.fs.extents.tree import Key
from blkcrypto.fs.extents.volume import Volume

_EVERYTHING: Final = ((0, 0, 0), (END_OF_FILE, 0, 0))


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes that encryption adds, and what they are for.

    Attributes:
        files: inodes with a context, directories too, in all subvolumes.
        distinct_files: of those, inode items that really exist.
        items: file extent items of encrypted files in all subvolumes.
        distinct_items: items that really exist: a snapshot shares them until either side changes them.
        extents: on the device.
        on_disk_bytes: contexts of distinct inodes and items, with the headers of items made for contexts.
        csum_bytes: checksums.
        in_memory_bytes: of cached inodes and loaded extents.
        keys_live: contents keys that exist.
    """

    files: int
    distinct_files: int
    items: int
    distinct_items: int
    extents: int
    on_disk_bytes: int
    csum_bytes: int
    in_memory_bytes: int
    keys_live: int


def _added_bytes(disk: ExtentDisk, key: Key, item: FileExtent) -> int:
    """Bytes that encryption adds to one item, with the header of a second."""
    stored = encode(disk.design, key, item)
    return sum(len(data) for _, data in stored) - FILE_EXTENT_BYTES + (len(stored) - 1) * ITEM_HEADER_BYTES


def measure(volume: Volume) -> Measured:
    """Counts everything on the disk once: O(items)."""
    disk = volume.disk
    walks = (subvolume.tree.walk(*_EVERYTHING) for subvolume in disk.subvolumes.values())
    values = [(key, value) for walk in walks for key, value in walk]
    inodes = [value for _, value in values if isinstance(value, InodeItem) and value.context]
    items = [(key, value) for key, value in values if isinstance(value, FileExtent) and value.context]
    # Subvolumes share values, which live as long as the trees do: an identity is one value.
    distinct_inodes = {id(inode): inode for inode in inodes}.values()
    distinct_items = {id(item): (key, item) for key, item in items}.values()
    entries = {id(inode.entry): inode.entry for inode in volume.cached if inode.entry is not None}
    shared = sum(len(entry.secret.shared_keys) for entry in entries.values())
    return Measured(
        files=len(inodes),
        distinct_files=len(distinct_inodes),
        items=len(items),
        distinct_items=len(distinct_items),
        extents=len(disk.extents),
        on_disk_bytes=sum(len(inode.context) for inode in distinct_inodes)
        + sum(_added_bytes(disk, key, item) for key, item in distinct_items),
        csum_bytes=CSUM_BYTES * len(disk.csums),
        in_memory_bytes=volume.in_memory_bytes,
        keys_live=volume.keys.live + shared,
    )


def by_arithmetic(volume: Volume, found: Measured, *, inode_context_bytes: int = 40) -> int:
    """On-disk bytes from the counts of ``found`` and the design's sizes alone, for 16-byte IVs."""
    return found.distinct_files * inode_context_bytes + found.distinct_items * stored_bytes(volume.design)
