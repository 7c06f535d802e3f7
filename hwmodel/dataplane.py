"""The byte plane: encrypts, stores, decrypts and compares every data unit, apart from time.

What a bio costs never depends on its bytes, so bytes wait and are processed in large batches grouped by
key.  A bio that touches a unit still waiting in a conflicting way processes the batch first, so the result
is that of processing each bio at the instant it completed.

A unit that is read before anything wrote it is laid out then, in version 0, as fio lays out its files
before it reads them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from hwmodel.medium import Medium
from hwmodel.payload import plaintext
from hwmodel.powerloss import Content, Survivor, VolatileWrites, summary
from hwmodel.request import Request
from hwmodel.unitbatch import Batch, Run

BATCH_BYTES: Final = 8 << 20
_MISMATCHES_KEPT: Final = 8
# Versions after each power cut begin at a multiple of this, so that none of a lost write comes back.
_VERSIONS_PER_BOOT: Final = 1 << 20

Data = npt.NDArray[np.uint8]


class UnitCipher(Protocol):
    """What the plane needs of a cipher: data units ``uint8[n, du]`` with IVs ``uint8[n, iv_bytes]``."""

    def encrypt(self, ivs: Data, src: Data, out: Data | None = None) -> Data:
        """Ciphertext."""

    def decrypt(self, ivs: Data, src: Data, out: Data | None = None) -> Data:
        """Plaintext."""

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
        self.medium = Medium(unit_bytes)
        self.verified = Verified()
        self._unit_bytes = unit_bytes
        self._seed = seed
        self._batch_bytes = batch_bytes
        self._cipher_of = cipher_of
        self._ciphers: dict[BlkCryptoKey, UnitCipher] = {}
        self._versions = np.zeros(1 << 12, dtype=np.uint32)
        self._runs: list[Run] = []
        self._queued_units = 0
        self._reading: set[int] = set()
        self._writing: set[int] = set()
        self._corruptions = sorted(corruptions, key=lambda each: each.after_bios)
        self._completed = 0
        self._first_version = 0
        self._torn: dict[int, tuple[int, ...]] = {}  # unit -> version of each sector
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

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """A bio is done; ``key`` is what the hardware used.  One that failed moved no data."""
        run = self._run(request, key)
        if self._corruptions and self._corruptions[0].after_bios <= self._completed:
            self._damage_before(run, reads=request.op == ReqOp.READ)
        self._completed += 1
        if request.status:
            return
        if request.op == ReqOp.READ or request.op == ReqOp.WRITE:
            self._queue(run)
            if run.write and self._volatile is not None and self._is_fua is not None:
                self._force(run, request.row)
        elif request.op != ReqOp.FLUSH:
            self.process()
            self._discard(run)
        elif self._volatile is not None:
            self.process()
            self._volatile.flushed(submitted_ns=request.arrived, began_ns=request.mark)

    def _force(self, run: Run, row: int) -> None:
        """A FUA write survives from here on."""
        assert self._volatile is not None
        assert self._is_fua is not None
        if self._is_fua(row):
            self.process()
            for unit in range(run.unit, run.unit + run.count):
                self._volatile.forced(unit)

    def _run(self, request: Request, key: BlkCryptoKey | None) -> Run:
        first = (request.sector << SECTOR_SHIFT) // self._unit_bytes
        count = request.nbytes // self._unit_bytes
        return Run(first, count, key, request.dun, request.op == ReqOp.WRITE, self._now())

    def _discard(self, run: Run) -> None:
        self.medium.discard(run.unit, run.count)
        if self._volatile is not None:
            for unit in range(run.unit, run.unit + run.count):
                self._torn.pop(unit, None)
                self._volatile.discarded(unit)

    def _damage_before(self, run: Run, *, reads: bool) -> None:
        """Bring the medium up to date and damage what is due, also what ``run`` is the first to read."""
        self.process()
        if reads:
            self._lay_out([run])
            self._corrupt()

    def forget(self, key: BlkCryptoKey) -> None:
        """``key`` was evicted: finish what waits for it and wipe its cipher."""
        self.process()
        cipher = self._ciphers.pop(key, None)
        if cipher is not None:
            cipher.wipe()

    def _queue(self, run: Run) -> None:
        units = range(run.unit, run.unit + run.count)
        clash = not self._writing.isdisjoint(units) or (run.write and not self._reading.isdisjoint(units))
        if clash or self._queued_units * self._unit_bytes >= self._batch_bytes:
            self.process()
        self._runs.append(run)
        self._queued_units += run.count
        (self._writing if run.write else self._reading).update(units)

    def process(self) -> None:
        """Process everything queued, then damage what is due."""
        runs, self._runs = self._runs, []
        self._queued_units = 0
        self._reading.clear()
        self._writing.clear()
        self._write([run for run in runs if run.write])
        self._read([run for run in runs if not run.write])
        self._corrupt()

    def _write(self, runs: list[Run]) -> None:
        if not runs:
            return
        batch = Batch(runs)
        before = self._contents(batch.units) if self._volatile is not None else []
        places = self.medium.allocate(batch.units)
        self._grow_versions(int(places.max()))
        self._versions[places] = np.maximum(self._versions[places] + 1, self._first_version)
        data = self._store(batch, places)
        if self._volatile is not None:
            self._remember(batch, before, data, self._versions[places])

    def _store(self, batch: Batch, places: npt.NDArray[np.int64]) -> Data:
        """Make the units' plaintext in their present version, encrypt it and store it; the ciphertext."""
        data = plaintext(self._seed, batch.units, self._versions[places], self._unit_bytes)
        self._crypt(batch, data, encrypt=True)
        self.medium.store(places, data)
        return data

    def _contents(self, units: npt.NDArray[np.int64]) -> list[Content]:
        """What each unit holds now."""
        contents = []
        for unit, place in zip(units.tolist(), self.medium.places(units), strict=True):
            if place < 0:
                contents.append(Content(None, 0))
            else:
                image = self.medium.load(np.array([place]))[0]
                version = int(self._versions[place])
                contents.append(Content(image, version, torn=self._torn.get(unit, ())))
        return contents

    def _remember(
        self, batch: Batch, before: list[Content], data: Data, versions: npt.NDArray[np.uint32]
    ) -> None:
        assert self._volatile is not None
        done = batch.per_unit([run.done_ns for run in batch.runs])
        rows = zip(batch.units.tolist(), before, data, versions.tolist(), done.tolist(), strict=True)
        for unit, old, image, version, done_ns in rows:
            self._torn.pop(unit, None)
            self._volatile.written(unit, old, Content(image.copy(), version, done_ns))

    def keep_unflushed(self, now: Callable[[], int]) -> None:
        """From here on know what a power cut would take."""
        self._volatile = VolatileWrites()
        self._now = now

    def power_cut(
        self,
        interrupted: Sequence[tuple[Request, BlkCryptoKey | None]],
        rng: np.random.Generator,
        tear_bytes: int,
    ) -> Counter[str]:
        """Power failed with the writes ``interrupted`` at the device; what became of unflushed data units."""
        assert self._volatile is not None, "keep_unflushed() comes first"
        self.process()
        in_flight = [
            entry for request, key in interrupted for entry in self._half_written(self._run(request, key))
        ]
        survivors = list(self._volatile.cut(in_flight, rng, tear_bytes))
        newest = {one.unit: content.version for one, content in self._survived(survivors)}
        newest |= {unit: content.version for unit, _, content in in_flight}
        self._first_version += _VERSIONS_PER_BOOT
        return summary(survivors, newest)

    def _half_written(self, run: Run) -> Iterable[tuple[int, Content, Content]]:
        """Units of a write in flight: what they hold, and what they would."""
        batch = Batch([run])
        before = self._contents(batch.units)
        versions = np.array([max(old.version + 1, self._first_version) for old in before], dtype=np.uint32)
        data = plaintext(self._seed, batch.units, versions, self._unit_bytes)
        self._crypt(batch, data, encrypt=True)
        rows = zip(batch.units.tolist(), before, data, versions.tolist(), strict=True)
        return [(unit, old, Content(image, version)) for unit, old, image, version in rows]

    def _survived(self, survivors: list[Survivor]) -> list[tuple[Survivor, Content]]:
        """Store what survived; with what was there."""
        units = np.array([one.unit for one in survivors], dtype=np.int64)
        before = self._contents(units)
        for survivor in survivors:
            self._torn.pop(survivor.unit, None)
            if survivor.image is None:
                self.medium.discard(survivor.unit, 1)
                continue
            places = self.medium.allocate(np.array([survivor.unit]))
            self._grow_versions(int(places[0]))
            self._versions[places] = survivor.versions[0]
            self.medium.store(places, survivor.image[None])
            if survivor.is_torn:
                self._torn[survivor.unit] = survivor.versions
        return list(zip(survivors, before, strict=True))

    def _read(self, runs: list[Run]) -> None:
        if not runs:
            return
        self._lay_out(runs)
        batch = Batch(runs)
        places = self.medium.places(batch.units)
        data = self.medium.load(places)
        self._crypt(batch, data, encrypt=False)
        expected = plaintext(self._seed, batch.units, self._versions[places], self._unit_bytes)
        if self._torn:
            self._expect_torn(batch.units, expected)
        wrong = batch.units[(data.view(np.uint64) != expected.view(np.uint64)).any(axis=1)]
        self.verified.bytes += data.nbytes
        self.verified.mismatches += len(wrong)
        room = _MISMATCHES_KEPT - len(self.verified.where)
        self.verified.where.extend((wrong[:room] * self._unit_bytes).tolist())

    def _expect_torn(self, units: npt.NDArray[np.int64], expected: Data) -> None:
        """Sector by sector what torn units hold: AES-XTS decrypts every 16 bytes for themselves."""
        for row, unit in enumerate(units.tolist()):
            versions = self._torn.get(unit)
            if versions is None:
                continue
            size = self._unit_bytes // len(versions)
            for version in set(versions):
                whole = plaintext(
                    self._seed, units[row : row + 1], np.array([version], dtype=np.uint32), self._unit_bytes
                )
                for sector, its in enumerate(versions):
                    if its == version:
                        at = slice(sector * size, (sector + 1) * size)
                        expected[row, at] = whole[0, at]

    def _lay_out(self, runs: list[Run]) -> None:
        """Give units that are read before anything wrote them their version 0."""
        missing = []
        seen: set[int] = set()
        for run in runs:
            for offset in range(run.count):
                unit = run.unit + offset
                if unit not in self.medium and unit not in seen:
                    seen.add(unit)
                    missing.append(Run(unit, 1, run.key, run.dun + offset, write=True))
        if not missing:
            return
        batch = Batch(missing)
        places = self.medium.allocate(batch.units)
        self._grow_versions(int(places.max()))
        self._versions[places] = 0
        self._store(batch, places)
        self.verified.laid_out_bytes += len(places) * self._unit_bytes

    def _crypt(self, batch: Batch, data: Data, *, encrypt: bool) -> None:
        """``data`` in place, one cipher call per key."""
        at = 0
        for key, count in batch.by_key:
            if key is not None:
                cipher = self._cipher(key)
                part = data[at : at + count]
                work = cipher.encrypt if encrypt else cipher.decrypt
                work(batch.ivs[at : at + count], part, part)
            at += count

    def _cipher(self, key: BlkCryptoKey) -> UnitCipher:
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = self._cipher_of(key)
        return cipher

    def _grow_versions(self, place: int) -> None:
        if place >= len(self._versions):
            grown = np.zeros(max(2 * len(self._versions), place + 1), dtype=np.uint32)
            grown[: len(self._versions)] = self._versions
            self._versions = grown

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
