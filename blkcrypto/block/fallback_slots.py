"""The fallback's keyslots: ciphers on the CPU, behind a crypto profile like any other.

Rules (block/blk-crypto-fallback.c; reference block-layer.md sections 2.6, 4.4 and 4.5):

- A slot has one cipher object per started mode, of which at most one is active.
- Programming another mode blanks the active one first; the same mode just gets the new key.
- Evicting loads 64 random bytes, made once, as the key (zeros would be refused as weak), and leaves the
  slot without a mode.  A key that the cipher refuses leaves the slot blanked, too.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import MAX_RAW_KEY_BYTES, BlkCryptoKey, CryptoModeNum
from blkcrypto.block.modes import MODES, CryptoMode
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher

NUM_KEYSLOTS: Final = 100


class CipherProvider(Protocol):
    """The crypto API, as far as the fallback needs it."""

    def build_pools(self) -> None:
        """Build profile, workqueue and pools; raises a ``BlkCryptoError`` when memory is short."""

    def allocate(self, mode: CryptoMode, count: int) -> None:
        """Make ``count`` ciphers of ``mode``; ENOENT when the kernel lacks the algorithm."""

    def set_key(self, mode: CryptoMode, raw: bytes) -> DataUnitCipher:
        """A cipher with its key; EINVAL for a weak one."""


class SoftwareCiphers:
    """``blkcrypto.crypto`` as the crypto API."""

    def build_pools(self) -> None:
        """Memory for them is not short here."""

    def allocate(self, mode: CryptoMode, count: int) -> None:
        """Look whether there is such a cipher."""
        del count
        # Any key that is not weak will do: only the algorithm is looked for.
        new_cipher(mode.name, bytes(range(mode.key_bytes)))

    def set_key(self, mode: CryptoMode, raw: bytes) -> DataUnitCipher:
        """The cipher."""
        return new_cipher(mode.name, raw)


class _Slot:
    __slots__ = ("ciphers", "mode")

    def __init__(self) -> None:
        self.mode = CryptoModeNum.INVALID
        self.ciphers: dict[CryptoModeNum, DataUnitCipher] = {}


class FallbackSlots:
    """The low-level operations of the fallback's profile.

    Args:
        num_slots: how many.
        provider: where ciphers come from.
        rng: makes the blank key.
    """

    def __init__(self, num_slots: int, provider: CipherProvider, rng: np.random.Generator) -> None:
        self._slots = [_Slot() for _ in range(num_slots)]
        self._provider = provider
        self._blank_key = rng.bytes(MAX_RAW_KEY_BYTES)

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        """Set the cipher's key."""
        held = self._slots[slot]
        num = key.crypto_cfg.crypto_mode
        if held.mode not in (CryptoModeNum.INVALID, num):
            self._blank(held)
        try:
            cipher = self._provider.set_key(MODES[num], key.raw)
        except BlkCryptoError:
            held.mode = num
            self._blank(held)
            raise
        self._load(held, num, cipher)

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        """Overwrite the key with the blank one."""
        del key
        self._blank(self._slots[slot])

    def cipher(self, slot: int) -> DataUnitCipher:
        """The active cipher of a slot that is held."""
        held = self._slots[slot]
        return held.ciphers[held.mode]

    def loaded(self, slot: int, num: CryptoModeNum) -> DataUnitCipher:
        """The slot's cipher of a mode it has used, active or blanked."""
        return self._slots[slot].ciphers[num]

    def active_mode(self, slot: int) -> CryptoModeNum:
        """The mode of a slot, INVALID when blanked or never used."""
        return self._slots[slot].mode

    def _blank(self, held: _Slot) -> None:
        mode = MODES[held.mode]
        self._load(held, held.mode, self._provider.set_key(mode, self._blank_key[: mode.key_bytes]))
        held.mode = CryptoModeNum.INVALID

    @staticmethod
    def _load(held: _Slot, num: CryptoModeNum, cipher: DataUnitCipher) -> None:
        old = held.ciphers.get(num)
        if old is not None:
            old.wipe()
        held.ciphers[num] = cipher
        held.mode = num


@dataclass(frozen=True, slots=True)
class FallbackEngine:
    """What there is once the first mode was started.

    Attributes:
        profile: the fallback's keyslot manager.
        slots: the ciphers behind it.
    """

    profile: CryptoProfile
    slots: FallbackSlots
