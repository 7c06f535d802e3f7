"""Requests of clients to transfers of the device, and their replies.

Rules (NBD protocol document, "Request types", "Error values"):

- An unknown command or flag, a read or trim past the end, and a request that breaks block sizes the client
  asked for, is EINVAL; a write past the end is ENOSPC.
- FUA is valid with every command and means something for those that change data.
- A flush covers every write that was answered before; here, every write before it.
- Ranges that are not whole data units are read, changed and written back, as a page cache does above a block
  layer; the units are locked in so far as nothing else runs meanwhile.
- ``WRITE_ZEROES`` writes encrypted zeroes: a bio without data cannot carry a key (``fscrypt_zeroout_range()``
  does the same).  ``TRIM`` discards whole data units; they read as noise until they are written.

Requests that came in together go to the device together, except where they touch the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.op import ReqOp
from scenarios.serve import protocol
from scenarios.serve.devices import ServedDevice
from scenarios.serve.disk import Transfer
from scenarios.serve.known import Known
from scenarios.serve.protocol import Command, CommandFlags, Error, Request, TransmissionFlags

U8 = npt.NDArray[np.uint8]

MAX_PAYLOAD_BYTES: Final = 32 << 20
"""Largest read or write: what clients assume of a server that says nothing."""
FLAGS: Final = (
    TransmissionFlags.HAS_FLAGS
    | TransmissionFlags.SEND_FLUSH
    | TransmissionFlags.SEND_FUA
    | TransmissionFlags.SEND_TRIM
    | TransmissionFlags.SEND_WRITE_ZEROES
    | TransmissionFlags.CAN_MULTI_CONN
)
_SLICE_BYTES: Final = 4 << 20
_ZEROES: Final = np.zeros(_SLICE_BYTES, dtype=np.uint8)

# Plain names and ints: every request is asked, and a member of an enum is looked up each time.
_READ, _WRITE, _FLUSH = int(Command.READ), int(Command.WRITE), int(Command.FLUSH)
_NO_ERROR: Final = Error.OK
_OK: Final = BlkStatus.OK
_FUA: Final = int(CommandFlags.FUA)
_DF: Final = int(CommandFlags.DF)
_UNKNOWN_FLAGS: Final[dict[int, int]] = {
    Command.READ: ~(_FUA | _DF),
    Command.WRITE: ~_FUA,
    Command.FLUSH: ~_FUA,
    Command.TRIM: ~_FUA,
    Command.WRITE_ZEROES: ~int(CommandFlags.FUA | CommandFlags.NO_HOLE),
}
_PAST_END: Final[dict[int, Error]] = {Command.WRITE: Error.ENOSPC, Command.WRITE_ZEROES: Error.ENOSPC}
_ERRORS: Final = {
    BlkStatus.OK: Error.OK,
    BlkStatus.NOSPC: Error.ENOSPC,
    BlkStatus.INVAL: Error.EINVAL,
    BlkStatus.NOTSUPP: Error.ENOTSUP,
    BlkStatus.RESOURCE: Error.ENOMEM,
}


@dataclass(slots=True, eq=False)
class Job:
    """One request under way.

    Attributes:
        request: as it was sent.
        payload: of a write.
        structured: reads get structured replies on this connection.
        keeps_block_size: the client promised to.
        stream: number of the connection.
        reply: buffers to send, when it is done.
    """

    request: Request
    payload: U8 | None
    structured: bool = False
    keeps_block_size: bool = False
    stream: int = 0
    reply: tuple[bytes | memoryview, ...] = ()

    def fail(self, error: Error) -> None:
        """Answer with ``error``."""
        cookie = self.request.cookie
        if self.structured and self.request.command == Command.READ:
            self.reply = (protocol.error_chunk(cookie, error),)
        else:
            self.reply = (protocol.simple_reply(cookie, error),)

    def succeed(self, data: U8 | None = None) -> None:
        """Answer with ``data`` of a read, or with success alone."""
        request = self.request
        if data is None:
            self.reply = (protocol.simple_reply(request.cookie),)
        elif self.structured:
            self.reply = (protocol.data_chunk(request.cookie, request.offset, len(data)), data.data)
        else:
            self.reply = (protocol.simple_reply(request.cookie), data.data)


@dataclass(slots=True)
class ServeCounts:
    """What clients asked for.

    Attributes:
        reads, writes, flushes, trims: requests; writing zeroes is a write.
        read_bytes, written_bytes: payload.
        errors: requests refused or failed.
        batches: how often requests went to the device together.
        unaligned: requests that were no whole data units.
    """

    reads: int = 0
    writes: int = 0
    flushes: int = 0
    trims: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    errors: int = 0
    batches: int = 0
    unaligned: int = 0

    @property
    def requests(self) -> int:
        """All of them, refused ones included."""
        return self.reads + self.writes + self.flushes + self.trims + self.errors


class ExportedDevice:
    """A device as clients see it.

    Args:
        device: does the work.
        verify: compare what clients read with what they wrote.
    """

    def __init__(self, device: ServedDevice, *, verify: bool = True) -> None:
        self.device = device
        self.counts = ServeCounts()
        self.known = Known(device.unit_bytes) if verify else None

    def run(self, jobs: Sequence[Job]) -> None:
        """Do ``jobs``; each has its reply afterwards."""
        batch: list[tuple[Job, Transfer]] = []
        for job in jobs:
            request = job.request
            error = self._refusal(job, request)
            if error is not _NO_ERROR or (not request.length and request.command != _FLUSH):
                self._answer(job, error)
            elif (transfer := self._transfer(job)) is not None:
                if transfer.op is ReqOp.FLUSH and batch:
                    self._run_batch(batch)  # what is written with a flush, it does not cover
                    batch = []
                batch.append((job, transfer))
            else:
                self._run_batch(batch)
                batch = []
                self._answer(job, *self._run_alone(job))
        self._run_batch(batch)

    def _refusal(self, job: Job, request: Request) -> Error:
        flags, command, _, offset, length = request
        unknown = _UNKNOWN_FLAGS.get(command)
        if unknown is None or flags & unknown:
            return Error.EINVAL
        if command == _FLUSH:
            return _NO_ERROR
        if offset + length > self.device.size:
            return _PAST_END.get(command, Error.EINVAL)
        if flags & _DF and not job.structured:
            return Error.EINVAL
        if length > MAX_PAYLOAD_BYTES and command == _READ:
            return Error.EINVAL
        if job.keeps_block_size and (offset | length) % self.device.block_bytes:
            return Error.EINVAL
        return _NO_ERROR

    def _transfer(self, job: Job) -> Transfer | None:
        """``job`` as it goes to the device in a batch, or None when it goes alone."""
        flags, command, _, offset, length = job.request
        if command == _FLUSH:
            return Transfer(ReqOp.FLUSH)
        unit = self.device.unit_bytes
        if offset % unit or length % unit:
            return None
        if command == _WRITE:
            return Transfer(ReqOp.WRITE, offset, length, job.payload, flags & _FUA != 0)
        if command == _READ:
            return Transfer(ReqOp.READ, offset, length, np.empty(length, dtype=np.uint8))
        return None

    def _run_batch(self, batch: list[tuple[Job, Transfer]]) -> None:
        for part in _without_overlaps(batch):
            self._submit([transfer for _, transfer in part])
            for job, transfer in part:
                status = transfer.status
                error = _NO_ERROR if status is _OK else _ERRORS.get(status, Error.EIO)
                self._answer(job, error, transfer.data)

    def _submit(self, transfers: list[Transfer]) -> None:
        """Hand ``transfers`` to the device and compare what was read."""
        self.counts.batches += 1
        self.device.submit(transfers)
        known = self.known
        if known is None:
            return
        read, write = ReqOp.READ, ReqOp.WRITE
        for transfer in transfers:
            op, data, is_ok = transfer.op, transfer.data, transfer.status is _OK
            if op is read:
                if data is not None and is_ok and not known.read(transfer.offset, data):
                    transfer.status = BlkStatus.PROTECTION
            elif op is write and data is not None and is_ok:
                known.wrote(transfer.offset, data)
            elif op is not ReqOp.FLUSH:
                known.forget(transfer.offset, transfer.nbytes)

    def _answer(self, job: Job, error: Error, data: U8 | None = None) -> None:
        """Count and reply; ``data`` is what was read, and not looked at for other requests."""
        counts, (_, command, _, _, length) = self.counts, job.request
        if error is not _NO_ERROR:
            counts.errors += 1
            job.fail(error)
        elif command == _READ:
            counts.reads += 1
            counts.read_bytes += length
            job.succeed(np.empty(0, dtype=np.uint8) if data is None else data)
        else:
            if command in (_WRITE, Command.WRITE_ZEROES):
                counts.writes += 1
                counts.written_bytes += length
            elif command == _FLUSH:
                counts.flushes += 1
            else:
                counts.trims += 1
            job.succeed()

    def _run_alone(self, job: Job) -> tuple[Error, U8 | None]:
        """A request that is no transfer of whole data units: how it ended, and what was read."""
        request = job.request
        fua = bool(request.flags & _FUA)
        if request.command == Command.TRIM:
            return self._trim(request, fua), None
        if request.command == Command.READ:
            self.counts.unaligned += 1
            return self._read_range(request.offset, request.length)
        if request.command == Command.WRITE:
            assert job.payload is not None
            self.counts.unaligned += 1
            return self._write_range(request.offset, job.payload, fua), None
        return self._write_zeroes(request, fua), None

    def _one(self, transfer: Transfer) -> Error:
        self._submit([transfer])
        return _ERRORS.get(transfer.status, Error.EIO)

    def _span(self, offset: int, nbytes: int) -> tuple[int, int]:
        """First and last byte (exclusive) of the data units that a range touches."""
        unit = self.device.unit_bytes
        return offset // unit * unit, -(-(offset + nbytes) // unit) * unit

    def _read_range(self, offset: int, nbytes: int) -> tuple[Error, U8]:
        first, last = self._span(offset, nbytes)
        data = np.empty(last - first, dtype=np.uint8)
        error = self._one(Transfer(ReqOp.READ, first, last - first, data))
        return error, data[offset - first : offset - first + nbytes]

    def _write_range(self, offset: int, data: U8, fua: bool) -> Error:
        first, last = self._span(offset, len(data))
        if last - first != len(data):
            whole = np.empty(last - first, dtype=np.uint8)
            unit = self.device.unit_bytes
            # The units at both ends, where less than all of them is written.
            edges = {first, last - unit}
            for edge in edges:
                error, old = self._read_range(edge, unit)
                if error is not Error.OK:
                    return error
                whole[edge - first : edge - first + unit] = old
            whole[offset - first : offset - first + len(data)] = data
            data = whole
        return self._one(Transfer(ReqOp.WRITE, first, last - first, data, fua))

    def _write_zeroes(self, request: Request, fua: bool) -> Error:
        at, end = request.offset, request.offset + request.length
        while at < end:
            # The first slice ends where the slices are aligned.
            size = min(end - at, _SLICE_BYTES - at % _SLICE_BYTES)
            error = self._write_range(at, _ZEROES[:size], fua)
            if error is not Error.OK:
                return error
            at += size
        return Error.OK

    def _trim(self, request: Request, fua: bool) -> Error:
        """Discard the data units that lie in the range whole; the others stay as they are."""
        unit = self.device.unit_bytes
        first = -(-request.offset // unit) * unit
        last = (request.offset + request.length) // unit * unit
        error = Error.OK
        if first < last:
            error = self._one(Transfer(ReqOp.DISCARD, first, last - first))
        if fua and error is Error.OK:
            error = self._one(Transfer(ReqOp.FLUSH))
        return error


def _without_overlaps(batch: list[tuple[Job, Transfer]]) -> Iterator[list[tuple[Job, Transfer]]]:
    """``batch`` in parts that may run at once; one by one as soon as any two touch the same bytes."""
    offsets = {transfer.offset for _, transfer in batch}
    if len(offsets) == len(batch) and len({transfer.nbytes for _, transfer in batch}) == 1:
        nbytes = batch[0][1].nbytes
        # All of one size and each on a multiple of it, as random I/O mostly is: they cannot overlap.
        if nbytes and not any(offset % nbytes for offset in offsets):
            yield batch
            return
    any_end = write_end = 0
    for start, end, write in sorted(
        (transfer.offset, transfer.offset + transfer.nbytes, transfer.op is ReqOp.WRITE)
        for _, transfer in batch
        if transfer.nbytes
    ):
        if start < (any_end if write else write_end):
            yield from ([one] for one in batch)
            return
        any_end = max(any_end, end)
        if write:
            write_end = max(write_end, end)
    if batch:
        yield batch
