"""Names through a contents mode: a batch of one data unit, as long as the name."""

import numpy as np

from blkcrypto.crypto.batch import Kernel
from blkcrypto.crypto.cts import check_name
from blkcrypto.crypto.ivs import IvRows


class KernelNameCipher:
    """A wide-block mode used for names."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def encrypt(self, iv: bytes, name: bytes) -> bytes:
        """Encrypt 16 bytes or more; the result is as long.

        Raises:
            WrongDataUnitSize: fewer than 16 bytes (EINVAL).
        """
        return self._crypt(iv, name, encrypt=True)

    def decrypt(self, iv: bytes, name: bytes) -> bytes:
        """Inverse of ``encrypt``; raises the same."""
        return self._crypt(iv, name, encrypt=False)

    def wipe(self) -> None:
        """Drop the key."""
        self._kernel.wipe()

    def _crypt(self, iv: bytes, name: bytes, *, encrypt: bool) -> bytes:
        check_name(name)
        src = np.frombuffer(name, dtype=np.uint8).reshape(1, -1)
        out = np.empty_like(src)
        ivs = IvRows(np.frombuffer(iv, dtype=np.uint8).reshape(1, -1))
        self._kernel.crypt(ivs, 0, src, out, encrypt=encrypt)
        return out.tobytes()
