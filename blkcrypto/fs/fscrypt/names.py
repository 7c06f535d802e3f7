"""Names and symlink targets: padding, key, IV, ciphertext.

Rules (fs/crypto/fname.c; reference fscrypt.md section 4):

- A name is padded with NULs to at least 16 bytes and a multiple of the policy's padding, but never past the
  longest name the filesystem stores: a 255-byte name is not a multiple of its padding.
- All names of a directory use the directory's key and IV; the index in the IV is 0.
- A symlink's target uses the symlink's own key and IV, and is stored as its ciphertext's length in two
  little-endian bytes, then the ciphertext; one byte more is counted for a NUL, though none is stored.
- Decrypted names end at their first NUL.
- ``.`` and ``..`` are never encrypted.
"""

import errno
from typing import Final

from blkcrypto.base.dun import DUN_BYTES
from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.crypto.cipher import new_name_cipher
from blkcrypto.fs.fscrypt import iv
from blkcrypto.fs.fscrypt.derive import AnyMasterKey, check_master_key, inode_key_bytes
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.policy import IvScheme, Policy

MIN_CIPHERTEXT_BYTES: Final = 16
NAME_MAX: Final = 255
_SYMLINK_LENGTH_BYTES: Final = 2
_SYMLINK_NUL_BYTES: Final = 1


class NameTooLong(BlkCryptoError):
    """The name or symlink target does not fit where its ciphertext would be stored."""

    errno = errno.ENAMETOOLONG


class CiphertextTooShort(BlkCryptoError):
    """An encrypted name on disk has fewer than 16 bytes: the filesystem is damaged."""

    errno = errno.EUCLEAN


def encrypted_size(policy: Policy, name_bytes: int, max_bytes: int = NAME_MAX) -> int:
    """Bytes of ciphertext for a name of ``name_bytes``: ``fscrypt_fname_encrypted_size()``.

    Raises:
        NameTooLong: more than ``max_bytes`` (ENAMETOOLONG).
    """
    if name_bytes > max_bytes:
        raise NameTooLong(f"a name of {name_bytes} bytes: at most {max_bytes}")
    padding = policy.padding
    padded = -(-max(name_bytes, MIN_CIPHERTEXT_BYTES) // padding) * padding
    return min(padded, max_bytes)


class NameCipher:
    """Encrypts the names in one directory, or the target of one symlink.

    Args:
        policy: supported, and naming ``master_key``.
        master_key: its secret still present.
        fs: facts of the filesystem.
        ino: inode number of the directory or symlink.
        nonce: its 16 bytes; may be empty where neither key nor IV depends on it.

    Raises:
        MasterKeyTooShort, PolicyForAnotherKey, SecretWiped: ENOKEY.
        PolicyNeedsRawKey: EINVAL.
    """

    def __init__(
        self, policy: Policy, master_key: AnyMasterKey, fs: FileSystem, *, ino: int, nonce: bytes
    ) -> None:
        mode = policy.filenames
        check_master_key(policy, master_key, mode)
        self.policy = policy
        self._cipher = new_name_cipher(mode.name, inode_key_bytes(policy, master_key, fs, mode, nonce))
        scheme = policy.iv_scheme
        hashed = 0
        if scheme is IvScheme.IV_INO_LBLK_32 and isinstance(master_key, MasterKey):
            hashed = master_key.hash_inode(ino)
        dun = iv.first_dun(scheme, 0, ino=ino, hashed_ino=hashed, nonce=nonce)
        self._iv = dun.to_bytes(DUN_BYTES, "little")[: mode.iv_bytes]

    def encrypt(self, name: bytes, max_bytes: int = NAME_MAX) -> bytes:
        """Ciphertext of ``name``, padded.

        Raises:
            NameTooLong: more than ``max_bytes`` (ENAMETOOLONG).
        """
        size = encrypted_size(self.policy, len(name), max_bytes)
        return self._cipher.encrypt(self._iv, name.ljust(size, b"\0"))

    def decrypt(self, ciphertext: bytes) -> bytes:
        """The name without its padding.

        Raises:
            CiphertextTooShort: fewer than 16 bytes (EUCLEAN).
        """
        if len(ciphertext) < MIN_CIPHERTEXT_BYTES:
            raise CiphertextTooShort(f"an encrypted name of {len(ciphertext)} bytes")
        return self._cipher.decrypt(self._iv, ciphertext).partition(b"\0")[0]


def symlink_disk_bytes(policy: Policy, target_bytes: int, max_bytes: int) -> int:
    """Bytes an encrypted symlink counts, its NUL included; ``i_size`` is one less.

    Args:
        policy: of the directory the symlink is created in.
        target_bytes: length of the target.
        max_bytes: the longest unencrypted symlink with its NUL: ext4 and f2fs use the block size.

    Raises:
        NameTooLong: ENAMETOOLONG.

    Source: ``fscrypt_prepare_symlink()``, fs/crypto/hooks.c.
    """
    overhead = _SYMLINK_LENGTH_BYTES + _SYMLINK_NUL_BYTES
    return encrypted_size(policy, target_bytes, max_bytes - overhead) + overhead


def encode_symlink(cipher: NameCipher, target: bytes, max_bytes: int) -> bytes:
    """What the filesystem stores for an encrypted symlink: length, ciphertext.

    Raises:
        NameTooLong: ENAMETOOLONG.
    """
    overhead = _SYMLINK_LENGTH_BYTES + _SYMLINK_NUL_BYTES
    ciphertext = cipher.encrypt(target, max_bytes - overhead)
    return len(ciphertext).to_bytes(_SYMLINK_LENGTH_BYTES, "little") + ciphertext


def split_symlink(stored: bytes) -> bytes:
    """The ciphertext of a stored symlink.

    Raises:
        CiphertextTooShort: damaged: no room for a length, or less than it says (EUCLEAN).
    """
    size = int.from_bytes(stored[:_SYMLINK_LENGTH_BYTES], "little")
    ciphertext = stored[_SYMLINK_LENGTH_BYTES : _SYMLINK_LENGTH_BYTES + size]
    if len(ciphertext) < size or not size:
        raise CiphertextTooShort(f"an encrypted symlink of {len(stored)} bytes claims {size}")
    return ciphertext
