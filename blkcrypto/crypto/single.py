"""OpenSSL's own XTS or CBC, a fresh context for each data unit: cheapest for a few of them."""

from collections.abc import Callable
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blkcrypto.crypto.blockcipher import BLOCK_BYTES, KeyWiped
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.crypto.ivs import Ivs

#: What a context costs, per data unit, beside the encryption.  Measured; machines differ, ratios hardly.
CONTEXT_NS: Final = 3400
# Output room that update_into asks for past the data, except in XTS.
_SLACK: Final = BLOCK_BYTES - 1


class PerUnit:
    """One key, one context for each data unit.

    One context encrypts one data unit: a second ``update()`` on an XTS context silently starts over with the
    first tweak.
    """

    __slots__ = ("_algorithm", "_idle", "_mode")

    def __init__(
        self,
        algorithm: algorithms.AES | algorithms.SM4,
        mode: Callable[[bytes], modes.XTS] | Callable[[bytes], modes.CBC],
    ) -> None:
        self._algorithm: algorithms.AES | algorithms.SM4 | None = algorithm
        self._mode = mode
        self._idle: list[Cipher[modes.XTS | modes.CBC]] = []

    def crypt(self, ivs: Ivs, first: int, src: U8Array, out: U8Array, *, encrypt: bool) -> None:
        """See ``Kernel.crypt``."""
        if self._algorithm is None:
            raise KeyWiped("this cipher's key was wiped")
        try:
            cipher = self._idle.pop()
        except IndexError:
            cipher = Cipher(self._algorithm, self._mode(bytes(BLOCK_BYTES)))
        direct = self._mode is modes.XTS
        if direct and len(src) == 1:  # as below, without the loop and the views
            cipher.mode = self._mode(ivs.one(first))
            context = cipher.encryptor() if encrypt else cipher.decryptor()
            context.update_into(src, out)  # type: ignore[arg-type]  # arrays are buffers
            self._give_back(cipher)
            return
        buffer = None if direct else np.empty(src.shape[1] + _SLACK, dtype=np.uint8)
        for at in range(len(src)):
            # A new mode in an old Cipher: its constructor would check both again, a third of the whole cost.
            cipher.mode = self._mode(ivs.one(first + at))
            context = cipher.encryptor() if encrypt else cipher.decryptor()
            if buffer is None:
                context.update_into(src[at], out[at])
            else:
                context.update_into(src[at], buffer)  # type: ignore[arg-type]  # an array is a buffer
                out[at] = buffer[:-_SLACK]
        self._give_back(cipher)

    def _give_back(self, cipher: Cipher[modes.XTS | modes.CBC]) -> None:
        if self._algorithm is not None:
            self._idle.append(cipher)

    def wipe(self) -> None:
        """Drop the key."""
        self._algorithm = None
        self._idle.clear()
