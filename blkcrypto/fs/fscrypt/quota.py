"""The keyrings quota, as far as claims to master keys use it.

Every claim is a key of the claiming user.  It is charged 64 bytes whatever the master key's size, and its
description, ``<identifier in hex>.uid.<uid>`` with its NUL.

Source: ``fscrypt_user_key_instantiate()``, fs/crypto/keyring.c; ``key_alloc()``, security/keys/key.c, with
the defaults of /proc/sys/kernel/keys; reference fscrypt.md sections 1.4, 5.5.
"""

import errno
from dataclasses import dataclass, field
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.policy import IDENTIFIER_BYTES

_PAYLOAD_BYTES: Final = 64


class KeyQuotaExceeded(BlkCryptoError):
    """The user holds as many keys, or bytes of keys, as allowed."""

    errno = errno.EDQUOT


@dataclass(slots=True)
class KeyQuota:
    """Limits, and what every user has used of them.  One for all filesystems of a machine."""

    max_keys: int = 200
    max_bytes: int = 20_000
    root_max_keys: int = 1_000_000
    root_max_bytes: int = 25_000_000
    _keys: dict[int, int] = field(default_factory=dict)
    _bytes: dict[int, int] = field(default_factory=dict)

    def charge(self, uid: int) -> None:
        """Count one more claim of ``uid``.

        Raises:
            KeyQuotaExceeded: EDQUOT; nothing is counted.
        """
        keys, used = self._keys.get(uid, 0) + 1, self._bytes.get(uid, 0) + _claim_bytes(uid)
        limits = (self.max_keys, self.max_bytes) if uid else (self.root_max_keys, self.root_max_bytes)
        if keys > limits[0] or used > limits[1]:
            raise KeyQuotaExceeded(f"user {uid} may hold {limits[0]} keys and {limits[1]} bytes of keys")
        self._keys[uid], self._bytes[uid] = keys, used

    def release(self, uid: int) -> None:
        """A claim of ``uid`` is gone."""
        self._keys[uid] -= 1
        self._bytes[uid] -= _claim_bytes(uid)

    def used_keys(self, uid: int) -> int:
        """Claims of ``uid`` at present."""
        return self._keys.get(uid, 0)


def _claim_bytes(uid: int) -> int:
    return _PAYLOAD_BYTES + 2 * IDENTIFIER_BYTES + len(f".uid.{uid}") + 1
