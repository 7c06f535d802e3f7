"""The workload of reflinks and snapshots: a filesystem with extents really runs, the machine times its bios.

``blkcrypto.fs.extents.workload`` takes ``workload.ios`` steps over the layout's files; after each the bios
that the filesystem submitted become rows, in order, with the keys and DUNs they carried.  Bytes are the
filesystem's own affair: it encrypts all it writes, and with ``payload = "verify"`` every file is dropped from
memory at the end, read back and compared with what was written to it.

Moved ciphertext has no key.  What a step has to wait for is not modelled: its bios go out together.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.fs.extents import workload
from blkcrypto.fs.extents.bio_log import BioColumns, BioLog
from blkcrypto.fs.extents.designs import EXTENT_DESIGNS
from blkcrypto.fs.extents.file import ExtentFile
from blkcrypto.fs.extents.items import BLOCK_BYTES
from blkcrypto.fs.extents.measure import Measured, measure
from blkcrypto.fs.extents.subject import ExtentSubject
from blkcrypto.fs.keysetup_io.contexts import Ctx
from hwmodel.clock import Row
from hwmodel.companions import DesignWork
from hwmodel.dataplane import UnitCipher, Verified
from scenarios.keying.bios import Bios
from scenarios.keying.keyer import Footprint
from scenarios.keying.setup import EXTENT_KEY, Event, Prices, SetupTally
from scenarios.schema import Scenario
from scenarios.streams import stream

_RAW_BYTES = 64


@dataclass(slots=True, eq=False)
class _MirroredFile(ExtentFile):
    """An open file whose contents are kept beside it, as plain bytes."""

    plain: bytearray = field(default_factory=bytearray)

    def write(self, pos: int, data: bytes) -> int:
        """See ``ExtentFile``."""
        self.plain.extend(bytes(max(0, pos + len(data) - len(self.plain))))
        self.plain[pos : pos + len(data)] = data
        return ExtentFile.write(self, pos, data)

    def punch_hole(self, start: int, length: int) -> None:
        """See ``ExtentFile``."""
        end = min(start + length, len(self.plain))
        self.plain[start:end] = bytes(max(0, end - start))
        ExtentFile.punch_hole(self, start, length)


class MirroredSubject(ExtentSubject):
    """``ExtentSubject`` with the contents of every file beside it.

    Attributes:
        plain: contents by name.
    """

    plain: dict[str, bytearray]

    def open(self, path: str, *, make: bool = False) -> ExtentFile:
        """See ``ExtentSubject``."""
        file = super().open(path, make=make)
        plain = self.plain.setdefault(path, bytearray())
        return _MirroredFile(file.volume, file.inode, file.directory, plain=plain)

    def duplicate(self, source: str, target: str) -> None:
        """See ``ExtentSubject``."""
        super().duplicate(source, target)
        self.plain[target] = bytearray(self.plain[source])

    def delete(self, path: str) -> None:
        """See ``ExtentSubject``."""
        super().delete(path)
        del self.plain[path]


class ReflinkKeyer:
    """A ``Keyer`` whose keys a running filesystem makes.

    Attributes:
        verified: what the comparison at the end found.
        steps: taken so far.
    """

    def __init__(self, scenario: Scenario, prices: Prices) -> None:
        row = EXTENT_DESIGNS[scenario.keys.design]
        self._scenario = scenario
        self._row = row
        seed = scenario.run.seed
        self._log = BioLog(BLOCK_BYTES)
        self._subject = MirroredSubject(
            row,
            stream(seed, "master-keys").bytes(_RAW_BYTES),
            stream(seed, "extent-nonces"),
            store=self._log,
            max_extent_bytes=scenario.design.key_extent_bytes,
            device_blocks=scenario.device.media.capacity_bytes.value // BLOCK_BYTES,
        )
        self._subject.plain = {}
        self._subject.add_key()
        self.objects: list[BlkCryptoKey] = []
        self.key_ops: dict[str, int] = {}
        self.tally = SetupTally()
        self._event = prices.steps(EXTENT_KEY, Ctx.NOFS) if row.key_per_extent else Event()
        self.verified = Verified()
        self.steps = 0
        self._bios_made = 0
        self._found: Measured | None = None
        self._derivations = 0

    def _secret_derivations(self) -> int:
        return self._subject.volume.entry_for(self._subject.policy).secret.derivations

    def rows(self, work: DesignWork) -> Iterator[Row]:
        """All rows, step by step; compares the files at the end."""
        scenario = self._scenario
        sizes = [size for size, _ in scenario.workload.block_sizes]
        options = workload.Workload(
            files=scenario.layout.files,
            file_blocks=scenario.layout.file_size_bytes // BLOCK_BYTES,
            steps=scenario.workload.ios,
            io_blocks=max(1, max(sizes) // BLOCK_BYTES),
        )
        steps = workload.run(self._subject, options, stream(scenario.run.seed, "workload.steps"))
        for number, _step in enumerate(steps):
            self.steps = number + 1
            yield from self._rows(self._log.take(), number % scenario.workload.jobs, work)
        self._found = measure(self._subject.volume)
        self._derivations = self._secret_derivations()
        if scenario.run.payload == "verify":
            self._compare()

    def _rows(self, columns: BioColumns, job: int, work: DesignWork) -> Iterator[Row]:
        known = len(self.objects)
        self.objects.extend(columns.keys[known:])
        columns_of_rows = zip(
            columns.op.tolist(),
            (columns.block * (BLOCK_BYTES >> SECTOR_SHIFT)).tolist(),
            (columns.blocks * BLOCK_BYTES).tolist(),
            columns.key.tolist(),
            columns.dun.tolist(),
            strict=True,
        )
        for op, sector, nbytes, key, dun in columns_of_rows:
            number = self._bios_made
            self._bios_made += 1
            if key >= known:
                known = key + 1
                self.tally.in_io(self._event, 1 if self._event.ns else 0)
                if self._event.ns:
                    work.before_ns[number] = self._event.ns
            yield (0, number, op, sector, nbytes, key, dun, job)

    def _compare(self) -> None:
        """Read every file from the device."""
        self._subject.volume.drop_caches()
        for path, plain in self._subject.plain.items():
            read = self._subject.read(path)
            self.verified.bytes += len(read)
            whole = min(len(read), len(plain))
            ours = np.frombuffer(bytes(plain[:whole]), np.uint8)
            theirs = np.frombuffer(read[:whole], np.uint8)
            wrong = np.flatnonzero(ours != theirs) // BLOCK_BYTES
            self.verified.mismatches += len(np.unique(wrong)) + (len(read) != len(plain))

    def keyed(self, bios: Bios) -> Bios:
        """Nothing: bios come with their keys."""
        return bios

    def charge(self, bios: Bios, first_number: int, work: DesignWork) -> None:
        """Nothing: ``rows`` does."""

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """See ``Keyer``."""
        return new_cipher("AES-256-XTS", key.raw)

    @property
    def medium_sha256(self) -> str:
        """Digest over (block as 8 bytes little-endian, content) of the device."""
        digest = hashlib.sha256()
        for block in sorted(self._log.medium):
            digest.update(block.to_bytes(8, "little"))
            digest.update(self._log.medium[block])
        return digest.hexdigest()

    @property
    def measured(self) -> Measured:
        """The filesystem's own count, as it was when the steps were over."""
        return self._found if self._found is not None else measure(self._subject.volume)

    def footprint(self) -> Footprint:
        """See ``Keyer``: what the filesystem counts in its newest state, and in all snapshots.

        Derivations are those of the master key until the steps are over: its identifier, and the names' key,
        are two of them.
        """
        found = self.measured
        return Footprint(
            files=len(self._subject.plain),
            data_bytes=sum(map(len, self._subject.plain.values())),
            extents=found.distinct_items,
            keys_live=found.keys_live,
            derivations=self._derivations,
            on_disk_bytes=found.on_disk_bytes,
            in_memory_bytes=found.in_memory_bytes,
            extra={
                "items_in_snapshots": found.items,
                "extents_on_device": found.extents,
                "csum_bytes": found.csum_bytes,
            },
        )
