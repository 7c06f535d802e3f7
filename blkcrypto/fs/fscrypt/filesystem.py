"""What fscrypt asks a filesystem about itself.

Sources: ``struct fscrypt_operations`` and ``struct super_block`` as fs/crypto reads them; reference
fscrypt.md sections 0 and 3.1 to 3.3.
"""

from dataclasses import dataclass
from typing import Final

from blkcrypto.block.era import NEWEST, KernelProfile

PAGE_SIZE: Final = 4096
_MAX_LFS_FILESIZE: Final = (1 << 63) - 1
# include/linux/f2fs_fs.h: block addresses in an inode (923, less 50 for inline xattrs), and in a node block.
_F2FS_ADDRS_PER_INODE: Final = 873
_F2FS_ADDRS_PER_BLOCK: Final = 1018


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """A mounted filesystem's facts.

    Attributes:
        uuid: 16 bytes in the order people write them; enters the IV_INO_LBLK_* keys.
        block_size: bytes, a power of two.
        s_maxbytes: largest file size in bytes.
        has_stable_inodes: inode numbers and UUID never change (ext4 needs the feature ``stable_inodes``).
        has_32bit_inodes: inode numbers fit 32 bits.
        supports_subblock_data_units: data units may be smaller than a block.
        is_block_based: file contents travel in bios (UBIFS and CephFS encrypt for themselves).
        inlinecrypt: the mount option.
        kernel: which kernel's rules hold.
        page_size: of the machine.
    """

    uuid: bytes
    block_size: int
    s_maxbytes: int
    has_stable_inodes: bool = True
    has_32bit_inodes: bool = True
    supports_subblock_data_units: bool = True
    is_block_based: bool = True
    inlinecrypt: bool = True
    kernel: KernelProfile = NEWEST
    page_size: int = PAGE_SIZE

    def __post_init__(self) -> None:
        if len(self.uuid) != 16:
            raise ValueError(f"a filesystem UUID has 16 bytes, not {len(self.uuid)}")
        if self.block_size & (self.block_size - 1) or self.block_size < 512:
            raise ValueError(f"a block size is a power of two from 512 up, not {self.block_size}")

    @property
    def always_blk_crypto(self) -> bool:
        """Whether contents always go through blk-crypto, with or without hardware.

        The series that made it so (7.3) also let a key say whether hardware may have it; before, the
        filesystem itself encrypted whatever ``inlinecrypt`` did not give to blk-crypto.
        """
        return self.kernel.allow_hw_flag

    @property
    def block_bits(self) -> int:
        """log2 of the block size: ``s_blocksize_bits``."""
        return self.block_size.bit_length() - 1


def ext4_like(
    uuid: bytes,
    *,
    block_size: int = 4096,
    stable_inodes: bool = True,
    inlinecrypt: bool = True,
    kernel: KernelProfile = NEWEST,
) -> FileSystem:
    """An ext4: 32-bit logical blocks, so files end at 2**32 - 1 blocks (``ext4_max_size()``)."""
    return FileSystem(
        uuid=uuid,
        block_size=block_size,
        s_maxbytes=((1 << 32) - 1) * block_size,
        has_stable_inodes=stable_inodes,
        inlinecrypt=inlinecrypt,
        kernel=kernel,
    )


def f2fs_like(uuid: bytes, *, inlinecrypt: bool = True, kernel: KernelProfile = NEWEST) -> FileSystem:
    """An f2fs with 4 KiB blocks; its largest file as ``max_file_blocks()`` counts it."""
    per = _F2FS_ADDRS_PER_BLOCK
    blocks = _F2FS_ADDRS_PER_INODE + 2 * per + 2 * per**2 + per**3
    return FileSystem(
        uuid=uuid, block_size=4096, s_maxbytes=blocks * 4096, inlinecrypt=inlinecrypt, kernel=kernel
    )


def ubifs_like(uuid: bytes, *, kernel: KernelProfile = NEWEST) -> FileSystem:
    """A UBIFS: encrypts compressed 4 KiB data nodes itself; no stable inodes, no inline encryption."""
    return FileSystem(
        uuid=uuid,
        block_size=4096,
        s_maxbytes=_MAX_LFS_FILESIZE,
        has_stable_inodes=False,
        supports_subblock_data_units=False,
        is_block_based=False,
        inlinecrypt=False,
        kernel=kernel,
    )


def ceph_like(uuid: bytes, *, kernel: KernelProfile = NEWEST) -> FileSystem:
    """A CephFS: fixed 4 KiB units encrypted by the client, 64-bit inode numbers."""
    return FileSystem(
        uuid=uuid,
        block_size=4096,
        s_maxbytes=_MAX_LFS_FILESIZE,
        has_stable_inodes=False,
        has_32bit_inodes=False,
        supports_subblock_data_units=False,
        is_block_based=False,
        inlinecrypt=False,
        kernel=kernel,
    )
