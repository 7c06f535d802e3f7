"""Encryption on the CPU: what it costs, when, and who waits for it.

The blk-crypto fallback encrypts a write on the submitter's CPU before the block layer sees it, and decrypts a
read on a worker after the device is done.  It has keyslots of its own.  Encryption in the filesystem
(``fs-layer``) costs the same CPU time at the same places and has none.
"""

from typing import Final

from blkcrypto.base.units import NS_PER_SECOND
from hwmodel.clock import Clock
from hwmodel.device import Host
from hwmodel.host import Cpus
from hwmodel.keyslots import Keyslots
from hwmodel.request import READ, Request, Then

FALLBACK_KEYSLOTS: Final = 100  # num_keyslots, block/blk-crypto-fallback.c
_PAGE_SHIFT: Final = 12


class SoftwareCrypto:
    """The CPU as cipher.

    Args:
        fallback: with the fallback's keyslots; otherwise encryption belongs to the filesystem.
        holds_slot: a write keeps its slot until its request has a tag (7.0 and later).
        unit_bytes: data unit size.
        encrypted: called with a write that is encrypted.
        decrypted: called with a read that is decrypted.
        keyslots: what the fallback's are made of.

    Attributes:
        crypto_ns: CPU time of ciphers so far.
        bounce_pages, bounce_pages_peak: 4 KiB pages of ciphertext now, and at most.
    """

    def __init__(
        self,
        clock: Clock,
        cpus: Cpus,
        host: Host,
        *,
        fallback: bool,
        holds_slot: bool,
        unit_bytes: int,
        encrypted: Then,
        decrypted: Then,
        keyslots: type[Keyslots] = Keyslots,
    ) -> None:
        self.crypto_ns = 0
        self.bounce_pages = self.bounce_pages_peak = 0
        self.slots: Keyslots | None = None
        if fallback:
            self.slots = keyslots(
                clock,
                FALLBACK_KEYSLOTS,
                program_ns=lambda _key: host.setkey_ns.value,
                granted=self._run_cipher,
                cpus=cpus,
            )
        self._cpus = cpus
        self._host = host
        self._holds_slot = holds_slot
        self._unit_bytes = unit_bytes
        self._encrypted = encrypted
        self._decrypted = decrypted

    def encrypt_first(self, request: Request, now: int) -> None:
        """Encrypt a write into bounce pages on its submitter's CPU."""
        self.bounce_pages += request.nbytes >> _PAGE_SHIFT
        self.bounce_pages_peak = max(self.bounce_pages_peak, self.bounce_pages)
        self._get_cipher(request, now)

    def submitted(self, request: Request, now: int) -> None:
        """The write's submission returned: its slot, if still held, is free."""
        if request.slot >= 0:
            self._put_slot(request, now)

    def written(self, nbytes: int) -> None:
        """A write is complete: its bounce pages go back."""
        self.bounce_pages -= nbytes >> _PAGE_SHIFT

    def power_off(self) -> None:
        """Forget what is encrypted or decrypted now, and all keys."""
        self.bounce_pages = 0
        if self.slots is not None:
            self.slots = self.slots.anew()

    def decrypt_later(self, request: Request, now: int) -> None:
        """Queue a read's data for decryption."""
        request.cpu = self._cpus.least_loaded()
        self._cpus.run(request, now, self._host.worker_ns.value, self._worker_started)

    def _worker_started(self, request: Request, now: int) -> None:
        request.queued += now - request.mark
        self._get_cipher(request, now)

    def _get_cipher(self, request: Request, now: int) -> None:
        if self.slots is not None:
            self.slots.acquire(request, now)
        else:
            self._run_cipher(request, now)

    def _run_cipher(self, request: Request, now: int) -> None:
        host = self._host
        cost = request.nbytes * NS_PER_SECOND // host.cipher_per_s.value
        cost += host.cipher_ns.value * (request.nbytes // self._unit_bytes)
        self.crypto_ns += cost
        self._cpus.run(request, now, cost, self._ciphered)

    def _ciphered(self, request: Request, now: int) -> None:
        request.cpu_crypto = now - request.mark
        if request.op == READ:
            if self.slots is not None:
                self._put_slot(request, now)
            self._decrypted(request, now)
            return
        if self.slots is not None and not self._holds_slot:
            self._put_slot(request, now)
        self._encrypted(request, now)

    def _put_slot(self, request: Request, now: int) -> None:
        assert self.slots is not None
        slot, request.slot = request.slot, -1
        self.slots.release(slot, now)
