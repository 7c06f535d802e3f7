"""A drive in memory with an inline encryption engine: the driver below a small filesystem's queue.

It keeps whole blocks, does one request at a time when it is told to, and encrypts what comes with a context
by the key in the request's slot.  With a wrapping unit it takes hardware-wrapped keys.
"""

from collections import deque
from typing import Protocol

import numpy as np

from blkcrypto.base.status import BlkStatus
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.bvec import U8
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.modes import MODES
from blkcrypto.block.op import ReqOp
from blkcrypto.block.profile import WrappedKeysNotSupported
from blkcrypto.block.queue import RequestQueue
from blkcrypto.block.request import Request
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher


class WrappingUnit(Protocol):
    """Hardware that unwraps keys for its engine."""

    def inline_key(self, eph_key: bytes) -> bytes:
        """The inline encryption key, which never leaves the hardware."""

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        """The software secret."""


class MemoryDrive:
    """Blocks in memory, behind keyslots.

    Args:
        block_size: of the filesystem above: every request is whole blocks.
        unit: unwraps hardware-wrapped keys; None on a drive without such hardware.

    Attributes:
        block_size: as given.
        medium: what is stored, by block; what is missing was never written.
        write_status: what writes end with; anything but OK leaves the medium alone.
        queue: whose requests it takes.
    """

    def __init__(self, block_size: int, unit: WrappingUnit | None = None) -> None:
        self.block_size = block_size
        self._unit = unit
        self._slots: dict[int, DataUnitCipher] = {}
        self._pending: deque[Request] = deque()
        self.medium: dict[int, bytes] = {}
        self.write_status = BlkStatus.OK
        self.queue: RequestQueue | None = None

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        """See ``ProgramOps``."""
        raw = key.raw
        if key.crypto_cfg.key_type is KeyType.HW_WRAPPED:
            raw = self._wrapping_unit().inline_key(raw)
        self._slots[slot] = new_cipher(MODES[key.crypto_cfg.crypto_mode].name, raw)

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        """See ``EvictOps``."""
        del key
        self._slots.pop(slot).wipe()

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        """See ``DeriveOps``."""
        return self._wrapping_unit().derive_sw_secret(eph_key)

    def _wrapping_unit(self) -> WrappingUnit:
        if self._unit is None:
            raise WrappedKeysNotSupported("this drive has no key-wrapping hardware")
        return self._unit

    def queue_rq(self, rq: Request) -> BlkStatus:
        """See ``RequestSink``."""
        self._pending.append(rq)
        return BlkStatus.OK

    def work(self) -> bool:
        """Do and complete the oldest request; False when there is none."""
        if not self._pending:
            return False
        rq = self._pending.popleft()
        status = self.write_status if rq.op is ReqOp.WRITE else BlkStatus.OK
        if status is BlkStatus.OK:
            self._transfer(rq)
        assert self.queue is not None
        self.queue.complete(rq, status)
        return True

    def _transfer(self, rq: Request) -> None:
        memory = [vec.data for bio in rq.bios for vec in bio.bvecs() if vec.data is not None]
        first, size = (rq.sector << SECTOR_SHIFT) // self.block_size, self.block_size
        if rq.op is ReqOp.WRITE:
            stored = self._through_engine(rq, np.concatenate(memory), encrypt=True).tobytes()
            for at in range(0, len(stored), size):
                self.medium[first + at // size] = stored[at : at + size]
        elif rq.op is ReqOp.READ:
            zero = bytes(size)
            blocks = range(first, first + rq.nbytes // size)
            stored = b"".join(self.medium.get(block, zero) for block in blocks)
            plain = self._through_engine(rq, np.frombuffer(stored, np.uint8), encrypt=False)
            done = 0
            for part in memory:
                part[:] = plain[done : done + len(part)]
                done += len(part)

    def _through_engine(self, rq: Request, data: U8, *, encrypt: bool) -> U8:
        ctx = rq.crypt_ctx
        if ctx is None:
            return data
        cipher = self._slots[rq.keyslot]
        units = data.reshape(-1, ctx.key.crypto_cfg.data_unit_size)
        crypt = cipher.encrypt_run if encrypt else cipher.decrypt_run
        return crypt(ctx.dun, units).reshape(-1)
