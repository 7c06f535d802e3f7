"""Arguments of the key ioctls, byte by byte, and the checks that need nothing but them.

Layout (include/uapi/linux/fscrypt.h; reference fscrypt.md section 1.4): a key specifier is a u32 type, a
u32 that must be 0, and 32 bytes of which a descriptor uses 8 and an identifier 16; the rest is ignored.
"""

import enum
import errno
import struct
from dataclasses import dataclass
from typing import Final, Self

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.policy import DESCRIPTOR_BYTES, IDENTIFIER_BYTES, Policy

ADD_KEY_ARG_BYTES: Final = 80
REMOVE_KEY_ARG_BYTES: Final = 64
KEY_STATUS_ARG_BYTES: Final = 128
_SPECIFIER = struct.Struct("<II32s")
_ADD_TAIL = struct.Struct("<III28s")
_REMOVE_RESERVED = slice(44, 64)
_STATUS_RESERVED = slice(40, 64)


class KeySpecifierInvalid(BlkCryptoError):
    """A key specifier of unknown type, or with its reserved word not zero."""

    errno = errno.EINVAL


class ReservedNotZero(BlkCryptoError):
    """Reserved fields of an ioctl's argument are not zero."""

    errno = errno.EINVAL


class AddKeyFlags(enum.IntFlag):
    """``fscrypt_add_key_arg.flags``."""

    HW_WRAPPED = 1


class KeySpecType(enum.IntEnum):
    """``FSCRYPT_KEY_SPEC_TYPE_*``; the value is also what provisioning keys carry."""

    DESCRIPTOR = 1
    IDENTIFIER = 2


_KEY_BYTES = {KeySpecType.DESCRIPTOR: DESCRIPTOR_BYTES, KeySpecType.IDENTIFIER: IDENTIFIER_BYTES}


@dataclass(frozen=True, slots=True)
class KeySpecifier:
    """How a master key is named: by a descriptor (v1) or an identifier (v2)."""

    type: KeySpecType
    key: bytes

    @classmethod
    def of_policy(cls, policy: Policy) -> Self:
        """The key that ``policy`` names."""
        kind = KeySpecType.DESCRIPTOR if policy.version == 1 else KeySpecType.IDENTIFIER
        return cls(kind, policy.master_key)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From its 40 bytes.

        Raises:
            KeySpecifierInvalid: EINVAL.
        """
        kind, reserved, union = _SPECIFIER.unpack(data[: _SPECIFIER.size])
        if reserved or kind not in _KEY_BYTES:
            raise KeySpecifierInvalid(f"key specifier type {kind}, reserved word {reserved}")
        spec_type = KeySpecType(kind)
        return cls(spec_type, union[: _KEY_BYTES[spec_type]])

    def to_bytes(self) -> bytes:
        """Its 40 bytes."""
        return _SPECIFIER.pack(self.type, 0, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddKeyArg:
    """``struct fscrypt_add_key_arg`` with the raw key that follows it.

    Attributes:
        spec: for an identifier only the type is read; the identifier is an output.
        raw: the raw or wrapped key; empty when ``key_id`` is given.
        raw_size: as the caller states it.
        key_id: serial number of a provisioning key, or 0.
        flags: ``AddKeyFlags``, unknown bits kept.
    """

    spec: KeySpecifier
    raw: bytes = b""
    raw_size: int
    key_id: int = 0
    flags: int = 0

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From 80 bytes and what follows.

        Raises:
            KeySpecifierInvalid, ReservedNotZero: EINVAL.
        """
        spec = KeySpecifier.from_bytes(data)
        raw_size, key_id, flags, reserved = _ADD_TAIL.unpack(data[_SPECIFIER.size : ADD_KEY_ARG_BYTES])
        _refuse_reserved(reserved)
        raw = data[ADD_KEY_ARG_BYTES : ADD_KEY_ARG_BYTES + raw_size]
        return cls(spec=spec, raw=raw, raw_size=raw_size, key_id=key_id, flags=flags)


def parse_remove_arg(data: bytes) -> KeySpecifier:
    """Key named by a 64-byte ``struct fscrypt_remove_key_arg``; raises as ``AddKeyArg.from_bytes``."""
    spec = KeySpecifier.from_bytes(data)
    _refuse_reserved(data[_REMOVE_RESERVED])
    return spec


def parse_status_arg(data: bytes) -> KeySpecifier:
    """Key named by a 128-byte ``struct fscrypt_get_key_status_arg``; raises as ``AddKeyArg.from_bytes``."""
    spec = KeySpecifier.from_bytes(data)
    _refuse_reserved(data[_STATUS_RESERVED])
    return spec


def _refuse_reserved(reserved: bytes) -> None:
    if any(reserved):
        raise ReservedNotZero("reserved fields must be zero")
