"""What a key design costs on disk and in memory, by arithmetic alone.

On disk: an inode's context once per file, the extent's part once per *file extent item*, so clones and splits
pay again (counting physical extents would understate it).  In memory: per extent and per inode that has it
loaded.  Source: reference fscrypt.md sections 6.1, 6.3.
"""

from dataclasses import dataclass
from typing import Final

from blkcrypto.fs.extents.designs import ExtentDesign, stored_bytes
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES, INODE_INFO_BYTES

INODE_CONTEXT_BYTES: Final = 40
CSUM_BYTES: Final = 4
_BLOCK_BYTES: Final = 4096
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes that encryption adds.

    Attributes:
        items: file extent items.
        on_disk_bytes: contexts, with the headers of items that exist for them alone.
        csum_bytes: checksums over ciphertext; the filesystem has them with or without encryption.
        in_memory_bytes: with every extent loaded.
        keys: distinct contents keys that reach the cipher.
    """

    items: int
    on_disk_bytes: int
    csum_bytes: int
    in_memory_bytes: int
    keys: int


def file_overhead(
    design: ExtentDesign,
    file_bytes: int,
    extent_bytes: int,
    *,
    sharers: int = 1,
    splits: int = 0,
    iv_bytes: int = 16,
) -> Overhead:
    """A file of equal extents, and clones of it.

    Args:
        design: the row.
        file_bytes: size of the file.
        extent_bytes: size of each extent.
        sharers: files that share all of its extents, the file itself included, all open.
        splits: overwrites in the middle of an extent of one of the files: each adds two items and one extent.
        iv_bytes: of the contents mode.
    """
    per_file = -(-file_bytes // extent_bytes)
    items = per_file * sharers + 2 * splits
    infos = per_file * sharers + splits
    per_item = stored_bytes(design, iv_bytes=iv_bytes)
    shared = 0 if design.key_per_extent else BLK_CRYPTO_KEY_BYTES
    return Overhead(
        items=items,
        on_disk_bytes=sharers * INODE_CONTEXT_BYTES + items * per_item,
        csum_bytes=-(-file_bytes // _BLOCK_BYTES) * CSUM_BYTES,
        in_memory_bytes=sharers * INODE_INFO_BYTES + infos * design.memory_per_extent_bytes + shared,
        keys=infos if design.key_per_extent else 1,
    )


def per_gib(design: ExtentDesign, extent_bytes: int) -> Overhead:
    """One file of 1 GiB."""
    return file_overhead(design, _GIB, extent_bytes)
