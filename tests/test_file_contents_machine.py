"""Two files written, read, cut and moved in any order, by any way: what is read is what was written."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from blkcrypto.block.bio import Bio
from blkcrypto.fs.fscrypt.filesystem import ext4_like
from blkcrypto.fs.fscrypt.policy import PolicyFlags
from blkcrypto.fs.smallfs import file as files
from blkcrypto.fs.smallfs.allocator import NextFree
from blkcrypto.fs.smallfs.disk import Disk
from blkcrypto.fs.smallfs.gc import collect
from tests.fscrypt_world import CLASSIC, UUID
from tests.small_world import add_key, encrypted_dir, new_device, new_mount, read, remount

# Four blocks to a page, and two pages to a file: few enough for everything to meet.
BLOCK, MOST = 1024, 8
BLK_CRYPTO = ext4_like(UUID, block_size=BLOCK, kernel=CLASSIC)
FS_LAYER = replace(BLK_CRYPTO, inlinecrypt=False)

which = st.sampled_from("ab")
places = st.integers(0, MOST * BLOCK - 1)
block_ranges = st.tuples(st.integers(0, MOST - 1), st.integers(1, MOST))


class Contents(RuleBasedStateMachine):
    """Plain bytes beside files whose contents blk-crypto encrypts."""

    fs = BLK_CRYPTO
    flags = PolicyFlags(0)
    log2_data_unit_size = 9

    @initialize()
    def start(self) -> None:
        self.gathering = False
        device = new_device(self.fs, watch=self.check_bio)
        self.mount = new_mount(self.fs, device=device, disk=Disk(NextFree(end=3 * MOST)))
        encrypted_dir(
            self.mount,
            "d",
            add_key(self.mount),
            flags=self.flags,
            log2_data_unit_size=self.log2_data_unit_size,
        )
        self.model = {name: bytearray() for name in "ab"}
        self.open = {name: files.open_file(self.mount, f"d/{name}", make=True) for name in "ab"}
        for name in "ab":
            # A hole from the beginning: on disk the blocks around it follow each other.
            self.write(name, 0, b"before the hole")
            self.write(name, 3 * BLOCK, b"behind it")
            self.open[name].fsync()

    def check_bio(self, bio: Bio) -> None:
        """Every block has its file's key and the DUN of its place, or nothing where nobody encrypts here."""
        assert (bio.crypt_ctx is None) == (self.gathering or self.fs is FS_LAYER)
        if bio.crypt_ctx is None:
            return
        first = bio.sector * 512 // BLOCK
        for at in range(bio.nbytes // BLOCK):
            ino, lblk = self.mount.disk.owners[first + at]
            inode = self.mount.inode(ino)
            assert inode.info is not None
            assert inode.info.setup is not None
            units = BLOCK >> inode.info.setup.data_unit_bits
            assert bio.crypt_ctx.key is inode.info.setup.contents_key(ino, inode.info.nonce)
            expected = inode.info.setup.first_dun(ino, inode.info.nonce, lblk * units)
            assert bio.crypt_ctx.dun + at * units == expected

    def put(self, name: str, pos: int, data: bytes) -> None:
        model = self.model[name]
        model.extend(bytes(max(0, pos + len(data) - len(model))))
        model[pos : pos + len(data)] = data

    @rule(name=which, pos=places, data=st.binary(min_size=1, max_size=3000))
    def write(self, name: str, pos: int, data: bytes) -> None:
        data = data[: MOST * BLOCK - pos]
        self.open[name].write(pos, data)
        self.put(name, pos, data)

    @rule(name=which, where=block_ranges, byte=st.integers(1, 255), address=st.integers(0, 3))
    def write_directly(self, name: str, where: tuple[int, int], byte: int, address: int) -> None:
        first, count = where
        data = bytes([byte]) * min(count, MOST - first) * BLOCK
        self.open[name].direct_write(first * BLOCK, data, address * BLOCK)
        self.put(name, first * BLOCK, data)

    @rule(name=which, pos=places, length=st.integers(0, MOST * BLOCK))
    def read(self, name: str, pos: int, length: int) -> None:
        assert self.open[name].read(pos, length) == bytes(self.model[name][pos : pos + length])

    @rule(name=which, where=block_ranges, address=st.integers(0, 3))
    def read_directly(self, name: str, where: tuple[int, int], address: int) -> None:
        pos, length = where[0] * BLOCK, where[1] * BLOCK
        found = self.open[name].direct_read(pos, length, address * BLOCK)
        assert found == bytes(self.model[name][pos : pos + length])

    @rule(name=which, size=places)
    def truncate(self, name: str, size: int) -> None:
        self.open[name].truncate(size)
        model = self.model[name]
        del model[size:]
        model.extend(bytes(size - len(model)))

    @rule(name=which, pos=places, length=st.integers(1, 5 * BLOCK))
    def punch_hole(self, name: str, pos: int, length: int) -> None:
        self.open[name].punch_hole(pos, length)
        model = self.model[name]
        end = min(pos + length, len(model))
        model[pos:end] = bytes(max(0, end - pos))

    @rule(name=which)
    def sync(self, name: str) -> None:
        self.open[name].fsync()

    @rule(name=which)
    def forget_pages(self, name: str) -> None:
        self.open[name].fsync()
        self.open[name].inode.pages.clear()

    @rule(first=st.integers(1, 2 * MOST), count=st.integers(1, 6))
    def collect(self, first: int, count: int) -> None:
        stretch = range(first, min(first + count, 2 * MOST))
        self.gathering = True
        if len(self.mount.disk.owners) + len(stretch) < 2 * MOST:
            collect(self.mount, stretch)
            assert not any(block in self.mount.disk.owners for block in stretch)
        self.gathering = False

    def teardown(self) -> None:
        """Whoever encrypts on another mount finds the same."""
        if not hasattr(self, "open"):
            return
        for file in self.open.values():
            file.close()
        other = FS_LAYER if self.fs is BLK_CRYPTO else BLK_CRYPTO
        self.mount.sync_filesystem()
        inodes = self.mount.disk.inodes.values()
        mapped = {block: (inode.ino, lblk) for inode in inodes for lblk, block in inode.blocks.items()}
        assert mapped == self.mount.disk.owners
        again = remount(self.mount, other)
        again.device.watch = lambda _bio: None
        add_key(again)
        for name, model in self.model.items():
            assert read(again, f"d/{name}") == bytes(model)


class UnderOneKey(Contents):
    """One key for both files, and data units of a block."""

    flags = PolicyFlags.IV_INO_LBLK_64
    log2_data_unit_size = 0


class ByTheFilesystem(Contents):
    """The filesystem encrypts for itself."""

    fs = FS_LAYER


_SETTINGS = settings(deadline=None, max_examples=100, stateful_step_count=40)
TestByBlkCrypto = Contents.TestCase
TestUnderOneKey = UnderOneKey.TestCase
TestByTheFilesystem = ByTheFilesystem.TestCase
TestByBlkCrypto.settings = TestUnderOneKey.settings = TestByTheFilesystem.settings = _SETTINGS
