"""inline_data: small files in their inodes, encrypted by the filesystem; all others in blocks, as ever.

A bio of a small file is I/O of its inode's block, and needs no other.  The byte plane encrypts that whole
block as one unit under the region's key: AES-XTS makes of its first bytes what it makes of a shorter region.

- The first bio of a file whose data is in blocks has to read the inode as well.
- With A1 the region's key is set up in the file's first I/O (writeback is NOFS), with A2 to A4 at open.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from blkcrypto.base.units import NS_PER_SECOND
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.crypto.modes import mode_named
from blkcrypto.fs.inline_data.region import ALTERNATIVES, Alternative
from blkcrypto.fs.inline_data.volume import BLOCK_BYTES, ext4_layout, f2fs_layout
from blkcrypto.fs.keysetup_io.contexts import Ctx
from blkcrypto.fs.keysetup_io.extent_io import TRANSFORM_BYTES
from hwmodel.clock import Row
from hwmodel.companions import DesignWork
from hwmodel.dataplane import UnitCipher
from hwmodel.device import Host
from hwmodel.inlinecipher import inline_cipher
from hwmodel.keywrap import KeyWrapUnit
from scenarios.keying.bios import Bios, share_of
from scenarios.keying.keyer import Footprint
from scenarios.keying.metadata import READ, Place
from scenarios.keying.per_file import MODE, FscryptKeyer
from scenarios.keying.setup import REGION_KEY, Prices
from scenarios.schema import Scenario

_LAYOUTS: Final = {"f2fs-like": (f2fs_layout(), 1), "ext4-like": (ext4_layout(), 16)}

Region = tuple[BlkCryptoKey, int]
"""A region's key, and the DUN of its data unit."""


class InlineDataKeyer:
    """Files in inodes beside files in blocks.

    Attributes:
        regions: what inline files are encrypted with; a bio's DUN is the place in this list, counted from 1.
    """

    def __init__(
        self,
        scenario: Scenario,
        files: FscryptKeyer,
        prices: Prices,
        place: Place,
        host: Host,
        keywrap: KeyWrapUnit | None,
    ) -> None:
        self._alternative: Alternative = ALTERNATIVES[scenario.keys.design[-2:].upper()]
        self._files = files
        self.objects = files.objects
        self.key_ops = files.key_ops
        self.tally = files.tally
        self.regions: list[Region] = []
        self._region_of: dict[int, int] = {}
        self._share = scenario.design.small_files
        self._size = scenario.design.small_file_bytes
        self._layout, self._inodes_per_block = _LAYOUTS[scenario.design.inline_user]
        self._place = place
        self._keywrap = keywrap
        self._wrapped = scenario.keys.type == "hw-wrapped"
        padded = -(-self._size // 16) * 16
        self._crypt_ns = padded * NS_PER_SECOND // host.cipher_per_s.value + host.cipher_ns.value
        self._in_writeback = prices.steps(REGION_KEY, Ctx.NOFS)
        self._in_process = prices.steps(REGION_KEY, Ctx.KERNEL)
        self._key_bytes = mode_named(MODE).key_bytes
        self._small: set[int] = set()
        self._inodes_read: set[int] = set()
        self._first: list[bool] = []

    @property
    def _inline(self) -> bool:
        able = self._alternative.takes_wrapped or not self._wrapped
        return self._alternative.stores_inline and able and self._size <= self._layout.usable

    def keyed(self, bios: Bios) -> Bios:
        """See ``Keyer``."""
        small = share_of(bios.file, self._share)
        bios.nbytes = np.where(small, BLOCK_BYTES, bios.nbytes)
        self._small.update(np.unique(bios.file[small]).tolist())
        bios.key, bios.dun = self._files.keys.look_up(bios.file, bios.unit)
        self._first = [False] * len(bios)
        if self._inline:
            for at in np.flatnonzero(small).tolist():
                self._put_in_inode(bios, at)
        return bios

    def _put_in_inode(self, bios: Bios, at: int) -> None:
        file = int(bios.file[at])
        number = self._region_of.get(file)
        if number is None:
            self.regions.append(self._region(file, int(bios.key[at])))
            number = self._region_of[file] = len(self.regions)
            self._first[at] = True
        like = (0, 0, 0, 0, 0, -1, 0, 0)
        bios.sector[at] = self._place.row(like, READ, file // self._inodes_per_block)[3]
        bios.key[at], bios.dun[at] = -1, number

    def _region(self, file: int, number: int) -> Region:
        if self._alternative.per_file_only:
            key = self._files.keys.own_key(file, self._key_bytes)
            return key, 0
        return self.objects[number], self._files.keys.first_dun(file)

    def charge(self, bios: Bios, first_number: int, work: DesignWork) -> None:
        """See ``Keyer``."""
        self._files.charge(bios, first_number, work)
        for at in np.flatnonzero((bios.key < 0) & bios.with_data).tolist():
            cost = self._crypt_ns
            self.tally.crypto_ns += cost
            if self._first[at]:
                if self._alternative.setup_at_open:
                    self.tally.opened(self._in_process)
                else:
                    writing = int(bios.op[at]) == ReqOp.WRITE
                    event = self._in_writeback if writing else self._in_process
                    self.tally.in_io(event)
                    cost += event.ns
            work.before_ns[first_number + at] = cost

    def rows(self, bios: Bios, first_number: int) -> Iterator[Row]:
        """See ``Metadata``: the inode of a file in blocks is read with the file's first bio."""
        for row, file in zip(bios.rows(first_number), bios.file.tolist(), strict=True):
            if file >= 0 and file not in self._inodes_read:
                self._inodes_read.add(file)
                if file not in self._region_of:
                    yield self._place.row(row, READ, file // self._inodes_per_block)
            yield row

    @property
    def in_memory_bytes(self) -> int:
        """See ``Metadata``: no blocks are cached for their own sake."""
        return 0

    def cipher_of(self, key: BlkCryptoKey) -> UnitCipher:
        """See ``Keyer``."""
        return inline_cipher(key, self._keywrap)

    def footprint(self) -> Footprint:
        """See ``Keyer``: with one more cipher for each inode that uses its region.

        A region's key is derived although its bytes may be known.  Extra are small files, those in inodes,
        the blocks saved, and regions that expose a wrapped key's data.
        """
        of_files, regions = self._files.footprint(), len(self.regions)
        of_regions = {id(key) for key, _ in self.regions} - {id(key) for key in self.objects}
        return replace(
            of_files,
            keys_live=len(self.objects) + len(of_regions),
            derivations=of_files.derivations + (0 if self._alternative.per_file_only else regions),
            in_memory_bytes=of_files.in_memory_bytes + regions * TRANSFORM_BYTES,
            extra={
                "small_files": len(self._small),
                "inline_files": regions,
                "block_bytes_saved": regions * BLOCK_BYTES,
                "exposed_regions": regions if self._wrapped else 0,
            },
        )
