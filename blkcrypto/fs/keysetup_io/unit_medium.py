"""Variants V1 to V6 as the battery tries them: files of extents, each write one new extent.

With every unit goes what a file extent item says of it: the extent's nonce, and the unit's place in it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from blkcrypto.block.fallback import Fallback
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.waiting import RunLoop, Task, run_to_end
from blkcrypto.fs.battery.unit_medium import Blocks
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import Ctx, Strictness
from blkcrypto.fs.keysetup_io.extent_io import Extent, ExtentFile, ExtentIo, at_once
from blkcrypto.fs.keysetup_io.makers import MAKERS
from blkcrypto.fs.keysetup_io.master import EXTENT_NONCE_BYTES, ExtentMasterKey

UNIT_BYTES: Final = 4096
_PLACE_BYTES: Final = 4
# What is known of a file when it is opened for writing: its mode, as of an extent that it has already.
_KNOWN: Final = Extent(bytes(EXTENT_NONCE_BYTES))


class ExtentUnits:
    """``UnitMedium`` over one variant.

    Args:
        name: of the design.
        raw_key: the master key.
        rng: of nonces.

    Attributes:
        checker: judges what the variant does; all I/O happens under NOFS.
    """

    unit_bytes = UNIT_BYTES
    hides_table = False
    copies_on_write = True

    def __init__(self, name: str, raw_key: bytes, rng: np.random.Generator) -> None:
        self.name = name
        self.checker = ContextChecker(Strictness.KERNEL_REAL)
        self.device = Blocks()
        fallback = Fallback(Kernel(), RunLoop(), np.random.default_rng(0))
        self._variant = MAKERS[name](self.checker, fallback, at_once)
        self._raw_key = raw_key
        self._rng = rng
        self._task = Task("battery")
        self._master = ExtentMasterKey(raw_key)
        self._master.wipe_secret()

    def add_key(self) -> None:
        """See ``UnitMedium``."""
        self._master = ExtentMasterKey(self._raw_key)

    def remove_key(self) -> None:
        """See ``UnitMedium``."""
        self._master.wipe_secret()
        self._variant.remove_key(self._master)

    def new_head(self) -> bytes:
        """See ``UnitMedium``: the policy is not modelled here."""
        return b""

    def stored_name(self, name: str) -> bytes:
        """See ``UnitMedium``: only contents are modelled."""
        return name.encode()

    def write(self, head: bytes, first: int, addresses: Sequence[int], data: bytes) -> list[bytes]:
        """See ``UnitMedium``: one extent with a new nonce.

        Raises:
            SecretWiped: ENOKEY.
        """
        del head, first
        nonce = self._rng.bytes(EXTENT_NONCE_BYTES)
        stored = self._crypt(ExtentFile(self._master, [_KNOWN]), Extent(nonce), 0, data, encrypt=True)
        for at, address in enumerate(addresses):
            self.device.blocks[address] = stored[at * UNIT_BYTES : (at + 1) * UNIT_BYTES]
        return [nonce + at.to_bytes(_PLACE_BYTES, "little") for at in range(len(addresses))]

    def read(self, head: bytes, index: int, address: int, label: bytes) -> bytes:
        """See ``UnitMedium``; raises as ``write``."""
        del head, index
        extent = Extent(label[:EXTENT_NONCE_BYTES])
        place = int.from_bytes(label[EXTENT_NONCE_BYTES:], "little")
        file = ExtentFile(self._master, [extent])
        return self._crypt(file, extent, place, self.device.blocks[address], encrypt=False)

    def _crypt(self, file: ExtentFile, extent: Extent, first: int, data: bytes, *, encrypt: bool) -> bytes:
        units = np.frombuffer(data, dtype=np.uint8).reshape(-1, UNIT_BYTES)
        self._variant.open_file(self._task, file)
        try:
            with self.checker.entering(self._task, Ctx.NOFS):
                io = ExtentIo(extent, first, units, encrypt)
                return run_to_end(self._variant.crypt(self._task, file, io)).tobytes()
        finally:
            self._variant.close_file(file)
