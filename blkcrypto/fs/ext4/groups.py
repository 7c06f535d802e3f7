"""Group descriptors: where the inode tables lie.

Source: Documentation/filesystems/ext4/group_descr.rst and blockgroup.rst (the meta_bg layout).
"""

from typing import Final

from blkcrypto.fs.ext4.checksum import crc32c, crc32c_without
from blkcrypto.fs.ext4.features import Incompat, RoCompat
from blkcrypto.fs.ext4.superblock import SUPERBLOCK_OFFSET, Superblock

_CHECKSUM_AT: Final = 0x1E
_INODE_TABLE_HI_AT: Final = 0x28
_WIDE_DESC_BYTES: Final = 64
_BACKUP_BASES: Final = (3, 5, 7)


def descriptor_place(sb: Superblock, group: int) -> tuple[int, int]:
    """Block of a group's descriptor, and its first byte there."""
    per_block = sb.block_size // sb.desc_size
    nth, index = divmod(group, per_block)
    if sb.incompat & Incompat.META_BG and nth >= sb.first_meta_bg:
        # One block of descriptors at the start of every such span of groups, after a backup superblock.
        first = nth * per_block
        block = sb.first_data_block + first * sb.blocks_per_group + _has_superblock(sb, first)
        if not first and not sb.first_data_block and sb.block_size == SUPERBLOCK_OFFSET:
            block += 1
    else:
        block = SUPERBLOCK_OFFSET // sb.block_size + 1 + nth
    return block, index * sb.desc_size


def _has_superblock(sb: Superblock, group: int) -> bool:
    if group <= 1 or not sb.ro_compat & RoCompat.SPARSE_SUPER:
        return True
    return any(_is_power(group, base) for base in _BACKUP_BASES)


def _is_power(value: int, base: int) -> bool:
    while value % base == 0:
        value //= base
    return value == 1


def inode_table(descriptor: bytes) -> int:
    """First block of the group's inode table."""
    low = int.from_bytes(descriptor[8:12], "little")
    if len(descriptor) < _WIDE_DESC_BYTES:
        return low
    high = descriptor[_INODE_TABLE_HI_AT : _INODE_TABLE_HI_AT + 4]
    return low | int.from_bytes(high, "little") << 32


def descriptor_checksum_holds(sb: Superblock, group: int, descriptor: bytes) -> bool:
    """Whether the stored checksum fits a descriptor of a filesystem with ``metadata_csum``."""
    state = crc32c(sb.checksum_seed, group.to_bytes(4, "little"))
    stored = int.from_bytes(descriptor[_CHECKSUM_AT : _CHECKSUM_AT + 2], "little")
    return crc32c_without(state, descriptor, _CHECKSUM_AT, 2) & 0xFFFF == stored
