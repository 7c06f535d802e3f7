"""Garbage collection as f2fs does it: what still lives in a stretch of blocks moves away, as ciphertext.

Rules (``move_data_block()``, fs/f2fs/gc.c; reference fscrypt.md section 3.6):

- Blocks of encrypted files move without their key, so also while it is absent.  Contents are bound to their
  place in the file, not on the disk.
- The bios have no context though the inodes are encrypted.  They join by their place on disk, whatever files
  their blocks belong to.
"""

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.smallfs.bios import BioBuilder, Transfer
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.errors import NoSpace
from blkcrypto.fs.smallfs.mount import Mount


def collect(mount: Mount, blocks: range) -> int:
    """Move the live ones of ``blocks`` elsewhere, so that the stretch is free.

    Returns:
        How many moved.

    Raises:
        NoSpace: ENOSPC; nothing moved.
        IoFailed: EIO; nothing moved.
    """
    disk, size = mount.disk, mount.fs.block_size
    live = [block for block in blocks if block in disk.owners]
    owners = [disk.owners[block] for block in live]
    data = np.zeros(len(live) * size, np.uint8)
    lblks, places = [lblk for _, lblk in owners], range(0, len(live) * size, size)
    bios = BioBuilder(mount.fs)
    mount.device.submit(bios.moving(Transfer(ReqOp.READ, lblks, live, data, places)))
    moved: list[int] = []
    try:
        _allocate(disk, owners, blocks, moved)
        mount.device.submit(bios.moving(Transfer(ReqOp.WRITE, lblks, moved, data, places)))
    except BlkCryptoError:
        for block in moved:
            disk.free(block)
        raise
    for old, new, (ino, lblk) in zip(live, moved, owners, strict=True):
        disk.inodes[ino].blocks[lblk] = new
        disk.free(old)
    return len(live)


def _allocate(disk: Disk, owners: list[tuple[int, int]], avoid: range, moved: list[int]) -> None:
    """Append a block for each of ``owners`` to ``moved``, none of those to be freed."""
    for ino, lblk in owners:
        moved.append(disk.allocate(ino, lblk))
        if moved[-1] in avoid:
            raise NoSpace("no block is free outside the stretch to be freed")
