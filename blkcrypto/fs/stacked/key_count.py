"""dm-crypt with several keys: ``cipher:count-mode-iv`` splits the volume key, and sectors take turns.

The key of a unit is chosen by its 512-byte sector, iv_offset included, modulo the count.  With units larger
than a sector only every 8th (4096) sector number occurs, so a count of up to 8 then uses the first key alone.

Source: ``crypt_alloc_req_skcipher()``, drivers/md/dm-crypt.c; reference fscrypt.md section 8.2.
"""

import re
from typing import Final

import numpy as np

from blkcrypto.base.units import SECTOR_BYTES
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.dmcrypt import BadCipherSpec, DmCipher

_COUNT: Final = re.compile(r"(?P<cipher>[^-:]+):(?P<count>[0-9]+)-(?P<rest>.+)")
_NEEDS_ONE_KEY: Final = ("essiv", "eboiv")


def parse_count(spec: str) -> tuple[str, int]:
    """The specification without its key count, and the count.

    Raises:
        BadCipherSpec: not a power of two, or an IV mode that is made from one key (EINVAL).
    """
    match = None if spec.startswith("capi:") else _COUNT.fullmatch(spec)
    if match is None:
        return spec, 1
    count = int(match["count"])
    if count < 1 or count & (count - 1):
        raise BadCipherSpec(f"{count} keys: use a power of two")
    if any(name in match["rest"] for name in _NEEDS_ONE_KEY):
        raise BadCipherSpec(f"{spec!r}: this IV mode is implemented for one key only")
    return f"{match['cipher']}-{match['rest']}", count


class KeyCountCipher:
    """As ``DmCipher``, for any key count.

    Raises:
        BadCipherSpec: the key does not divide evenly, or as ``DmCipher`` (EINVAL).
        WrongKeySize, WeakKey: EINVAL.
        UnknownMode: ENOENT.
    """

    def __init__(
        self, spec: str, key: bytes, *, sector_size: int = SECTOR_BYTES, iv_large_sectors: bool = False
    ) -> None:
        single, self.count = parse_count(spec)
        if len(key) % self.count:
            raise BadCipherSpec(f"{len(key)} bytes do not make {self.count} keys")
        size = len(key) // self.count
        self._ciphers = [
            DmCipher(
                single,
                key[at * size : (at + 1) * size],
                sector_size=sector_size,
                iv_large_sectors=iv_large_sectors,
            )
            for at in range(self.count)
        ]
        self.sector_size = sector_size
        self._step = sector_size // SECTOR_BYTES

    def encrypt(self, sector: int, src: U8Array) -> U8Array:
        """Encrypt units from 512-byte ``sector`` on, ``iv_offset`` added: ``uint8[n, sector_size]``."""
        return self._crypt(sector, src, encrypt=True)

    def decrypt(self, sector: int, src: U8Array) -> U8Array:
        """Inverse of ``encrypt``."""
        return self._crypt(sector, src, encrypt=False)

    def _crypt(self, sector: int, src: U8Array, *, encrypt: bool) -> U8Array:
        if self.count == 1:
            cipher = self._ciphers[0]
            return cipher.encrypt(sector, src) if encrypt else cipher.decrypt(sector, src)
        out = np.empty_like(src)
        for unit in range(len(src)):
            at = sector + unit * self._step
            cipher = self._ciphers[at & (self.count - 1)]
            crypt = cipher.encrypt if encrypt else cipher.decrypt
            out[unit : unit + 1] = crypt(at, src[unit : unit + 1])
        return out

    def wipe(self) -> None:
        """Drop all keys."""
        for cipher in self._ciphers:
            cipher.wipe()
