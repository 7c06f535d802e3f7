"""Encrypting a region of an inode: the helper as posted (A1), and what its review asked for instead.

===  ===========  ===============  ==============================  ==================
     key          set up           IV                              wrapped master key
===  ===========  ===============  ==============================  ==================
A0   none         -                -                               -
A1   as contents  at first use     by the policy's flags           EOPNOTSUPP
A2   as contents  when opened      by the policy's flags           EOPNOTSUPP
A3   per file     when opened      0                               EOPNOTSUPP
A4   per file     when opened      0                               sw_secret's key
===  ===========  ===============  ==============================  ==================

Rules (``crypt_fs_layer_page_inplace()``, posted April 2026; reference fscrypt.md sections 7.2, 7.3):

- One call is one data unit, whatever its length, a positive multiple of 16.
- A key that is prepared is used without looking at the master key; else the master key must be present.
- v1 policies, keys of process keyrings and inodes that the filesystem encrypts itself: EOPNOTSUPP.
- Setting up lazily takes the per-mode mutex and the master-key semaphore and allocates a cipher: inside
  writeback that breaks the context rules.
- A4 exposes what a wrapped key is meant to protect: the region's key is in memory.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from blkcrypto.base.dun import DUN_BYTES
from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import KeyType
from blkcrypto.block.waiting import Task
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from blkcrypto.fs.fscrypt.derive import inode_key_bytes
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo
from blkcrypto.fs.fscrypt.master_key import HkdfContext, MasterKey
from blkcrypto.fs.fscrypt.paths import ContentsPath
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import ALLOC_SKCIPHER, HKDF_EXPAND, KEY_SEMAPHORE, SETKEY, Primitive

ALIGNMENT: Final = 16
# Held by others while they allocate ciphers with GFP_KERNEL, like the semaphore.
PER_MODE_MUTEX: Final = Primitive(name="per-mode key mutex", sleeps=True, takes_key_semaphore=True)


class RegionNotSupported(BlkCryptoError):
    """The inode's data cannot be encrypted in place: it goes to blocks."""

    errno = errno.EOPNOTSUPP


class RegionKeyMissing(BlkCryptoError):
    """No key is prepared, and the master key is not here."""

    errno = errno.ENOKEY


class RegionLengthInvalid(BlkCryptoError):
    """A length that is not a positive multiple of 16."""

    errno = errno.EINVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One row.

    Attributes:
        name: ``A0`` to ``A4``.
        stores_inline: whether encrypted files may have inline data at all.
        setup_at_open: whether the key is set up when the file is opened; else at first use.
        per_file_only: key of context 2 and IV 0, whatever the policy's flags.
        takes_wrapped: derives from the software secret of a hardware-wrapped key.
    """

    name: str
    stores_inline: bool = True
    setup_at_open: bool = True
    per_file_only: bool = False
    takes_wrapped: bool = False


ALTERNATIVES: Final[Mapping[str, Alternative]] = {
    row.name: row
    for row in (
        Alternative(name="A0", stores_inline=False),
        Alternative(name="A1", setup_at_open=False),
        Alternative(name="A2"),
        Alternative(name="A3", per_file_only=True),
        Alternative(name="A4", per_file_only=True, takes_wrapped=True),
    )
}


class RegionCrypto:
    """Region keys of one mount's cached inodes.

    Args:
        alternative: which.
        fs: facts of the filesystem.
        checker: judges where keys are set up.

    Attributes:
        exposed: inodes whose region key is in memory although their master key is hardware-wrapped.
    """

    def __init__(self, alternative: Alternative, fs: FileSystem, checker: ContextChecker) -> None:
        self.alternative = alternative
        self.exposed: set[int] = set()
        self._fs = fs
        self._checker = checker
        self._ciphers: dict[int, DataUnitCipher] = {}

    @property
    def live_ciphers(self) -> int:
        """Ciphers beside the contents keys: one per inode that uses its region."""
        return len(self._ciphers)

    def possible(self, info: CryptInfo) -> bool:
        """Whether an inode's data may be inline, its key apart."""
        return self.alternative.stores_inline and self._objection(info) == ""

    def _objection(self, info: CryptInfo) -> str:
        if info.path is not ContentsPath.BLK_CRYPTO:
            return "the filesystem encrypts this inode itself"
        if info.entry is None:
            return "the key came from a process keyring"
        if not isinstance(info.entry.secret, MasterKey):
            return "a v1 policy"
        if info.entry.secret.key_type is KeyType.HW_WRAPPED and not self.alternative.takes_wrapped:
            return "a hardware-wrapped key"
        return ""

    def opened(self, task: Task, ino: int, info: CryptInfo) -> None:
        """The inode's key was set up; A2 to A4 now set up the region's.

        Raises:
            SecretWiped, RegionKeyMissing: ENOKEY.
        """
        if self.alternative.setup_at_open and self.possible(info) and ino not in self._ciphers:
            self._ciphers[ino] = self._prepare(task, ino, info)

    def crypt(
        self, task: Task, ino: int, info: CryptInfo | None, data: bytes, *, dun: int, encrypt: bool
    ) -> bytes:
        """Encrypt or decrypt a region; ``dun`` is the caller's, and counts in A1 and A2.

        Raises:
            RegionKeyMissing, SecretWiped: ENOKEY.
            RegionNotSupported: EOPNOTSUPP.
            RegionLengthInvalid: EINVAL.
        """
        if info is None:
            raise RegionKeyMissing(f"inode {ino} has no key")
        if info.path is not ContentsPath.BLK_CRYPTO:
            raise RegionNotSupported("the filesystem encrypts this inode itself")
        cipher = self._ciphers.get(ino)
        if cipher is None:
            cipher = self._ciphers[ino] = self._prepare(task, ino, info)
        if not data or len(data) % ALIGNMENT:
            raise RegionLengthInvalid(f"{len(data)} bytes are not a positive multiple of {ALIGNMENT}")
        iv = np.frombuffer(self._dun(ino, info, dun).to_bytes(DUN_BYTES, "little"), dtype=np.uint8)
        unit = np.frombuffer(data, dtype=np.uint8).reshape(1, -1)
        ivs = iv[: cipher.mode.iv_bytes].reshape(1, -1)
        return (cipher.encrypt(ivs, unit) if encrypt else cipher.decrypt(ivs, unit)).tobytes()

    def _dun(self, ino: int, info: CryptInfo, dun: int) -> int:
        if self.alternative.per_file_only:
            return 0
        assert info.setup is not None, "a regular file has contents keys"
        return info.setup.first_dun(ino, info.nonce, dun)

    def _prepare(self, task: Task, ino: int, info: CryptInfo) -> DataUnitCipher:
        """The checks in the order of the posted helper, then the key."""
        entry = info.entry
        if entry is None:
            raise RegionNotSupported("the key came from a process keyring")
        self._checker.does(task, PER_MODE_MUTEX)
        self._checker.does(task, KEY_SEMAPHORE)
        if not entry.present:
            raise RegionKeyMissing(f"key {entry.spec.key.hex()} was removed")
        why = self._objection(info)
        if why or not isinstance(entry.secret, MasterKey):
            raise RegionNotSupported(why)
        self._checker.does(task, ALLOC_SKCIPHER)
        self._checker.does(task, HKDF_EXPAND)
        raw = self._key_bytes(info, entry.secret)
        self._checker.does(task, SETKEY)
        if entry.secret.key_type is KeyType.HW_WRAPPED:
            self.exposed.add(ino)
        return new_cipher(info.policy.contents.name, raw)

    def _key_bytes(self, info: CryptInfo, secret: MasterKey) -> bytes:
        mode = info.policy.contents
        if self.alternative.per_file_only:
            return secret.derive(HkdfContext.PER_FILE_ENC_KEY, info.nonce, mode.key_bytes)
        return inode_key_bytes(info.policy, secret, self._fs, mode, info.nonce)

    def drop(self, ino: int) -> None:
        """The inode leaves the cache: its region's key goes, whoever shares the contents key."""
        cipher = self._ciphers.pop(ino, None)
        self.exposed.discard(ino)
        if cipher is not None:
            cipher.wipe()
