"""The byte plane: encrypts, stores, decrypts and compares every data unit, apart from time.

What a bio costs never depends on its bytes, so bytes wait and are processed in large batches, of which
``hwmodel.unitbatch`` keeps the order of accesses to each unit.  The result is that of processing each bio at
the instant it completed.

A unit that is read before anything wrote it is laid out then, in version 0, as fio lays out its files
before it reads them.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.crypto.manykeys import GroupCipher, crypt_groups
from blkcrypto.crypto.scratch import scratch
from hwmodel.plane import Outage
from hwmodel.powerloss import Content, VolatileWrites, summary
from hwmodel.request import WRITE, Request
from hwmodel.storedunits import StoredUnits
from hwmodel.unitbatch import DUN_MASK, Batch, Bios, Ints, Part, pack_bio

BATCH_BYTES: Final = 64 << 20
# What is made, encrypted and stored at a time stays in the cache, with its tweaks.
_PART_BYTES: Final = 2 << 20
_MISMATCHES_KEPT: Final = 8

Data = npt.NDArray[np.uint8]
Tweaks = npt.NDArray[np.uint64] | None


class UnitCipher(GroupCipher, Protocol):
    """What the plane needs of a cipher."""

    def wipe(self) -> None:
        """Drop the key and everything made from it."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """Damage: XOR ``mask`` into ``byte`` once ``after_bios`` bios are done and its unit holds data."""

    byte: int
    mask: int
    after_bios: int


@dataclass(slots=True)
class Verified:
    """What the comparison found; ``where`` has the device addresses, in bytes, of the first wrong units."""

    bytes: int = 0
    mismatches: int = 0
    laid_out_bytes: int = 0
    where: list[int] = field(default_factory=list)


class VerifyingPlane:
    """Bytes for real.

    Args:
        unit_bytes: data unit size; every bio covers whole units.
        seed: of the plaintext.
        cipher_of: the cipher that a key in the hardware gives; called once per key.
        corruptions: what to damage, and when.
        batch_bytes: how much waits at most; 0 processes each bio at once.
        is_fua: which rows are FUA writes; None for none.
    """

    def __init__(
        self,
        unit_bytes: int,
        *,
        seed: int,
        cipher_of: Callable[[BlkCryptoKey], UnitCipher],
        corruptions: Iterable[Corruption] = (),
        batch_bytes: int = BATCH_BYTES,
        is_fua: Callable[[int], bool] | None = None,
    ) -> None:
        self._is_fua = is_fua
        self._units = StoredUnits(unit_bytes, seed)
        self.medium = self._units.medium
        self.verified = Verified()
        self._unit_bytes = unit_bytes
        self._batch_bytes = batch_bytes
        self._cipher_of = cipher_of
        self._ciphers: dict[BlkCryptoKey, UnitCipher] = {}
        self._most_units = max(1, _PART_BYTES // unit_bytes)
        self._waiting = bytearray()  # packed bios
        self._keys: dict[BlkCryptoKey | None, int] = {}  # of those, and their numbers
        self._waiting_bytes = 0
        self._done_ns: list[int] = []  # of those that wait; only where a power cut may come
        self._corruptions = sorted(corruptions, key=lambda each: each.after_bios)
        self._completed = 0
        self._volatile: VolatileWrites | None = None
        self._now: Callable[[], int] = lambda: 0

    @property
    def broken_promises(self) -> int:
        """Data units that a power cut took though they were flushed."""
        return 0 if self._volatile is None else self._volatile.broken_promises

    @property
    def pending_corruptions(self) -> int:
        """Corruptions that never took place."""
        return len(self._corruptions)

    def plaintext_of(self, units: npt.NDArray[np.int64]) -> Data:
        """What ``units``, which hold data, are encrypted from: ``uint8[n, unit_bytes]``."""
        return self._units.plaintext(units, self.medium.places(units))

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """A bio is done; ``key`` is what the hardware used.  One that failed moved no data."""
        if self._corruptions and self._corruptions[0].after_bios <= self._completed:
            self._damage_before(request, key)
        self._completed += 1
        if request.status:
            return
        op = request.op
        if op <= WRITE:  # or READ
            number = self._keys.get(key)
            if number is None:
                number = self._keys[key] = len(self._keys)
            nbytes = request.nbytes
            self._waiting += pack_bio(request.sector, nbytes, request.dun & DUN_MASK, op, number)
            self._waiting_bytes += nbytes
            if self._volatile is not None:
                self._wrote_volatile(request)
            if self._waiting_bytes >= self._batch_bytes:
                self.process()
        elif op != ReqOp.FLUSH:
            self.process()
            self._discard(self._units_of(request.sector, request.nbytes))
        elif self._volatile is not None:
            self.process()
            self._volatile.flushed(submitted_ns=request.arrived, began_ns=request.mark)

    def _wrote_volatile(self, request: Request) -> None:
        """A bio that waits was completed now; a FUA write survives from here on."""
        assert self._volatile is not None
        self._done_ns.append(self._now())
        if request.op == WRITE and self._is_fua is not None and self._is_fua(request.row):
            self.process()
            for unit in self._units_of(request.sector, request.nbytes):
                self._volatile.forced(unit)

    @property
    def why_one_by_one(self) -> str:
        """Why bios cannot come by ``complete_many``; empty when they can."""
        if self._corruptions:
            return "data is damaged on the way"
        return "" if self._volatile is None else "what a power cut would take is known"

    def complete_many(self, bios: Bios) -> None:
        """Like ``complete`` for each of ``bios``, none of which failed."""
        assert not self._waiting
        assert not self.why_one_by_one, self.why_one_by_one
        self._completed += len(bios.op)
        begin = 0
        for at in np.flatnonzero(bios.op > WRITE).tolist():
            self._move(bios.part(begin, at))
            if bios.op[at] != ReqOp.FLUSH:
                self._discard(self._units_of(int(bios.sector[at]), int(bios.nbytes[at])))
            begin = at + 1
        self._move(bios.part(begin, len(bios.op)))

    def _move(self, bios: Bios) -> None:
        """Reads and writes, as many at a time as may wait."""
        begin, ends = 0, np.cumsum(bios.nbytes)
        while begin < len(ends):
            before = int(ends[begin]) - int(bios.nbytes[begin])
            end = max(begin + 1, int(np.searchsorted(ends, before + self._batch_bytes, side="right")))
            self._work_off(Batch(bios.part(begin, end), self._unit_bytes), np.empty(0, dtype=np.int64))
            begin = end

    def _units_of(self, sector: int, nbytes: int) -> range:
        first = (sector << SECTOR_SHIFT) // self._unit_bytes
        return range(first, first + nbytes // self._unit_bytes)

    def _discard(self, units: range) -> None:
        self._units.discard(units.start, len(units))
        if self._volatile is not None:
            for unit in units:
                self._volatile.discarded(unit)

    def _damage_before(self, request: Request, key: BlkCryptoKey | None) -> None:
        """Bring the medium up to date and damage what is due, also what ``request`` is the first to read."""
        self.process()
        if request.op == ReqOp.READ:
            batch = self._batch_of(request, key)
            places, laid_out, _ = self._make_room(batch)
            for part in batch.parts(laid_out, self._most_units):
                self._store(batch, part, places[part.at])
            self._corrupt()

    def _batch_of(self, bio: Request, key: BlkCryptoKey | None) -> Batch:
        packed = pack_bio(bio.sector, bio.nbytes, bio.dun & DUN_MASK, bio.op, 0)
        return Batch(Bios.unpacked(packed, [key]), self._unit_bytes)

    def forget(self, key: BlkCryptoKey) -> None:
        """``key`` was evicted: finish what waits for it and wipe its cipher."""
        self.process()
        cipher = self._ciphers.pop(key, None)
        if cipher is not None:
            cipher.wipe()

    def close(self) -> None:
        """Wipe every cipher and give up the medium."""
        while self._ciphers:
            self._ciphers.popitem()[1].wipe()
        self.medium.clear()

    def process(self) -> None:
        """Process everything that waits, then damage what is due."""
        if self._waiting:
            batch = Batch(Bios.unpacked(self._waiting, list(self._keys)), self._unit_bytes)
            done_ns, self._done_ns = self._done_ns, []
            self._waiting, self._waiting_bytes, self._keys = bytearray(), 0, {}
            self._work_off(batch, np.array(done_ns, dtype=np.int64))
        self._corrupt()

    def _work_off(self, batch: Batch, done_ns: Ints) -> None:
        places, laid_out, written = self._make_room(batch)
        wrong: list[int] = []
        for part in batch.parts(laid_out, self._most_units):
            _, tweaks = self._store(batch, part, places[part.at])
            # Read while it is in the cache, and the tweaks are made.
            wrong += part.at[self._read(batch, part, places[part.at], tweaks)].tolist()
        for part in batch.parts(written, self._most_units):
            self._write(batch, part, places[part.at], done_ns)
        for writes, phase in batch.phases(but=np.concatenate((laid_out, written))):
            for part in batch.parts(phase, self._most_units):
                if writes:
                    self._write(batch, part, places[part.at], done_ns)
                else:
                    wrong += part.at[self._read(batch, part, places[part.at])].tolist()
        self.verified.mismatches += len(wrong)
        first = sorted(wrong)[: _MISMATCHES_KEPT - len(self.verified.where)]
        self.verified.where.extend((batch.units[first] * self._unit_bytes).tolist())

    def _make_room(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """Make room for what the batch is the first to touch, in the order in which it is filled.

        Returns:
            Places of the batch's units; those accesses that are the first to their unit and read it, of which
            the caller stores version 0; and those that are the first to it and write it.
        """
        places = self.medium.places(batch.units)
        missing = np.flatnonzero(places < 0)
        if not len(missing):
            return places, missing, missing
        reads, writes = batch.first_accesses(missing)
        first = np.concatenate((reads, writes))
        places[first] = self._units.make_room(batch.units[first])
        if len(first) < len(missing):
            places[missing] = self.medium.places(batch.units[missing])
        self._units.lay_out(places[reads])
        self.verified.laid_out_bytes += len(reads) * self._unit_bytes
        if self._volatile is not None:
            self._units.blank = set(batch.units[writes].tolist())
        return places, reads, writes

    def _write(self, batch: Batch, part: Part, places: Ints, done_ns: Ints) -> None:
        units = batch.units[part.at]
        before = self._units.contents(units) if self._volatile is not None else []
        versions = self._units.write_again(places)
        data, _ = self._store(batch, part, places)
        if self._volatile is not None:
            self._remember(units, before, data, versions, done_ns[batch.bio[part.at]])

    def _store(self, batch: Batch, part: Part, places: Ints) -> tuple[Data, Tweaks]:
        """Make the units' plaintext in their present version, encrypt it and store it.

        Returns:
            The ciphertext and the tweaks, until the next part.
        """
        room = self.medium.room(places)
        data = scratch("byte plane", len(places), self._unit_bytes) if room is None else room
        self._units.plaintext(batch.units[part.at], places, data)
        tweaks = self._crypt(batch, part, data, data, encrypt=True)
        if room is None:
            self.medium.store(places, data)
        return data, tweaks

    def _read(self, batch: Batch, part: Part, places: Ints, tweaks: Tweaks = None) -> npt.NDArray[np.bool_]:
        """Compare with what was written last; which units differ."""
        units = batch.units[part.at]
        data = scratch("byte plane", len(places), self._unit_bytes)
        room = self.medium.room(places)
        stored = self.medium.load(places, data) if room is None else room
        self._crypt(batch, part, stored, data, encrypt=False, tweaks=tweaks)
        expected = scratch("byte plane, expected", *data.shape)
        self._units.expected(units, places, expected)
        self.verified.bytes += data.nbytes
        differs: npt.NDArray[np.bool_] = (data.view(np.uint64) != expected.view(np.uint64)).any(axis=1)
        return differs

    def _remember(
        self, units: Ints, before: list[Content], data: Data, versions: npt.NDArray[np.uint32], done_ns: Ints
    ) -> None:
        assert self._volatile is not None
        rows = zip(units.tolist(), before, data, versions.tolist(), done_ns.tolist(), strict=True)
        for unit, old, image, version, when in rows:
            self._units.mended(unit)
            self._volatile.written(unit, old, Content(image.copy(), version, when))

    def keep_unflushed(self, now: Callable[[], int]) -> None:
        """From here on know what a power cut would take."""
        self._volatile = VolatileWrites()
        self._now = now

    def power_cut(self, outage: Outage) -> Counter[str]:
        """Power failed; what became of unflushed data units."""
        assert self._volatile is not None, "keep_unflushed() comes first"
        self.process()
        in_flight = [
            entry
            for request, key in outage.interrupted
            for entry in self._half_written(self._batch_of(request, key))
        ]
        survivors = list(self._volatile.cut(in_flight, outage.rng, outage.tear_bytes))
        before = self._units.survive(survivors)
        newest = {one.unit: content.version for one, content in zip(survivors, before, strict=True)}
        newest |= {unit: content.version for unit, _, content in in_flight}
        return summary(survivors, newest)

    def _half_written(self, batch: Batch) -> Iterable[tuple[int, Content, Content]]:
        """Units of a write in flight: what they hold, and what they would."""
        before = self._units.contents(batch.units)
        data, versions = self._units.half_written(batch.units, before)
        for part in batch.parts(np.arange(len(batch)), len(batch)):
            self._crypt(batch, part, data, data, encrypt=True)
        rows = zip(batch.units.tolist(), before, data, versions.tolist(), strict=True)
        return [(unit, old, Content(image, version)) for unit, old, image, version in rows]

    def _crypt(
        self, batch: Batch, part: Part, src: Data, out: Data, *, encrypt: bool, tweaks: Tweaks = None
    ) -> Tweaks:
        """From ``src`` to ``out``, which may be the same; ``tweaks`` of the last call, if for ``part``."""
        groups = [(None if key is None else self._cipher(key), count) for key, count in part.by_key]
        return crypt_groups(groups, batch.ivs[part.at], src, out, encrypt=encrypt, tweaks=tweaks)

    def _cipher(self, key: BlkCryptoKey) -> UnitCipher:
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = self._cipher_of(key)
        return cipher

    def _corrupt(self) -> None:
        waiting = []
        for corruption in self._corruptions:
            if (
                corruption.after_bios <= self._completed
                and corruption.byte // self._unit_bytes in self.medium
            ):
                self.medium.flip(corruption.byte, corruption.mask)
            else:
                waiting.append(corruption)
        self._corruptions = waiting
