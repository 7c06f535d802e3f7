"""What each key design stores with an extent, byte by byte.

=============  =====  =============================================================================
design         bytes  layout
=============  =====  =============================================================================
heavyweight    40     an inode's context: ``fscrypt.policy.Context`` (28 with a v1 policy)
nonce-only     16     nonce
lightweight    34     version 1, contents mode, 16-byte master key identifier, 16-byte nonce
IV-from-fs     16-32  IV of the extent's first data unit, as long as the mode's
=============  =====  =============================================================================

Sources: the postings named in reference fscrypt.md sections 1.4 and 6.1 (2022, June and September 2023, v7).
"""

import struct
from dataclasses import dataclass
from typing import Final, Self

from blkcrypto.fs.extents.errors import ExtentContextInvalid
from blkcrypto.fs.fscrypt.policy import IDENTIFIER_BYTES, NONCE_BYTES

_LIGHT = struct.Struct(f"<BB{IDENTIFIER_BYTES}s{NONCE_BYTES}s")
_LIGHT_VERSION: Final = 1
LIGHT_CONTEXT_BYTES: Final = _LIGHT.size
_TYPE_BITS: Final = 2
_SIZE_LIMIT: Final = 1 << 6


@dataclass(frozen=True, slots=True)
class LightContext:
    """Context of an extent as proposed in v1 to v7.

    Attributes:
        mode: number of the contents mode.
        identifier: of the master key.
        nonce: 16 bytes, the extent's own.
    """

    mode: int
    identifier: bytes
    nonce: bytes

    def to_bytes(self) -> bytes:
        """34 bytes."""
        return _LIGHT.pack(_LIGHT_VERSION, self.mode, self.identifier, self.nonce)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """From its 34 bytes.

        Raises:
            ExtentContextInvalid: another length or version (EINVAL).
        """
        if len(data) != _LIGHT.size or data[0] != _LIGHT_VERSION:
            raise ExtentContextInvalid(f"extent context of version {data[:1].hex()} with {len(data)} bytes")
        _, mode, identifier, nonce = _LIGHT.unpack(data)
        return cls(mode, identifier, nonce)


def check_length(data: bytes, wanted: int) -> bytes:
    """``data``, if it has the ``wanted`` length; nonces and IVs say nothing else about themselves.

    Raises:
        ExtentContextInvalid: EINVAL.
    """
    if len(data) != wanted:
        raise ExtentContextInvalid(f"extent context with {len(data)} bytes, not {wanted}")
    return data


def pack_encryption(kind: int, context_bytes: int) -> int:
    """The item's ``encryption`` byte while contexts were appended: 2 bits of type, 6 bits of size."""
    if not 0 <= context_bytes < _SIZE_LIMIT or not 0 <= kind < 1 << _TYPE_BITS:
        raise ValueError(f"type {kind} with {context_bytes} bytes does not fit 2 + 6 bits")
    return kind | context_bytes << _TYPE_BITS


def unpack_encryption(packed: int) -> tuple[int, int]:
    """Type and context size; inverse of ``pack_encryption``."""
    return packed & (1 << _TYPE_BITS) - 1, packed >> _TYPE_BITS
