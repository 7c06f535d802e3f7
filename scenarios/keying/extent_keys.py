"""Designs with a key per extent: the four for btrfs, the six variants of key set-up, and sealed extents.

What differs is the stored context, when keys are set up, and in what; extents and their DUNs are the same.
Freed extents' keys are not evicted from keyslots: they are never used again, and fall out as the least
recently used.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from blkcrypto.base.units import NS_PER_SECOND, SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.crypto.cipher import new_cipher
from blkcrypto.fs.extents.designs import LIGHT, ExtentDesign, StoredForm, stored_bytes
from blkcrypto.fs.extents.overhead import INODE_CONTEXT_BYTES
from blkcrypto.fs.extents.replay import ReplayKeys
from blkcrypto.fs.fscrypt.keysetup import BLK_CRYPTO_KEY_BYTES, INODE_INFO_BYTES
from hwmodel.companions import DesignWork
from hwmodel.dataplane import UnitCipher
from scenarios.keying.bios import Bios
from scenarios.keying.ciphers import EXTENT_SHIFT, SealingCipher, StoredIvCipher
from scenarios.keying.extent_map import ExtentMap
from scenarios.keying.extent_setup import SetupRules
from scenarios.keying.keyer import FileBytes, Footprint
from scenarios.keying.setup import SetupTally
from scenarios.schema import Scenario
from scenarios.streams import stream

_UNSET: Final = -1
_RAW_BYTES: Final = 64
_SEALED_ENTRY_BYTES: Final = 8 + 16 + 16  # leaf slot of the tree: block, CRC, nonce, tag
_SEALING_KEY_BYTES: Final = 32


class ExtentKeyer:
    """Keys of extents.

    Args:
        row: what is stored and how keys derive.
        rules: when keys are set up.
        unsealing_rate: extents are sealed with AES-256-GCM, at so many bytes per second; 0 when they are not.
    """

    def __init__(
        self,
        scenario: Scenario,
        file_bytes: FileBytes,
        *,
        row: ExtentDesign = LIGHT,
        rules: SetupRules,
        unsealing_rate: int = 0,
    ) -> None:
        design, seed = scenario.design, scenario.run.seed
        self._row = row
        self._rules = rules
        self._sealed = bool(unsealing_rate)
        self._unsealing_rate = unsealing_rate
        self._unit = scenario.keys.data_unit_size
        raw = stream(seed, "master-keys").bytes(_RAW_BYTES)
        self._source = ReplayKeys(
            row, raw, stream(seed, "extent-nonces"), extent_bytes=design.key_extent_bytes
        )
        self.objects = self._source.objects
        self.key_ops: dict[str, int] = {}
        self.tally = SetupTally()
        self._copies = design.copy_on_write
        self._file_bytes = file_bytes
        self.map = ExtentMap(design.key_extent_bytes // self._unit, self._units_of_file)
        self._numbers: list[int] = []  # by extent: its key's number, or not made yet
        self._first_duns: list[int] = []
        self._first_use: list[bool] = []  # by bio of the last batch
        self._extent_of_bio: list[int] = []
        self._born: list[bool] = []  # by extent: made by a write of this run
        self._ciphers: dict[BlkCryptoKey, UnitCipher] = {}

    def _units_of_file(self, file: int) -> int:
        return int(self._file_bytes(np.array([file]))[0]) // self._unit

    def _ready(self, extent: int) -> bool:
        """Make the key of ``extent`` if there is none yet; whether that was so."""
        while len(self._numbers) < self.map.extents_made:
            self._numbers.append(_UNSET)
            self._first_duns.append(0)
            self._born.append(False)
        if self._numbers[extent] != _UNSET:
            return False
        self._numbers[extent], self._first_duns[extent] = self._source.new_extent()
        return True

    def keyed(self, bios: Bios) -> Bios:
        """See ``Keyer``: cut where extents end, or at every block where the design demands it."""
        parents: list[int] = []
        firsts: list[int] = []
        counts: list[int] = []
        extents: list[int] = []
        self._first_use = []
        columns = zip(
            bios.op.tolist(), bios.file.tolist(), bios.unit.tolist(), bios.nbytes.tolist(), strict=True
        )
        for bio, (op, file, unit, nbytes) in enumerate(columns):
            if file < 0:
                runs = [(_UNSET, _UNSET, 0)]
            else:
                count = nbytes // self._unit
                self._rules.opened(self.map.touch(file, unit + count), self.tally)
                if op == ReqOp.WRITE and self._copies:
                    extent = self.map.write(file, unit, count)
                    self._ready(extent)
                    self._born[extent] = True
                    self._first_use.append(True)
                    runs = [(extent, unit, count)]
                else:
                    runs = list(self.map.runs(file, unit, count))
            for extent, first, count in runs:
                parents.append(bio)
                firsts.append(first)
                counts.append(count)
                extents.append(extent)
                if len(self._first_use) < len(parents):
                    self._first_use.append(extent >= 0 and self._ready(extent))
        return self._cut(bios, parents, firsts, counts, extents)

    def _cut(
        self, bios: Bios, parents: list[int], firsts: list[int], counts: list[int], extents: list[int]
    ) -> Bios:
        parent = np.array(parents, dtype=np.int64)
        first = np.array(firsts, dtype=np.int64)
        data = bios.with_data[parent]
        skipped = np.where(data, (first - bios.unit[parent]) * self._unit, 0)
        nbytes = np.where(data, np.array(counts, dtype=np.int64) * self._unit, bios.nbytes[parent])
        parts = bios.cut(parent, skipped, nbytes, self._unit)
        for at, extent in enumerate(extents):
            if extent >= 0:
                parts.key[at] = self._numbers[extent]
                inside = firsts[at] - self.map.starts[extent]
                if self._row.form is StoredForm.IV:
                    parts.dun[at] = extent << EXTENT_SHIFT | inside
                else:
                    parts.dun[at] = inside
        if not self._row.bio_blocks:
            self._extent_of_bio = extents
            return parts
        whole = np.where(parts.with_data, -(-parts.nbytes // self._unit), 1)
        self._extent_of_bio = np.repeat(np.array(extents), whole).tolist()
        firsts_only = np.zeros(int(whole.sum()), bool)
        firsts_only[np.cumsum(whole) - whole] = self._first_use
        self._first_use = firsts_only.tolist()
        return parts.cut_to(self._unit * self._row.bio_blocks, self._unit)

    def charge(self, bios: Bios, first_number: int, work: DesignWork) -> None:
        """See ``Keyer``."""
        rules, tally = self._rules, self.tally
        ops = bios.op.tolist()
        for at, (extent, new) in enumerate(zip(self._extent_of_bio, self._first_use, strict=True)):
            if extent >= 0:
                born = self._born[extent]
                rules.io(first_number + at, extent, ops[at], new=new, born=born, work=work, tally=tally)
                if self._sealed and ops[at] == ReqOp.READ:
                    self._unseal_rest(bios, at, first_number + at, work)

    def _unseal_rest(self, bios: Bios, at: int, number: int, work: DesignWork) -> None:
        """A read of part of an extent decrypts all of it: its tag covers no less."""
        rest = sum(nbytes for _, nbytes in self.rest_of_extent(bios, at))
        if rest:
            cost = rest * NS_PER_SECOND // self._unsealing_rate
            work.cipher_ns[number] = work.cipher_ns.get(number, 0) + cost
            self.tally.crypto_ns += cost

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """See ``Keyer``."""
        if self._sealed:
            # Of an extent's 64 bytes of key, GCM takes the first 32, as HKDF-Expand to 32 bytes gives them.
            found = self._ciphers.get(key)
            if found is None:
                found = self._ciphers[key] = SealingCipher(key.raw[:_SEALING_KEY_BYTES], None)
            return found
        cipher = new_cipher("AES-256-XTS", key.raw)
        return StoredIvCipher(cipher, self._first_duns) if self._row.form is StoredForm.IV else cipher

    def _in_memory(self) -> int:
        """Extents that open files have in memory: those used, or all of them."""
        live = self.map.live()
        if self._rules.all_at_open:
            return len(live)
        return sum(number != _UNSET and at in live for at, number in enumerate(self._numbers))

    def footprint(self) -> Footprint:
        """See ``Keyer``.

        On disk are contexts of inodes and of file extent items; in memory inodes, loaded extents, and the
        pools of the design's variant.  A key counts as derived as often as the design derives it, whatever
        the emulation remembers.
        """
        files, loaded, per_extent = self.map.files, self._in_memory(), self._row.key_per_extent
        per_item = _SEALED_ENTRY_BYTES if self._sealed else stored_bytes(self._row)
        shared = 0 if per_extent else BLK_CRYPTO_KEY_BYTES
        return Footprint(
            files=files,
            data_bytes=self.map.units * self._unit,
            extents=self.map.items,
            keys_live=self._rules.keys_held(loaded) if per_extent else 1,
            derivations=self.tally.derivations + (0 if per_extent else 1),
            on_disk_bytes=files * INODE_CONTEXT_BYTES + self.map.items * per_item,
            in_memory_bytes=files * INODE_INFO_BYTES + shared + self._rules.memory_bytes(loaded, files),
            extra=self._extra(),
        )

    def _extra(self) -> dict[str, int]:
        """Extents made, and units whose tag did not fit."""
        found = {"extents_made": self.map.extents_made, "extents_live": len(self.map.live())}
        if self._sealed:
            ciphers = (each for each in self._ciphers.values() if isinstance(each, SealingCipher))
            found["units_refused"] = sum(each.refused for each in ciphers)
        return found

    def sealed_extent(self, bios: Bios, at: int) -> tuple[int, int]:
        """The extent of bio ``at``, as one seal."""
        return self._extent_of_bio[at], 1

    def rest_of_extent(self, bios: Bios, at: int) -> Iterator[tuple[int, int]]:
        """What a read of part of a sealed extent reads besides, as (sector, bytes): the whole has one tag."""
        extent = self._extent_of_bio[at]
        start, size = self.map.starts[extent], self.map.sizes[extent]
        unit, sector = int(bios.unit[at]), int(bios.sector[at])
        before = min((unit - start) * self._unit, sector << SECTOR_SHIFT)
        own = int(bios.nbytes[at])
        after = (start + size - unit) * self._unit - own
        if before > 0:
            yield sector - (before >> SECTOR_SHIFT), before
        if after > 0:
            yield sector + (own >> SECTOR_SHIFT), after
