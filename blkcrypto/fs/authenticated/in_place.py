"""Seals that are overwritten in place, their entries in a table: beside the data, or on an integrity device.

Rules:

- A seal covers ``seal_blocks`` blocks; reading or changing part of it reads or writes all of it.
- Data and entry are two writes.  Without a journal, power lost between them leaves a seal that does not open.
- With a journal, ciphertext goes there first, then a descriptor with the entries and a hash of it all: that
  block is the commit.  Then data and entries are written in place, and the descriptor is cleared.  A mount
  writes a committed journal again.
- Entries say nothing of time: an old seal with its old entry opens.

=================  =============================================================================
geometry           layout
=================  =============================================================================
per-block table    table blocks first, then all data
integrity device   runs of one block of entries and the data they are for, as dm-integrity has it
=================  =============================================================================

Deviation: entries never straddle blocks, and an integrity device's runs are as short as they can be.

Source: reference fscrypt.md sections 8.2, 8.5; drivers/md/dm-integrity.c.
"""

import enum
import hashlib
import struct
from collections.abc import Iterable
from typing import Final

from blkcrypto.fs.authenticated.medium import BLOCK_BYTES, BlockMedium
from blkcrypto.fs.authenticated.seal import Sealer

_DESCRIPTOR = struct.Struct("<8sII32s")
_MAGIC: Final = b"sealjrnl"


class Geometry(enum.Enum):
    """Where entries lie."""

    TABLE = "per-block table"
    INTEGRITY_DEVICE = "integrity device"


def blocks_for(seals: int, entry_bytes: int, *, seal_blocks: int = 1, journal_seals: int = 32) -> int:
    """Blocks of journal, entries and data, for seals with entries of ``entry_bytes``."""
    room = min(journal_seals, (BLOCK_BYTES - _DESCRIPTOR.size) // entry_bytes)
    journal = 1 + room * seal_blocks if room else 0
    return journal + -(-seals // (BLOCK_BYTES // entry_bytes)) + seals * seal_blocks


class InPlaceStore:
    """Sealed blocks on a medium.

    Args:
        medium: large enough for ``blocks_needed``.
        sealer: encrypts.
        seals: how many.
        geometry: where entries lie.
        seal_blocks: blocks per seal.
        journal_seals: seals the journal has room for; 0 for no journal.
        owner: what the data belongs to; associated data.
    """

    keyless_scrub = False

    def __init__(
        self,
        medium: BlockMedium,
        sealer: Sealer,
        seals: int,
        *,
        geometry: Geometry = Geometry.TABLE,
        seal_blocks: int = 1,
        journal_seals: int = 32,
        owner: bytes = bytes(16),
    ) -> None:
        self.medium = medium
        self.sealer = sealer
        self.seals = seals
        self.seal_blocks = seal_blocks
        self._geometry = geometry
        self._owner = owner
        self._per_block = BLOCK_BYTES // sealer.entry_bytes
        self._journal_room = min(journal_seals, (BLOCK_BYTES - _DESCRIPTOR.size) // sealer.entry_bytes)
        self._first = 1 + self._journal_room * seal_blocks if self._journal_room else 0
        if medium.blocks < self.blocks_needed:
            raise ValueError(f"{seals} seals need {self.blocks_needed} blocks, not {medium.blocks}")
        if self._journal_room:
            self._replay_journal()

    @property
    def blocks_needed(self) -> int:
        """Blocks of journal, entries and data."""
        return blocks_for(
            self.seals,
            self.sealer.entry_bytes,
            seal_blocks=self.seal_blocks,
            journal_seals=self._journal_room,
        )

    def _data_block(self, index: int) -> int:
        if self._geometry is Geometry.TABLE:
            return self._first + -(-self.seals // self._per_block) + index * self.seal_blocks
        runs = index // self._per_block + 1
        return self._first + runs + index * self.seal_blocks

    def _entry_place(self, index: int) -> tuple[int, int]:
        """Block and offset of an entry."""
        run, inside = divmod(index, self._per_block)
        if self._geometry is Geometry.TABLE:
            return self._first + run, inside * self.sealer.entry_bytes
        return self._first + run * (1 + self._per_block * self.seal_blocks), inside * self.sealer.entry_bytes

    def write(self, first: int, data: bytes) -> None:
        """Write whole seals from index ``first`` on.

        Raises:
            SealKeyMissing: ENOKEY.
            TooManySeals: EOVERFLOW.
            PowerLost: by the medium.
        """
        size = self.seal_blocks * BLOCK_BYTES
        sealed = [
            (first + at // size, *self.sealer.seal(self._owner, first + at // size, data[at : at + size]))
            for at in range(0, len(data), size)
        ]
        step = self._journal_room or len(sealed)
        for at in range(0, len(sealed), step):
            batch = sealed[at : at + step]
            if self._journal_room:
                self._commit(batch)
            self._put(batch)
            if self._journal_room:
                self.medium.write(0, bytes(BLOCK_BYTES))

    def _commit(self, batch: list[tuple[int, bytes, bytes]]) -> None:
        payload = b"".join(stored for _, _, stored in batch)
        self.medium.write(1, payload)
        entries = b"".join(entry for _, entry, _ in batch)
        digest = self._digest(batch[0][0], len(batch), entries, payload)
        self.medium.write(0, _DESCRIPTOR.pack(_MAGIC, batch[0][0], len(batch), digest) + entries)

    @staticmethod
    def _digest(first: int, count: int, entries: bytes, payload: bytes) -> bytes:
        return hashlib.sha256(struct.pack("<II", first, count) + entries + payload).digest()

    def _replay_journal(self) -> None:
        head = self.medium.read(0)
        magic, first, count, digest = _DESCRIPTOR.unpack_from(head)
        if magic != _MAGIC or not 0 < count <= self._journal_room or first + count > self.seals:
            return
        entry_bytes = self.sealer.entry_bytes
        entries = head[_DESCRIPTOR.size : _DESCRIPTOR.size + count * entry_bytes]
        payload = self.medium.read(1, count * self.seal_blocks)
        if self._digest(first, count, entries, payload) == digest:
            size = self.seal_blocks * BLOCK_BYTES
            self._put(
                (first + at, entries[at * entry_bytes :][:entry_bytes], payload[at * size :][:size])
                for at in range(count)
            )

    def _put(self, batch: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Data in place, then each block of entries once."""
        changed: dict[int, bytearray] = {}
        for index, entry, stored in batch:
            self.medium.write(self._data_block(index), stored)
            block, at = self._entry_place(index)
            entries = changed.get(block)
            if entries is None:
                entries = changed[block] = bytearray(self.medium.read(block))
            entries[at : at + len(entry)] = entry
        for block, entries in changed.items():
            self.medium.write(block, bytes(entries))

    def read(self, index: int) -> bytes:
        """One seal.

        Raises:
            AuthenticationFailed: EILSEQ.
            SealKeyMissing: ENOKEY.
        """
        block, at = self._entry_place(index)
        entry = self.medium.read(block)[at : at + self.sealer.entry_bytes]
        stored = self.medium.read(self._data_block(index), self.seal_blocks)
        return self.sealer.unseal(self._owner, index, entry, stored)

    def data_offset(self, index: int) -> int:
        """Where a seal's ciphertext begins on the medium, in bytes."""
        return self._data_block(index) * BLOCK_BYTES

    def extract(self, index: int) -> tuple[bytes, bytes]:
        """What an attacker copies: entry and ciphertext."""
        block, at = self._entry_place(index)
        start = block * BLOCK_BYTES + at
        data = self.data_offset(index)
        image = self.medium.data
        return (
            bytes(image[start : start + self.sealer.entry_bytes]),
            bytes(image[data : data + self.seal_blocks * BLOCK_BYTES]),
        )

    def implant(self, index: int, entry: bytes, stored: bytes) -> None:
        """What an attacker writes: any entry and ciphertext, without a key."""
        block, at = self._entry_place(index)
        start = block * BLOCK_BYTES + at
        data = self.data_offset(index)
        self.medium.data[start : start + len(entry)] = entry
        self.medium.data[data : data + len(stored)] = stored
