"""Block statuses and the errnos they stand for.

Inside the layer an error is raised as an exception with an errno; at a bio's completion it becomes a
``BlkStatus``, and no exception crosses that line.

Source: ``blk_errors[]``, block/blk-core.c (7.3); reference block-layer.md section 1.8.
"""

import enum
import errno


class BlkStatus(enum.IntEnum):
    """``blk_status_t``; the values are those of include/linux/blk_types.h."""

    OK = 0
    NOTSUPP = 1
    TIMEOUT = 2
    NOSPC = 3
    TRANSPORT = 4
    TARGET = 5
    RESV_CONFLICT = 6
    MEDIUM = 7
    PROTECTION = 8
    RESOURCE = 9
    IOERR = 10
    AGAIN = 12
    DEV_RESOURCE = 13
    INVAL = 19

    def __str__(self) -> str:
        return f"BLK_STS_{self.name}"


_STATUS_ERRNO = {
    BlkStatus.OK: 0,
    BlkStatus.NOTSUPP: errno.EOPNOTSUPP,
    BlkStatus.TIMEOUT: errno.ETIMEDOUT,
    BlkStatus.NOSPC: errno.ENOSPC,
    BlkStatus.TRANSPORT: errno.ENOLINK,
    BlkStatus.TARGET: errno.EREMOTEIO,
    BlkStatus.RESV_CONFLICT: errno.EBADE,
    BlkStatus.MEDIUM: errno.ENODATA,
    BlkStatus.PROTECTION: errno.EILSEQ,
    BlkStatus.RESOURCE: errno.ENOMEM,
    BlkStatus.DEV_RESOURCE: errno.EBUSY,
    BlkStatus.AGAIN: errno.EAGAIN,
    BlkStatus.INVAL: errno.EINVAL,
    BlkStatus.IOERR: errno.EIO,
}
_ERRNO_STATUS = {number: status for status, number in _STATUS_ERRNO.items()}


def errno_to_blk_status(number: int) -> BlkStatus:
    """Status of a positive errno; one without a row (EBADMSG, ENOPKG, ENOKEY ...) is an I/O error."""
    return _ERRNO_STATUS.get(number, BlkStatus.IOERR)


def blk_status_to_errno(status: BlkStatus) -> int:
    """Positive errno that a caller of the block layer finally sees; 0 for OK."""
    return _STATUS_ERRNO[status]
