"""A machine for key designs that cost more than encryption: key set-up on CPUs, and I/O of their own.

Rows tell by their number what they are:

- 0 and up: a bio of the workload.
- ``COMPANION``: I/O that the next bio needs; the bio is complete when both are.  It goes out together with
  the bio, so waiting for metadata before data is not modelled: that is the best case.
- ``BACKGROUND``: I/O that nobody waits for, like a commit.  It takes a tag and the media's time.

Companions and background I/O are not encrypted, take no place of a closed loop, and leave no record.

CPU time of key set-up is charged where the design does it: before submission, on the submitter's CPU
(``before_ns``), or where the cipher runs (``cipher_ns``).  Both map a bio's number to ns and are used up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey
from hwmodel.clock import Clock, Row
from hwmodel.controller import Machine
from hwmodel.device import Host
from hwmodel.host import Cpus
from hwmodel.keyslots import Keyslots
from hwmodel.request import RECORD_WIDTH, WRITE, Request, Then
from hwmodel.software import SoftwareCrypto

BACKGROUND: Final = -1
COMPANION: Final = -2
_PAGE_SHIFT: Final = 12

Records = npt.NDArray[np.int64]
Costs = dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """Work queues between a filesystem and the device, as dm-crypt has them.

    Attributes:
        write_worker: writes are encrypted by a worker on any CPU; else by the submitter.
        write_thread: another thread submits what is encrypted.
        read_worker: reads are decrypted by a worker; else in the completion, on the bio's own CPU.
        bound: workers stay on the bio's CPU; else the least loaded one takes the work.
    """

    write_worker: bool = False
    write_thread: bool = False
    read_worker: bool = True
    bound: bool = False


@dataclass(slots=True, kw_only=True)
class DesignWork:
    """What a design adds to bios; rows and the machine share one.

    Attributes:
        before_ns: bio's number -> CPU time before it is submitted.
        cipher_ns: bio's number -> CPU time where it is encrypted or decrypted.
        queues: who encrypts.
        set_up_ns: CPU time of both so far.
        reads, writes, read_bytes, write_bytes: companions and background I/O so far.
    """

    before_ns: Costs = field(default_factory=dict)
    cipher_ns: Costs = field(default_factory=dict)
    queues: Queues = field(default_factory=Queues)
    set_up_ns: int = 0
    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0

    def count(self, row: Row) -> None:
        """A companion or background row."""
        if row[2] == WRITE:
            self.writes += 1
            self.write_bytes += row[4]
        else:
            self.reads += 1
            self.read_bytes += row[4]


class DesignMachine(Machine):
    """``Machine`` with ``work``; other arguments as there."""

    def __init__(self, *args: object, work: DesignWork, **named: object) -> None:
        self.work = work
        self._held: list[Row] = []
        self._companions: dict[int, list[Row]] = {}
        self._used: dict[Request, BlkCryptoKey | None] = {}
        super().__init__(*args, **named)  # type: ignore[arg-type]  # Machine's own, passed on whole
        records = self.recorded.records
        self.recorded.records = lambda found: _of_bios(found, records)
        if self.software is None:
            self._alone: Then = self._get_tag
            self._enter = self._get_tag = self._with_companions
        self._submit_bio: Then = self._enter
        self._enter = self._set_up

    def _new_software(self, device: object, holds_slot: bool) -> SoftwareCrypto:
        self._alone = self._get_tag
        self._get_tag = self._with_companions
        plain = super()._new_software(device, holds_slot)  # type: ignore[arg-type]  # the device it was given
        return DesignCrypto(
            self.clock,
            self.cpus,
            plain._host,
            work=self.work,
            fallback=plain.slots is not None,
            holds_slot=holds_slot,
            unit_bytes=self.unit_bytes,
            keyslots=self._keyslots_type,
            encrypted=plain._encrypted,
            decrypted=plain._decrypted,
        )

    # --- what rows bring ------------------------------------------------------------------------------

    def arrive(self, row: Row) -> None:
        """See ``Machine.arrive``; a companion waits for its bio."""
        number = row[1]
        if number >= 0:
            if self._held:
                self._companions[number] = self._held
                self._held = []
            super().arrive(row)
            return
        self.work.count(row)
        if self.room is not None:
            self.room.append(None)
        if number == COMPANION:
            self._held.append(row)
        else:
            super().arrive(row)

    def _set_up(self, request: Request, now: int) -> None:
        cost = self.work.before_ns.pop(request.row, 0)
        if cost:
            self.cpus.run(request, now, cost, self._is_set_up)
        else:
            self._submit_bio(request, now)

    def _is_set_up(self, request: Request, now: int) -> None:
        spent = now - request.mark
        request.submit += spent
        self.work.set_up_ns += spent
        self._submit_bio(request, now)

    # --- companions -----------------------------------------------------------------------------------

    def _with_companions(self, request: Request, now: int) -> None:
        rows = self._companions.pop(request.row, None)
        if rows is None:
            self._alone(request, now)
            return
        parts = [*self.splitter.parts(request), *(self._companion(request, row) for row in rows)]
        request.parts = len(parts)
        for part in parts:
            self._alone(part, now)

    def _companion(self, bio: Request, row: Row) -> Request:
        part = self.splitter.part(bio)
        _, _, part.op, part.sector, part.nbytes, _, part.dun, _ = row
        part.key = None
        return part

    def bio_done(self, bio: Request, now: int, key: BlkCryptoKey | None) -> None:
        """See ``Machine``; parts may have no key where the bio has one."""
        if bio.parent is None:
            super().bio_done(bio, now, key)
            return
        whole = bio.parent
        if bio.key is not None:
            self._used[whole] = key
        if self.splitter.joined(bio) is not None:
            super().bio_done(whole, now, self._used.pop(whole, None))

    def _finish(self, request: Request, now: int, key: BlkCryptoKey | None) -> None:
        background = request.row < 0
        super()._finish(request, now, key)
        if background and self.room is not None:
            self.room.pop()


def _of_bios(found: Records, records: Callable[[Records], None]) -> None:
    """Hand on the records of bios, none of background I/O."""
    assert found.shape[1] == RECORD_WIDTH
    kept = found[found[:, 0] >= 0]
    if len(kept):
        records(kept)


class DesignCrypto(SoftwareCrypto):
    """``SoftwareCrypto`` that sets keys up, and hands bios over where a design does."""

    def __init__(
        self,
        clock: Clock,
        cpus: Cpus,
        host: Host,
        *,
        work: DesignWork,
        fallback: bool,
        holds_slot: bool,
        unit_bytes: int,
        encrypted: Then,
        decrypted: Then,
        keyslots: type[Keyslots] = Keyslots,
    ) -> None:
        self._work = work
        self._submit_encrypted = encrypted
        super().__init__(
            clock,
            cpus,
            host,
            fallback=fallback,
            holds_slot=holds_slot,
            unit_bytes=unit_bytes,
            encrypted=self._hand_over if work.queues.write_thread else encrypted,
            decrypted=decrypted,
            keyslots=keyslots,
        )

    def encrypt_first(self, request: Request, now: int) -> None:
        """See ``SoftwareCrypto``."""
        if not self._work.queues.write_worker:
            super().encrypt_first(request, now)
            return
        self.bounce_pages += request.nbytes >> _PAGE_SHIFT
        self.bounce_pages_peak = max(self.bounce_pages_peak, self.bounce_pages)
        self._queue_work(request, now, self._worker_started)

    def _queue_work(self, request: Request, now: int, then: Then) -> None:
        if not self._work.queues.bound:
            request.cpu = self._cpus.least_loaded()
        self._cpus.run(request, now, self._host.worker_ns.value, then)

    def decrypt_later(self, request: Request, now: int) -> None:
        """See ``SoftwareCrypto``."""
        if self._work.queues.read_worker:
            self._queue_work(request, now, self._worker_started)
        else:
            self._get_cipher(request, now)

    def _run_cipher(self, request: Request, now: int) -> None:
        extra = self._work.cipher_ns.pop(request.row, 0)
        if not extra:
            super()._run_cipher(request, now)
            return
        self._work.set_up_ns += extra
        self._cpus.run(request, now, extra, self._key_is_set)

    def _key_is_set(self, request: Request, now: int) -> None:
        request.keyslot_program += now - request.mark
        super()._run_cipher(request, now)

    def _hand_over(self, request: Request, now: int) -> None:
        self._queue_work(request, now, self._handed_over)

    def _handed_over(self, request: Request, now: int) -> None:
        request.queued += now - request.mark
        self._submit_encrypted(request, now)
