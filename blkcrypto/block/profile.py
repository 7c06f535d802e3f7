"""A device's crypto profile: its capabilities, its keyslots and the lock over them.

Rules (block/blk-crypto-profile.c; reference block-layer.md sections 3.12 to 3.16):

- A lookup takes the lock for reading and needs no power; a miss resumes the device *before* taking the
  lock for writing, because resuming may itself reprogram every slot.
- One low-level operation at a time, and none while somebody looks up: the lock is held for writing.
- A task that finds no idle slot sleeps; every release wakes all sleepers, who look again.
- Evicting forgets the key even when it fails; since 6.4 the caller is not told.
- Reprogramming runs without resuming the device, in slot order, and goes on after a failure.

Which slot is the business of ``KeyslotTable``.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus, errno_to_blk_status
from blkcrypto.block.capabilities import Capabilities
from blkcrypto.block.era import NEWEST, KernelProfile
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.keyslots import KeyslotBusy, KeyslotTable
from blkcrypto.block.ops import (
    NO_SLOT,
    AlwaysOn,
    DeriveOps,
    EvictOps,
    GenerateOps,
    ImportOps,
    PrepareOps,
    ProgramOps,
    RuntimePower,
)
from blkcrypto.block.waiting import Steps, WaitQueue

T = TypeVar("T")


class WrappedKeysNotSupported(BlkCryptoError):
    """No profile, no hardware-wrapped keys in it, or the operation is missing."""

    errno = errno.EOPNOTSUPP


@dataclass(frozen=True, slots=True)
class SlotGrant:
    """What asking for a keyslot gave.

    Attributes:
        status: OK, or what the failed programming maps to.
        slot: index of the slot held, or -1: the device has none, or ``status`` is an error.
    """

    status: BlkStatus
    slot: int


_NO_SLOT_NEEDED = SlotGrant(BlkStatus.OK, NO_SLOT)


class CryptoProfile:
    """``struct blk_crypto_profile``.

    Args:
        name: of the device, for messages.
        num_slots: keyslots; 0 for layered devices and hardware that takes keys with each request.
        capabilities: what the device can encrypt.
        ops: the low-level operations it has; see ``blkcrypto.block.ops``.
        power: resumed around every operation but reprogramming.
        era: the kernel whose rules apply.
        warn: told what the kernel would log.
    """

    def __init__(
        self,
        name: str,
        num_slots: int,
        capabilities: Capabilities,
        ops: object,
        *,
        power: RuntimePower | None = None,
        era: KernelProfile = NEWEST,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.name = name
        self.capabilities = capabilities
        self.num_slots = num_slots
        self.ops = ops
        self.era = era
        self.table: KeyslotTable[BlkCryptoKey] | None = KeyslotTable(num_slots) if num_slots else None
        self._hits = [SlotGrant(BlkStatus.OK, slot) for slot in range(num_slots)]
        self._power: RuntimePower = power or AlwaysOn()
        self._warn = warn
        self._locked = False
        self.slot_idled = WaitQueue(f"an idle keyslot of {name}", self._held_slots)

    def _held_slots(self) -> str:
        table = self.table
        held = (
            [
                f"{key.label or 'a key'} x{table.refs(slot)}"
                for slot, key in table.programmed()
                if table.refs(slot)
            ]
            if table is not None
            else []
        )
        return f"{self.num_slots} slots, in use: {', '.join(held) or 'none'}"

    @contextmanager
    def _write_locked(self, *, resume: bool = True) -> Iterator[None]:
        """Hold the lock for writing, device resumed first unless it is being resumed already."""
        if resume:
            self._power.resume()
        assert not self._locked, f"{self.name}: a low-level operation may not call back into its own profile"
        self._locked = True
        try:
            yield
        finally:
            self._locked = False
            if resume:
                self._power.put()

    def hit(self, key: BlkCryptoKey) -> SlotGrant | None:
        """Take a slot that holds ``key`` already: the lookup that needs no power and never waits."""
        table = self.table
        if table is None:
            return _NO_SLOT_NEEDED
        slot = table.get(key)
        return self._hits[slot] if slot >= 0 else None

    def get_keyslot(self, key: BlkCryptoKey) -> Steps[SlotGrant]:
        """Take a slot that holds ``key``, programming one if none does; waits for an idle one."""
        table = self.table
        if table is None:
            return _NO_SLOT_NEEDED
        slot = table.get(key)
        while slot < 0:
            with self._write_locked():
                slot = table.get(key)  # somebody may have programmed it while this task waited
                if slot < 0:
                    victim = table.victim()
                    if victim >= 0:
                        return self._program(table, key, victim)
            if slot < 0:
                yield self.slot_idled
        return self._hits[slot]

    def _program(self, table: KeyslotTable[BlkCryptoKey], key: BlkCryptoKey, victim: int) -> SlotGrant:
        assert isinstance(self.ops, ProgramOps), f"{self.name} has slots but cannot program them"
        try:
            self.ops.keyslot_program(key, victim)
        except BlkCryptoError as error:
            # The victim is still idle and keeps its old key: others may try it.
            self.slot_idled.wake_all()
            return SlotGrant(errno_to_blk_status(error.errno), NO_SLOT)
        table.install(victim, key)
        return SlotGrant(BlkStatus.OK, victim)

    def put_keyslot(self, slot: int) -> None:
        """Release a slot, from any context; nothing happens for a device without slots."""
        self.put_keyslots((slot,))

    def put_keyslots(self, slots: Sequence[int]) -> None:
        """``put_keyslot`` for one after the other."""
        table, idled = self.table, False
        if table is not None:
            for slot in slots:
                idled |= slot != NO_SLOT and table.put(slot)
        if idled:
            self.slot_idled.wake_all()

    def evict_key(self, key: BlkCryptoKey) -> None:
        """``__blk_crypto_evict_key()``.

        Raises:
            KeyslotBusy: requests still use the key; unlinked all the same since 6.4.
            BlkCryptoError: what the device raised; unlinked all the same since 6.4.
        """
        table = self.table
        if table is None:
            if isinstance(self.ops, EvictOps):
                with self._write_locked():
                    self.ops.keyslot_evict(key, NO_SLOT)
            return
        with self._write_locked():
            slot = table.find(key)
            if slot < 0:
                return  # keys may outnumber slots: not being there is normal
            failed = True
            try:
                if table.refs(slot):
                    self._warn(f"{self.name}: {key!r} is evicted while in use")
                    raise KeyslotBusy(f"slot {slot} of {self.name} still serves {table.refs(slot)} requests")
                if isinstance(self.ops, EvictOps):
                    self.ops.keyslot_evict(key, slot)
                failed = False
            finally:
                if self.era.evict_always_unlinks or not failed:
                    table.unlink(slot)

    def reprogram_all_keys(self) -> None:
        """Load every linked key again after a reset of the controller, idle and busy slots alike."""
        if self.table is None:
            return
        assert isinstance(self.ops, ProgramOps)
        with self._write_locked(resume=False):
            for slot, key in self.table.programmed():
                try:
                    self.ops.keyslot_program(key, slot)
                except BlkCryptoError as error:
                    self._warn(f"{self.name}: reprogramming slot {slot} failed: {error}")

    def _need(self, device: T | None) -> T:
        if not self.capabilities.key_types & KeyType.HW_WRAPPED:
            raise WrappedKeysNotSupported(f"{self.name} takes no hardware-wrapped keys")
        if device is None:
            raise WrappedKeysNotSupported(f"{self.name} lacks this operation on wrapped keys")
        return device

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        """``blk_crypto_derive_sw_secret()``: 32 bytes; EOPNOTSUPP, EBADMSG or what the device raises."""
        device = self._need(self.ops if isinstance(self.ops, DeriveOps) else None)
        with self._write_locked():
            return device.derive_sw_secret(eph_key)

    def import_key(self, raw_key: bytes) -> bytes:
        """``blk_crypto_import_key()``: the long-term wrapped blob."""
        device = self._need(self.ops if isinstance(self.ops, ImportOps) else None)
        with self._write_locked():
            return device.import_key(raw_key)

    def generate_key(self) -> bytes:
        """``blk_crypto_generate_key()``: a long-term wrapped blob of a new key."""
        device = self._need(self.ops if isinstance(self.ops, GenerateOps) else None)
        with self._write_locked():
            return device.generate_key()

    def prepare_key(self, lt_key: bytes) -> bytes:
        """``blk_crypto_prepare_key()``: the ephemerally wrapped blob; EBADMSG when ``lt_key`` is bad."""
        device = self._need(self.ops if isinstance(self.ops, PrepareOps) else None)
        with self._write_locked():
            return device.prepare_key(lt_key)
