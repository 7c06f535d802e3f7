"""Master keys of v2 policies, and what is derived from them.

Rules (fs/crypto/hkdf.c, keyring.c, keysetup.c; reference fscrypt.md sections 2.1, 2.3 to 2.5):

- HKDF is keyed once, when the key is added; a raw key's bytes are not kept after that.
- Every derivation's info is ``"fscrypt\\0"``, a context byte, and what the context says.
- A hardware-wrapped key derives from its software secret; contents use the wrapped blob itself.
- Keys shared by many files exist once per (context, mode, data unit size, form, filesystem).
- The inode hash key is derived when the first IV_INO_LBLK_32 inode needs it.
- Nothing derives from a wiped secret.
"""

import enum
import errno
from collections.abc import Callable
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import MAX_HW_WRAPPED_KEY_BYTES, MAX_RAW_KEY_BYTES, BlkCryptoKey, KeyType
from blkcrypto.crypto.hkdf import HkdfSha512
from blkcrypto.crypto.siphash import siphash24, siphash24_u64
from blkcrypto.fs.fscrypt.policy import IDENTIFIER_BYTES

MIN_MASTER_KEY_BYTES: Final = 16
_PREFIX: Final = b"fscrypt\0"
_SIPHASH_KEY_BYTES: Final = 16
_U32: Final = (1 << 32) - 1


class MasterKeySizeInvalid(BlkCryptoError):
    """A raw master key has 16 to 64 bytes, a hardware-wrapped one 16 to 128."""

    errno = errno.EINVAL


class SecretWiped(BlkCryptoError):
    """The master key's secret is gone: it was removed, and files that were not open cannot be unlocked."""

    errno = errno.ENOKEY


class HkdfContext(enum.IntEnum):
    """``HKDF_CONTEXT_*``: the byte that keeps one use of a master key apart from another."""

    KEY_IDENTIFIER_FOR_RAW_KEY = 1  # info: none
    PER_FILE_ENC_KEY = 2  # info: file nonce
    DIRECT_KEY = 3  # info: mode number
    IV_INO_LBLK_64_KEY = 4  # info: mode number, filesystem UUID
    DIRHASH_KEY = 5  # info: directory nonce
    IV_INO_LBLK_32_KEY = 6  # info: mode number, filesystem UUID
    INODE_HASH_KEY = 7  # info: none
    KEY_IDENTIFIER_FOR_HW_WRAPPED_KEY = 8  # info: none
    PER_EXTENT_ENC_KEY = 9  # info: extent nonce; posted for btrfs, not merged


def _check_size(size: int, largest: int) -> None:
    if not MIN_MASTER_KEY_BYTES <= size <= largest:
        raise MasterKeySizeInvalid(f"a master key of {size} bytes: use {MIN_MASTER_KEY_BYTES} to {largest}")


class MasterKey:
    """A master key on one filesystem: ``struct fscrypt_master_key`` with a v2 secret.

    Attributes:
        identifier: 16 bytes, by which v2 policies name the key.
        key_type: ``RAW`` or ``HW_WRAPPED``.
        size: bytes of the raw key or the wrapped blob; modes ask for a least size.
        derivations: HKDF expansions done so far, the identifier's included.
    """

    __slots__ = (
        "_blob",
        "_hkdf",
        "_inode_hash_key",
        "_shared",
        "derivations",
        "identifier",
        "key_type",
        "size",
    )

    def __init__(self, ikm: bytes, key_type: KeyType, size: int, blob: bytes) -> None:
        self._hkdf: HkdfSha512 | None = HkdfSha512(ikm)
        self._blob = blob
        self._shared: dict[tuple[object, ...], BlkCryptoKey] = {}
        self._inode_hash_key: bytes | None = None
        self.key_type = key_type
        self.size = size
        self.derivations = 0
        context = (
            HkdfContext.KEY_IDENTIFIER_FOR_HW_WRAPPED_KEY
            if key_type is KeyType.HW_WRAPPED
            else HkdfContext.KEY_IDENTIFIER_FOR_RAW_KEY
        )
        self.identifier = self.derive(context, b"", IDENTIFIER_BYTES)

    @classmethod
    def from_raw(cls, raw: bytes) -> Self:
        """Master key whose bytes software knows.

        Raises:
            MasterKeySizeInvalid: not 16 to 64 bytes (EINVAL).
        """
        _check_size(len(raw), MAX_RAW_KEY_BYTES)
        return cls(raw, KeyType.RAW, len(raw), b"")

    @classmethod
    def from_hw_wrapped(cls, blob: bytes, sw_secret: bytes) -> Self:
        """Master key that only the device can unwrap.

        Args:
            blob: ephemerally wrapped key, as passed to the block layer for file contents.
            sw_secret: 32 bytes, which the device derived from it; names and hashes derive from this.

        Raises:
            MasterKeySizeInvalid: a blob of other than 16 to 128 bytes (EINVAL).
        """
        _check_size(len(blob), MAX_HW_WRAPPED_KEY_BYTES)
        return cls(sw_secret, KeyType.HW_WRAPPED, len(blob), blob)

    def __repr__(self) -> str:
        return f"<MasterKey {self.identifier.hex()} {self.key_type.name}>"

    def derive(self, context: HkdfContext, info: bytes, length: int) -> bytes:
        """``length`` bytes for one use of the key.

        Raises:
            SecretWiped: the key was removed (ENOKEY).
        """
        if self._hkdf is None:
            raise SecretWiped(f"master key {self.identifier.hex()} was removed")
        self.derivations += 1
        return self._hkdf.expand(_PREFIX + bytes((context,)) + info, length)

    @property
    def wrapped_blob(self) -> bytes:
        """The wrapped key for the block layer; empty for a raw key.

        Raises:
            SecretWiped: the key was removed (ENOKEY).
        """
        if self._hkdf is None:
            raise SecretWiped(f"master key {self.identifier.hex()} was removed")
        return self._blob

    def hash_inode(self, ino: int) -> int:
        """32-bit hash of an inode number, where IV_INO_LBLK_32 starts counting."""
        return siphash24(self._hash_key(), ino.to_bytes(8, "little")) & _U32

    def hash_inodes(self, inos: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """``hash_inode`` of ``int64[n]`` at once; ``uint64[n]`` below 2**32."""
        return siphash24_u64(self._hash_key(), inos.astype(np.uint64)) & np.uint64(_U32)

    def _hash_key(self) -> bytes:
        if self._inode_hash_key is None:
            self._inode_hash_key = self.derive(HkdfContext.INODE_HASH_KEY, b"", _SIPHASH_KEY_BYTES)
        return self._inode_hash_key

    def shared_key(self, identity: tuple[object, ...], prepare: Callable[[], BlkCryptoKey]) -> BlkCryptoKey:
        """The one key object of ``identity``; ``prepare`` makes it for the first inode that asks."""
        key = self._shared.get(identity)
        if key is None:
            key = self._shared[identity] = prepare()
        return key

    @property
    def shared_keys(self) -> tuple[BlkCryptoKey, ...]:
        """Shared contents keys made so far, oldest first."""
        return tuple(self._shared.values())

    @property
    def is_wiped(self) -> bool:
        """Whether the secret is gone."""
        return self._hkdf is None

    def wipe_secret(self) -> None:
        """Forget what could derive new keys; keys already made stay until ``drop_shared_keys``."""
        if self._hkdf is not None:
            self._hkdf.wipe()
        self._hkdf = None
        self._blob = b""

    def put_back(self, again: object) -> None:
        """The key was added again while files still used it: take the secret of ``again``, the same key."""
        if not isinstance(again, MasterKey) or again.identifier != self.identifier:
            raise ValueError("only the same key can be put back")
        self._hkdf, self._blob = again._hkdf, again._blob

    def drop_shared_keys(self) -> tuple[BlkCryptoKey, ...]:
        """Forget shared keys and the inode hash key; returns the keys, which every device must then evict."""
        keys = self.shared_keys
        self._shared.clear()
        self._inode_hash_key = None
        return keys
