"""ESSIV: each IV is first encrypted with AES-256 under SHA-256 of the whole key.

Source: crypto/essiv.c; reference block-layer.md section 1.2.
"""

from cryptography.hazmat.primitives.hashes import SHA256, Hash

from blkcrypto.crypto.batch import Kernel
from blkcrypto.crypto.blockcipher import Algorithm, BlockCipher
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.ivs import IvRows, Ivs


class EssivKernel(Kernel):
    """Another mode with encrypted IVs of 16 bytes."""

    __slots__ = ("_cipher", "_inner", "part_bytes")

    def __init__(self, inner: Kernel, key: bytes) -> None:
        self._inner = inner
        digest = Hash(SHA256())
        digest.update(key)
        self._cipher = BlockCipher(Algorithm.AES, digest.finalize())
        self.part_bytes = inner.part_bytes

    def check_data_unit(self, data_unit_size: int) -> None:
        """As the mode inside."""
        self._inner.check_data_unit(data_unit_size)

    def crypt(self, ivs: Ivs, first: int, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """See ``Kernel.crypt``."""
        rows = ivs.rows(first, first + len(src)).copy()
        self._cipher.encrypt(rows.reshape(-1), rows.reshape(-1))
        self._inner.crypt(IvRows(rows), 0, src, out, encrypt=encrypt)

    def wipe(self) -> None:
        """Drop the hashed key and the mode inside."""
        self._cipher.wipe()
        self._inner.wipe()
