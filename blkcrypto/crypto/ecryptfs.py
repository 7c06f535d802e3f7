"""eCryptfs: extents of 4096 bytes, each AES-CBC under an IV that is an MD5.

``root_iv = MD5(file key)``; extent e has ``MD5(root_iv || e in decimal ASCII, zero-padded to 16 bytes)``.

Source: fs/ecryptfs/crypto.c; reference fscrypt.md section 8.3.
"""

import hashlib
from typing import Final

import numpy as np

from blkcrypto.crypto.batch import BatchCipher
from blkcrypto.crypto.blockcipher import Algorithm
from blkcrypto.crypto.buffers import U8Array, WrongDataUnitSize
from blkcrypto.crypto.cbc import CbcKernel
from blkcrypto.crypto.modes import CipherMode, WrongKeySize

EXTENT_BYTES: Final = 4096
_IV_BYTES: Final = 16
_KEY_SIZES: Final = (16, 24, 32)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


class EcryptfsCipher:
    """The contents of one eCryptfs file.

    Args:
        key: the file's session key.
        threads: cores a large batch may use; ``None`` for all.

    Raises:
        WrongKeySize: not an AES key size (EINVAL).
    """

    __slots__ = ("_batch", "_root_iv")

    def __init__(self, key: bytes, *, threads: int | None = None) -> None:
        if len(key) not in _KEY_SIZES:
            raise WrongKeySize(f"AES takes a key of 16, 24 or 32 bytes, not {len(key)}")
        row = CipherMode(
            name="eCryptfs AES-CBC",
            key_bytes=len(key),
            iv_bytes=_IV_BYTES,
            security_strength_bytes=len(key),
            contents=True,
            names=False,
            fscrypt_num=0,
        )
        self._batch = BatchCipher(row, CbcKernel(Algorithm.AES, key), threads=threads)
        self._root_iv = _md5(key)

    def iv(self, extent: int) -> bytes:
        """IV of one extent."""
        return _md5(self._root_iv + str(extent).encode().ljust(_IV_BYTES, b"\0"))

    def encrypt(self, first_extent: int, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Encrypt consecutive extents, ``uint8[n, 4096]``; ``out`` as for ``BatchCipher.encrypt``.

        Raises:
            WrongDataUnitSize: rows of another size (EINVAL).
            WrongBuffer: as ``BatchCipher.encrypt``.
        """
        return self._batch.encrypt(self._ivs(first_extent, src), src, out)

    def decrypt(self, first_extent: int, src: U8Array, out: U8Array | None = None) -> U8Array:
        """Inverse of ``encrypt``; raises the same."""
        return self._batch.decrypt(self._ivs(first_extent, src), src, out)

    def wipe(self) -> None:
        """Drop the key and the root IV."""
        self._batch.wipe()
        self._root_iv = b""

    def _ivs(self, first_extent: int, src: U8Array) -> U8Array:
        if src.ndim == 2 and src.shape[1] != EXTENT_BYTES:
            raise WrongDataUnitSize(f"an extent has {EXTENT_BYTES} bytes, not {src.shape[1]}")
        joined = b"".join(self.iv(first_extent + at) for at in range(len(src)))
        return np.frombuffer(joined, dtype=np.uint8).reshape(-1, _IV_BYTES)
