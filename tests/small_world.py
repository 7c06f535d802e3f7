"""Small filesystems for tests: one key, one encrypted directory, a drive in memory."""

from collections.abc import Callable

import numpy as np

from blkcrypto.block.bio import Bio
from blkcrypto.block.capabilities import EVERYTHING, Capabilities
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.policy import Policy, PolicyFlags
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls, namei
from blkcrypto.fs.smallfs.device import BackingDevice
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.drive import MemoryDrive
from blkcrypto.fs.smallfs.mount import Mount
from tests.fscrypt_world import CLASSIC, EXT4, RAW, UUID
from tests.oracle.fscrypt_files import inline_key, sw_secret

ANY_IDENTIFIER = KeySpecifier(KeySpecType.IDENTIFIER, bytes(16))
Seen = tuple[ReqOp, int, int, int | None]


class Unit:
    """Hardware that wraps keys: a blob is the raw hardware key, inverted, behind a marker."""

    def inline_key(self, eph_key: bytes) -> bytes:
        return inline_key(unwrap(eph_key))

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        return sw_secret(unwrap(eph_key))


def wrap(raw: bytes) -> bytes:
    return b"blob" + bytes(byte ^ 0xFF for byte in raw)


def unwrap(blob: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in blob[4:])


def new_device(
    fs: FileSystem,
    *,
    native: Capabilities | None = EVERYTHING,
    watch: Callable[[Bio], None] = lambda _bio: None,
    has_fallback: bool = True,
) -> BackingDevice:
    """A device whose engine takes every config, also wrapped keys."""
    return BackingDevice(
        MemoryDrive(fs.block_size, Unit()),
        native=native,
        era=fs.kernel,
        page_bytes=fs.page_size,
        has_fallback=has_fallback,
        watch=watch,
    )


def new_mount(
    fs: FileSystem | None = None,
    *,
    device: BackingDevice | None = None,
    disk: Disk | None = None,
    seed: int = 1,
    fs_name: str = "ext4",
) -> Mount:
    """A mount of a new disk on a new device, or of those given."""
    facts = ext4_like(UUID, kernel=CLASSIC) if fs is None else fs
    return Mount(
        Disk() if disk is None else disk,
        facts,
        new_device(facts) if device is None else device,
        np.random.default_rng(seed),
        fs_name=fs_name,
    )


def remount(mount: Mount, fs: FileSystem | None = None) -> Mount:
    """Unmount and mount again: same disk and medium, empty keyring and caches."""
    mount.unmount()
    return new_mount(fs or mount.fs, disk=mount.disk, device=mount.device, seed=2)


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


class Watched:
    """A mount with one encrypted directory ``d``, and the bios of its files since they were last taken."""

    def __init__(
        self,
        fs: FileSystem = EXT4,
        *,
        flags: int = 0,
        disk: Disk | None = None,
        native: Capabilities | None = EVERYTHING,
        log2_data_unit_size: int = 0,
    ) -> None:
        self._seen: list[Seen] = []
        self.vecs: list[list[tuple[int, int]]] = []
        self.device = new_device(fs, watch=self._see, native=native)
        self.mount = new_mount(fs, disk=disk, device=self.device)
        self.spec = add_key(self.mount)
        encrypted_dir(self.mount, "d", self.spec, flags=flags, log2_data_unit_size=log2_data_unit_size)

    def _see(self, bio: Bio) -> None:
        dun = None if bio.crypt_ctx is None else bio.crypt_ctx.dun
        self._seen.append((bio.op, bio.sector * 512 // self.mount.fs.block_size, bio.nbytes, dun))
        self.vecs.append([(vec.address % 4096, vec.length) for vec in bio.vecs])

    def taken(self) -> list[Seen]:
        """Operation, first block, bytes and DUN of each bio."""
        seen, self._seen, self.vecs = self._seen, [], []
        return seen

    def open(self, path: str = "d/f") -> files.OpenFile:
        return files.open_file(self.mount, path, make=True)
