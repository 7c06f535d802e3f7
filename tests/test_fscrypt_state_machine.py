"""Keys come and go while files are open, written, synced and evicted: what must hold at every moment."""

import errno
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.capabilities import EVERYTHING
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.fs.fscrypt.filesystem import FileSystem
from blkcrypto.fs.fscrypt.key_entry import KeyStatus, RemovalFlags
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs import ioctls
from blkcrypto.fs.smallfs.device import BackingDevice
from blkcrypto.fs.smallfs.drive import MemoryDrive
from tests.fscrypt_world import CLASSIC, EXT4, RAW, SHORT_RAW
from tests.small_world import add_key, encrypted_dir, new_mount, read, write

KEYS = (RAW, SHORT_RAW)
# The second key's files share one contents key; the first key's have their own.
FLAGS = (0, PolicyFlags.IV_INO_LBLK_64)
FILES = tuple(f"d{which}/f{number}" for which in range(2) for number in range(3))

which_key = st.sampled_from(range(2))
which_file = st.sampled_from(FILES)


class EvictionLog(BackingDevice):
    """A device that remembers which keys it was to forget."""

    def __init__(self, fs: FileSystem) -> None:
        super().__init__(MemoryDrive(fs.block_size), native=EVERYTHING, keyslots=3, era=fs.kernel)
        self.evicted: list[BlkCryptoKey] = []

    def evict_key(self, key: BlkCryptoKey) -> None:
        self.evicted.append(key)
        super().evict_key(key)


Result = TypeVar("Result")


def attempt(action: Callable[[], Result]) -> tuple[int, Result | None]:
    """Errno and result; errno 0 when it worked."""
    try:
        return 0, action()
    except BlkCryptoError as error:
        return error.errno, None


class KeysAndFiles(RuleBasedStateMachine):
    """A model of plain bytes beside the small filesystem, whose contents a drive encrypts."""

    fs = EXT4

    @initialize()
    def start(self) -> None:
        self.device = EvictionLog(self.fs)
        self.mount = new_mount(self.fs, device=self.device)
        self.specs = [add_key(self.mount, raw) for raw in KEYS]
        for number, spec in enumerate(self.specs):
            encrypted_dir(self.mount, f"d{number}", spec, flags=FLAGS[number])
        self.model: dict[str, bytearray] = {}
        self.open: dict[str, files.OpenFile] = {}
        for path in FILES:
            write(self.mount, path, path.encode() * 100)
            self.model[path] = bytearray(path.encode() * 100)

    @property
    def broken(self) -> bool:
        return self.device.drive.write_status is not BlkStatus.OK

    def status(self, which: int) -> KeyStatus:
        return ioctls.key_status(self.mount, self.specs[which]).status

    @rule(which=which_key)
    def add(self, which: int) -> None:
        add_key(self.mount, KEYS[which])
        assert self.status(which) is KeyStatus.PRESENT

    @rule(which=which_key)
    def remove(self, which: int) -> None:
        before = self.status(which)
        number, flags = attempt(lambda: ioctls.remove_key(self.mount, self.specs[which]))
        after = self.status(which)
        assert (number == errno.ENOKEY) == (before is KeyStatus.ABSENT)
        if number == errno.ENOKEY:
            return
        if number == errno.EIO:
            # Dirty files stay, closed or not; the error hides which.
            assert self.broken
            return
        held_open = any(path.startswith(f"d{which}/") for path in self.open)
        assert (flags == RemovalFlags.FILES_BUSY) == held_open
        assert after is (KeyStatus.INCOMPLETELY_REMOVED if held_open else KeyStatus.ABSENT)

    @rule(path=which_file)
    def open_file(self, path: str) -> None:
        if path in self.open:
            return
        present = self.status(int(path[1])) is KeyStatus.PRESENT
        inode = next((i for i in self.mount.cached if i.disk.ino == self.ino(path)), None)
        unlocked = inode is not None and inode.info is not None
        directory = next((i for i in self.mount.cached if i.disk.ino == self.ino(path[:2])), None)
        finds_names = present or (directory is not None and directory.info is not None)
        number, file = attempt(lambda: files.open_file(self.mount, path))
        if not finds_names:
            assert number == errno.ENOENT
        elif not (present or unlocked):
            assert number == errno.ENOKEY
        else:
            assert file is not None
            self.open[path] = file

    def ino(self, path: str) -> int:
        # Inodes are numbered as they are made: d0, d1, then the files in order.
        return 12 + ([*("d0", "d1"), *FILES].index(path))

    @rule(path=which_file, at=st.integers(0, 9000), data=st.binary(min_size=1, max_size=300))
    def write_open_file(self, path: str, at: int, data: bytes) -> None:
        file = self.open.get(path)
        if file is not None:
            self.write_to(file, path, at, data)

    def write_to(self, file: files.OpenFile, path: str, at: int, data: bytes) -> None:
        file.write(at, data)
        model = self.model[path]
        model.extend(bytes(max(0, at + len(data) - len(model))))
        model[at : at + len(data)] = data

    @rule(path=which_file, data=st.binary(min_size=1, max_size=30))
    def write_and_close(self, path: str, data: bytes) -> None:
        """What leaves a dirty file that nobody has open."""
        _, file = attempt(lambda: files.open_file(self.mount, path))
        if file is not None:
            self.write_to(file, path, 10, data)
            file.close()

    @rule(path=which_file)
    def read_open_file(self, path: str) -> None:
        file = self.open.get(path)
        if file is not None:
            assert file.read(0, 20000) == bytes(self.model[path])

    @rule(path=which_file)
    def fsync_open_file(self, path: str) -> None:
        if path in self.open:
            number, _ = attempt(self.open[path].fsync)
            assert number in (0, errno.EIO if self.broken else 0)

    @rule(path=which_file)
    def close_file(self, path: str) -> None:
        if path in self.open:
            self.open.pop(path).close()

    @rule(path=which_file)
    def forget_clean_pages(self, path: str) -> None:
        file = self.open.get(path)
        if file is not None and not file.inode.has_dirty:
            file.inode.drop_pages()

    @rule()
    def sync(self) -> None:
        attempt(self.mount.sync_filesystem)

    @rule()
    def memory_pressure(self) -> None:
        attempt(self.mount.drop_caches)

    @rule(broken=st.booleans())
    def the_disk_breaks_or_recovers(self, broken: bool) -> None:
        self.device.drive.write_status = BlkStatus.IOERR if broken else BlkStatus.OK

    @rule(which=which_key)
    def create(self, which: int) -> None:
        """Creating works exactly while the key is present."""
        present = self.status(which) is KeyStatus.PRESENT
        number, file = attempt(lambda: files.open_tmpfile(self.mount, f"d{which}"))
        assert number == (0 if present else errno.ENOKEY)
        if file is not None:
            file.write(0, b"nobody will read this")
            file.close()

    @invariant()
    def a_key_is_evicted_once(self) -> None:
        if hasattr(self, "mount"):
            evicted = self.device.evicted
            assert all(count == 1 for count in Counter(map(id, evicted)).values())
            held = self.device.keys_held | self.mount.blocks.contents.keys_held
            assert not held & set(evicted)

    @invariant()
    def no_key_is_evicted_with_io_in_flight(self) -> None:
        """The block layer would warn."""
        if hasattr(self, "mount"):
            assert not self.device.kernel.log

    @invariant()
    def nothing_of_an_absent_key_is_left(self) -> None:
        if not hasattr(self, "mount"):
            return
        for which in range(2):
            if self.status(which) is KeyStatus.ABSENT:
                names = [self.specs[which].key]
                infos = [inode.info for inode in self.mount.cached if inode.info is not None]
                assert not [info for info in infos if info.policy.master_key in names]

    def teardown(self) -> None:
        """No acknowledged write is lost: with the keys back, every file has what was written to it."""
        if not hasattr(self, "mount"):
            return
        self.device.drive.write_status = BlkStatus.OK
        for file in self.open.values():
            file.close()
        self.mount.unmount()
        assert not self.device.keys_held | self.mount.blocks.contents.keys_held
        again = new_mount(self.fs, disk=self.mount.disk, device=self.device, seed=2)
        for raw in KEYS:
            add_key(again, raw)
        for path, expected in self.model.items():
            assert read(again, path) == bytes(expected)


class ByTheFallback(KeysAndFiles):
    """The kernel encrypts on the CPU."""

    fs = replace(EXT4, inlinecrypt=False)


class ByTheFilesystem(KeysAndFiles):
    """The filesystem encrypts for itself, as up to 7.2."""

    fs = replace(EXT4, inlinecrypt=False, kernel=CLASSIC)


TestByTheDrive = KeysAndFiles.TestCase
TestByTheFallback = ByTheFallback.TestCase
TestByTheFilesystem = ByTheFilesystem.TestCase
TestByTheDrive.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestByTheFallback.settings = TestByTheFilesystem.settings = TestByTheDrive.settings
