"""Where blocks go: the seam below designs that need no bios, and its simplest form."""

from typing import Protocol

import numpy as np

from blkcrypto.block.crypt_ctx import BioCryptCtx
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.modes import MODES
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher


class BlockStore(Protocol):
    """Takes bios.  With a context, what it keeps is ciphertext."""

    def write(self, ctx: BioCryptCtx | None, block: int, data: bytes) -> None:
        """Write whole blocks from ``block`` on."""

    def read(self, ctx: BioCryptCtx | None, block: int, nbytes: int) -> bytes:
        """Read whole blocks; never written ones are zero bytes on the medium."""

    def evict_key(self, key: BlkCryptoKey) -> None:
        """Forget ``key``; no I/O uses it any more."""


class UnwrapNeeded(ValueError):
    """A hardware-wrapped key reached software, which cannot use it."""


class SoftwareStore:
    """A medium in memory that encrypts in software, at once.

    Attributes:
        medium: ciphertext by block; what is missing was never written.
        evicted: keys evicted, in order.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self.medium: dict[int, bytes] = {}
        self.evicted: list[BlkCryptoKey] = []
        self._ciphers: dict[BlkCryptoKey, DataUnitCipher] = {}

    def write(self, ctx: BioCryptCtx | None, block: int, data: bytes) -> None:
        """See ``BlockStore``."""
        if ctx is not None:
            units = np.frombuffer(data, dtype=np.uint8).reshape(-1, ctx.key.crypto_cfg.data_unit_size)
            data = self._cipher(ctx.key).encrypt_run(ctx.dun, units).tobytes()
        for at in range(0, len(data), self._block_size):
            self.medium[block + at // self._block_size] = data[at : at + self._block_size]

    def read(self, ctx: BioCryptCtx | None, block: int, nbytes: int) -> bytes:
        """See ``BlockStore``."""
        count = nbytes // self._block_size
        zero = bytes(self._block_size)
        data = b"".join(self.medium.get(number, zero) for number in range(block, block + count))
        if ctx is None:
            return data
        units = np.frombuffer(data, dtype=np.uint8).reshape(-1, ctx.key.crypto_cfg.data_unit_size)
        return self._cipher(ctx.key).decrypt_run(ctx.dun, units).tobytes()

    def evict_key(self, key: BlkCryptoKey) -> None:
        """See ``BlockStore``."""
        self.evicted.append(key)
        cipher = self._ciphers.pop(key, None)
        if cipher is not None:
            cipher.wipe()

    @property
    def keys_held(self) -> frozenset[BlkCryptoKey]:
        """Keys whose ciphers are set up."""
        return frozenset(self._ciphers)

    def _cipher(self, key: BlkCryptoKey) -> DataUnitCipher:
        cipher = self._ciphers.get(key)
        if cipher is None:
            if key.crypto_cfg.key_type is KeyType.HW_WRAPPED:
                raise UnwrapNeeded("use a store that models the key-wrapping hardware")
            cipher = self._ciphers[key] = new_cipher(MODES[key.crypto_cfg.crypto_mode].name, key.raw)
        return cipher
