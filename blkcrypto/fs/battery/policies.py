"""Fscrypt's own policies as the battery tries them: the small filesystem, one encrypted directory."""

import copy
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np

from blkcrypto.block.capabilities import EVERYTHING
from blkcrypto.crypto.hwkdf import HwDerived, derive
from blkcrypto.fs.attacker import Image
from blkcrypto.fs.battery.subject import Held, Loot, Place
from blkcrypto.fs.fscrypt.filesystem import ext4_like
from blkcrypto.fs.fscrypt.inherit import InodeKind
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.modes import ModeNum
from blkcrypto.fs.fscrypt.policy import IDENTIFIER_BYTES, Policy, PolicyFlags
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import gc, ioctls, namei
from blkcrypto.fs.smallfs.device import BackingDevice
from blkcrypto.fs.smallfs.disk import Disk, DiskInode
from blkcrypto.fs.smallfs.drive import MemoryDrive
from blkcrypto.fs.smallfs.mount import Mount

_BLOCK: Final = 4096
_UUID: Final = bytes(range(16))
_DIRECTORY: Final = "d"


class _WrappingUnit:
    """Hardware that can unwrap one key: the blob is a name for it."""

    def __init__(self, blob: bytes, hardware_key: bytes) -> None:
        self._blob = blob
        self._derived = derive(hardware_key)

    def _unwrapped(self, eph_key: bytes) -> HwDerived:
        assert eph_key == self._blob, "a blob of another device"
        return self._derived

    def inline_key(self, eph_key: bytes) -> bytes:
        return self._unwrapped(eph_key).inline_key

    def derive_sw_secret(self, eph_key: bytes) -> bytes:
        return self._unwrapped(eph_key).sw_secret


class PolicySubject:
    """``battery.Subject`` for one v2 policy.

    Args:
        name: the design's.
        flags: of the policy.
        master_key: raw, or a wrapped key's blob.
        rng: of nonces.
        hardware_key: what the hardware unwraps the blob to; empty for a raw master key.
    """

    def __init__(
        self,
        name: str,
        flags: PolicyFlags,
        master_key: bytes,
        rng: np.random.Generator,
        *,
        hardware_key: bytes = b"",
    ) -> None:
        self.name = name
        self.is_wrapped = bool(hardware_key)
        unit = _WrappingUnit(master_key, hardware_key) if hardware_key else None
        self._device = BackingDevice(MemoryDrive(_BLOCK, unit), native=EVERYTHING if hardware_key else None)
        self.medium = self._device.drive.medium
        self.disk = Disk()
        self._master_key = master_key
        self._rng = rng
        self.spec = KeySpecifier(KeySpecType.IDENTIFIER, bytes(IDENTIFIER_BYTES))
        self.mount = self._mounted()
        self.add_key()
        self._make_directory(flags)
        self.remove_key()

    def _make_directory(self, flags: PolicyFlags) -> None:
        adiantum = flags is PolicyFlags.DIRECT_KEY
        policy = Policy(
            contents_mode=ModeNum.ADIANTUM if adiantum else ModeNum.AES_256_XTS,
            filenames_mode=ModeNum.ADIANTUM if adiantum else ModeNum.AES_256_CTS,
            flags=int(flags | PolicyFlags.PAD_32),
            master_key=self.spec.key,
        )
        namei.create(self.mount, _DIRECTORY, InodeKind.DIRECTORY)
        directory = files.open_file(self.mount, _DIRECTORY)
        ioctls.set_policy(directory, policy.to_bytes())
        directory.close()

    def _mounted(self) -> Mount:
        return Mount(self.disk, ext4_like(_UUID), self._device, self._rng)

    def add_key(self) -> None:
        """See ``Subject``."""
        key = self._master_key
        arg = AddKeyArg(spec=self.spec, raw=key, raw_size=len(key), flags=int(self.is_wrapped))
        self.spec = ioctls.add_key(self.mount, arg)

    def remove_key(self) -> bool:
        """See ``Subject``."""
        return not ioctls.remove_key(self.mount, self.spec)

    def _open(self, path: str, *, make: bool = False) -> files.OpenFile:
        return files.open_file(self.mount, f"{_DIRECTORY}/{path}", make=make)

    def write(self, path: str, pos: int, data: bytes) -> None:
        """See ``Subject``."""
        file = self._open(path, make=True)
        try:
            file.write(pos, data)
        finally:
            file.close()

    def read(self, path: str) -> bytes:
        """See ``Subject``."""
        file = self._open(path)
        try:
            return file.read(0, file.inode.disk.size)
        finally:
            file.close()

    def hold(self, path: str) -> Held:
        """See ``Opens``."""
        return self._open(path)

    def sync(self) -> None:
        """See ``Subject``."""
        self.mount.sync_filesystem()

    def remount(self) -> None:
        """See ``Subject``."""
        self.mount.unmount()
        self.mount = self._mounted()

    def _regular(self) -> list[DiskInode]:
        return [inode for inode in self.disk.inodes.values() if inode.kind is InodeKind.REGULAR]

    def move(self) -> int:
        """See ``Subject``: as f2fs collects garbage."""
        used = sorted(self.disk.owners)
        return gc.collect(self.mount, range(used[0], used[-1] + 1)) if used else 0

    def truncate(self, path: str, size: int) -> None:
        """See ``Subject``."""
        files.truncate(self.mount, f"{_DIRECTORY}/{path}", size)

    def delete(self, path: str) -> None:
        """See ``Subject``."""
        namei.unlink(self.mount, f"{_DIRECTORY}/{path}")

    def delete_without_key(self) -> bool:
        """See ``Subject``: by its no-key name."""
        name = next(name for name in namei.readdir(self.mount, _DIRECTORY) if name not in (b".", b".."))
        namei.unlink(self.mount, f"{_DIRECTORY}/{name.decode()}")
        return True

    def image(self) -> Image:
        """See ``Attackable``: metadata is in clear, names and contents are not."""
        regular = self._regular()
        directories = [inode for inode in self.disk.inodes.values() if inode.kind is InodeKind.DIRECTORY]
        links: dict[Hashable, frozenset[int]] = {
            inode.ino: frozenset(inode.blocks.values()) for inode in regular
        }
        return Image(
            units=dict(self.medium),
            in_use=frozenset[int]().union(*links.values()),
            sizes=tuple(inode.size for inode in regular),
            names=tuple(name for inode in directories if inode.context is not None for name in inode.entries),
            contexts=tuple(inode.context for inode in self.disk.inodes.values() if inode.context is not None),
            links=links,
        )

    def save(self) -> object:
        """See ``Subject``."""
        self.sync()
        return copy.deepcopy(self.disk), dict(self.medium)

    def restore(self, saved: object) -> None:
        """See ``Subject``."""
        self.mount.unmount()
        assert isinstance(saved, tuple)
        disk, medium = saved
        self.disk = copy.deepcopy(disk)
        self.medium.clear()
        self.medium.update(medium)
        self.mount = self._mounted()

    def places(self, path: str) -> Sequence[Place]:
        """See ``Subject``."""
        self.sync()
        return [Place(path, lblk) for lblk in sorted(self._blocks(path))]

    def _blocks(self, path: str) -> dict[int, int]:
        return namei.existing(self.mount, f"{_DIRECTORY}/{path}").disk.blocks

    def lift(self, place: Place) -> Loot:
        """See ``Subject``."""
        return Loot(self.medium[self._blocks(place.path)[place.unit]])

    def plant(self, place: Place, loot: Loot, *, mend: bool) -> None:
        """See ``Subject``: there are no checksums."""
        del mend
        self.medium[self._blocks(place.path)[place.unit]] = loot.ciphertext
