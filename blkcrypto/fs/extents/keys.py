"""From an extent's context to a key and the DUN of its first data unit.

Order of checks when an extent is made or loaded; the first that fails is what the caller sees:

===============  ==========================================================================================
heavyweight      EINVAL context length or version, EINVAL its policy unsupported, ENOKEY its master key absent
                 or removed, ENOKEY or EINVAL the key does not serve the policy
nonce-only       EINVAL length; ENOKEY the inode's master key is wiped
lightweight      EINVAL length or version, EINVAL identifier or mode differ from the inode's, ENOKEY wiped
IV-from-fs       EINVAL length; the shared key is made when the first file is unlocked
===============  ==========================================================================================

- The DUN is the offset in the extent, in data units: no inode, file offset or address enters it.  With
  IV-from-filesystem it is the stored IV plus that offset (assumption: as one little-endian number).
- Deriving from a wiped secret is refused; a state of zeroes would give a key that anyone can compute.
- A key must be evicted from every device before it is forgotten.

Source: reference fscrypt.md sections 6.1, 6.2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from blkcrypto.block.key import BlkCryptoKey, ConfigFlags, CryptoConfig, KeyType
from blkcrypto.fs.extents.contexts import LightContext, check_length
from blkcrypto.fs.extents.designs import FLAG_IV_FROM_FS, ExtentDesign, StoredForm
from blkcrypto.fs.extents.errors import ExtentContextMismatch, ExtentPolicyUnsupported
from blkcrypto.fs.fscrypt import iv
from blkcrypto.fs.fscrypt.derive import AnyMasterKey, check_master_key, inode_key_bytes
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.key_entry import MasterKeyEntry
from blkcrypto.fs.fscrypt.keyring import FsKeyring
from blkcrypto.fs.fscrypt.master_key import MasterKey
from blkcrypto.fs.fscrypt.modes import FscryptMode
from blkcrypto.fs.fscrypt.policy import NONCE_BYTES, Context, IvScheme, Policy, parse_context
from blkcrypto.fs.fscrypt.validate import check_supported

_MAX_FILE_BYTES: Final = (1 << 63) - 1


def btrfs_like(uuid: bytes) -> FileSystem:
    """A btrfs: 4 KiB blocks, 64-bit inode numbers, no data units smaller than a block."""
    return FileSystem(
        uuid=uuid,
        block_size=4096,
        s_maxbytes=_MAX_FILE_BYTES,
        has_stable_inodes=False,
        has_32bit_inodes=False,
        supports_subblock_data_units=False,
    )


def check_extent_policy(design: ExtentDesign, policy: Policy, fs: FileSystem) -> None:
    """Whether inodes of ``policy`` may exist on a filesystem with ``design``.

    Raises:
        ExtentPolicyUnsupported, UnsupportedPolicy: EINVAL.
    """
    if policy.version == 1 and not design.takes_v1:
        raise ExtentPolicyUnsupported(f"{design.name} takes no v1 policies")
    plain = policy
    if design.form is StoredForm.IV:
        if not policy.flags & FLAG_IV_FROM_FS:
            raise ExtentPolicyUnsupported(f"{design.name} needs the flag IV_FROM_FS")
        plain = replace(policy, flags=policy.flags & ~FLAG_IV_FROM_FS)
    check_supported(plain, fs)
    if plain.iv_scheme is not IvScheme.PER_FILE_KEY:
        raise ExtentPolicyUnsupported(f"{design.name} takes no policy with {plain.iv_scheme.value}")


def names_policy(policy: Policy) -> Policy:
    """The policy by which names are encrypted: as on any filesystem (assumption for IV-from-filesystem)."""
    return replace(policy, flags=policy.flags & ~FLAG_IV_FROM_FS)


@dataclass(slots=True, eq=False)
class ExtentInfo:
    """A loaded extent, as one inode sees it.

    Attributes:
        key: of its contents; its own or shared.
        first_dun: of the extent's first data unit.
        entry: the master key that it holds; None where it holds none.
        link: its number on that key's list.
    """

    key: BlkCryptoKey
    first_dun: int
    entry: MasterKeyEntry | None = None
    link: int = 0


class ExtentKeys:
    """Makes and loads extents' keys for one mount.

    Args:
        design: the filesystem's.
        fs: its facts.
        keyring: its master keys; the heavyweight design looks them up for every extent.
        flags: whether keys may go to hardware.
        evict_key: evicts a key from every device.
    """

    def __init__(
        self,
        design: ExtentDesign,
        fs: FileSystem,
        keyring: FsKeyring,
        *,
        flags: ConfigFlags,
        evict_key: Callable[[BlkCryptoKey], None],
    ) -> None:
        self._design = design
        self._fs = fs
        self._keyring = keyring
        self._flags = flags
        self._evict_key = evict_key
        self._configs: dict[FscryptMode, CryptoConfig] = {}
        self._links = 0
        self.live = 0
        self.made = 0

    def new_context(self, policy: Policy, random: Callable[[int], bytes]) -> bytes:
        """Context bytes for a new extent of an inode with ``policy``; ``random`` gives bytes."""
        form = self._design.form
        if form is StoredForm.IV:
            return random(policy.contents.iv_bytes)
        nonce = random(NONCE_BYTES)
        if form is StoredForm.FULL_CONTEXT:
            return Context(policy, nonce).to_bytes()
        if form is StoredForm.LIGHT_CONTEXT:
            return LightContext(policy.contents_mode, policy.master_key, nonce).to_bytes()
        return nonce

    def set_up(self, policy: Policy, entry: MasterKeyEntry, stored: bytes) -> ExtentInfo:
        """Key of an extent, made or loaded through an inode of ``policy`` whose master key is ``entry``.

        Raises:
            ContextUnrecognised, ExtentContextInvalid, ExtentContextMismatch, UnsupportedPolicy: EINVAL.
            NoSuchMasterKey, SecretWiped: ENOKEY.
        """
        form = self._design.form
        if form is StoredForm.FULL_CONTEXT:
            return self._heavy(stored)
        if form is StoredForm.IV:
            first_dun = int.from_bytes(check_length(stored, policy.contents.iv_bytes), "little")
            return ExtentInfo(self._shared_key(policy, entry.secret), first_dun)
        if form is StoredForm.LIGHT_CONTEXT:
            nonce = _matching(LightContext.from_bytes(stored), policy)
        else:
            nonce = check_length(stored, NONCE_BYTES)
        return self._from_nonce(policy, entry.secret, nonce)

    def _heavy(self, stored: bytes) -> ExtentInfo:
        context = parse_context(stored)
        policy = context.policy
        check_extent_policy(self._design, policy, self._fs)
        entry = self._keyring.entry_for(policy)
        check_master_key(policy, entry.secret, policy.contents)
        raw = inode_key_bytes(policy, entry.secret, self._fs, policy.contents, context.nonce)
        # The list is the inodes' too, which count up from 1.
        self._links -= 1
        entry.unlock(self._links)
        return ExtentInfo(self._new_key(policy, raw), 0, entry, self._links)

    def _from_nonce(self, policy: Policy, secret: AnyMasterKey, nonce: bytes) -> ExtentInfo:
        assert isinstance(secret, MasterKey), "the design takes v2 policies only"
        raw = secret.derive(self._design.hkdf_context, nonce, policy.contents.key_bytes)
        return ExtentInfo(self._new_key(policy, raw), 0)

    def prepare_inode(self, policy: Policy, entry: MasterKeyEntry) -> None:
        """A file is unlocked: make the key that its extents share with all others, if the design has one."""
        if not self._design.key_per_extent:
            self._shared_key(policy, entry.secret)

    def _shared_key(self, policy: Policy, secret: AnyMasterKey) -> BlkCryptoKey:
        assert isinstance(secret, MasterKey), "the design takes v2 policies only"
        mode = policy.contents

        def prepare() -> BlkCryptoKey:
            info = bytes((mode.number,))
            return self._new_key(policy, secret.derive(self._design.hkdf_context, info, mode.key_bytes))

        return secret.shared_key((self._design.name, mode.number), prepare)

    def _new_key(self, policy: Policy, raw: bytes) -> BlkCryptoKey:
        config = self._config(policy.contents)
        self.made += 1
        if self._design.key_per_extent:
            self.live += 1
        return BlkCryptoKey(config, self._fs.block_bits, raw, f"extent key {self.made}")

    def _config(self, mode: FscryptMode) -> CryptoConfig:
        config = self._configs.get(mode)
        if config is None:
            by_file = iv.dun_bytes(IvScheme.PER_FILE_KEY, self._fs, self._fs.block_bits)
            config = self._configs[mode] = CryptoConfig(
                crypto_mode=mode.blk_crypto_mode,
                data_unit_size=self._fs.block_size,
                dun_bytes=mode.iv_bytes if self._design.form is StoredForm.IV else by_file,
                key_type=KeyType.RAW,
                flags=self._flags,
            )
        return config

    def drop(self, info: ExtentInfo) -> None:
        """The extent is no longer loaded through that inode; its I/O is over."""
        if self._design.key_per_extent:
            self._evict_key(info.key)
            self.live -= 1
        if info.entry is not None:
            info.entry.lock(info.link)


def _matching(context: LightContext, policy: Policy) -> bytes:
    if context.identifier != policy.master_key:
        raise ExtentContextMismatch(f"the extent names key {context.identifier.hex()}, its inode another")
    if context.mode != policy.contents_mode:
        raise ExtentContextMismatch(f"the extent uses mode {context.mode}, its inode {policy.contents_mode}")
    return context.nonce


def dun_at(info: ExtentInfo, offset_bytes: int, mode: FscryptMode, block_bits: int) -> int:
    """DUN of the data unit at ``offset_bytes`` of the extent; wraps with the mode's IV."""
    return (info.first_dun + (offset_bytes >> block_bits)) % (1 << 8 * mode.iv_bytes)
