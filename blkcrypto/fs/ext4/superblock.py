"""The superblock: sizes, counts and features, and whether they can be true.

Source: Documentation/filesystems/ext4/super.rst.
"""

import struct
from dataclasses import dataclass
from typing import Final, Self

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.ext4.checksum import SEED, crc32c
from blkcrypto.fs.ext4.features import OVERWRITABLE, READABLE, Compat, Incompat, RoCompat
from blkcrypto.fs.ext4.store import ByteStore

SUPERBLOCK_OFFSET: Final = 1024
SUPERBLOCK_BYTES: Final = 1024
_CHECKSUM_AT: Final = 0x3FC
_EXT_MAGIC: Final = 0xEF53
_GOOD_OLD_REV: Final = 0
_GOOD_OLD_INODE_BYTES: Final = 128
_MIN_DESC_BYTES: Final = {False: 32, True: 64}
_MAX_BLOCK_SHIFT: Final = 16
_FLAGS_UNSIGNED_HASH: Final = 0x2

_HEAD: Final = struct.Struct("<IIIIIIIIIII")
_LATE: Final = struct.Struct("<HHIII16s")

# What else people hand in: (offset, bytes there, what to do).
_OTHERS: Final = (
    (0, b"\xfd7zXZ\x00", "is compressed by xz: decompress it first (xz -dk)"),
    (0, b"\x1f\x8b", "is compressed by gzip: decompress it first (gzip -dk)"),
    (0, b"\x28\xb5\x2f\xfd", "is compressed by zstd: decompress it first (zstd -d)"),
    (0, b"\x3a\xff\x26\xed", "is an Android sparse image: convert it first (simg2img)"),
    (1024, b"\x10\x20\xf5\xf2", "is an f2fs image: only ext4 is read"),
    (512, b"EFI PART", "is a disk with partitions: cut the ext4 partition out of it"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """``struct ext4_super_block``, checked.

    Attributes:
        block_size: bytes, 1024 to 65536.
        blocks_count: blocks of the filesystem, all inside the image.
        first_data_block: block of the superblock: 1 with 1 KiB blocks, else 0.
        blocks_per_group: blocks in each group but the last.
        inodes_per_group: inodes in each group.
        inodes_count: the largest inode number.
        inode_size: bytes of an inode on disk.
        desc_size: bytes of a group descriptor.
        first_meta_bg: first group of the meta_bg layout.
        compat: ``s_feature_compat``.
        incompat: ``s_feature_incompat``.
        ro_compat: ``s_feature_ro_compat``.
        uuid: 16 bytes.
        hash_seed: 16 bytes; seeds the hashes of directory entries.
        hash_version: ``s_def_hash_version``.
        hash_signed: whether bytes above 127 count as negative in those hashes.
        checksum_seed: state with which metadata checksums begin.
    """

    block_size: int
    blocks_count: int
    first_data_block: int
    blocks_per_group: int
    inodes_per_group: int
    inodes_count: int
    inode_size: int
    desc_size: int
    first_meta_bg: int
    compat: int
    incompat: int
    ro_compat: int
    uuid: bytes
    hash_seed: bytes
    hash_version: int
    hash_signed: bool
    checksum_seed: int

    @classmethod
    def read(cls, store: ByteStore, *, check_checksums: bool) -> Self:
        """The superblock of an image.

        Raises:
            BadInput: not ext4, not whole, impossible, or with features that are not known.
        """
        where = f"{store.name}: superblock"
        data = store.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES)
        if len(data) < SUPERBLOCK_BYTES or _u16(data, 0x38) != _EXT_MAGIC:
            raise BadInput(_what_it_is(store), where=store.name)
        found = cls._parse(data, where)
        summed = crc32c(SEED, data[:_CHECKSUM_AT])
        if check_checksums and found.has_checksums and summed != _u32(data, _CHECKSUM_AT):
            raise BadInput("its checksum is wrong: run e2fsck on a copy, or pass --no-checksums", where=where)
        found._check(store.size, where)
        return found

    @classmethod
    def _parse(cls, data: bytes, where: str) -> Self:
        inodes_count, blocks_lo, _, _, _, first_block, block_shift, _, per_group, _, inodes_per_group = (
            _HEAD.unpack_from(data, 0)
        )
        inode_size, _, compat, incompat, ro_compat, uuid = _LATE.unpack_from(data, 0x58)
        if _u32(data, 0x4C) == _GOOD_OLD_REV:
            inode_size, compat, incompat, ro_compat = _GOOD_OLD_INODE_BYTES, 0, 0, 0
        if block_shift > _MAX_BLOCK_SHIFT - 10:
            raise BadInput(f"log_block_size {block_shift}: blocks have 1 to 64 KiB", where=where)
        wide = bool(incompat & Incompat.BIT64)
        return cls(
            block_size=1024 << block_shift,
            blocks_count=blocks_lo | (_u32(data, 0x150) << 32 if wide else 0),
            first_data_block=first_block,
            blocks_per_group=per_group,
            inodes_per_group=inodes_per_group,
            inodes_count=inodes_count,
            inode_size=inode_size,
            desc_size=_u16(data, 0xFE) if wide else _MIN_DESC_BYTES[False],
            first_meta_bg=_u32(data, 0x104),
            compat=compat,
            incompat=incompat,
            ro_compat=ro_compat,
            uuid=uuid,
            hash_seed=data[0xEC:0xFC],
            hash_version=data[0xFC],
            hash_signed=not _u32(data, 0x160) & _FLAGS_UNSIGNED_HASH,
            checksum_seed=_u32(data, 0x270) if incompat & Incompat.CSUM_SEED else crc32c(SEED, uuid),
        )

    def _check(self, image_bytes: int, where: str) -> None:
        unknown = self.incompat & ~int(READABLE)
        if unknown:
            raise BadInput(f"features {unknown:#x} (incompat) are not known to this reader", where=where)
        if self.incompat & Incompat.META_BG and self.compat & Compat.SPARSE_SUPER2:
            raise BadInput("meta_bg together with sparse_super2 is not known to this reader", where=where)
        possible = (
            (self.first_data_block <= (self.block_size == 1024), f"first_data_block {self.first_data_block}"),
            (self.blocks_per_group > 0, "no blocks per group"),
            (0 < self.inodes_per_group <= 8 * self.block_size, f"{self.inodes_per_group} inodes per group"),
            (_is_power_of_two(self.inode_size), f"inode size {self.inode_size}"),
            (_GOOD_OLD_INODE_BYTES <= self.inode_size <= self.block_size, f"inode size {self.inode_size}"),
            (_is_power_of_two(self.desc_size), f"descriptor size {self.desc_size}"),
            (
                _MIN_DESC_BYTES[bool(self.incompat & Incompat.BIT64)] <= self.desc_size <= self.block_size,
                f"descriptor size {self.desc_size}",
            ),
            (self.blocks_count > self.first_data_block + 1, f"{self.blocks_count} blocks"),
        )
        for holds, what in possible:
            if not holds:
                raise BadInput(f"impossible: {what}", where=where)
        if not 0 < self.inodes_count <= self.groups_count * self.inodes_per_group:
            raise BadInput(f"impossible: {self.inodes_count} inodes", where=where)
        if self.blocks_count * self.block_size > image_bytes:
            raise BadInput(
                f"the filesystem has {self.blocks_count * self.block_size} bytes and the image only "
                f"{image_bytes}: it was cut off",
                where=where,
            )

    @property
    def groups_count(self) -> int:
        """Number of block groups."""
        return -(-(self.blocks_count - self.first_data_block) // self.blocks_per_group)

    @property
    def has_checksums(self) -> bool:
        """Whether metadata carries crc32c checksums."""
        return bool(self.ro_compat & RoCompat.METADATA_CSUM)

    @property
    def needs_recovery(self) -> bool:
        """Whether the journal holds changes that are not yet in their places."""
        return bool(self.incompat & Incompat.RECOVER)

    @property
    def has_stable_inodes(self) -> bool:
        """Whether IV_INO_LBLK policies are allowed."""
        return bool(self.compat & Compat.STABLE_INODES)

    @property
    def unwritable_features(self) -> int:
        """Bits of ``s_feature_ro_compat`` for which Linux, or this writer, would not write."""
        return self.ro_compat & ~int(OVERWRITABLE)


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _is_power_of_two(value: int) -> bool:
    return value > 0 and not value & (value - 1)


def _what_it_is(store: ByteStore) -> str:
    for offset, magic, advice in _OTHERS:
        if store.read(offset, len(magic)) == magic:
            return advice
    return "is not an ext4 image: there is no superblock at byte 1024"
