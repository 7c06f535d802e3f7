"""Operations of bios and requests.

Source: ``enum req_op``, include/linux/blk_types.h.
"""

import enum


class ReqOp(enum.IntEnum):
    """``REQ_OP_*``, the kernel's numbers; odd ones move data towards the device."""

    READ = 0
    WRITE = 1
    FLUSH = 2
    DISCARD = 3
    SECURE_ERASE = 5
    WRITE_ZEROES = 9
