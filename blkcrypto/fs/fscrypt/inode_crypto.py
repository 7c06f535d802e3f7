"""Encryption state of cached inodes: found, set up, and taken down again.

Rules (``fscrypt_get_encryption_info()``, ``fscrypt_prepare_new_inode()``, ``fscrypt_put_encryption_info()``,
fs/crypto/keysetup.c; reference fscrypt.md sections 1.5, 2.5, 5):

- An inode without its key is not an error until something needs the key; lookups, listings and deletions
  also live with policies they do not support, and treat them as a key that is not there.
- Key sizes, missing algorithms and policies a key cannot serve show here, not when key or policy is set.
- A v1 policy whose key the filesystem does not have falls back to the caller's process keyrings; such an
  inode has no link to any master key, so removing a key does not find it.
- An inode's own key is evicted from every device before it is forgotten; then the master key is told.
"""

import errno
from collections.abc import Callable, Collection
from dataclasses import dataclass

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import BlkCryptoKey, CryptoConfig
from blkcrypto.fs.fscrypt.casefold import dirhash_key
from blkcrypto.fs.fscrypt.derive import AnyMasterKey, check_master_key
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import KeySpecifier
from blkcrypto.fs.fscrypt.key_entry import MasterKeyEntry
from blkcrypto.fs.fscrypt.keyring import FsKeyring
from blkcrypto.fs.fscrypt.keysetup import KeySetup
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.modes import FscryptMode, ModeNum
from blkcrypto.fs.fscrypt.names import NameCipher
from blkcrypto.fs.fscrypt.paths import ContentsPath, select_path
from blkcrypto.fs.fscrypt.policy import Context, ContextUnrecognised, Policy, parse_context
from blkcrypto.fs.fscrypt.process_keys import NoSuchKey, ProcessKeyring
from blkcrypto.fs.fscrypt.v1_key import MasterKeyV1
from blkcrypto.fs.fscrypt.validate import CasefoldNeedsV2, UnsupportedPolicy, check_supported


class AlgorithmMissing(BlkCryptoError):
    """The kernel was built without the cipher."""

    errno = errno.ENOPKG


@dataclass(slots=True, eq=False)
class CryptInfo:
    """``struct fscrypt_inode_info``: an inode whose key is set up.

    Attributes:
        policy: of the inode.
        nonce: its 16 bytes.
        entry: the master key it holds; None when the key came from a process keyring.
        setup: contents keys and DUNs, for a regular file.
        path: who encrypts the contents, for a regular file.
        names: cipher of a directory's names or a symlink's target.
        dirhash_key: of a casefolded directory, 16 bytes that key the hashes of its names.
    """

    policy: Policy
    nonce: bytes
    entry: MasterKeyEntry | None
    setup: KeySetup | None = None
    path: ContentsPath | None = None
    names: NameCipher | None = None
    dirhash_key: bytes | None = None


class InodeCrypto:
    """Sets up and takes down the encryption state of one filesystem's inodes.

    Args:
        fs: facts of the filesystem.
        fs_name: prefix of its legacy logon keys: ``ext4``, ``f2fs``.
        keyring: its master keys.
        evict_key: evicts a contents key from every device.
        start_using_key: makes every device ready for a contents key that goes through blk-crypto; may raise.
        devices: for every device, whether it or its fallback supports a config.
        missing: modes the kernel was built without.
    """

    def __init__(
        self,
        fs: FileSystem,
        fs_name: str,
        keyring: FsKeyring,
        *,
        evict_key: Callable[[BlkCryptoKey], None],
        start_using_key: Callable[[BlkCryptoKey], None] = lambda _key: None,
        devices: Collection[Callable[[CryptoConfig], bool]] = (),
        missing: Collection[ModeNum] = (),
    ) -> None:
        self._fs = fs
        self._fs_name = fs_name
        self._keyring = keyring
        self._evict_key = evict_key
        self._start_using_key = start_using_key
        self._devices = tuple(devices)
        self._missing = frozenset(missing)
        self._setups: dict[Policy, KeySetup] = {}

    def load(
        self,
        ino: int,
        kind: InodeKind,
        stored: bytes,
        *,
        casefolded: bool = False,
        allow_unsupported: bool = False,
        process_keys: ProcessKeyring | None = None,
    ) -> CryptInfo | None:
        """Set up an inode from its on-disk context; None when its key is not there.

        Args:
            ino: inode number.
            kind: regular file, directory or symlink.
            stored: context bytes.
            casefolded: whether it is a casefolded directory.
            allow_unsupported: treat what this kernel cannot use as a missing key.
            process_keys: the caller's keyrings.

        Raises:
            ContextUnrecognised, UnsupportedPolicy, PolicyNeedsRawKey: EINVAL.
            AlgorithmMissing: ENOPKG.
            KeyRevoked: EKEYREVOKED.
        """
        try:
            context = parse_context(stored)
            check_supported(context.policy, self._fs, casefolded=casefolded)
            return self.new(ino, kind, context, casefolded=casefolded, process_keys=process_keys)
        except (ContextUnrecognised, UnsupportedPolicy, AlgorithmMissing):
            if allow_unsupported:
                return None
            raise
        except BlkCryptoError as error:
            if error.errno == errno.ENOKEY:
                return None
            raise

    def new(
        self,
        ino: int,
        kind: InodeKind,
        context: Context,
        *,
        casefolded: bool = False,
        process_keys: ProcessKeyring | None = None,
    ) -> CryptInfo:
        """Set up an inode, new or loaded, of a supported policy; arguments as ``load`` has them.

        Raises:
            NoSuchMasterKey, MasterKeyTooShort, NoSuchKey: ENOKEY.
            PolicyNeedsRawKey: EINVAL.
            AlgorithmMissing: ENOPKG.
            KeyRevoked: EKEYREVOKED.
            BlkCryptoError: no device can use the key, as ``blkcrypto.block.api.start_using_key`` says it.
        """
        policy = context.policy
        mode = policy.contents if kind is InodeKind.REGULAR else policy.filenames
        entry, master_key = self._master_key(policy, mode, process_keys)
        check_master_key(policy, master_key, mode)
        if mode.number in self._missing:
            raise AlgorithmMissing(f"{mode.name} is not built into this kernel")
        info = CryptInfo(policy, context.nonce, entry)
        if kind is InodeKind.REGULAR:
            self._prepare_contents(info, ino, master_key)
        else:
            info.names = NameCipher(policy, master_key, self._fs, ino=ino, nonce=context.nonce)
            if casefolded and isinstance(master_key, MasterKey):
                info.dirhash_key = dirhash_key(master_key, context.nonce)
        if entry is not None:
            entry.unlock(ino)
        return info

    def _prepare_contents(self, info: CryptInfo, ino: int, master_key: AnyMasterKey) -> None:
        setup = self._setup(info.policy, master_key)
        info.setup = setup
        info.path = select_path(self._fs, setup.scheme, setup.config, self._devices)
        key = setup.contents_key(ino, info.nonce)
        if info.path is ContentsPath.BLK_CRYPTO:
            try:
                self._start_using_key(key)
            except BlkCryptoError:
                setup.forget(ino)
                raise

    def start_casefolding(self, info: CryptInfo) -> None:
        """An encrypted directory whose key is set up becomes casefolded: ``fscrypt_prepare_setflags()``.

        Raises:
            CasefoldNeedsV2: EINVAL.
            NoSuchMasterKey: the key was removed, so no other can be derived from it (ENOKEY).
        """
        if info.policy.version == 1:
            raise CasefoldNeedsV2("a directory with a v1 policy cannot be casefolded")
        secret = self._keyring.entry_for(info.policy).secret
        assert isinstance(secret, MasterKey), "v2 policies have such keys"
        info.dirhash_key = dirhash_key(secret, info.nonce)

    def drop(self, ino: int, info: CryptInfo) -> None:
        """The inode leaves the cache; its I/O is over."""
        gone: tuple[BlkCryptoKey, ...] = ()
        if info.setup is not None:
            own = info.setup.forget(ino)
            if own is not None:
                gone = (own,)
            elif info.entry is None and not info.setup.live_inodes:
                gone = info.setup.master_key.drop_shared_keys()
        for key in gone:
            self._evict_key(key)
        if info.entry is not None:
            info.entry.lock(ino)

    def _master_key(
        self, policy: Policy, mode: FscryptMode, process_keys: ProcessKeyring | None
    ) -> tuple[MasterKeyEntry | None, AnyMasterKey]:
        if self._keyring.find(KeySpecifier.of_policy(policy)) is not None or policy.version != 1:
            entry = self._keyring.entry_for(policy)
            return entry, entry.secret
        if process_keys is None:
            raise NoSuchKey(f"no key for descriptor {policy.master_key.hex()}")
        raw = process_keys.v1_key(self._fs_name, policy.master_key, mode.key_bytes)
        known = self._setups.get(policy)
        # The same bytes are the same key: DIRECT_KEY files share it, as in Linux's table of direct keys.
        if known is not None and isinstance(known.master_key, MasterKeyV1) and known.master_key.raw == raw:
            return None, known.master_key
        return None, MasterKeyV1(raw, policy.master_key)

    def _setup(self, policy: Policy, master_key: AnyMasterKey) -> KeySetup:
        known = self._setups.get(policy)
        if known is None or known.master_key is not master_key:
            known = KeySetup(policy, master_key, self._fs, allow_hw=self._fs.inlinecrypt)
            self._setups[policy] = known
        return known
