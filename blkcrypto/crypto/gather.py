"""Runs of data units from anywhere, brought side by side by cipher, so that few calls do all of them.

A bio of random I/O is one data unit, and a cipher's call costs more than the unit: bios that are encrypted or
decrypted together share the calls.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from blkcrypto.base.dun import duns_to_ivs
from blkcrypto.crypto.manykeys import Group, GroupCipher, crypt_groups

# Below it, making IVs one at a time is quicker than numpy's calls.
_FEW_UNITS: Final = 16
# A cipher with so many data units spreads them over cores itself, and gains nothing from others.
_MANY_UNITS: Final = 256


Run = tuple[GroupCipher, int, int]
"""Data units with consecutive DUNs: their cipher, the DUN of the first, and bytes, which are whole units."""


class Gathered:
    """Memory for runs, in which those of one cipher lie side by side.

    Args:
        runs: what is gathered.
        unit_bytes: data unit size.
        iv_bytes: of the mode; an IV is the low bytes of the DUN, little-endian.

    Attributes:
        parts: ``uint8[nbytes]`` of each run, in the order of ``runs``: views to fill and to take from.
    """

    __slots__ = ("_groups", "_ivs", "_units", "parts")

    def __init__(self, runs: Sequence[Run], unit_bytes: int, iv_bytes: int) -> None:
        by_cipher: dict[GroupCipher, list[int]] = {}
        total = 0
        for number, (cipher, _, nbytes) in enumerate(runs):
            by_cipher.setdefault(cipher, []).append(number)
            total += nbytes
        data = np.empty(total, dtype=np.uint8)
        self.parts = [data] * len(runs)
        self._groups: list[tuple[GroupCipher, int]] = []
        ivs: list[bytes] = []
        at = 0
        for cipher, members in by_cipher.items():
            before = at
            for number in members:
                _, dun, nbytes = runs[number]
                ivs.append(_ivs(dun, nbytes // unit_bytes, iv_bytes))
                self.parts[number] = data[at : at + nbytes]
                at += nbytes
            self._groups.append((cipher, (at - before) // unit_bytes))
        self._ivs = np.frombuffer(b"".join(ivs), dtype=np.uint8).reshape(-1, iv_bytes)
        self._units = data.reshape(-1, unit_bytes)

    def crypt(self, *, encrypt: bool) -> None:
        """Encrypt or decrypt all parts in place; BlkCryptoError, and all undefined, if a cipher refuses."""
        joined: list[Group] = []
        at = 0
        for cipher, count in self._groups:
            if count < _MANY_UNITS:
                joined.append((cipher, count))
            else:
                rows = self._units[at : at + count]
                (cipher.encrypt if encrypt else cipher.decrypt)(self._ivs[at : at + count], rows, rows)
                joined.append((None, count))
            at += count
        crypt_groups(joined, self._ivs, self._units, encrypt=encrypt)


def _ivs(dun: int, count: int, iv_bytes: int) -> bytes:
    mask = (1 << 8 * iv_bytes) - 1
    if count == 1:
        return (dun & mask).to_bytes(iv_bytes, "little")
    if count <= _FEW_UNITS:
        return b"".join([(dun + unit & mask).to_bytes(iv_bytes, "little") for unit in range(count)])
    made: bytes = duns_to_ivs(dun, count, iv_bytes=iv_bytes).tobytes()
    return made
