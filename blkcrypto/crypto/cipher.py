"""What the rest of the emulator uses: a cipher by its mode's name and a raw key."""

from collections.abc import Callable, Mapping
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import algorithms

from blkcrypto.crypto.adiantum import AdiantumKernel
from blkcrypto.crypto.batch import BatchCipher, Kernel
from blkcrypto.crypto.blockcipher import Algorithm
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.cbc import CbcKernel
from blkcrypto.crypto.cts import CtsCipher
from blkcrypto.crypto.essiv import EssivKernel
from blkcrypto.crypto.hctr2 import Hctr2Kernel
from blkcrypto.crypto.modes import CipherMode, UnknownMode, check_key_size, mode_named
from blkcrypto.crypto.names import KernelNameCipher
from blkcrypto.crypto.xts import XtsKernel


class DataUnitCipher(Protocol):
    """A contents mode under one key; ``BatchCipher`` says what the arguments must be."""

    mode: CipherMode

    def encrypt(self, ivs: U8Array, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Encrypt data units, one IV each."""

    def decrypt(self, ivs: U8Array, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Decrypt data units, one IV each."""

    def encrypt_run(self, first_dun: int, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Encrypt data units with consecutive DUNs."""

    def decrypt_run(self, first_dun: int, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Decrypt data units with consecutive DUNs."""

    def wipe(self) -> None:
        """Drop the key."""


class NameCipher(Protocol):
    """A filenames mode under one key."""

    def encrypt(self, iv: bytes, name: bytes) -> bytes:
        """Encrypt a padded name of 16 bytes or more; the result is as long."""

    def decrypt(self, iv: bytes, name: bytes) -> bytes:
        """Inverse of ``encrypt``."""

    def wipe(self) -> None:
        """Drop the key."""


def _cbc_essiv(key: bytes) -> Kernel:
    return EssivKernel(CbcKernel(Algorithm.AES, key), key)


_CONTENTS: Mapping[str, Callable[[bytes], Kernel]] = {
    "AES-256-XTS": lambda key: XtsKernel(Algorithm.AES, key),
    "AES-128-CBC-ESSIV": _cbc_essiv,
    "SM4-XTS": lambda key: XtsKernel(Algorithm.SM4, key),
    "Adiantum": AdiantumKernel,
}
_NAMES: Mapping[str, Callable[[bytes], NameCipher]] = {
    "AES-256-CTS-CBC": lambda key: CtsCipher(algorithms.AES(key)),
    "AES-128-CTS-CBC": lambda key: CtsCipher(algorithms.AES(key)),
    "SM4-CTS-CBC": lambda key: CtsCipher(algorithms.SM4(key)),
    "AES-256-HCTR2": lambda key: KernelNameCipher(Hctr2Kernel(key)),
    "Adiantum": lambda key: KernelNameCipher(AdiantumKernel(key)),
}


def new_cipher(mode_name: str, key: bytes, *, threads: int | None = None) -> DataUnitCipher:
    """The contents cipher ``mode_name`` under the raw ``key``.

    Args:
        mode_name: as in sysfs, e.g. ``"AES-256-XTS"``.
        threads: cores a large batch may use; ``None`` for all.

    Raises:
        UnknownMode: no such mode, or it does not encrypt contents (ENOENT).
        WrongKeySize: another key size than the mode's (EINVAL).
        WeakKey: XTS with equal halves (EINVAL).
    """
    mode = mode_named(mode_name)
    if mode_name not in _CONTENTS:
        raise UnknownMode(f"{mode_name} does not encrypt contents: one of {', '.join(_CONTENTS)}")
    check_key_size(mode, key)
    return BatchCipher(mode, _CONTENTS[mode_name](key), threads=threads)


def new_name_cipher(mode_name: str, key: bytes) -> NameCipher:
    """The filenames cipher ``mode_name`` under the raw ``key``.

    Raises:
        UnknownMode: no such mode, or it does not encrypt names (ENOENT).
        WrongKeySize: another key size than the mode's (EINVAL).
    """
    mode = mode_named(mode_name)
    if mode_name not in _NAMES:
        raise UnknownMode(f"{mode_name} does not encrypt names: one of {', '.join(_NAMES)}")
    check_key_size(mode, key)
    return _NAMES[mode_name](key)
