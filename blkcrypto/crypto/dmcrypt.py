"""dm-crypt: sectors as data units, with the IV generators of its tables.

Rules (drivers/md/dm-crypt.c; reference fscrypt.md section 8.2):

- A specification is ``cipher-chainmode-ivmode[:ivopts]``, or ``capi:`` with the crypto API's own name.
- A data unit is ``sector_size`` bytes, but IVs count 512-byte sectors unless ``iv_large_sectors`` is given.
- ``essiv:hash`` is ESSIV around the mode, over plain64.
- An IV is as long as the mode's (32 bytes for wide-block modes), zero-filled.
"""

import errno
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.units import SECTOR_BYTES
from blkcrypto.crypto.adiantum import AdiantumKernel
from blkcrypto.crypto.batch import BatchCipher, Kernel
from blkcrypto.crypto.blockcipher import Algorithm
from blkcrypto.crypto.buffers import U8Array, WrongDataUnitSize
from blkcrypto.crypto.cbc import CbcKernel, EcbKernel
from blkcrypto.crypto.dmivs import IV_GENERATORS, Eboiv
from blkcrypto.crypto.essiv import EssivKernel
from blkcrypto.crypto.hctr2 import Hctr2Kernel
from blkcrypto.crypto.modes import CipherMode, UnknownMode, WrongKeySize
from blkcrypto.crypto.xts import XtsKernel

_SECTOR_SIZES: Final = (512, 1024, 2048, 4096)


class BadCipherSpec(BlkCryptoError):
    """A cipher specification, IV mode or sector size that dm-crypt refuses when the table is loaded."""

    errno = errno.EINVAL


@dataclass(frozen=True, slots=True)
class _Mode:
    """A name of the crypto API: how to key it, with which key sizes, and its IV size."""

    make: Callable[[bytes], Kernel]
    key_bytes: tuple[int, ...]
    iv_bytes: int = 16


_AES_SIZES: Final = (16, 24, 32)
_MODES: Final[Mapping[str, _Mode]] = {
    "xts(aes)": _Mode(lambda key: XtsKernel(Algorithm.AES, key), (32, 48, 64)),
    "xts(sm4)": _Mode(lambda key: XtsKernel(Algorithm.SM4, key), (32,)),
    "cbc(aes)": _Mode(lambda key: CbcKernel(Algorithm.AES, key), _AES_SIZES),
    "cbc(sm4)": _Mode(lambda key: CbcKernel(Algorithm.SM4, key), (16,)),
    "ecb(aes)": _Mode(lambda key: EcbKernel(Algorithm.AES, key), _AES_SIZES),
    "ecb(sm4)": _Mode(lambda key: EcbKernel(Algorithm.SM4, key), (16,)),
    "adiantum(xchacha12,aes)": _Mode(AdiantumKernel, (32,), 32),
    "adiantum(xchacha20,aes)": _Mode(lambda key: AdiantumKernel(key, rounds=20), (32,), 32),
    "hctr2(aes)": _Mode(Hctr2Kernel, _AES_SIZES, 32),
}


@dataclass(frozen=True, slots=True)
class CipherSpec:
    """A specification taken apart.

    Attributes:
        algorithm: the crypto API's name, without ESSIV.
        iv_mode: a key of ``IV_GENERATORS``, or ``eboiv``.
        essiv: whether the IVs are encrypted with ESSIV-SHA256.
    """

    algorithm: str
    iv_mode: str
    essiv: bool


_OLD = re.compile(r"(?P<cipher>[^-:]+)-(?P<chain>[^-]+)(?:-(?P<iv>[^-:]+)(?::(?P<opts>.+))?)?")
_CAPI = re.compile(r"capi:(?P<api>.+?)(?:-(?P<iv>[^-:()]+)(?::(?P<opts>.+))?)?")
_ESSIV = re.compile(r"essiv\((?P<inner>.+),(?P<hash>[^,()]+)\)")


def parse_spec(text: str) -> CipherSpec:
    """Take a table's cipher specification apart.

    Raises:
        BadCipherSpec: not of the form, no IV mode where one is needed, or an unknown one (EINVAL).
        UnknownMode: an algorithm that is not here (ENOENT).
    """
    if match := _CAPI.fullmatch(text):
        algorithm = match["api"]
    elif match := _OLD.fullmatch(text):
        algorithm = f"{match['chain']}({match['cipher']})"
    else:
        raise BadCipherSpec(f"cannot read cipher {text!r}: write it like aes-xts-plain64")
    iv_mode, options = match["iv"], match["opts"]
    if iv_mode == "essiv":
        if options is None:
            raise BadCipherSpec(f"{text!r}: essiv needs a hash: write essiv:sha256")
        algorithm, iv_mode = f"essiv({algorithm},{options})", "plain64"
    wrapped = _ESSIV.fullmatch(algorithm)
    inner = wrapped["inner"] if wrapped else algorithm
    if inner not in _MODES or (wrapped and wrapped["hash"] != "sha256"):
        raise UnknownMode(
            f"no algorithm {algorithm!r}: one of {', '.join(_MODES)}, alone or in essiv(,sha256)"
        )
    return CipherSpec(inner, _checked_iv_mode(iv_mode, inner), wrapped is not None)


def _checked_iv_mode(iv_mode: str | None, algorithm: str) -> str:
    if iv_mode is None and algorithm.startswith("ecb("):
        return "null"
    if iv_mode == "eboiv" and algorithm != "cbc(aes)":
        raise BadCipherSpec(f"eboiv encrypts IVs with the key of cbc(aes), not of {algorithm}")
    if iv_mode is None or (iv_mode != "eboiv" and iv_mode not in IV_GENERATORS):
        named = "no IV mode" if iv_mode is None else f"unknown IV mode {iv_mode!r}"
        raise BadCipherSpec(f"{named}: use one of {', '.join(IV_GENERATORS)}, eboiv, essiv:sha256")
    return iv_mode


class DmCipher:
    """One dm-crypt mapping's cipher.

    Args:
        spec: cipher specification of the table, e.g. ``"aes-xts-plain64"``.
        key: the volume key.
        sector_size: bytes of a data unit, 512 to 4096.
        iv_large_sectors: IVs count units of ``sector_size``.
        threads: cores a large batch may use; ``None`` for all.

    Raises:
        BadCipherSpec: the specification or the sector size (EINVAL).
        UnknownMode: the algorithm (ENOENT).
        WrongKeySize: the key's size (EINVAL).
        WeakKey: XTS with equal halves (EINVAL).
    """

    __slots__ = ("_batch", "_eboiv", "_generate", "_sectors_per_iv", "sector_size")

    def __init__(
        self,
        spec: str,
        key: bytes,
        *,
        sector_size: int = SECTOR_BYTES,
        iv_large_sectors: bool = False,
        threads: int | None = None,
    ) -> None:
        parsed = parse_spec(spec)
        mode = _MODES[parsed.algorithm]
        if sector_size not in _SECTOR_SIZES:
            raise BadCipherSpec(f"sector_size is 512, 1024, 2048 or 4096, not {sector_size}")
        if len(key) not in mode.key_bytes:
            sizes = " or ".join(map(str, mode.key_bytes))
            raise WrongKeySize(f"{parsed.algorithm} takes a key of {sizes} bytes, not {len(key)}")
        kernel = mode.make(key)
        row = CipherMode(
            name=spec,
            key_bytes=len(key),
            iv_bytes=mode.iv_bytes,
            security_strength_bytes=len(key),
            contents=True,
            names=False,
            fscrypt_num=0,
        )
        self._batch = BatchCipher(row, EssivKernel(kernel, key) if parsed.essiv else kernel, threads=threads)
        self._eboiv = Eboiv(key, sector_size) if parsed.iv_mode == "eboiv" else None
        self._generate = self._eboiv or IV_GENERATORS[parsed.iv_mode]
        self._sectors_per_iv = sector_size // SECTOR_BYTES if iv_large_sectors else 1
        self.sector_size = sector_size

    def encrypt(self, sector: int, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Encrypt data units that follow each other on the device.

        Args:
            sector: 512-byte sector of the first one, the table's ``iv_offset`` added.
            src: ``uint8[n, sector_size]``.
            out: as for ``BatchCipher.encrypt``.

        Raises:
            WrongDataUnitSize: rows of another size (EINVAL).
            WrongBuffer: as ``BatchCipher.encrypt``.
        """
        return self._batch.encrypt(self._ivs(sector, src), src, out)

    def decrypt(self, sector: int, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Inverse of ``encrypt``; raises the same."""
        return self._batch.decrypt(self._ivs(sector, src), src, out)

    def wipe(self) -> None:
        """Drop the key and all that was made from it."""
        self._batch.wipe()
        if self._eboiv is not None:
            self._eboiv.wipe()

    def _ivs(self, sector: int, src: U8Array) -> U8Array:
        if src.ndim == 2 and src.shape[1] != self.sector_size:
            raise WrongDataUnitSize(
                f"this mapping has sectors of {self.sector_size}, not {src.shape[1]} bytes"
            )
        step = self.sector_size // SECTOR_BYTES
        sectors = np.uint64(sector) + np.arange(len(src), dtype=np.uint64) * np.uint64(step)
        return self._generate(sectors // np.uint64(self._sectors_per_iv), self._batch.mode.iv_bytes)
