"""The machine: from an arriving bio to its completion.

Order of one encrypted bio on slotted hardware (reference block-layer.md section 6.6): submission on a CPU,
a tag, a keyslot, the device (writes pass the data path before the media, reads after), then the keyslot is
released, the bio completes, and the tag is freed.

The software fallback encrypts a write on the submitter's CPU before it asks for a tag, and decrypts a read
on a worker after the device is done; only then does the bio complete.  Encryption in the filesystem
(``fs-layer``) costs the same CPU time at the same places and has no keyslots.

Cost per bio: an arrival needs no event; a keyslot hit needs at most three (submission, media, data path).
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from blkcrypto.base.units import NS_PER_SECOND
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.op import ReqOp
from hwmodel.clock import Clock, Row
from hwmodel.device import Device
from hwmodel.engine import DataPath
from hwmodel.host import Cpus
from hwmodel.keyslots import Keyslots
from hwmodel.media import Media
from hwmodel.request import RECORD_WIDTH, Request, Then

Where = Literal["inline", "fallback", "fs-layer"]

FALLBACK_KEYSLOTS = 100  # blk-crypto-fallback.c, num_keyslots
# Plain integers: comparing with an enum costs more than the rest of a stage.
_READ, _WRITE = int(ReqOp.READ), int(ReqOp.WRITE)
_BOUNCE_PAGE_SHIFT = 12
_FLUSH_RECORDS_AT = 65536 * RECORD_WIDTH


class DataPlane(Protocol):
    """Where the bytes go: told of every bio at the instant its data is on, or read from, the medium."""

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """``request`` is done; ``key`` is the key it was really encrypted or decrypted with."""


@dataclass(slots=True)
class CpuTime:
    """CPU time by cause, ns."""

    crypto: int = 0
    setkey: int = 0
    submit: int = 0
    program: int = 0


class Machine:
    """A host with one storage device.

    Args:
        device: the facts.
        where: who encrypts file contents.
        rng: draws the media's service times.
        keys: key objects by the number rows carry; grows while the run goes on; -1 in a row means no key.
        unit_bytes: data unit size.
        fallback_holds_slot: the fallback keeps its slot until the request has a tag (7.0 and later).
        records: called with ``int64[n, RECORD_WIDTH]`` (columns as in ``hwmodel.request.RECORD``) in
            completion order.
        plane: what moves the bytes; None for timing only.
    """

    def __init__(
        self,
        device: Device,
        *,
        where: Where,
        rng: np.random.Generator,
        keys: Sequence[BlkCryptoKey],
        records: Callable[[np.ndarray[tuple[int, int], np.dtype[np.int64]]], None],
        unit_bytes: int = 4096,
        fallback_holds_slot: bool = True,
        plane: DataPlane | None = None,
    ) -> None:
        host = device.host
        self.clock = Clock()
        self.cpus = Cpus(self.clock, host.cpus.value)
        self.cpu_time = CpuTime()
        self.bounce_pages = self.bounce_pages_peak = 0
        self._where: Where = where
        self._keys = keys
        self._plane = plane
        self._records = records
        self._recorded = array("q")
        self._pool: list[Request] = []
        self._requests = 0
        self._room: list[None] | None = None
        self._tags = self._all_tags = device.controller.tags.value
        self._tag_queue: deque[Request] = deque()
        self._media = Media(device.media, rng)
        self._path = DataPath(device.controller, device.engine)
        self._host = host
        self._submit_ns = host.submit_ns.value
        self._fallback_holds_slot = fallback_holds_slot
        facts = device.keyslots if where == "inline" else None
        self._per_unit_ns = facts.per_data_unit_ns.value if facts else 0
        self._unit_bytes = unit_bytes
        # What comes next is settled once, not asked per bio.
        self._enter: Then = self._get_tag if where == "inline" else self._enter_software
        self._tagged: Then = self._dispatch
        self._device_slots: Keyslots | None = None
        self._fallback_slots: Keyslots | None = None
        if facts is not None and facts.count.value:
            costs = {
                KeyType.RAW: facts.program_raw_ns.value,
                KeyType.HW_WRAPPED: facts.program_hw_wrapped_ns.value,
            }
            self._device_slots = Keyslots(
                self.clock,
                facts.count.value,
                program_ns=lambda key: costs[key.crypto_cfg.key_type],
                granted=self._dispatch,
                cpus=self.cpus if facts.program_on_cpu else None,
            )
            self._acquire = self._device_slots.acquire
            self._tagged = self._tagged_with_slots
        elif where == "fallback":
            self._fallback_slots = Keyslots(
                self.clock,
                FALLBACK_KEYSLOTS,
                program_ns=lambda _key: host.setkey_ns.value,
                granted=self._run_cipher,
                cpus=self.cpus,
            )
            self._tagged = self._tagged_after_fallback

    @property
    def keyslots(self) -> Keyslots | None:
        """The keyslots that contents pass through, of the device or of the fallback."""
        return self._device_slots or self._fallback_slots

    @property
    def in_flight(self) -> int:
        """Bios submitted and not complete."""
        return self._requests - len(self._pool)

    @property
    def is_idle(self) -> bool:
        """Whether every tag is free, nothing waits and no keyslot is referenced."""
        slots = self.keyslots
        return (
            self._tags == self._all_tags
            and not self._tag_queue
            and not self.bounce_pages
            and (slots is None or slots.is_idle)
        )

    def run(self, rows: Iterator[Row], *, queue_depth: int = 0) -> None:
        """Run ``rows`` to the end: an open loop by their arrival times, or a closed loop of ``queue_depth``.

        A row is (arrival ns, row number, op, sector, bytes, key number, DUN, CPU-choosing stream).
        """
        if queue_depth:
            self._room = []
            self.clock.run_closed(rows, self.arrive, queue_depth, self._room)
        else:
            self.clock.run_open(rows, self.arrive)
        self._flush_records()

    def arrive(self, row: Row) -> None:
        """A bio is submitted now."""
        pool = self._pool
        request = pool.pop() if pool else self._new_request()
        now, request.row, request.op, request.sector, request.nbytes, key, request.dun, stream = row
        request.arrived = now
        request.key = self._keys[key] if key >= 0 else None
        request.cpu = stream % self.cpus.count
        cost = self._submit_ns
        if self._per_unit_ns and key >= 0:
            cost += self._per_unit_ns * (request.nbytes // self._unit_bytes)
        if cost:
            self.cpus.run(request, now, cost, self._submitted)
        else:
            self._enter(request, now)

    def _new_request(self) -> Request:
        self._requests += 1
        return Request()

    def _submitted(self, request: Request, now: int) -> None:
        cost = now - request.mark
        request.submit = cost
        self.cpu_time.submit += cost
        self._enter(request, now)

    def _enter_software(self, request: Request, now: int) -> None:
        if request.op == _WRITE and request.key is not None:
            self._encrypt_first(request, now)
        else:
            self._get_tag(request, now)

    # --- tags, keyslots, device -----------------------------------------------------------------------

    def _get_tag(self, request: Request, now: int) -> None:
        if self._tags:
            self._tags -= 1
            self._tagged(request, now)
        else:
            request.mark = now
            self._tag_queue.append(request)

    def _tagged_with_slots(self, request: Request, now: int) -> None:
        if request.key is None:
            self._dispatch(request, now)
        else:
            self._acquire(request, now)

    def _tagged_after_fallback(self, request: Request, now: int) -> None:
        if request.slot >= 0 and self._fallback_slots is not None:
            self._fallback_slots.release(request.slot, now)
            request.slot = -1
        self._dispatch(request, now)

    def _dispatch(self, request: Request, now: int) -> None:
        request.device_queue = 0
        if request.op == _WRITE and self._path.limits:
            inline = request.key is not None and self._where == "inline"
            self.clock.call_at(self._path.serve(request, now, inline=inline), request, self._write_media)
            return
        done = self._media.serve(request, now)
        if request.op == _READ and self._path.limits:
            self.clock.call_at(done, request, self._read_path)
        else:
            request.transfer = 0
            self.clock.call_at(done, request, self._device_done)

    def _write_media(self, request: Request, now: int) -> None:
        self.clock.call_at(self._media.serve(request, now), request, self._device_done)

    def _read_path(self, request: Request, now: int) -> None:
        inline = request.key is not None and self._where == "inline"
        done = self._path.serve(request, now, inline=inline)
        self.clock.call_at(done, request, self._device_done)

    def _device_done(self, request: Request, now: int) -> None:
        if request.key is None or self._where == "inline":
            key = request.key
            if request.slot >= 0 and self._device_slots is not None:
                key = self._device_slots.hardware[request.slot]
                self._device_slots.release(request.slot, now)
                request.slot = -1
            self._finish(request, now, key)
            self._free_tag(now)
            return
        # The request is over and its tag is free; the bio is not complete before it is decrypted.
        if request.op == _READ:
            self._free_tag(now)
            self._decrypt_later(request, now)
        else:
            self.bounce_pages -= request.nbytes >> _BOUNCE_PAGE_SHIFT
            self._finish(request, now, request.key)
            self._free_tag(now)

    def _free_tag(self, now: int) -> None:
        waiting = self._tag_queue
        if waiting:
            request = waiting.popleft()
            request.tag_wait = now - request.mark
            self._tagged(request, now)
        else:
            self._tags += 1

    # --- software encryption --------------------------------------------------------------------------

    def _encrypt_first(self, request: Request, now: int) -> None:
        self.bounce_pages += request.nbytes >> _BOUNCE_PAGE_SHIFT
        self.bounce_pages_peak = max(self.bounce_pages_peak, self.bounce_pages)
        self._get_cipher(request, now)

    def _decrypt_later(self, request: Request, now: int) -> None:
        request.cpu = self.cpus.least_loaded()
        self.cpus.run(request, now, self._host.worker_ns.value, self._worker_started)

    def _worker_started(self, request: Request, now: int) -> None:
        request.queued += now - request.mark
        self._get_cipher(request, now)

    def _get_cipher(self, request: Request, now: int) -> None:
        if self._fallback_slots is not None:
            self._fallback_slots.acquire(request, now)
        else:
            self._run_cipher(request, now)

    def _run_cipher(self, request: Request, now: int) -> None:
        host = self._host
        cost = request.nbytes * NS_PER_SECOND // host.cipher_per_s.value
        cost += host.cipher_ns.value * (request.nbytes // self._unit_bytes)
        self.cpu_time.crypto += cost
        self.cpus.run(request, now, cost, self._ciphered)

    def _ciphered(self, request: Request, now: int) -> None:
        request.cpu_crypto = now - request.mark
        if request.op == _READ:
            if self._fallback_slots is not None:
                self._fallback_slots.release(request.slot, now)
                request.slot = -1
            self._finish(request, now, request.key)
            return
        if self._fallback_slots is not None and not self._fallback_holds_slot:
            self._fallback_slots.release(request.slot, now)
            request.slot = -1
        self._get_tag(request, now)

    # --- completion -----------------------------------------------------------------------------------

    def _finish(self, request: Request, now: int, key: BlkCryptoKey | None) -> None:
        if self._plane is not None:
            self._plane.complete(request, key)
        recorded = self._recorded
        recorded.extend(
            (
                request.row,
                now,
                request.op,
                request.nbytes,
                request.status,
                now - request.arrived,
                request.queued,
                request.submit,
                request.tag_wait,
                request.keyslot_lock,
                request.keyslot_idle,
                request.keyslot_program,
                request.cpu_crypto,
                request.device_queue,
                request.transfer,
                request.media,
            )
        )
        if len(recorded) >= _FLUSH_RECORDS_AT:
            self._flush_records()
        request.queued = request.submit = request.tag_wait = request.cpu_crypto = 0
        request.keyslot_lock = request.keyslot_idle = request.keyslot_program = 0
        self._pool.append(request)
        if self._room is not None:
            self._room.append(None)

    def _flush_records(self) -> None:
        if self._recorded:
            self._records(np.array(self._recorded, dtype=np.int64).reshape(-1, RECORD_WIDTH))
            self._recorded = array("q")
