"""The medium: an image file, and the controller in front of it that encrypts on the way.

It is the driver under the request queue.  Requests in flight are collected and processed together: one
cipher call for all data units under one key, one system call for each request's bytes.  What encrypts is
the cipher in the request's keyslot, as in hardware: the key object is not looked at.

A flush is ``fdatasync(2)``: bytes and what is needed to find them are on the medium of the host.
"""

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.dun import duns_to_ivs
from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import BlkStatus, errno_to_blk_status
from blkcrypto.base.units import SECTOR_SHIFT, format_size
from blkcrypto.block.op import ReqOp
from blkcrypto.block.request import Request
from hwmodel.dataplane import UnitCipher

U8 = npt.NDArray[np.uint8]

BATCH_BYTES: Final = 4 << 20
_FEW_UNITS: Final = 16
_IV_BYTES: Final = 16  # of AES-256-XTS
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


class ImageDriver:
    """Requests to the image file: a ``RequestSink``.

    Args:
        image: the medium.
        unit_bytes: data unit size.
        cipher_of: the cipher in a request's keyslot.
    """

    def __init__(self, image: ImageFile, unit_bytes: int, cipher_of: Callable[[Request], UnitCipher]) -> None:
        self._image = image
        self._unit_bytes = unit_bytes
        self._cipher_of = cipher_of
        self._pending: list[Request] = []

    def queue_rq(self, rq: Request) -> BlkStatus:
        """Take ``rq``: it is done at the next ``process``."""
        self._pending.append(rq)
        return BlkStatus.OK

    def process(self) -> bool:
        """Do and complete what is in flight; False when nothing was."""
        pending, self._pending = self._pending, []
        batch: list[Request] = []
        nbytes = 0
        for rq in pending:
            if rq.op > ReqOp.WRITE or nbytes >= BATCH_BYTES or (batch and batch[0].op is not rq.op):
                self._transfer(batch)
                batch, nbytes = [], 0
            if rq.op > ReqOp.WRITE:
                rq.queue.complete(rq, self._control(rq))
            else:
                batch.append(rq)
                nbytes += rq.nbytes
        self._transfer(batch)
        return bool(pending)

    def _control(self, rq: Request) -> BlkStatus:
        try:
            if rq.op is ReqOp.FLUSH:
                self._image.sync()
            else:
                self._image.discard(rq.sector << SECTOR_SHIFT, rq.nbytes)
        except OSError as error:
            return errno_to_blk_status(error.errno or errno.EIO)
        return BlkStatus.OK

    def _transfer(self, batch: list[Request]) -> None:
        """Read or write ``batch``: one direction, no two of the same bytes."""
        if not batch:
            return
        groups = _by_cipher(batch)
        ordered = [rq for group in groups for rq in group]
        if ordered[0].op is ReqOp.WRITE:
            data = np.concatenate([part for rq in ordered for part in _memory(rq)])
            self._crypt(groups, data, encrypt=True)
            outcome = self._moved(self._image.write, ordered, data)
        else:
            data = np.empty(sum([rq.nbytes for rq in ordered]), dtype=np.uint8)
            outcome = self._moved(self._image.read, ordered, data)
            self._crypt(groups, data, encrypt=False)
            _scatter(ordered, data)
        for rq, status in zip(ordered, outcome, strict=True):
            rq.queue.complete(rq, status)

    @staticmethod
    def _moved(move: Callable[[int, U8], None], ordered: list[Request], data: U8) -> list[BlkStatus]:
        at, outcome = 0, []
        for rq in ordered:
            end, status = at + rq.nbytes, BlkStatus.OK
            try:
                move(rq.sector << SECTOR_SHIFT, data[at:end])
            except OSError as error:
                status = errno_to_blk_status(error.errno or errno.EIO)
            outcome.append(status)
            at = end
        return outcome

    def _crypt(self, groups: list[list[Request]], data: U8, *, encrypt: bool) -> None:
        at, unit_bytes = 0, self._unit_bytes
        for group in groups:
            first = group[0]
            end = at + sum([rq.nbytes for rq in group])
            ctx = first.crypt_ctx
            if ctx is not None:
                units = data[at:end].reshape(-1, unit_bytes)
                cipher = self._cipher_of(first)
                (cipher.encrypt if encrypt else cipher.decrypt)(self._ivs(group), units, units)
            at = end

    def _ivs(self, group: list[Request]) -> U8:
        parts = []
        for rq in group:
            assert rq.crypt_ctx is not None
            dun, count = rq.crypt_ctx.dun, rq.nbytes // self._unit_bytes
            if count == 1:
                parts.append(dun.to_bytes(_IV_BYTES, "little"))
            elif count <= _FEW_UNITS:
                parts += [(dun + unit).to_bytes(_IV_BYTES, "little") for unit in range(count)]
            else:
                parts.append(duns_to_ivs(dun, count, iv_bytes=_IV_BYTES).tobytes())
        return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, _IV_BYTES)


def _by_cipher(batch: list[Request]) -> list[list[Request]]:
    """Requests that one cipher serves, together: of one keyslot, or of one key where there are no slots."""
    groups: dict[int, list[Request]] = {}
    for rq in batch:
        if rq.crypt_ctx is None:
            which = -1
        else:
            which = rq.keyslot if rq.keyslot >= 0 else id(rq.crypt_ctx.key)
        groups.setdefault(which, []).append(rq)
    return list(groups.values())


def _memory(rq: Request) -> list[U8]:
    """What ``rq`` moves, in order."""
    parts = []
    for bio in rq.bios:
        # Most bios are one vector, whole.
        whole = len(bio.vecs) == 1 and bio.vecs[0].length == bio.it.size
        for vec in bio.vecs if whole else bio.bvecs():
            assert vec.data is not None
            parts.append(vec.data)
    return parts


def _scatter(ordered: list[Request], data: U8) -> None:
    """``data`` to where ``ordered`` want it."""
    at = 0
    for rq in ordered:
        for memory in _memory(rq):
            memory[:] = data[at : at + len(memory)]
            at += len(memory)
