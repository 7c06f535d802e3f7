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
    moved = _allocated(disk, owners, avoid=blocks)
    try:
        mount.device.submit(bios.moving(Transfer(ReqOp.WRITE, lblks, moved, data, places)))
    except BlkCryptoError:
        _free(disk, moved)
        raise
    for old, new, (ino, lblk) in zip(live, moved, owners, strict=True):
        disk.inodes[ino].blocks[lblk] = new
        disk.free(old)
    return len(live)


def _allocated(disk: Disk, owners: list[tuple[int, int]], avoid: range) -> list[int]:
    """A block for each of ``owners``, none of those to be freed."""
    taken: list[int] = []
    set_aside: list[int] = []
    try:
        for ino, lblk in owners:
            while (block := disk.allocate(ino, lblk)) in avoid:
                set_aside.append(block)
            taken.append(block)
    except NoSpace:
        _free(disk, taken)
        raise
    finally:
        _free(disk, set_aside)
    return taken


def _free(disk: Disk, blocks: list[int]) -> None:
    for block in blocks:
        disk.free(block)
