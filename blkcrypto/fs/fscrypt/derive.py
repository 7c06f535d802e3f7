"""From master key to the bytes of one inode's key, for contents, names and symlink targets.

Source: ``fscrypt_setup_v2_file_key()``, ``setup_per_mode_enc_key()``, fs/crypto/keysetup.c;
``fscrypt_setup_v1_file_key()``, fs/crypto/keysetup_v1.c; reference fscrypt.md sections 1.5, 2.1 to 2.4, 3.3.
"""

import errno
from typing import Final

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import KeyType
from blkcrypto.crypto.v1kdf import derive_v1
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.master_key import HkdfContext, MasterKey, SecretWiped
from blkcrypto.fs.fscrypt.modes import FscryptMode
from blkcrypto.fs.fscrypt.policy import IvScheme, Policy
from blkcrypto.fs.fscrypt.v1_key import MasterKeyV1

AnyMasterKey = MasterKey | MasterKeyV1

SHARED_KEY_CONTEXT: Final = {
    IvScheme.DIRECT_KEY: HkdfContext.DIRECT_KEY,
    IvScheme.IV_INO_LBLK_64: HkdfContext.IV_INO_LBLK_64_KEY,
    IvScheme.IV_INO_LBLK_32: HkdfContext.IV_INO_LBLK_32_KEY,
}


class MasterKeyTooShort(BlkCryptoError):
    """The master key is shorter than the mode needs: seen when a file is opened, not at ADD_KEY."""

    errno = errno.ENOKEY


class PolicyNeedsRawKey(BlkCryptoError):
    """A hardware-wrapped key works with the IV_INO_LBLK flags only: there is no per-file key to derive."""

    errno = errno.EINVAL


class PolicyForAnotherKey(BlkCryptoError):
    """The policy names another master key than the one given."""

    errno = errno.ENOKEY


def check_master_key(policy: Policy, master_key: AnyMasterKey, mode: FscryptMode) -> None:
    """Whether ``master_key`` can serve an inode of ``policy`` that uses ``mode``.

    Raises:
        PolicyForAnotherKey, MasterKeyTooShort: ENOKEY.
        PolicyNeedsRawKey: EINVAL.
    """
    if isinstance(master_key, MasterKeyV1):
        name, least = master_key.descriptor, mode.key_bytes
    else:
        name, least = master_key.identifier, mode.security_strength_bytes
    if name != policy.master_key:
        raise PolicyForAnotherKey(f"the policy names key {policy.master_key.hex()}, not {name.hex()}")
    if master_key.size < least:
        raise MasterKeyTooShort(f"{mode.name} needs a master key of {least} bytes, not {master_key.size}")
    if master_key.key_type is KeyType.HW_WRAPPED and policy.iv_scheme not in (
        IvScheme.IV_INO_LBLK_64,
        IvScheme.IV_INO_LBLK_32,
    ):
        raise PolicyNeedsRawKey("a hardware-wrapped key needs IV_INO_LBLK_64 or IV_INO_LBLK_32 in the policy")


def inode_key_bytes(
    policy: Policy, master_key: AnyMasterKey, fs: FileSystem, mode: FscryptMode, nonce: bytes
) -> bytes:
    """Key of ``mode`` for the inode with ``nonce``, as software derives it: not a wrapped key's contents key.

    Args:
        policy: the inode's, supported and naming ``master_key``.
        master_key: its secret still present.
        fs: whose UUID enters the IV_INO_LBLK keys.
        mode: the policy's contents mode for a regular file, else its filenames mode.
        nonce: the inode's 16 bytes; only per-file keys depend on it.

    Raises:
        SecretWiped: the master key was removed (ENOKEY).
    """
    scheme = policy.iv_scheme
    if isinstance(master_key, MasterKeyV1):
        if not master_key.raw:
            raise SecretWiped(f"master key {master_key.descriptor.hex()} was removed")
        if scheme is IvScheme.DIRECT_KEY:
            return master_key.raw[: mode.key_bytes]
        master_key.derivations += 1
        return derive_v1(master_key.raw, nonce, mode.key_bytes)
    if scheme is IvScheme.PER_FILE_KEY:
        return master_key.derive(HkdfContext.PER_FILE_ENC_KEY, nonce, mode.key_bytes)
    info = bytes((mode.number,))
    if scheme is not IvScheme.DIRECT_KEY:
        info += fs.uuid
    return master_key.derive(SHARED_KEY_CONTEXT[scheme], info, mode.key_bytes)
