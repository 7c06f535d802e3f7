"""Contents keys and DUNs of the files of one policy: what a filesystem attaches to its bios.

Rules (fs/crypto/keysetup.c, inline_crypt.c; reference fscrypt.md sections 2.5, 3.1):

- Per-file keys: one key object per inode, from its first use until the inode is forgotten.
- DIRECT_KEY, IV_INO_LBLK_*: one object per (context, mode, data unit size, form, filesystem) under the
  master key, however many policies and inodes share it.
- With a hardware-wrapped master key the contents key is the wrapped blob, whatever the mode and filesystem.

Memory figures are estimates from the sizes of Linux's structures on a 64-bit machine.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blkcrypto.block.key import BlkCryptoKey, ConfigFlags, CryptoConfig, KeyType
from blkcrypto.fs.fscrypt import iv
from blkcrypto.fs.fscrypt.derive import AnyMasterKey, check_master_key, inode_key_bytes
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.policy import IvScheme, Policy, context_bytes
from blkcrypto.fs.fscrypt.validate import check_supported

# Assumption: struct fscrypt_inode_info has some 130 bytes; struct blk_crypto_key (128 key bytes and its
# configuration) is served from the 192-byte slab.
INODE_INFO_BYTES: Final = 136
BLK_CRYPTO_KEY_BYTES: Final = 192


@dataclass(frozen=True, slots=True)
class KeyCosts:
    """What a policy's key design costs so far.

    Attributes:
        derivations: key derivations of the master key.
        on_disk_bytes: encryption contexts of the inodes set up, one each.
        in_memory_bytes: estimate for the inodes not yet forgotten, and their keys.
    """

    derivations: int
    on_disk_bytes: int
    in_memory_bytes: int


class KeySetup:
    """Contents keys and DUNs under one policy, one master key, one filesystem.

    Args:
        policy: the files' policy.
        master_key: named by the policy.
        fs: facts of the filesystem.
        allow_hw: whether the keys may go to hardware (the mount option ``inlinecrypt``).
        first_data_unit_size_wins: the bug of kernels 6.7 to 7.2 under ``inlinecrypt``: policies that share a
            key get the one made first, with its data unit size.

    Raises:
        UnsupportedPolicy: the filesystem does not support the policy (EINVAL).
        MasterKeyTooShort, PolicyForAnotherKey: ENOKEY.
        PolicyNeedsRawKey: EINVAL.
    """

    def __init__(
        self,
        policy: Policy,
        master_key: AnyMasterKey,
        fs: FileSystem,
        *,
        allow_hw: bool = True,
        first_data_unit_size_wins: bool = False,
    ) -> None:
        check_supported(policy, fs)
        check_master_key(policy, master_key, policy.contents)
        self.policy = policy
        self.master_key = master_key
        self.fs = fs
        self.scheme = policy.iv_scheme
        self.data_unit_bits = policy.data_unit_bits(fs)
        self.config = CryptoConfig(
            crypto_mode=policy.contents.blk_crypto_mode,
            data_unit_size=1 << self.data_unit_bits,
            dun_bytes=iv.dun_bytes(self.scheme, fs, self.data_unit_bits),
            key_type=master_key.key_type,
            flags=ConfigFlags.NONE if fs.kernel.allow_hw_flag and not allow_hw else ConfigFlags.ALLOW_HW,
        )
        self._shared_data_unit = None if first_data_unit_size_wins else self.data_unit_bits
        self._live: dict[int, BlkCryptoKey] = {}
        self._forgotten: set[int] = set()
        self._hashed_inos: dict[int, int] = {}

    def contents_key(self, ino: int, nonce: bytes) -> BlkCryptoKey:
        """Key object of a regular file: the same object on every call until ``forget``.

        Args:
            ino: inode number, by which the object is kept.
            nonce: the inode's 16 bytes; only per-file keys depend on it.

        Raises:
            SecretWiped: the master key was removed, and this key was not made before (ENOKEY).
        """
        key = self._live.get(ino)
        if key is None:
            if self.scheme is IvScheme.PER_FILE_KEY:
                key = self._new_key(nonce, ino)
            else:
                key = self._shared_key()
            self._live[ino] = key
            self._forgotten.discard(ino)
        return key

    def forget(self, ino: int) -> BlkCryptoKey | None:
        """The inode left the cache.  Its own key, which every device must now evict; None if shared."""
        key = self._live.pop(ino, None)
        if key is not None:
            self._forgotten.add(ino)
        self._hashed_inos.pop(ino, None)
        return key if self.scheme is IvScheme.PER_FILE_KEY else None

    def first_dun(self, ino: int, nonce: bytes, unit_index: int) -> int:
        """DUN of the file's data unit ``unit_index`` (position >> data_unit_bits)."""
        hashed = self.hashed_ino(ino) if self.scheme is IvScheme.IV_INO_LBLK_32 else 0
        return iv.first_dun(self.scheme, unit_index, ino=ino, hashed_ino=hashed, nonce=nonce)

    def hashed_ino(self, ino: int) -> int:
        """Where the file's IV_INO_LBLK_32 DUNs begin; hashed once per inode."""
        hashed = self._hashed_inos.get(ino)
        if hashed is None:
            assert isinstance(self.master_key, MasterKey), "v1 policies have no inode hash"
            hashed = self._hashed_inos[ino] = self.master_key.hash_inode(ino)
        return hashed

    def duns(self, inos: npt.NDArray[np.int64], unit_index: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """Lowest 64 bits of the DUN of many data units.

        Args:
            inos: ``int64[n]``.
            unit_index: data unit's index in its file, ``int64[n]``.

        Returns:
            ``uint64[n]``: the whole DUN, except under DIRECT_KEY, where the nonce stands above it.
        """
        hashed = None
        if self.scheme is IvScheme.IV_INO_LBLK_32 and isinstance(self.master_key, MasterKey):
            distinct, where = np.unique(inos, return_inverse=True)
            hashed = self.master_key.hash_inodes(distinct)[where]
        return iv.low_limbs(self.scheme, unit_index, inos=inos, hashed_inos=hashed)

    def limit_io_blocks(self, ino: int, lblk: int, nr_blocks: int) -> int:
        """How many of ``nr_blocks`` from logical block ``lblk`` one bio may hold."""
        if self.scheme is not IvScheme.IV_INO_LBLK_32:
            return nr_blocks
        return iv.limit_io_blocks(self.scheme, self.hashed_ino(ino), lblk, nr_blocks)

    @property
    def live_inodes(self) -> int:
        """Inodes set up and not forgotten."""
        return len(self._live)

    @property
    def costs(self) -> KeyCosts:
        """What the key design costs so far; the master key's derivations count whoever asked for them."""
        own = len(set(map(id, self._live.values())))
        return KeyCosts(
            derivations=self.master_key.derivations,
            on_disk_bytes=(len(self._live) + len(self._forgotten)) * context_bytes(self.policy),
            in_memory_bytes=len(self._live) * INODE_INFO_BYTES + own * BLK_CRYPTO_KEY_BYTES,
        )

    def _shared_key(self) -> BlkCryptoKey:
        mode = self.policy.contents
        form = (self.config.key_type, self.config.flags)
        identity = (self.scheme, mode.number, self._shared_data_unit, form, self.fs.uuid)
        return self.master_key.shared_key(
            identity, lambda: self._new_key(b"", f"{self.scheme.value} {mode.name}")
        )

    def _new_key(self, nonce: bytes, owner: str | int) -> BlkCryptoKey:
        if isinstance(self.master_key, MasterKey) and self.master_key.key_type is KeyType.HW_WRAPPED:
            raw = self.master_key.wrapped_blob
        else:
            raw = inode_key_bytes(self.policy, self.master_key, self.fs, self.policy.contents, nonce)
        # Not by init_key: its checks are implied by those above, and all keys share one configuration.
        return BlkCryptoKey(self.config, self.data_unit_bits, raw, owner)
