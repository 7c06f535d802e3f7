"""Encryption policies and contexts, byte by byte.

Rules (include/uapi/linux/fscrypt.h, fs/crypto/policy.c; reference fscrypt.md section 1.4):

- A "v1" policy carries version 0 in the ioctl's struct and version 1 on disk; v2 carries 2 in both.
- A context is its policy followed by the inode's 16-byte nonce; its length must be
  exactly the one of its version.
- Two policies are the same when every field is, padding bits included.
"""

import enum
import errno
import struct
from dataclasses import dataclass
from typing import Final, Literal

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.modes import FSCRYPT_MODES, FscryptMode, ModeNum

NONCE_BYTES: Final = 16
DESCRIPTOR_BYTES: Final = 8
IDENTIFIER_BYTES: Final = 16
SET_CONTEXT_MAX_BYTES: Final = 40

_POLICY_V1 = struct.Struct("<BBBB8s")
_POLICY_V2 = struct.Struct("<BBBBB3s16s")
_VERSION_BYTE_V1_IOCTL = 0
_VERSION_BYTE_V1_DISK = 1
_VERSION_BYTE_V2 = 2


class PolicyVersionUnknown(BlkCryptoError):
    """The version byte of a policy struct is neither 0 nor 2."""

    errno = errno.EINVAL


class ContextUnrecognised(BlkCryptoError):
    """An on-disk context of unknown version, or of a length its version does not have."""

    errno = errno.EINVAL


class PolicyFlags(enum.IntFlag):
    """``FSCRYPT_POLICY_FLAG_*``; the two low bits are the padding of names."""

    PAD_4 = 0x00
    PAD_8 = 0x01
    PAD_16 = 0x02
    PAD_32 = 0x03
    DIRECT_KEY = 0x04
    IV_INO_LBLK_64 = 0x08
    IV_INO_LBLK_32 = 0x10


PAD_MASK: Final = 0x03


class IvScheme(enum.Enum):
    """Where IVs and keys come from: what the three exclusive flags choose."""

    PER_FILE_KEY = "per-file"
    DIRECT_KEY = "direct-key"
    IV_INO_LBLK_64 = "iv-ino-lblk-64"
    IV_INO_LBLK_32 = "iv-ino-lblk-32"


# Plain integers: this is asked for every inode, and IntFlag arithmetic is slow.
_SCHEME_FLAGS: Final = (
    (int(PolicyFlags.IV_INO_LBLK_64), IvScheme.IV_INO_LBLK_64),
    (int(PolicyFlags.IV_INO_LBLK_32), IvScheme.IV_INO_LBLK_32),
    (int(PolicyFlags.DIRECT_KEY), IvScheme.DIRECT_KEY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``union fscrypt_policy``.  Holds any bytes a caller may pass: ``validate.check_supported`` judges them.

    Attributes:
        version: 1 or 2; what the struct says for v1 depends on where it stands.
        contents_mode: mode number for regular files.
        filenames_mode: mode number for names and symlink targets.
        flags: ``PolicyFlags`` bits, unknown ones kept.
        master_key: 8-byte descriptor (v1) or 16-byte identifier (v2).
        log2_data_unit_size: v2 only; 0 stands for the filesystem block size.
        reserved: v2 only; must be zero.
    """

    version: Literal[1, 2] = 2
    contents_mode: int = ModeNum.AES_256_XTS
    filenames_mode: int = ModeNum.AES_256_CTS
    flags: int = PolicyFlags.PAD_32
    master_key: bytes
    log2_data_unit_size: int = 0
    reserved: bytes = bytes(3)

    def __post_init__(self) -> None:
        wanted = DESCRIPTOR_BYTES if self.version == 1 else IDENTIFIER_BYTES
        if len(self.master_key) != wanted:
            raise ValueError(
                f"a v{self.version} policy names its key by {wanted} bytes, not {len(self.master_key)}"
            )

    @property
    def iv_scheme(self) -> IvScheme:
        """Tested in the order of ``fscrypt_generate_iv()``; the flags are exclusive in a supported policy."""
        for bit, scheme in _SCHEME_FLAGS:
            if self.flags & bit:
                return scheme
        return IvScheme.PER_FILE_KEY

    @property
    def padding(self) -> int:
        """Names are NUL-padded to a multiple of this many bytes."""
        return 4 << (self.flags & PAD_MASK)

    @property
    def contents(self) -> FscryptMode:
        """Mode row for regular files; ``KeyError`` unless the policy is supported."""
        return FSCRYPT_MODES[self.contents_mode]

    @property
    def filenames(self) -> FscryptMode:
        """Mode row for directories and symlinks; ``KeyError`` unless the policy is supported."""
        return FSCRYPT_MODES[self.filenames_mode]

    def data_unit_bits(self, fs: FileSystem) -> int:
        """log2 of the data unit size in force: ``fscrypt_policy_du_bits()``."""
        return self.log2_data_unit_size or fs.block_bits

    def to_bytes(self) -> bytes:
        """The ioctl's struct: 12 bytes (v1) or 24 (v2)."""
        return self._pack(_VERSION_BYTE_V1_IOCTL)

    def _pack(self, v1_version_byte: int) -> bytes:
        if self.version == 1:
            return _POLICY_V1.pack(
                v1_version_byte, self.contents_mode, self.filenames_mode, self.flags, self.master_key
            )
        return _POLICY_V2.pack(
            _VERSION_BYTE_V2,
            self.contents_mode,
            self.filenames_mode,
            self.flags,
            self.log2_data_unit_size,
            self.reserved,
            self.master_key,
        )


def _unpack(version: Literal[1, 2], data: bytes) -> Policy:
    if version == 1:
        _, contents, filenames, flags, descriptor = _POLICY_V1.unpack(data)
        return Policy(
            version=1, contents_mode=contents, filenames_mode=filenames, flags=flags, master_key=descriptor
        )
    _, contents, filenames, flags, log2_size, reserved, identifier = _POLICY_V2.unpack(data)
    return Policy(
        contents_mode=contents,
        filenames_mode=filenames,
        flags=flags,
        log2_data_unit_size=log2_size,
        reserved=reserved,
        master_key=identifier,
    )


def parse_policy(data: bytes) -> Policy:
    """Policy from the ioctl's struct; bytes after the struct are not read, as the kernel does not.

    Raises:
        PolicyVersionUnknown: version byte neither 0 nor 2 (EINVAL).
        ValueError: fewer bytes than the version's struct has (the kernel would fault).
    """
    version = data[0] if data else -1
    if version == _VERSION_BYTE_V1_IOCTL:
        version_number: Literal[1, 2] = 1
        size = _POLICY_V1.size
    elif version == _VERSION_BYTE_V2:
        version_number, size = 2, _POLICY_V2.size
    else:
        raise PolicyVersionUnknown(f"policy version {version}: use 0 (called v1) or 2")
    if len(data) < size:
        raise ValueError(f"a v{version_number} policy has {size} bytes, not {len(data)}")
    return _unpack(version_number, data[:size])


@dataclass(frozen=True, slots=True)
class Context:
    """``union fscrypt_context``: what an encrypted inode keeps on disk, in an xattr.

    Attributes:
        policy: as set on the directory it was created in.
        nonce: 16 bytes, unique to the inode.
    """

    policy: Policy
    nonce: bytes

    def to_bytes(self) -> bytes:
        """28 bytes (v1) or 40 (v2)."""
        return self.policy._pack(_VERSION_BYTE_V1_DISK) + self.nonce


def context_bytes(policy: Policy) -> int:
    """On-disk size of a context of this policy's version."""
    return (_POLICY_V1.size if policy.version == 1 else _POLICY_V2.size) + NONCE_BYTES


def parse_context(data: bytes) -> Context:
    """Context from its on-disk bytes.

    Raises:
        ContextUnrecognised: unknown version, or not exactly the length of its version (EINVAL).
    """
    version = data[0] if data else -1
    if version == _VERSION_BYTE_V1_DISK and len(data) == _POLICY_V1.size + NONCE_BYTES:
        policy = _unpack(1, data[: _POLICY_V1.size])
    elif version == _VERSION_BYTE_V2 and len(data) == _POLICY_V2.size + NONCE_BYTES:
        policy = _unpack(2, data[: _POLICY_V2.size])
    else:
        raise ContextUnrecognised(f"encryption context of version {version} with {len(data)} bytes")
    return Context(policy, data[-NONCE_BYTES:])
