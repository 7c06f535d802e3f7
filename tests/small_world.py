"""Small filesystems for tests: one key, one encrypted directory, a store in memory."""

import numpy as np

from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.policy import Policy, PolicyFlags
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.mount import Mount
from blkcrypto.fs.smallfs.store import SoftwareStore
from tests.fscrypt_world import CLASSIC, RAW, UUID
from tests.oracle.fscrypt_files import inline_key, sw_secret

ANY_IDENTIFIER = KeySpecifier(KeySpecType.IDENTIFIER, bytes(16))
OK_DEVICE = (lambda config: True,)


class WrappingStore(SoftwareStore):
    """A store over hardware that unwraps: a blob is the raw hardware key, inverted, behind a marker."""

    def _cipher(self, key: BlkCryptoKey) -> DataUnitCipher:
        if key.crypto_cfg.key_type is KeyType.HW_WRAPPED and key not in self._ciphers:
            self._ciphers[key] = new_cipher("AES-256-XTS", inline_key(unwrap(key.raw)))
        return super()._cipher(key)


def wrap(raw: bytes) -> bytes:
    return b"blob" + bytes(byte ^ 0xFF for byte in raw)


def unwrap(blob: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in blob[4:])


def new_mount(
    fs: FileSystem | None = None,
    *,
    store: SoftwareStore | None = None,
    disk: Disk | None = None,
    seed: int = 1,
    fs_name: str = "ext4",
) -> Mount:
    """A mount whose device takes every config, also wrapped keys."""
    facts = ext4_like(UUID, kernel=CLASSIC) if fs is None else fs
    return Mount(
        Disk() if disk is None else disk,
        facts,
        WrappingStore(facts.block_size) if store is None else store,
        np.random.default_rng(seed),
        fs_name=fs_name,
        devices=OK_DEVICE,
        derive_sw_secret=lambda blob: sw_secret(unwrap(blob)),
    )


def add_key(
    mount: Mount, raw: bytes = RAW, *, descriptor: bytes = b"", wrapped: bool = False
) -> KeySpecifier:
    """Add a key as root."""
    spec = KeySpecifier(KeySpecType.DESCRIPTOR, descriptor) if descriptor else ANY_IDENTIFIER
    return ioctls.add_key(mount, AddKeyArg(spec=spec, raw=raw, raw_size=len(raw), flags=int(wrapped)))


def encrypted_dir(
    mount: Mount,
    path: str,
    spec: KeySpecifier,
    *,
    modes: tuple[int, int] = (1, 4),
    flags: int = PolicyFlags.PAD_16,
    log2_data_unit_size: int = 0,
) -> Policy:
    """Make a directory with a policy."""
    policy = Policy(
        version=1 if spec.type is KeySpecType.DESCRIPTOR else 2,
        contents_mode=modes[0],
        filenames_mode=modes[1],
        flags=flags,
        master_key=spec.key,
        log2_data_unit_size=log2_data_unit_size,
    )
    namei.create(mount, path, InodeKind.DIRECTORY)
    set_policy(mount, path, policy)
    return policy


def set_policy(mount: Mount, path: str, policy: Policy) -> None:
    file = files.open_file(mount, path)
    try:
        ioctls.set_policy(file, policy.to_bytes())
    finally:
        file.close()


def write(mount: Mount, path: str, data: bytes, pos: int = 0) -> None:
    """Write a file and close it, without writing back."""
    file = files.open_file(mount, path, make=True)
    file.write(pos, data)
    file.close()


def read(mount: Mount, path: str) -> bytes:
    """A whole file."""
    file = files.open_file(mount, path)
    try:
        return file.read(0, file.inode.disk.size)
    finally:
        file.close()
