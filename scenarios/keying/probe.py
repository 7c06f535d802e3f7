"""What someone sees who has the device and no key: one small experiment under a scenario's design.

Two files get four data units each, all eight with the same plaintext.  Then, with an image taken before and
after: unit 1 of the first file is written again as it was, unit 2 with another 16 bytes in its middle.  What
lies on the medium is what the run's own keys, DUNs and ciphers make; ``blkcrypto.fs.attacker`` compares it.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.attacker import Image, KeyUse, one_image, reused_pairs, two_images
from hwmodel.dataplane import UnitCipher
from scenarios.keying.bios import Bios
from scenarios.keying.ciphers import SealingCipher

U8 = npt.NDArray[np.uint8]

_UNITS: Final = 4
_FIRST_UNIT: Final = 64  # of the first file on the device: not 0, so that no IV is
_APART: Final = 1 << 14  # units between the files
_PART: Final = 16

KeyOf = Callable[[int, int], tuple[BlkCryptoKey, int] | None]
"""What a bio's key number and DUN mean: a key and its first DUN; None for no encryption."""


def writes(file: int, unit: int, count: int, unit_bytes: int) -> Bios:
    """One write of ``count`` units."""
    at = (_FIRST_UNIT + file * _APART + unit) * unit_bytes >> SECTOR_SHIFT

    def one(value: int) -> npt.NDArray[np.int64]:
        return np.array([value], dtype=np.int64)

    return Bios(
        time_ns=one(0),
        op=np.array([ReqOp.WRITE], dtype=np.uint8),
        sector=one(at),
        nbytes=one(count * unit_bytes),
        stream=np.zeros(1, dtype=np.int32),
        file=one(file),
        unit=one(unit),
        key=one(-1),
        dun=np.zeros(1, dtype=np.uint64),
        row=one(0),
    )


class Probe:
    """A medium of its own.

    Args:
        unit_bytes: data unit size.
        keyed: the design's ``Keyer.keyed``.
        key_of: what key numbers mean.
        cipher_of: the design's ciphers.
    """

    def __init__(
        self,
        unit_bytes: int,
        keyed: Callable[[Bios], Bios],
        key_of: KeyOf,
        cipher_of: Callable[[BlkCryptoKey], UnitCipher],
    ) -> None:
        self._unit = unit_bytes
        self._keyed = keyed
        self._key_of = key_of
        self._cipher_of = cipher_of
        self._ciphers: dict[BlkCryptoKey, UnitCipher] = {}
        self.units: dict[int, bytes] = {}
        self._log: list[KeyUse] = []

    def write(self, file: int, unit: int, plain: U8) -> None:
        """Write ``uint8[n, unit_bytes]`` from ``unit`` on."""
        done = 0
        bios = self._keyed(writes(file, unit, len(plain), self._unit))
        for sector, nbytes, key, dun in zip(
            bios.sector.tolist(), bios.nbytes.tolist(), bios.key.tolist(), bios.dun.tolist(), strict=True
        ):
            count = nbytes // self._unit
            first = (sector << SECTOR_SHIFT) // self._unit
            part = plain[done : done + count]
            for row, stored in enumerate(self._stored(key, dun, part)):
                self.units[first + row] = stored.tobytes()
                self._note(key, dun + row, part[row].tobytes(), first + row)
            done += count

    def _note(self, number: int, dun: int, plain: bytes, address: int) -> None:
        found = self._key_of(number, dun)
        cipher = self._ciphers[found[0]] if found is not None else None
        # A random IV is a new one each time.
        if found is not None and not (isinstance(cipher, SealingCipher) and cipher.draws_ivs):
            self._log.append(KeyUse.of(id(found[0]), found[1], plain, address))

    def _stored(self, number: int, dun: int, plain: U8) -> U8:
        found = self._key_of(number, dun)
        if found is None:
            return plain
        key, first = found
        ivs = np.zeros((len(plain), _PART), dtype=np.uint8)
        numbers = np.arange(first, first + len(plain), dtype="<u8")
        ivs[:, :8] = numbers.view(np.uint8).reshape(-1, 8)
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = self._cipher_of(key)
        return cipher.encrypt(ivs, np.ascontiguousarray(plain))

    def seen(self) -> dict[str, int]:
        """The experiment.

        Returns:
            ``equal_units`` of eight with one plaintext, beyond the first; ``equal_rewrites``: 1 where writing
            the same again gives the same ciphertext; ``parts_kept``: 16-byte parts of the changed unit that
            stayed; ``reused_ivs``: pairs of key and IV that encrypted more than one plaintext.
        """
        plain = np.full((_UNITS, self._unit), 0x5A, dtype=np.uint8)
        self.write(0, 0, plain)
        self.write(1, 0, plain)
        before = Image(units=dict(self.units))
        self.write(0, 1, plain[:1])
        changed = plain[:1].copy()
        middle = self._unit // 2
        changed[0, middle : middle + _PART] = 0xA5
        self.write(0, 2, changed)
        after = Image(units=dict(self.units))
        found = two_images(before, after)
        return {
            "equal_units": one_image(before).equal_units,
            "equal_rewrites": int(len(found.changed) == 1),
            "parts_kept": found.rewritten_parts,
            "reused_ivs": len(reused_pairs(self._log)),
        }
