"""What encrypts, by who does it: the keyslots of an inline engine, or ciphers on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass, field

from blkcrypto.block.fallback_slots import SoftwareCiphers
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.modes import CryptoMode
from blkcrypto.crypto.cipher import DataUnitCipher
from hwmodel.dataplane import UnitCipher
from hwmodel.inlinecipher import inline_cipher
from hwmodel.keywrap import KeyWrapUnit


@dataclass(slots=True)
class Engine:
    """The inline crypto engine: what was programmed into each keyslot.

    Attributes:
        unit: unwraps hardware-wrapped keys.
        own: a design's own ciphers; AES-256-XTS with IV = DUN when None.
        programs, evicts: how often.
    """

    unit: KeyWrapUnit | None
    own: Callable[[BlkCryptoKey], UnitCipher] | None = None
    programs: int = 0
    evicts: int = 0
    _slots: dict[int, UnitCipher] = field(default_factory=dict)
    _slotless: dict[BlkCryptoKey, UnitCipher] = field(default_factory=dict)

    def cipher(self, key: BlkCryptoKey) -> UnitCipher:
        """The cipher that ``key`` gives; hardware unwraps and derives what software cannot."""
        if self.own is not None:
            return self.own(key)
        return inline_cipher(key, self.unit)

    def keyslot_program(self, key: BlkCryptoKey, slot: int) -> None:
        """Load ``key``; the old one is overwritten."""
        self.programs += 1
        cipher = self.cipher(key)
        self._wipe(slot)
        self._slots[slot] = cipher

    def keyslot_evict(self, key: BlkCryptoKey, slot: int) -> None:
        """Clear ``slot``."""
        del key
        self.evicts += 1
        self._wipe(slot)

    def _wipe(self, slot: int) -> None:
        old = self._slots.pop(slot, None)
        if old is not None:
            old.wipe()

    def cipher_of(self, slot: int, key: BlkCryptoKey) -> UnitCipher:
        """The cipher in ``slot``; without one, hardware gets ``key`` with the request."""
        return self._slots[slot] if slot >= 0 else self.of_key(key)

    def of_key(self, key: BlkCryptoKey) -> UnitCipher:
        """The kept cipher of ``key``."""
        found = self._slotless.get(key)
        if found is None:
            found = self._slotless[key] = self.cipher(key)
        return found

    def forget(self, key: BlkCryptoKey) -> None:
        """Wipe the kept cipher of ``key``, if there is one."""
        found = self._slotless.pop(key, None)
        if found is not None:
            found.wipe()


class CountedCiphers(SoftwareCiphers):
    """The crypto API, counting the keys that the fallback loads into its slots."""

    def __init__(self) -> None:
        self.programs = 0

    def set_key(self, mode: CryptoMode, raw: bytes) -> DataUnitCipher:
        """The cipher."""
        self.programs += 1
        return super().set_key(mode, raw)
