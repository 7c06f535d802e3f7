"""Directory blocks: entries as they stand on disk.

Interior blocks of hashed directories look like blocks without entries, and so does the tail that keeps a
block's checksum: reading every block in turn finds every name, whatever the directory's form.

Source: Documentation/filesystems/ext4/directory.rst.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEAD: Final = struct.Struct("<IHBB")
_MIN_ENTRY_BYTES: Final = 12
_HASH_BYTES: Final = 8
_TAIL_BYTES: Final = 12
_TAIL_FILE_TYPE: Final = 0xDE
_DX_ROOT_INFO_AT: Final = 24
_DX_ROOT_ENTRIES_AT: Final = 32
_DX_NODE_ENTRIES_AT: Final = 8
_DX_ENTRY_BYTES: Final = 8
_DX_TAIL_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class DirEntry:
    """One name.

    Attributes:
        ino: inode number, not 0.
        name: as stored: ciphertext in an encrypted directory.
        hashes: major and minor hash stored beside the name; None but in casefolded, encrypted directories.
    """

    ino: int
    name: bytes
    hashes: tuple[int, int] | None = None


def block_entries(block: bytes, *, hashed: bool) -> Iterator[DirEntry]:
    """Entries in use of one directory block, ``.`` and ``..`` among them.

    Args:
        block: the block, or the part of an inode that holds entries.
        hashed: whether hashes stand behind the names (casefolded and encrypted).

    Raises:
        ValueError: damaged.
    """
    at, size = 0, len(block)
    while at < size:
        if at + _HEAD.size > size:
            raise ValueError(f"a directory entry at byte {at} runs past the end")
        # One byte of length also without the feature filetype, as Linux reads it: names have 255 at most.
        ino, rec_len, name_bytes, _ = _HEAD.unpack_from(block, at)
        length = _record_bytes(rec_len, size)
        has_hash = hashed and bool(ino) and block[at + 8 : at + 8 + name_bytes] not in (b".", b"..")
        hash_at = at + ((_HEAD.size + name_bytes + 3) & ~3)
        needed = hash_at - at + (_HASH_BYTES if has_hash else 0)
        if length % 4 or length < max(_MIN_ENTRY_BYTES, needed if ino else 0) or at + length > size:
            raise ValueError(f"a directory entry at byte {at} has {length} bytes")
        if ino:
            if not name_bytes:
                raise ValueError(f"a directory entry at byte {at} has no name")
            hashes = struct.unpack_from("<II", block, hash_at) if has_hash else None
            yield DirEntry(ino, block[at + 8 : at + 8 + name_bytes], hashes)
        at += length


def _record_bytes(rec_len: int, block_size: int) -> int:
    """``ext4_rec_len_from_disk()``: blocks of 64 KiB overflow the 16 bits."""
    if block_size < 65536:
        return rec_len
    if rec_len in (0, 65535):
        return block_size
    return (rec_len & 65532) | (rec_len & 3) << 16


def dx_hash_version(first_block: bytes) -> int:
    """Hash version that a hashed directory names in its first block."""
    return first_block[_DX_ROOT_INFO_AT + 4]


def checksum_span(block: bytes, *, is_dx_root: bool) -> tuple[bytes, bytes] | None:
    """What a directory block's checksum covers, and the four bytes of the checksum.

    Returns:
        None for a block that keeps none.
    """
    ino, rec_len, _, _ = _HEAD.unpack_from(block)
    if is_dx_root:
        return _dx_checksum_span(block, _DX_ROOT_ENTRIES_AT)
    if not ino and _record_bytes(rec_len, len(block)) == len(block):
        return _dx_checksum_span(block, _DX_NODE_ENTRIES_AT)
    tail = block[-_TAIL_BYTES:]
    if tail[:8] != bytes((0, 0, 0, 0, _TAIL_BYTES, 0, 0, _TAIL_FILE_TYPE)):
        return None
    return block[:-_TAIL_BYTES], tail[8:]


def _dx_checksum_span(block: bytes, entries_at: int) -> tuple[bytes, bytes] | None:
    limit, count = struct.unpack_from("<HH", block, entries_at)
    tail_at = entries_at + limit * _DX_ENTRY_BYTES
    if count > limit or tail_at + _DX_TAIL_BYTES != len(block):
        return None
    # The tail's reserved word is summed, its checksum as zeroes; unused entries are not summed.  The word may
    # look like the tail of a block of names, which the root was before the directory grew.
    covered = block[: entries_at + count * _DX_ENTRY_BYTES] + block[tail_at : tail_at + 4] + bytes(4)
    return covered, block[tail_at + 4 :]
