"""The byte plane: encrypts, stores, decrypts and compares every data unit, apart from time.

What a bio costs never depends on its bytes, so bytes wait and are processed in large batches grouped by
key.  A bio that touches a unit still waiting in a conflicting way processes the batch first, so the result
is that of processing each bio at the instant it completed.

A unit that is read before anything wrote it is laid out then, in version 0, as fio lays out its files
before it reads them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from hwmodel.medium import Medium
from hwmodel.payload import plaintext
from hwmodel.request import Request

BATCH_BYTES: Final = 8 << 20
_MISMATCHES_KEPT: Final = 8
_IV_BYTES: Final = 16  # of AES-256-XTS; every design's DUN fits its lower half

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


@dataclass(slots=True)
class _Run:
    unit: int
    count: int
    key: BlkCryptoKey | None
    dun: int
    write: bool


class VerifyingPlane:
    """Bytes for real.

    Args:
        unit_bytes: data unit size; every bio covers whole units.
        seed: of the plaintext.
        cipher_of: the cipher that a key in the hardware gives; called once per key.
        corruptions: what to damage, and when.
        batch_bytes: how much waits at most; 0 processes each bio at once.
    """

    def __init__(
        self,
        unit_bytes: int,
        *,
        seed: int,
        cipher_of: Callable[[BlkCryptoKey], UnitCipher],
        corruptions: Iterable[Corruption] = (),
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self.medium = Medium(unit_bytes)
        self.verified = Verified()
        self._unit_bytes = unit_bytes
        self._seed = seed
        self._batch_bytes = batch_bytes
        self._cipher_of = cipher_of
        self._ciphers: dict[BlkCryptoKey, UnitCipher] = {}
        self._versions = np.zeros(1 << 12, dtype=np.uint32)
        self._runs: list[_Run] = []
        self._queued_units = 0
        self._reading: set[int] = set()
        self._writing: set[int] = set()
        self._corruptions = sorted(corruptions, key=lambda each: each.after_bios)
        self._completed = 0

    @property
    def pending_corruptions(self) -> int:
        """Corruptions that never took place."""
        return len(self._corruptions)

    def complete(self, request: Request, key: BlkCryptoKey | None) -> None:
        """A bio's data is on the medium, or was read from it; ``key`` is what the hardware used."""
        first = (request.sector << SECTOR_SHIFT) // self._unit_bytes
        run = _Run(first, request.nbytes // self._unit_bytes, key, request.dun, request.op == ReqOp.WRITE)
        if self._corruptions and self._corruptions[0].after_bios <= self._completed:
            self._damage_before(run, reads=request.op == ReqOp.READ)
        self._completed += 1
        if request.op == ReqOp.READ or request.op == ReqOp.WRITE:
            self._queue(run)
        elif request.op != ReqOp.FLUSH:
            self.process()
            self.medium.discard(run.unit, run.count)

    def _damage_before(self, run: _Run, *, reads: bool) -> None:
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

    def _queue(self, run: _Run) -> None:
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

    def _write(self, runs: list[_Run]) -> None:
        if not runs:
            return
        batch = _Batch(runs)
        places = self.medium.allocate(batch.units)
        self._grow_versions(int(places.max()))
        self._versions[places] += 1
        self._store(batch, places)

    def _store(self, batch: "_Batch", places: npt.NDArray[np.int64]) -> None:
        """Make the units' plaintext in their present version, encrypt it and store it."""
        data = plaintext(self._seed, batch.units, self._versions[places], self._unit_bytes)
        self._crypt(batch, data, encrypt=True)
        self.medium.store(places, data)

    def _read(self, runs: list[_Run]) -> None:
        if not runs:
            return
        self._lay_out(runs)
        batch = _Batch(runs)
        places = self.medium.places(batch.units)
        data = self.medium.load(places)
        self._crypt(batch, data, encrypt=False)
        expected = plaintext(self._seed, batch.units, self._versions[places], self._unit_bytes)
        wrong = batch.units[(data.view(np.uint64) != expected.view(np.uint64)).any(axis=1)]
        self.verified.bytes += data.nbytes
        self.verified.mismatches += len(wrong)
        room = _MISMATCHES_KEPT - len(self.verified.where)
        self.verified.where.extend((wrong[:room] * self._unit_bytes).tolist())

    def _lay_out(self, runs: list[_Run]) -> None:
        """Give units that are read before anything wrote them their version 0."""
        missing = []
        seen: set[int] = set()
        for run in runs:
            for offset in range(run.count):
                unit = run.unit + offset
                if unit not in self.medium and unit not in seen:
                    seen.add(unit)
                    missing.append(_Run(unit, 1, run.key, run.dun + offset, write=True))
        if not missing:
            return
        batch = _Batch(missing)
        places = self.medium.allocate(batch.units)
        self._grow_versions(int(places.max()))
        self._versions[places] = 0
        self._store(batch, places)
        self.verified.laid_out_bytes += len(places) * self._unit_bytes

    def _crypt(self, batch: "_Batch", data: Data, *, encrypt: bool) -> None:
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


class _Batch:
    """Every unit of some runs, sorted by key: device unit numbers, IVs, and units per key."""

    __slots__ = ("by_key", "ivs", "units")

    def __init__(self, runs: list[_Run]) -> None:
        groups: dict[BlkCryptoKey | None, list[_Run]] = {}
        for run in runs:
            groups.setdefault(run.key, []).append(run)
        self.by_key = [(key, sum(run.count for run in group)) for key, group in groups.items()]
        ordered = [run for group in groups.values() for run in group]
        counts = np.array([run.count for run in ordered], dtype=np.int64)
        within = np.arange(counts.sum(), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
        self.units = np.repeat(np.array([run.unit for run in ordered], dtype=np.int64), counts) + within
        first_duns = np.array([run.dun & (1 << 64) - 1 for run in ordered], dtype="<u8")
        self.ivs = np.zeros((len(within), _IV_BYTES), dtype=np.uint8)
        self.ivs[:, :8] = (np.repeat(first_duns, counts) + within.astype("<u8"))[:, None].view(np.uint8)
