"""Key derivation of fscrypt v1 policies: AES-128-ECB of the master key under the file's nonce.

Reversible by design of its time: a derived key and the public nonce give the master key back.
Source: fs/crypto/keysetup_v1.c; reference fscrypt.md section 2.2.
"""

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

NONCE_BYTES: Final = 16
_BLOCK_BYTES: Final = 16


def derive_v1(master_key: bytes, nonce: bytes, length: int) -> bytes:
    """Key of ``length`` bytes (a multiple of 16) for the file with ``nonce``.

    Master-key bytes past ``length`` are not used.

    Raises:
        ValueError: the nonce is not 16 bytes, ``length`` is not a positive multiple of 16, or the master key
            is shorter than ``length``.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a file nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    if length <= 0 or length % _BLOCK_BYTES:
        raise ValueError(f"a v1 key is a positive multiple of {_BLOCK_BYTES} bytes long, not {length}")
    if len(master_key) < length:
        raise ValueError(
            f"a {length}-byte key needs a master key at least as long, not {len(master_key)} bytes"
        )
    return Cipher(algorithms.AES(nonce), modes.ECB()).encryptor().update(master_key[:length])
