"""Which policies a filesystem supports: the checks in Linux's order, one error class per cause.

All of them are EINVAL; the class and message say why, where the kernel prints a warning.

Source: ``fscrypt_supported_policy()`` and what it calls, fs/crypto/policy.c; reference fscrypt.md
sections 1.2, 1.3, 3.3.
"""

import errno
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.units import SECTOR_SHIFT
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.iv import max_file_dun_bits
from blkcrypto.fs.fscrypt.modes import FSCRYPT_MODES, VALID_PAIRS_V1, VALID_PAIRS_V2, ModeNum
from blkcrypto.fs.fscrypt.policy import NONCE_BYTES, PAD_MASK, IvScheme, Policy, PolicyFlags

# Plain integers: the complement of an IntFlag has only the bits that the enumeration names.
_EXCLUSIVE: Final = int(PolicyFlags.DIRECT_KEY | PolicyFlags.IV_INO_LBLK_64 | PolicyFlags.IV_INO_LBLK_32)
_FLAGS_V1: Final = PAD_MASK | int(PolicyFlags.DIRECT_KEY)
_FLAGS_V2: Final = PAD_MASK | _EXCLUSIVE
# offsetofend(union fscrypt_iv, nonce): the index's 8 bytes, then the nonce.
_DIRECT_KEY_IV_BYTES: Final = 8 + NONCE_BYTES
_MAX_LBLK_BITS: Final = 32


class UnsupportedPolicy(BlkCryptoError):
    """This kernel, or this filesystem, does not support the policy."""

    errno = errno.EINVAL


class ModesUnsupported(UnsupportedPolicy):
    """The pair of contents and filenames modes is not one of the allowed ones."""


class FlagsUnsupported(UnsupportedPolicy):
    """A flag that does not exist, or not for this policy version."""


class FlagsExclusive(UnsupportedPolicy):
    """More than one of DIRECT_KEY, IV_INO_LBLK_64 and IV_INO_LBLK_32."""


class DataUnitSizeUnsupported(UnsupportedPolicy):
    """The data unit size is outside 512 to block size, or the filesystem offers no choice."""


class DirectKeyUnsupported(UnsupportedPolicy):
    """DIRECT_KEY needs one mode for contents and names, with room for the nonce in its IV: Adiantum."""


class IvInoLblkUnsupported(UnsupportedPolicy):
    """IV_INO_LBLK_*: needs AES-256-XTS, stable 32-bit inode numbers, and 32-bit data unit indices."""


class ReservedNotZero(UnsupportedPolicy):
    """Reserved bytes of the policy struct are not zero."""


class CasefoldNeedsV2(UnsupportedPolicy):
    """A v1 policy on a casefolded directory: its names need a keyed hash, which v1 cannot derive."""


def check_supported(policy: Policy, fs: FileSystem, *, casefolded: bool = False) -> None:
    """Return when ``fs`` supports ``policy``; ``casefolded`` is about the directory or inode that gets it.

    Raises:
        UnsupportedPolicy: one of its subclasses (EINVAL), the first that Linux finds.
    """
    if policy.version == 1:
        _check_v1(policy, casefolded=casefolded)
    else:
        _check_v2(policy, fs)


def _check_v1(policy: Policy, *, casefolded: bool) -> None:
    _check_modes(policy)
    if policy.flags & ~_FLAGS_V1:
        raise FlagsUnsupported(f"flags {policy.flags:#04x} in a v1 policy: only padding and DIRECT_KEY exist")
    if policy.flags & PolicyFlags.DIRECT_KEY:
        _check_direct_key(policy)
    if casefolded:
        raise CasefoldNeedsV2("a casefolded directory takes no v1 policy: use v2")


def _check_v2(policy: Policy, fs: FileSystem) -> None:
    _check_modes(policy)
    if policy.flags & ~_FLAGS_V2:
        raise FlagsUnsupported(f"flags {policy.flags:#04x}: unknown bits {policy.flags & ~_FLAGS_V2:#04x}")
    if (policy.flags & _EXCLUSIVE).bit_count() > 1:
        raise FlagsExclusive(f"flags {policy.flags:#04x}: choose one of DIRECT_KEY and the IV_INO_LBLK flags")
    _check_data_unit_size(policy, fs)
    if policy.flags & PolicyFlags.DIRECT_KEY:
        _check_direct_key(policy)
    if policy.flags & (PolicyFlags.IV_INO_LBLK_64 | PolicyFlags.IV_INO_LBLK_32):
        _check_iv_ino_lblk(policy, fs)
    if any(policy.reserved):
        raise ReservedNotZero(f"reserved bytes {policy.reserved.hex()}: set them to zero")


def _check_modes(policy: Policy) -> None:
    pairs = VALID_PAIRS_V1 if policy.version == 1 else VALID_PAIRS_V2
    if (policy.contents_mode, policy.filenames_mode) not in pairs:
        raise ModesUnsupported(
            f"modes {policy.contents_mode} and {policy.filenames_mode}: no pair of a v{policy.version} policy"
        )


def _check_data_unit_size(policy: Policy, fs: FileSystem) -> None:
    log2_size = policy.log2_data_unit_size
    if not log2_size:
        return
    if not fs.supports_subblock_data_units:
        raise DataUnitSizeUnsupported("this filesystem has no choice of data unit size: use 0")
    if not SECTOR_SHIFT <= log2_size <= fs.block_bits:
        raise DataUnitSizeUnsupported(
            f"log2_data_unit_size {log2_size}: use {SECTOR_SHIFT} to {fs.block_bits} (a block), or 0"
        )
    if log2_size != fs.block_bits and policy.flags & PolicyFlags.IV_INO_LBLK_32:
        raise DataUnitSizeUnsupported(
            "IV_INO_LBLK_32 works with whole blocks only: use log2_data_unit_size 0"
        )


def _check_direct_key(policy: Policy) -> None:
    mode = FSCRYPT_MODES[policy.contents_mode]
    if policy.contents_mode != policy.filenames_mode or mode.iv_bytes < _DIRECT_KEY_IV_BYTES:
        raise DirectKeyUnsupported(
            "DIRECT_KEY puts the nonce into the IV, which only Adiantum for both has room for"
        )


def _check_iv_ino_lblk(policy: Policy, fs: FileSystem) -> None:
    if policy.contents_mode != ModeNum.AES_256_XTS:
        raise IvInoLblkUnsupported("IV_INO_LBLK policies exist for AES-256-XTS contents only")
    if not fs.has_stable_inodes:
        raise IvInoLblkUnsupported("the filesystem may change inode numbers or its UUID: needs stable_inodes")
    if not fs.has_32bit_inodes:
        raise IvInoLblkUnsupported("the filesystem's inode numbers do not fit 32 bits")
    index_bits = max_file_dun_bits(fs, policy.data_unit_bits(fs))
    if index_bits > _MAX_LBLK_BITS:
        raise IvInoLblkUnsupported(f"data unit indices need {index_bits} bits, IV_INO_LBLK has room for 32")
    if policy.iv_scheme is IvScheme.IV_INO_LBLK_32 and fs.always_blk_crypto and fs.block_size != fs.page_size:
        raise IvInoLblkUnsupported("IV_INO_LBLK_32 needs a block size equal to the page size")
