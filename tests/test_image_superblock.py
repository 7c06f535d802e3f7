"""Fields of ext4's superblock where its documentation puts them, and the last value each may have.

Source: Documentation/filesystems/ext4/super.rst.
"""

from dataclasses import dataclass
from typing import Final

import pytest

from blkcrypto.base.errors import BadInput
from blkcrypto.fs.ext4.features import Compat, Incompat, RoCompat
from blkcrypto.fs.ext4.groups import descriptor_place
from blkcrypto.fs.ext4.superblock import Superblock
from tests.oracle.slow_crc32c import crc32c

# name: (byte in the superblock, bytes)
SUPER: Final = {
    "inodes_count": (0x0, 4),
    "blocks_count": (0x4, 4),
    "first_data_block": (0x14, 4),
    "log_block_size": (0x18, 4),
    "blocks_per_group": (0x20, 4),
    "inodes_per_group": (0x28, 4),
    "magic": (0x38, 2),
    "rev_level": (0x4C, 4),
    "inode_size": (0x58, 2),
    "compat": (0x5C, 4),
    "incompat": (0x60, 4),
    "ro_compat": (0x64, 4),
    "desc_size": (0xFE, 2),
    "first_meta_bg": (0x104, 4),
    "blocks_count_hi": (0x150, 4),
    "flags": (0x160, 4),
    "checksum_seed": (0x270, 4),
}
BASE: Final = {
    "inodes_count": 100,
    "blocks_count": 1000,
    "blocks_per_group": 32768,
    "inodes_per_group": 1024,
    "log_block_size": 2,
    "magic": 0xEF53,
    "rev_level": 1,
    "inode_size": 256,
}
WIDE: Final = {"incompat": Incompat.BIT64, "desc_size": 64}


@dataclass
class SuperblockStore:
    """A superblock, and room for whatever it claims."""

    data: bytes
    size: int = 1 << 80
    name: str = "test.img"

    def read(self, offset: int, nbytes: int) -> bytes:
        return self.data[offset : offset + nbytes]

    def write(self, offset: int, data: bytes) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        raise NotImplementedError


def superblock(size: int = 1 << 80, **changes: int) -> Superblock:
    data = bytearray(4096)
    for name, value in (BASE | changes).items():
        at, nbytes = SUPER[name]
        data[1024 + at : 1024 + at + nbytes] = value.to_bytes(nbytes, "little")
    data[1024 + 0x68 : 1024 + 0x78] = bytes(range(16))
    data[1024 + 0xEC : 1024 + 0xFD] = bytes(range(100, 117))
    return Superblock.read(SuperblockStore(bytes(data), size), check_checksums=False)


def test_the_fields_of_a_superblock_are_where_they_are_documented() -> None:
    found = superblock(
        **WIDE | {"blocks_count_hi": 7, "first_meta_bg": 9, "compat": 0x20, "ro_compat": 0x400, "flags": 1}
    )
    assert (found.blocks_count, found.first_meta_bg, found.inode_size, found.desc_size) == (
        (7 << 32) + 1000, 9, 256, 64,
    )  # fmt: skip
    assert (found.compat, found.incompat, found.ro_compat) == (0x20, 0x80, 0x400)
    assert (found.uuid, found.hash_seed, found.hash_version) == (
        bytes(range(16)), bytes(range(100, 116)), 116,
    )  # fmt: skip
    assert found.hash_signed


def test_bit_1_of_the_flags_makes_hashes_unsigned() -> None:
    assert [superblock(flags=flags).hash_signed for flags in (0, 1, 2, 3)] == [True, True, False, False]


def test_without_64bit_the_upper_half_of_the_count_and_the_descriptors_size_say_nothing() -> None:
    found = superblock(blocks_count_hi=7, desc_size=64)
    assert (found.blocks_count, found.desc_size) == (1000, 32)


def test_the_first_revision_has_inodes_of_128_bytes_and_no_features() -> None:
    found = superblock(rev_level=0, inode_size=0, compat=0x20, incompat=0xFFFF, ro_compat=0xFFFF)
    assert (found.inode_size, found.compat, found.incompat, found.ro_compat) == (128, 0, 0, 0)


def test_the_seed_of_checksums_is_stored_or_made_of_the_uuid() -> None:
    stored = superblock(incompat=Incompat.CSUM_SEED, checksum_seed=0x12345678)
    assert (stored.checksum_seed, superblock().checksum_seed) == (
        0x12345678,
        crc32c(bytes(range(16))),
    )


# What is set beside it, the field, the last value that can be, the first that cannot.
LIMITS: Final = [
    ({}, "log_block_size", 6, 7),
    ({}, "first_data_block", 0, 1),
    ({"log_block_size": 0}, "first_data_block", 1, 2),
    ({}, "blocks_per_group", 1, 0),
    ({}, "inodes_per_group", 8 * 4096, 8 * 4096 + 1),
    ({"inodes_count": 1}, "inodes_per_group", 1, 0),
    ({}, "inode_size", 128, 64),
    ({}, "inode_size", 4096, 8192),
    ({}, "inode_size", 512, 384),
    (WIDE, "desc_size", 64, 32),
    (WIDE, "desc_size", 4096, 8192),
    (WIDE, "desc_size", 128, 96),
    ({}, "blocks_count", 2, 1),
    ({"log_block_size": 0, "first_data_block": 1}, "blocks_count", 3, 2),
    # A last group with a single block is a group.
    ({"blocks_count": 32769}, "inodes_count", 2048, 2049),
    ({"blocks_count": 32768}, "inodes_count", 1024, 1025),
    ({"blocks_count": 8193, "log_block_size": 0, "first_data_block": 1, "blocks_per_group": 8192},
     "inodes_count", 1024, 1025),
    ({}, "inodes_count", 1, 0),
    ({}, "incompat", Incompat.META_BG, 0x20),
    ({"incompat": Incompat.META_BG}, "compat", Compat.DIR_INDEX, Compat.SPARSE_SUPER2),
]  # fmt: skip


@pytest.mark.parametrize(("beside", "field", "last", "impossible"), LIMITS)
def test_a_field_may_have_its_last_possible_value_and_none_beyond(
    beside: dict[str, int], field: str, last: int, impossible: int
) -> None:
    superblock(**beside | {field: last})
    with pytest.raises(BadInput, match=r"^test.img: superblock: "):
        superblock(**beside | {field: impossible})


@pytest.mark.parametrize("wide", [{}, WIDE | {"blocks_count_hi": 1}])
def test_an_image_may_end_where_its_filesystem_does(wide: dict[str, int]) -> None:
    blocks = 1000 + (wide.get("blocks_count_hi", 0) << 32)
    assert superblock(size=blocks * 4096, **wide).blocks_count == blocks
    with pytest.raises(BadInput, match="it was cut off"):
        superblock(size=blocks * 4096 - 1, **wide)


# With meta_bg, a block of descriptors stands at the start of the groups it is for, behind a backup of the
# superblock if there is one: in groups 0 and 1 and those whose numbers are powers of 3, 5 and 7.
META_BG: Final = {
    "log_block_size": 0,
    "first_data_block": 1,
    "blocks_per_group": 8192,
    "blocks_count": 1 << 20,
}


@pytest.mark.parametrize("sparse", [True, False])
def test_descriptors_in_the_groups_stand_behind_a_backup_superblock(sparse: bool) -> None:
    backups = {0, 1, 3, 5, 7, 9, 25, 27, 49, 81} if sparse else set(range(100))
    features = {"incompat": Incompat.BIT64 | Incompat.META_BG, "desc_size": 1024}  # a block for each
    sb = superblock(**META_BG | features | {"ro_compat": RoCompat.SPARSE_SUPER if sparse else 0})
    found = [descriptor_place(sb, group) for group in range(100)]
    assert found == [(1 + 8192 * group + (group in backups), 0) for group in range(100)]


def test_groups_before_the_first_of_meta_bg_have_their_descriptors_behind_the_superblock() -> None:
    """16 descriptors of 64 bytes to a block; two blocks of them are of the old kind."""
    features = {"incompat": Incompat.BIT64 | Incompat.META_BG, "first_meta_bg": 2}
    sb = superblock(**META_BG | features | {"desc_size": 64})
    places = {group: descriptor_place(sb, group) for group in (0, 15, 16, 31, 32, 47, 48)}
    assert places == {
        0: (2, 0),
        15: (2, 960),
        16: (3, 0),
        31: (3, 960),
        32: (1 + 8192 * 32 + 1, 0),
        47: (1 + 8192 * 32 + 1, 960),
        48: (1 + 8192 * 48 + 1, 0),
    }


@pytest.mark.parametrize(("log_block_size", "block"), [(0, 2), (1, 1), (2, 1), (6, 1)])
def test_descriptors_begin_in_the_block_behind_the_superblock_s(log_block_size: int, block: int) -> None:
    first = int(log_block_size == 0)
    sb = superblock(log_block_size=log_block_size, first_data_block=first)
    assert descriptor_place(sb, 3) == (block, 96)
