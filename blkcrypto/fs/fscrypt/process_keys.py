"""Keys outside the filesystem: process keyrings (legacy v1) and provisioning keys.

Rules (security/keys; fs/crypto/keyring.c, keysetup_v1.c; reference fscrypt.md sections 1.4, 1.5):

- A v1 key may sit in the caller's session keyring as a "logon" key whose description is ``fscrypt:`` or the
  filesystem's name, a colon, and the descriptor in lower-case hex; its payload is 72 bytes: u32 mode
  (ignored), 64 bytes of key, u32 size.  A payload that does not hold says ENOKEY.
- A "fscrypt-provisioning" key carries u32 type, u32 flags and the raw or wrapped key; it is checked when it
  is made, and may be given to ADD_KEY by its serial number, for its own type and flags only.
- Revoking a key does not disturb files that use it already.
"""

import errno
import struct
from dataclasses import dataclass
from typing import Final, Literal

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import MAX_HW_WRAPPED_KEY_BYTES, MAX_RAW_KEY_BYTES
from blkcrypto.fs.fscrypt.key_args import AddKeyFlags, KeySpecType
from blkcrypto.fs.fscrypt.master_key import MIN_MASTER_KEY_BYTES

_PROVISIONING_HEAD = struct.Struct("<II")
_LOGON_PAYLOAD = struct.Struct("<I64sI")

KeyKind = Literal["user", "logon", "fscrypt-provisioning"]


class NoSuchKey(BlkCryptoError):
    """No key of that serial number or description in the caller's keyrings, or an unusable one."""

    errno = errno.ENOKEY


class KeyRevoked(BlkCryptoError):
    """The key was revoked."""

    errno = errno.EKEYREVOKED


class KeyRejected(BlkCryptoError):
    """The key has another type, or other flags, than what it is wanted for."""

    errno = errno.EKEYREJECTED


class PayloadInvalid(BlkCryptoError):
    """The payload of a new key is not what its type demands."""

    errno = errno.EINVAL


@dataclass(slots=True)
class ProcessKey:
    """A key in a process keyring."""

    serial: int
    kind: KeyKind
    description: str
    payload: bytes
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class ProvisioningKey:
    """Payload of a "fscrypt-provisioning" key."""

    type: KeySpecType
    flags: int
    raw: bytes


def parse_provisioning(payload: bytes) -> ProvisioningKey:
    """Check and split a provisioning payload.

    Raises:
        PayloadInvalid: too short or long, unknown type or flags (EINVAL).
    """
    size = len(payload) - _PROVISIONING_HEAD.size
    if not MIN_MASTER_KEY_BYTES <= size <= MAX_HW_WRAPPED_KEY_BYTES:
        raise PayloadInvalid(f"a provisioning payload with {size} bytes of key")
    kind, flags = _PROVISIONING_HEAD.unpack_from(payload)
    if kind not in (KeySpecType.DESCRIPTOR, KeySpecType.IDENTIFIER):
        raise PayloadInvalid(f"a provisioning key of type {kind}: use 1 (descriptor) or 2 (identifier)")
    if flags & ~int(AddKeyFlags.HW_WRAPPED):
        raise PayloadInvalid(f"a provisioning key with flags {flags:#x}")
    if not flags and size > MAX_RAW_KEY_BYTES:
        raise PayloadInvalid(f"a raw provisioning key of {size} bytes: at most {MAX_RAW_KEY_BYTES}")
    return ProvisioningKey(KeySpecType(kind), flags, payload[_PROVISIONING_HEAD.size :])


class ProcessKeyring:
    """The keyrings one process can search, taken as one."""

    def __init__(self) -> None:
        self._keys: dict[int, ProcessKey] = {}

    def add(self, kind: KeyKind, description: str, payload: bytes) -> int:
        """``add_key(2)``; the serial number.

        Raises:
            PayloadInvalid: a provisioning payload that does not hold; a logon description without a
                colon (EINVAL).
        """
        if kind == "fscrypt-provisioning":
            parse_provisioning(payload)
        elif kind == "logon" and description.find(":") < 1:
            raise PayloadInvalid(f"logon key {description!r}: its description needs a prefix and a colon")
        for key in self._keys.values():
            if (key.kind, key.description) == (kind, description):
                key.payload, key.revoked = payload, False
                return key.serial
        serial = len(self._keys) + 1
        self._keys[serial] = ProcessKey(serial, kind, description, payload)
        return serial

    def revoke(self, serial: int) -> None:
        """``keyctl revoke``."""
        self._keys[serial].revoked = True

    def provisioning(self, serial: int, kind: KeySpecType, flags: int) -> bytes:
        """Raw or wrapped key of a provisioning key, for ADD_KEY.

        Raises:
            NoSuchKey: no such serial number (ENOKEY).
            KeyRevoked: EKEYREVOKED.
            KeyRejected: another kind of key, type or flags (EKEYREJECTED).
        """
        key = self._keys.get(serial)
        if key is None:
            raise NoSuchKey(f"there is no key {serial}")
        if key.revoked:
            raise KeyRevoked(f"key {serial} was revoked")
        if key.kind != "fscrypt-provisioning":
            raise KeyRejected(f"key {serial} is a {key.kind} key")
        held = parse_provisioning(key.payload)
        if (held.type, held.flags) != (kind, flags):
            raise KeyRejected(f"key {serial} has type {held.type.name} and flags {held.flags:#x}")
        return held.raw

    def v1_key(self, fs_name: str, descriptor: bytes, min_bytes: int) -> bytes:
        """Master key of a v1 policy, by its generic or else its filesystem's own prefix.

        Raises:
            NoSuchKey: none, or its payload does not hold, or it has fewer than ``min_bytes`` (ENOKEY).
            KeyRevoked: EKEYREVOKED.
        """
        for prefix in ("fscrypt:", f"{fs_name}:"):
            key = self._find("logon", prefix + descriptor.hex())
            if key is not None:
                return _logon_key(key, min_bytes)
        raise NoSuchKey(f"no logon key for descriptor {descriptor.hex()}")

    def _find(self, kind: KeyKind, description: str) -> ProcessKey | None:
        for key in self._keys.values():
            if (key.kind, key.description) == (kind, description):
                return key
        return None


def _logon_key(key: ProcessKey, min_bytes: int) -> bytes:
    if key.revoked:
        raise KeyRevoked(f"key {key.description} was revoked")
    size = -1
    raw = b""
    if len(key.payload) == _LOGON_PAYLOAD.size:
        _, raw, size = _LOGON_PAYLOAD.unpack(key.payload)
    if not 1 <= size <= MAX_RAW_KEY_BYTES or size < min_bytes:
        raise NoSuchKey(f"key {key.description} has no payload that holds {min_bytes} bytes of key")
    return raw[:size]


LOGON_PAYLOAD_BYTES: Final = _LOGON_PAYLOAD.size


def logon_payload(raw: bytes, size: int | None = None) -> bytes:
    """``struct fscrypt_key`` for ``raw``; ``size`` as stated in it, if not the true one."""
    return _LOGON_PAYLOAD.pack(0, raw, len(raw) if size is None else size)
