"""Feature bits and inode flags of ext4 that matter here, by the names Linux gives them.

Source: fs/ext4/ext4.h; Documentation/filesystems/ext4/super.rst and inodes.rst.
"""

import enum
from typing import Final


class Compat(enum.IntFlag):
    """``s_feature_compat``, of which little matters to a reader."""

    DIR_INDEX = 0x0020
    SPARSE_SUPER2 = 0x0200
    STABLE_INODES = 0x0800


class Incompat(enum.IntFlag):
    """``s_feature_incompat``: what a reader must know, or else leave the filesystem alone."""

    FILETYPE = 0x00002
    RECOVER = 0x00004
    META_BG = 0x00010
    EXTENTS = 0x00040
    BIT64 = 0x00080
    MMP = 0x00100
    FLEX_BG = 0x00200
    EA_INODE = 0x00400
    CSUM_SEED = 0x02000
    LARGEDIR = 0x04000
    INLINE_DATA = 0x08000
    ENCRYPT = 0x10000
    CASEFOLD = 0x20000


class RoCompat(enum.IntFlag):
    """``s_feature_ro_compat``: what a writer must know."""

    SPARSE_SUPER = 0x00001
    LARGE_FILE = 0x00002
    BTREE_DIR = 0x00004
    HUGE_FILE = 0x00008
    GDT_CSUM = 0x00010
    DIR_NLINK = 0x00020
    EXTRA_ISIZE = 0x00040
    QUOTA = 0x00100
    BIGALLOC = 0x00200
    METADATA_CSUM = 0x00400
    READONLY = 0x01000
    PROJECT = 0x02000
    SHARED_BLOCKS = 0x04000
    VERITY = 0x08000
    ORPHAN_PRESENT = 0x10000


READABLE: Final = (
    Incompat.FILETYPE | Incompat.RECOVER | Incompat.META_BG | Incompat.EXTENTS | Incompat.BIT64
    | Incompat.MMP | Incompat.FLEX_BG | Incompat.EA_INODE | Incompat.CSUM_SEED | Incompat.LARGEDIR
    | Incompat.INLINE_DATA | Incompat.ENCRYPT | Incompat.CASEFOLD
)  # fmt: skip
# An overwrite of data in place disturbs none of these.
OVERWRITABLE: Final = (
    RoCompat.SPARSE_SUPER | RoCompat.LARGE_FILE | RoCompat.BTREE_DIR | RoCompat.HUGE_FILE | RoCompat.GDT_CSUM
    | RoCompat.DIR_NLINK | RoCompat.EXTRA_ISIZE | RoCompat.QUOTA | RoCompat.BIGALLOC | RoCompat.METADATA_CSUM
    | RoCompat.PROJECT | RoCompat.VERITY | RoCompat.ORPHAN_PRESENT
)  # fmt: skip


class InodeFlags(enum.IntFlag):
    """``i_flags``."""

    COMPR = 0x00000004
    IMMUTABLE = 0x00000010
    APPEND = 0x00000020
    ENCRYPT = 0x00000800
    INDEX = 0x00001000
    EXTENTS = 0x00080000
    VERITY = 0x00100000
    INLINE_DATA = 0x10000000
    CASEFOLD = 0x40000000
