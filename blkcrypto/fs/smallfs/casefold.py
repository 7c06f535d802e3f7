"""Names without regard to case: what a casefolded directory stores beside them, finds and refuses.

Rules (``generic_ci_match()``, ``generic_ci_d_hash()``, fs/libfs.c; ``ext4_fname_setup_ci_filename()``,
fs/ext4/namei.c; ``fscrypt_fname_siphash()``, fs/crypto/fname.c):

- Names match when their folded forms are equal; without the key there are only no-key names, which do not
  fold.
- The hash is over the folded name: keyed SipHash in an encrypted directory, else the directory's own.
- A name that is not UTF-8 is a string of bytes that matches itself, or, on a strict filesystem, EINVAL.
"""

import errno

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.dirhash import Ext4HashVersion, ext4_hash
from blkcrypto.fs.fscrypt.casefold import casefold, casefold_hash
from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo
from blkcrypto.fs.smallfs.directory import Directory, Hashes

_DEFAULT_SEED = bytes(16)


class NotUtf8(BlkCryptoError):
    """A strict filesystem takes no such name in a casefolded directory."""

    errno = errno.EINVAL


def check_strict(name: bytes) -> None:
    """Raises ``NotUtf8`` (EINVAL) unless ``name`` is UTF-8."""
    try:
        name.decode()
    except UnicodeDecodeError:
        raise NotUtf8(
            f"{name!r} is not UTF-8, which this filesystem's casefolded directories insist on"
        ) from None


def name_hashes(info: CryptInfo | None, name: bytes) -> Hashes:
    """Hashes of a plaintext name in a casefolded directory; ``info`` when that is encrypted."""
    if info is not None and info.dirhash_key is not None:
        return casefold_hash(info.dirhash_key, name)
    return ext4_hash(casefold(name), Ext4HashVersion.HALF_MD4, _DEFAULT_SEED, signed=False)


def find_folded(directory: Directory, info: CryptInfo | None, name: bytes, hashes: Hashes) -> bytes | None:
    """The name on disk that ``name`` matches."""
    folded = casefold(name)
    for stored in directory.with_hashes(hashes):
        plain = stored if info is None or info.names is None else info.names.decrypt(stored)
        if casefold(plain) == folded:
            return stored
    return None
