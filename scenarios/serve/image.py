"""The medium: an image file.

A flush is ``fdatasync(2)``: bytes and what is needed to find them are on the medium of the host.
"""

import ctypes
import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BadInput
from blkcrypto.base.units import format_size

U8 = npt.NDArray[np.uint8]

_PUNCH_HOLE_KEEP_SIZE: Final = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


class ImageFile:
    """The file, locked against a second server.

    Args:
        path: made when it does not exist, sparse.
        size: bytes; None for the size of an existing file.

    Raises:
        BadInput: it cannot be opened, is in use, or has another size.
    """

    def __init__(self, path: Path, size: int | None) -> None:
        self.path = path
        self._fd = -1
        is_new = not path.exists()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.size = self._sized(size)
        except BaseException as error:
            if self._fd >= 0:
                os.close(self._fd)
                if is_new:
                    path.unlink(missing_ok=True)
            if isinstance(error, BlockingIOError):
                raise BadInput("another server has it open", where=str(path)) from None
            if isinstance(error, OSError):
                raise BadInput(f"cannot open it: {error.strerror}", where=str(path)) from None
            raise

    def _sized(self, size: int | None) -> int:
        there = os.fstat(self._fd).st_size
        if not there and size is None:
            raise BadInput("there is no image yet: give --size, e.g. --size 1G", where=str(self.path))
        if there and size not in (None, there):
            what = f"the image has {format_size(there)}, not {format_size(size or 0)}: leave --size out"
            raise BadInput(what, where=str(self.path))
        if not there:
            os.ftruncate(self._fd, size or 0)
            os.fsync(self._fd)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)  # the file's name must survive, too
            finally:
                os.close(folder)
        return there or size or 0

    def read(self, offset: int, out: U8) -> None:
        """Fill ``out`` from ``offset`` on; OSError when that fails."""
        done = os.preadv(self._fd, [out.data], offset)
        while done < len(out):
            count = os.preadv(self._fd, [out[done:].data], offset + done)
            if not count:
                raise OSError(errno.EIO, "the image became shorter")
            done += count

    def write(self, offset: int, data: U8) -> None:
        """Write all of ``data``; OSError when that fails."""
        done = os.pwrite(self._fd, data.data, offset)
        while done < len(data):
            done += os.pwrite(self._fd, data[done:].data, offset + done)

    def read_bytes(self, offset: int, nbytes: int) -> bytes:
        """``nbytes`` from ``offset`` on; OSError when that fails."""
        data = np.empty(nbytes, dtype=np.uint8)
        self.read(offset, data)
        return data.tobytes()

    def write_bytes(self, offset: int, data: bytes) -> None:
        """Write all of ``data``; OSError when that fails."""
        self.write(offset, np.frombuffer(data, dtype=np.uint8))

    def map(self) -> mmap.mmap:
        """All of it as memory, to be looked at; what is written shows there."""
        return mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ)

    def discard(self, offset: int, nbytes: int) -> None:
        """Give the room back, so that zeroes are read; OSError when the filesystem cannot."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.fallocate(self._fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(nbytes)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def sync(self) -> None:
        """Make everything written durable; OSError when that fails."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            os.close(self._fd)
