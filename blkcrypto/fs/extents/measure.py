"""What a filesystem with extents really costs: counted from its bytes and its loaded objects."""

from dataclasses import dataclass
from typing import Final

from blkcrypto.fs.extents.designs import ITEM_HEADER_BYTES, stored_bytes
from blkcrypto.fs.extents.items import END_OF_FILE, FILE_EXTENT_BYTES, FileExtent, InodeItem, encode
from blkcrypto.fs.extents.overhead import CSUM_BYTES
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


def measure(volume: Volume) -> Measured:
    """Counts everything on the disk once: O(items)."""
    disk = volume.disk
    files = items = on_disk = 0
    seen: set[int] = set()
    distinct_files = distinct_items = 0
    for subvolume in disk.subvolumes.values():
        for key, value in subvolume.tree.walk(*_EVERYTHING):
            if isinstance(value, InodeItem) and value.context:
                files += 1
                if id(value) not in seen:
                    distinct_files += 1
                    on_disk += len(value.context)
            elif isinstance(value, FileExtent) and value.context:
                items += 1
                if id(value) not in seen:
                    distinct_items += 1
                    stored = encode(disk.design, key, value)
                    on_disk += sum(len(data) for _, data in stored) - FILE_EXTENT_BYTES
                    on_disk += (len(stored) - 1) * ITEM_HEADER_BYTES
            # Values live as long as the tree does, so no two have one identity.
            seen.add(id(value))
    entries = {id(inode.entry): inode.entry for inode in volume.cached if inode.entry is not None}
    shared = sum(len(entry.secret.shared_keys) for entry in entries.values())
    return Measured(
        files=files,
        distinct_files=distinct_files,
        items=items,
        distinct_items=distinct_items,
        extents=len(disk.extents),
        on_disk_bytes=on_disk,
        csum_bytes=CSUM_BYTES * len(disk.csums),
        in_memory_bytes=volume.in_memory_bytes,
        keys_live=volume.keys.live + shared,
    )


def by_arithmetic(volume: Volume, found: Measured, *, inode_context_bytes: int = 40) -> int:
    """On-disk bytes from the counts of ``found`` and the design's sizes alone, for 16-byte IVs."""
    return found.distinct_files * inode_context_bytes + found.distinct_items * stored_bytes(volume.design)
