"""CBC with ciphertext stealing (CBC-CS3): names and symlink targets.

The last two ciphertext blocks are swapped, also when the length is a multiple of the block, and the one that
is now last is cut to what is left; a single block is plain CBC.

Source: crypto/cts.c; RFC 3962 section 5; reference fscrypt.md section 4.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blkcrypto.crypto.blockcipher import BLOCK_BYTES, KeyWiped
from blkcrypto.crypto.buffers import WrongDataUnitSize


class CtsCipher:
    """CTS-CBC under one key."""

    __slots__ = ("_algorithm",)

    def __init__(self, algorithm: algorithms.AES | algorithms.SM4) -> None:
        self._algorithm: algorithms.AES | algorithms.SM4 | None = algorithm

    def encrypt(self, iv: bytes, name: bytes) -> bytes:
        """Encrypt 16 bytes or more; the result is as long.

        Raises:
            WrongDataUnitSize: fewer than 16 bytes (EINVAL).
        """
        check_name(name)
        tail = _tail(name)
        padded = name + bytes(BLOCK_BYTES - tail)
        chained = Cipher(self._keyed(), modes.CBC(iv)).encryptor().update(padded)
        if len(name) == BLOCK_BYTES:
            return chained
        return chained[: -2 * BLOCK_BYTES] + chained[-BLOCK_BYTES:] + chained[-2 * BLOCK_BYTES :][:tail]

    def decrypt(self, iv: bytes, name: bytes) -> bytes:
        """Inverse of ``encrypt``; raises the same."""
        check_name(name)
        if len(name) == BLOCK_BYTES:
            return Cipher(self._keyed(), modes.CBC(iv)).decryptor().update(name)
        tail = _tail(name)
        head, last, stolen = name[: -BLOCK_BYTES - tail], name[-BLOCK_BYTES - tail : -tail], name[-tail:]
        # The last block was zero-padded: what it shows past the tail is ciphertext of the block before.
        mixed = Cipher(self._keyed(), modes.ECB()).decryptor().update(last)
        before = stolen + mixed[tail:]
        return Cipher(self._keyed(), modes.CBC(iv)).decryptor().update(head + before + last)[: len(name)]

    def wipe(self) -> None:
        """Drop the key."""
        self._algorithm = None

    def _keyed(self) -> algorithms.AES | algorithms.SM4:
        if self._algorithm is None:
            raise KeyWiped("this cipher's key was wiped")
        return self._algorithm


def check_name(name: bytes) -> None:
    """Refuse what is shorter than a block.

    Raises:
        WrongDataUnitSize: EINVAL.
    """
    if len(name) < BLOCK_BYTES:
        raise WrongDataUnitSize(f"a name is padded to at least {BLOCK_BYTES} bytes, not {len(name)}")


def _tail(name: bytes) -> int:
    return len(name) % BLOCK_BYTES or BLOCK_BYTES
