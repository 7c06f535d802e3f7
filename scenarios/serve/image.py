"""The medium: an image file, and the controller in front of it that encrypts on the way.

It is the driver under the request queue.  Requests in flight are collected and processed together: one batch
for all data units under all keys, one system call for each request's bytes.  What encrypts is the cipher in
the request's keyslot, as in hardware: the key object is not looked at.

A flush is ``fdatasync(2)``: bytes and what is needed to find them are on the medium of the host.
"""

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import BlkStatus, errno_to_blk_status
from blkcrypto.base.units import SECTOR_SHIFT, format_size
from blkcrypto.block.op import ReqOp
from blkcrypto.block.pages import PageRun
from blkcrypto.block.request import Request
from blkcrypto.crypto.gather import Gathered, Run
from scenarios.serve.engine import Engine

U8 = npt.NDArray[np.uint8]

BATCH_BYTES: Final = 4 << 20
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


class _Move(NamedTuple):
    """Bytes between memory and one place of the image.

    Attributes:
        op: READ or WRITE.
        offset: bytes.
        run: how many bytes, and what encrypts them.
        memory: ``uint8[n]`` each, in order.
    """

    op: ReqOp
    offset: int
    run: Run
    memory: Sequence[U8]


class ImageDriver:
    """Requests to the image file: a ``RequestSink`` and a ``PageSink``.

    Args:
        image: the medium.
        unit_bytes: data unit size.
        engine: what is in the keyslots.
    """

    def __init__(self, image: ImageFile, unit_bytes: int, engine: Engine) -> None:
        self._image = image
        self._unit_bytes = unit_bytes
        self._engine = engine
        self._pending: list[Request | PageRun] = []

    def queue_rq(self, rq: Request) -> BlkStatus:
        """Take ``rq``: it is done at the next ``process``."""
        self._pending.append(rq)
        return BlkStatus.OK

    def queue_pages(self, run: PageRun) -> None:
        """The same for ``run``."""
        self._pending.append(run)

    def process(self) -> bool:
        """Do and complete what is in flight; False when nothing was."""
        pending, self._pending = self._pending, []
        batch: list[Request | PageRun] = []
        nbytes = 0
        for each in pending:
            if isinstance(each, Request) and each.op > ReqOp.WRITE:
                self._transfer(batch)
                batch, nbytes = [], 0
                each.queue.complete(each, self._control(each))
                continue
            batch.append(each)
            nbytes += each.nbytes
            if nbytes >= BATCH_BYTES:
                self._transfer(batch)
                batch, nbytes = [], 0
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

    def _transfer(self, batch: list[Request | PageRun]) -> None:
        """Read and write ``batch``, of which no two touch the same bytes, unless both read."""
        moves: list[_Move] = []
        for each in batch:
            if isinstance(each, PageRun):
                moves += self._moves(each)
            else:
                moves.append(self._move(each))
        outcome = iter(self._moved(moves))
        for each in batch:
            if isinstance(each, PageRun):
                each.complete(list(islice(outcome, len(each))))
            else:
                each.queue.complete(each, next(outcome))

    def _move(self, rq: Request) -> _Move:
        ctx = rq.crypt_ctx
        cipher = None if ctx is None else self._engine.cipher_of(rq.keyslot, ctx.key)
        run = Run(cipher, 0 if ctx is None else ctx.dun, rq.nbytes)
        return _Move(rq.op, rq.sector << SECTOR_SHIFT, run, _memory(rq))

    def _moves(self, run: PageRun) -> list[_Move]:
        cipher_of = self._engine.cipher_of
        return [
            _Move(
                op,
                sector << SECTOR_SHIFT,
                Run(None if key is None else cipher_of(slot, key), dun, len(data)),
                (data,),
            )
            for (op, sector, data, key, dun, _), slot in zip(run.pages, run.slots, strict=True)
        ]

    def _moved(self, moves: Sequence[_Move]) -> list[BlkStatus]:
        """Do ``moves``, all that write and then all that read; how each ended."""
        outcome = [BlkStatus.OK] * len(moves)
        for op in (ReqOp.WRITE, ReqOp.READ):
            chosen = [number for number, move in enumerate(moves) if move.op is op]
            if chosen:
                statuses = self._one_way(op, [moves[number] for number in chosen])
                for number, status in zip(chosen, statuses, strict=True):
                    outcome[number] = status
        return outcome

    def _one_way(self, op: ReqOp, moves: Sequence[_Move]) -> list[BlkStatus]:
        gathered = Gathered([move.run for move in moves], self._unit_bytes, _IV_BYTES)
        parts = gathered.parts
        if op is ReqOp.WRITE:
            for move, part in zip(moves, parts, strict=True):
                _copy(move.memory, part, out=False)
            gathered.crypt(encrypt=True)
            return [
                _tried(self._image.write, move.offset, part) for move, part in zip(moves, parts, strict=True)
            ]
        statuses = [
            _tried(self._image.read, move.offset, part) for move, part in zip(moves, parts, strict=True)
        ]
        gathered.crypt(encrypt=False)
        for move, part in zip(moves, parts, strict=True):
            _copy(move.memory, part, out=True)
        return statuses


def _tried(move: Callable[[int, U8], None], offset: int, part: U8) -> BlkStatus:
    try:
        move(offset, part)
    except OSError as error:
        return errno_to_blk_status(error.errno or errno.EIO)
    return BlkStatus.OK


def _copy(memory: Sequence[U8], part: U8, *, out: bool) -> None:
    """``memory`` to ``part``, or out of it."""
    at = 0
    for each in memory:
        end = at + len(each)
        if out:
            each[:] = part[at:end]
        else:
            part[at:end] = each
        at = end


def _memory(rq: Request) -> list[U8]:
    """What ``rq`` moves, in order."""
    return [vec.data for bio in rq.bios for vec in bio.bvecs() if vec.data is not None]
