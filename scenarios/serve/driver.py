"""The controller in front of an image, which encrypts on the way: the driver under the request queue.

Requests in flight are collected and processed together: one batch for all data units under all keys, one
system call for each request's bytes.  What encrypts is the cipher in the request's keyslot, as in hardware:
of a key object it looks only at the identity, and only where hardware has no keyslots.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.status import BlkStatus, errno_to_blk_status
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.op import ReqOp
from blkcrypto.block.pages import PageRun
from blkcrypto.block.request import Request
from blkcrypto.crypto.gather import Gathered, Run
from scenarios.serve.engine import Engine
from scenarios.serve.image import ImageFile

U8 = npt.NDArray[np.uint8]

BATCH_BYTES: Final = 4 << 20
_IV_BYTES: Final = 16  # of AES-256-XTS

_Move = tuple[int, Sequence[U8], int]
"""Bytes to or from the image: byte offset, memory of ``uint8[n]`` each, and the number of what this is of."""


@dataclass(slots=True)
class _Moves:
    """What a batch moves in one direction.

    Attributes:
        plain: as it is.
        keyed: encrypted as ``runs`` says.
    """

    plain: list[_Move] = field(default_factory=list)
    keyed: list[_Move] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def add(self, move: _Move, run: Run | None) -> None:
        """Move this too; ``run`` says how it is encrypted."""
        if run is None:
            self.plain.append(move)
        else:
            self.keyed.append(move)
            self.runs.append(run)


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
            nbytes += each.total_bytes if isinstance(each, PageRun) else each.nbytes
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
        moves = {ReqOp.WRITE: _Moves(), ReqOp.READ: _Moves()}
        count = 0
        for each in batch:
            if isinstance(each, PageRun):
                self._add_pages(moves, each, count)
                count += len(each)
            else:
                self._add_request(moves[each.op], each, count)
                count += 1
        outcome = [BlkStatus.OK] * count
        self._write(moves[ReqOp.WRITE], outcome)
        self._read(moves[ReqOp.READ], outcome)
        ended = iter(outcome)
        for each in batch:
            if isinstance(each, PageRun):
                each.complete(list(islice(ended, len(each))))
            else:
                each.queue.complete(each, next(ended))

    def _add_pages(self, moves: dict[ReqOp, _Moves], run: PageRun, number: int) -> None:
        cipher_of = self._engine.cipher_of
        for (op, sector, data, key, dun, _), slot in zip(run.pages, run.slots, strict=True):
            encrypted = None if key is None else (cipher_of(slot, key), dun, len(data))
            moves[op].add((sector << SECTOR_SHIFT, (data,), number), encrypted)
            number += 1

    def _add_request(self, to: _Moves, rq: Request, number: int) -> None:
        ctx = rq.crypt_ctx
        encrypted = None if ctx is None else (self._engine.cipher_of(rq.keyslot, ctx.key), ctx.dun, rq.nbytes)
        to.add((rq.sector << SECTOR_SHIFT, _memory(rq), number), encrypted)

    def _write(self, moves: _Moves, outcome: list[BlkStatus]) -> None:
        parts = [memory[0] if len(memory) == 1 else np.concatenate(memory) for _, memory, _ in moves.plain]
        self._try(self._image.write, moves.plain, parts, outcome)
        if moves.keyed:
            gathered = Gathered(moves.runs, self._unit_bytes, _IV_BYTES)
            for (_, memory, _), part in zip(moves.keyed, gathered.parts, strict=True):
                _gather(memory, part)
            gathered.crypt(encrypt=True)
            self._try(self._image.write, moves.keyed, gathered.parts, outcome)

    def _read(self, moves: _Moves, outcome: list[BlkStatus]) -> None:
        parts = [
            memory[0] if len(memory) == 1 else np.empty(sum(map(len, memory)), dtype=np.uint8)
            for _, memory, _ in moves.plain
        ]
        self._try(self._image.read, moves.plain, parts, outcome)
        for (_, memory, _), part in zip(moves.plain, parts, strict=True):
            if len(memory) > 1:
                _scatter(part, memory)
        if moves.keyed:
            gathered = Gathered(moves.runs, self._unit_bytes, _IV_BYTES)
            self._try(self._image.read, moves.keyed, gathered.parts, outcome)
            gathered.crypt(encrypt=False)
            for (_, memory, _), part in zip(moves.keyed, gathered.parts, strict=True):
                _scatter(part, memory)

    @staticmethod
    def _try(
        transfer: Callable[[int, U8], None],
        moves: Sequence[_Move],
        parts: Sequence[U8],
        outcome: list[BlkStatus],
    ) -> None:
        """Call ``transfer`` for each part; what failed is noted in ``outcome``."""
        for (offset, _, number), part in zip(moves, parts, strict=True):
            try:
                transfer(offset, part)
            except OSError as error:
                outcome[number] = errno_to_blk_status(error.errno or errno.EIO)


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


def _gather(memory: Sequence[U8], part: U8) -> None:
    at = 0
    for each in memory:
        part[at : at + len(each)] = each
        at += len(each)


def _scatter(part: U8, memory: Sequence[U8]) -> None:
    at = 0
    for each in memory:
        each[:] = part[at : at + len(each)]
        at += len(each)
