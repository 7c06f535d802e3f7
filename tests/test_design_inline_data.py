"""Encrypted inline data: the helper as posted, and the alternatives of its review."""

import copy
import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.waiting import Task
from blkcrypto.crypto.cipher import DataUnitCipher, new_cipher
from blkcrypto.fs.fscrypt.caller import ROOT
from blkcrypto.fs.fscrypt.filesystem import FileSystem, ext4_like
from blkcrypto.fs.fscrypt.inode_crypto import CryptInfo
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.policy import Context, Policy, PolicyFlags
from blkcrypto.fs.fscrypt.process_keys import logon_payload
from blkcrypto.fs.inline_data.designs import DESIGNS
from blkcrypto.fs.inline_data.mount import CachedFile, InlineMount
from blkcrypto.fs.inline_data.region import ALTERNATIVES, PER_MODE_MUTEX
from blkcrypto.fs.inline_data.volume import (
    FLAG_ENCRYPTED,
    FLAG_INLINE,
    INCOMPAT_ENCRYPTED_INLINE_DATA,
    InlineLayout,
    InodeRecord,
    Volume,
    ext4_layout,
    f2fs_layout,
)
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import ALLOC_SKCIPHER, KEY_SEMAPHORE, Ctx, Strictness
from blkcrypto.fs.store import SoftwareStore
from tests.fscrypt_world import CLASSIC, EXT4, INO, NONCE, RAW, UUID
from tests.oracle.design_inline_data import region
from tests.oracle.fscrypt_files import Subject, contents_unit, inline_key, sw_secret
from tests.small_world import ANY_IDENTIFIER, unwrap, wrap

INLINE = INCOMPAT_ENCRYPTED_INLINE_DATA
STORING = ["A1", "A2", "A3", "A4"]
FLAGS = {"per-file": 0, "lblk64": PolicyFlags.IV_INO_LBLK_64, "lblk32": PolicyFlags.IV_INO_LBLK_32}
TEXT = b"a small file, as most files are" * 3
HW_KEY = bytes(range(32))


class WrappingStore(SoftwareStore):
    """A store over hardware that unwraps, as ``small_world.Unit``."""

    def _cipher(self, key: BlkCryptoKey) -> DataUnitCipher:
        if key.crypto_cfg.key_type is KeyType.HW_WRAPPED and key not in self._ciphers:
            self._ciphers[key] = new_cipher("AES-256-XTS", inline_key(unwrap(key.raw)))
        return super()._cipher(key)


class World:
    """A volume, a mount of it, one file of one policy."""

    def __init__(
        self,
        alternative: str,
        *,
        layout: InlineLayout | None = None,
        features: int = INLINE,
        flags: int = 0,
        wrapped: bool = False,
        v1: bool = False,
        fs: FileSystem = EXT4,
    ) -> None:
        self.alternative = alternative
        self.volume = Volume(layout or f2fs_layout(), features=features)
        self.store = WrappingStore(4096)
        self.fs = fs
        self.raw = wrap(HW_KEY) if wrapped else RAW
        self.wrapped, self.v1 = wrapped, v1
        self.mount, self.spec = self.remount()
        self.policy = Policy(
            version=1 if v1 else 2, flags=flags | PolicyFlags.PAD_16, master_key=self.spec.key
        )
        secret = sw_secret(HW_KEY) if wrapped else RAW
        self.subject = Subject(secret, flags, UUID, INO, NONCE, hw_raw_key=HW_KEY if wrapped else b"")

    def remount(self) -> tuple[InlineMount, KeySpecifier]:
        self.checker = ContextChecker(Strictness.KERNEL_REAL)
        mount = InlineMount(
            self.volume,
            self.fs,
            self.store,
            ALTERNATIVES[self.alternative],
            self.checker,
            derive_sw_secret=lambda blob: sw_secret(unwrap(blob)),
        )
        spec = KeySpecifier(KeySpecType.DESCRIPTOR, b"descript") if self.v1 else ANY_IDENTIFIER
        arg = AddKeyArg(spec=spec, raw=self.raw, raw_size=len(self.raw), flags=int(self.wrapped))
        return mount, mount.add_key(arg, ROOT)

    def create(self) -> CachedFile:
        return self.mount.create(INO, Context(self.policy, NONCE))

    def written(self, data: bytes = TEXT) -> CachedFile:
        file = self.create()
        self.mount.write(file, 0, data)
        self.mount.writeback(file)
        return file

    @property
    def record(self) -> InodeRecord:
        return self.volume.load(INO)

    @property
    def is_inline(self) -> bool:
        return bool(self.record.flags & FLAG_INLINE)

    def read_again(self) -> bytes:
        self.mount.unmount()
        self.mount, _ = self.remount()
        return bytes(self.mount.open(INO).data)

    def remove_key(self) -> None:
        self.mount.keyring.remove(self.spec, ROOT)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=list(FLAGS))
@pytest.mark.parametrize("alternative", STORING)
def test_i27_the_inode_holds_what_the_oracle_says_and_reads_back_after_a_remount(
    alternative: str, flags: int
) -> None:
    world = World(alternative, flags=flags)
    world.written()
    expected = region(alternative, world.subject, TEXT)
    assert world.record.area[: len(expected)] == expected
    assert world.record.area[len(expected) :] == bytes(3488 - len(expected))
    assert world.read_again() == TEXT


@pytest.mark.parametrize("layout", [f2fs_layout(), f2fs_layout(extra_attr=True), ext4_layout(1024)])
@pytest.mark.parametrize("alternative", STORING)
def test_files_are_inline_up_to_the_room_and_in_blocks_beyond(alternative: str, layout: InlineLayout) -> None:
    for size, is_inline in ((1, True), (layout.usable, True), (layout.usable + 1, False)):
        world = World(alternative, layout=layout)
        world.written(bytes(size))
        assert (world.is_inline, len(world.store.medium)) == (is_inline, 0 if is_inline else 1)
        assert world.read_again() == bytes(size)


@pytest.mark.parametrize(
    ("layout", "area", "usable"),
    [
        (f2fs_layout(), 3488, 3488),
        (f2fs_layout(extra_attr=True), 3452, 3440),
        (ext4_layout(128), 60, 48),
        (ext4_layout(256), 60 + 8, 64),
        (ext4_layout(1024), 60 + 776, 832),
    ],
)
def test_room_is_whole_cipher_blocks(layout: InlineLayout, area: int, usable: int) -> None:
    assert (layout.area_bytes, layout.usable) == (area, usable)


def test_with_a0_and_without_the_feature_bit_data_is_in_blocks() -> None:
    for world in (World("A0", features=0), World("A2", features=0)):
        world.written()
        assert not world.is_inline
        assert world.store.medium[1] == contents_unit(world.subject, 1, 0, TEXT.ljust(4096, b"\0"))


@pytest.mark.parametrize(
    ("alternative", "given"),
    [
        ("A1", {"v1": True}),
        ("A2", {"v1": True}),
        ("A4", {"v1": True}),
        ("A1", {"wrapped": True, "flags": PolicyFlags.IV_INO_LBLK_64}),
        ("A2", {"wrapped": True, "flags": PolicyFlags.IV_INO_LBLK_32}),
        ("A3", {"wrapped": True, "flags": PolicyFlags.IV_INO_LBLK_64}),
        ("A1", {"fs": ext4_like(UUID, kernel=CLASSIC, inlinecrypt=False)}),
    ],
)  # fmt: skip
def test_i28_keys_that_cannot_serve_a_region_put_data_into_blocks_never_in_plaintext(
    alternative: str, given: dict[str, object]
) -> None:
    world = World(alternative, **given)  # type: ignore[arg-type]  # one table of rows of several types
    world.written()
    assert not world.is_inline
    assert TEXT[:16] not in world.volume.image() + b"".join(world.store.medium.values())
    assert world.read_again() == TEXT


@pytest.mark.parametrize("alternative", STORING)
def test_i28_a_key_of_a_process_keyring_puts_data_into_blocks(alternative: str) -> None:
    world = World(alternative, v1=True)
    world.remove_key()
    world.mount.process_keys.add("logon", "f2fs:" + b"descript".hex(), logon_payload(RAW))
    file = world.written()
    assert (file.info.entry, world.is_inline) == (None, False)
    with pytest.raises(BlkCryptoError) as caught:
        world.mount.region.crypt(Task("t"), INO, file.info, b"x" * 16, dun=0, encrypt=True)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a4_serves_wrapped_keys_and_reports_what_it_exposes() -> None:
    world = World("A4", wrapped=True, flags=PolicyFlags.IV_INO_LBLK_64)
    world.written()
    assert (world.is_inline, world.mount.region.exposed) == (True, {INO})
    expected = region("A4", world.subject, TEXT)
    assert world.record.area[: len(expected)] == expected
    assert world.read_again() == TEXT


def test_a_kernel_without_the_feature_does_not_mount_and_neither_does_a0() -> None:
    world = World("A2")
    world.written()
    for alternative, knows in (("A2", False), ("A0", True)):
        with pytest.raises(BlkCryptoError) as caught:
            InlineMount(
                world.volume, EXT4, world.store, ALTERNATIVES[alternative], world.checker, knows_feature=knows
            )
        assert caught.value.errno == errno.EINVAL


def test_i27_encrypted_inline_data_without_the_feature_is_corruption_and_cannot_be_written() -> None:
    world = World("A2")
    world.written()
    record = world.record
    world.volume.set_features(0)
    for touch in (lambda: world.volume.load(INO), lambda: world.volume.store(INO, record)):
        with pytest.raises(BlkCryptoError) as caught:
            touch()
        assert caught.value.errno == errno.EUCLEAN


def test_a_size_that_does_not_fit_the_area_is_corruption() -> None:
    world = World("A2")
    world.written()
    world.volume.inodes[INO][4:12] = (3489).to_bytes(8, "little")
    with pytest.raises(BlkCryptoError, match="EUCLEAN"):
        world.volume.load(INO)


SIZES = st.lists(st.integers(0, 9000), min_size=1, max_size=6)


@settings(deadline=None, max_examples=30)
@given(alternative=st.sampled_from(STORING), sizes=SIZES, flags=st.sampled_from(list(FLAGS.values())))
def test_i27_data_survives_conversion_to_blocks_and_back(
    alternative: str, sizes: list[int], flags: int
) -> None:
    """I27: the bit is set iff such an inode may exist."""
    world = World(alternative, flags=flags)
    file = world.create()
    model = bytearray()
    for number, size in enumerate(sizes):
        if size < len(model):
            world.mount.truncate(file, size)
            del model[size:]
        else:
            part = bytes([number + 1]) * (size - len(model))
            world.mount.write(file, len(model), part)
            model += part
        world.mount.writeback(file)
        assert world.is_inline == (len(model) <= 3488)
        world.mount.close(file)
        world.mount.unmount()
        world.mount, _ = world.remount()
        file = world.mount.open(INO)
        assert bytes(file.data) == bytes(model)


LAZY = {PER_MODE_MUTEX.name, KEY_SEMAPHORE.name, ALLOC_SKCIPHER.name}


@pytest.mark.parametrize(
    ("alternative", "found"), [("A0", set()), ("A1", LAZY), ("A2", set()), ("A3", set()), ("A4", set())]
)
def test_only_the_helper_as_posted_breaks_the_context_rules(alternative: str, found: set[str]) -> None:
    world = World(alternative, features=0 if alternative == "A0" else INLINE)
    world.written()
    assert {(item.primitive, item.place.ctx) for item in world.checker.violations} == {
        (name, Ctx.NOFS) for name in found
    }


def test_the_helper_as_posted_breaks_none_when_the_file_was_read_before() -> None:
    world = World("A1")
    world.written()
    world.read_again()
    file = world.mount.open(INO)
    world.mount.write(file, 0, b"X")
    world.mount.writeback(file)
    assert world.checker.violations == []


@pytest.mark.parametrize("alternative", ["A2", "A3", "A4"])
def test_an_open_file_outlives_its_key_where_the_region_is_set_up_at_open(alternative: str) -> None:
    world = World(alternative)
    file = world.create()
    world.mount.write(file, 0, TEXT)
    world.remove_key()
    world.mount.write(file, 0, TEXT[::-1])
    world.mount.writeback(file)
    assert world.record.area[:96] == region(alternative, world.subject, TEXT[::-1])


def test_as_posted_a_small_file_is_lost_between_key_removal_and_first_writeback_and_a_large_one_is_not() -> (
    None
):
    small, large = World("A1"), World("A1")
    for world, size in ((small, 100), (large, 5000)):
        file = world.create()
        world.mount.keyring.remove(world.spec, ROOT)
        world.mount.write(file, 0, bytes(size))
        if world is small:
            with pytest.raises(BlkCryptoError) as caught:
                world.mount.writeback(file)
            assert (caught.value.errno, file.dirty) == (errno.ENOKEY, True)
        else:
            world.mount.writeback(file)
            assert not file.dirty


def test_as_posted_the_removal_itself_fails_when_it_cannot_write_back_and_the_data_stays_dirty() -> None:
    """T14: the error of the sync hides that files are busy."""
    world = World("A1")
    file = world.create()
    world.mount.write(file, 0, TEXT)
    with pytest.raises(BlkCryptoError, match="ENOKEY"):
        world.remove_key()
    assert file.dirty


def test_as_posted_a_prepared_region_goes_on_without_looking_at_the_master_key() -> None:
    world = World("A1")
    file = world.written()
    world.remove_key()
    world.mount.write(file, 0, b"Z")
    world.mount.writeback(file)
    assert world.record.area[:96] == region("A1", world.subject, b"Z" + TEXT[1:])


def test_after_removal_and_eviction_opening_is_enokey_and_no_cipher_is_left() -> None:
    world = World("A2")
    world.mount.close(world.written())
    world.remove_key()
    with pytest.raises(BlkCryptoError, match="ENOKEY"):
        world.mount.open(INO)
    assert world.mount.region.live_ciphers == 0


def info_of(world: World) -> CryptInfo:
    return world.create().info


CALLS = [
    ("no info", {}, b"x" * 16, errno.ENOKEY),
    ("fs-layer", {"fs": ext4_like(UUID, kernel=CLASSIC, inlinecrypt=False)}, b"x" * 16, errno.EOPNOTSUPP),
    ("v1", {"v1": True}, b"x" * 16, errno.EOPNOTSUPP),
    ("wrapped", {"wrapped": True, "flags": PolicyFlags.IV_INO_LBLK_64}, b"x" * 16, errno.EOPNOTSUPP),
    ("removed", {}, b"x" * 16, errno.ENOKEY),
    ("removed v1", {"v1": True}, b"x" * 16, errno.ENOKEY),
    ("empty", {}, b"", errno.EINVAL),
    ("17 bytes", {}, b"x" * 17, errno.EINVAL),
]


@pytest.mark.parametrize(("name", "given", "data", "number"), CALLS, ids=[row[0] for row in CALLS])
def test_i28_errors_of_the_posted_helper(
    name: str, given: dict[str, object], data: bytes, number: int
) -> None:
    world = World("A1", **given)  # type: ignore[arg-type]  # one table of rows of several types
    info = None if name == "no info" else info_of(world)
    if name.startswith("removed"):
        world.remove_key()
    with pytest.raises(BlkCryptoError) as caught:
        world.mount.region.crypt(Task("t"), INO, info, data, dun=0, encrypt=True)
    assert caught.value.errno == number


def test_inline_bytes_and_later_block_0_have_a_common_ciphertext_prefix() -> None:
    """Consequence (c): the same key and DUN 0, seen by an attacker with two snapshots."""
    world = World("A1")
    file = world.written(b"A" * 64)
    first = world.record.area[:64]
    world.mount.write(file, 64, b"B" * 8000)
    world.mount.writeback(file)
    assert world.store.medium[1][:64] == first


@pytest.mark.parametrize(("flags", "shared"), [(0, True), (PolicyFlags.IV_INO_LBLK_64, False)])
def test_with_a3_that_prefix_is_there_for_per_file_keys_only(flags: int, shared: bool) -> None:
    world = World("A3", flags=flags)
    file = world.written(b"A" * 64)
    first = world.record.area[:64]
    world.mount.write(file, 64, b"B" * 8000)
    world.mount.writeback(file)
    assert (world.store.medium[1][:64] == first) is shared


def test_a_region_longer_than_the_data_unit_is_still_one_unit() -> None:
    """Consequence (d): 512-byte units in blocks, 3488 bytes as one inline."""
    world = World("A1")
    world.policy = Policy(flags=PolicyFlags.PAD_16, master_key=world.spec.key, log2_data_unit_size=9)
    world.written(bytes(3488))
    assert world.record.area == contents_unit(world.subject, 1, 0, bytes(3488))


def test_a_small_file_saves_a_block_and_its_bio_and_costs_a_cipher() -> None:
    costs = {}
    for alternative, features in (("A0", 0), ("A2", INLINE)):
        world = World(alternative, features=features)
        world.written()
        world.mount.close(world.mount.open(INO))
        figures = world.mount.figures
        costs[alternative] = (
            len(world.store.medium),
            figures.block_writes,
            world.mount.region.live_ciphers,
        )
    assert costs == {"A0": (1, 1, 0), "A2": (0, 0, 1)}


@pytest.mark.parametrize(
    ("alternative", "flags", "readable"),
    [("A1", 0, True), ("A1", PolicyFlags.IV_INO_LBLK_64, False), ("A3", PolicyFlags.IV_INO_LBLK_64, True)],
)
def test_an_inode_copied_to_another_number_reads_unless_the_number_is_in_the_iv(
    alternative: str, flags: int, readable: bool
) -> None:
    world = World(alternative, flags=flags)
    world.written()
    world.volume.inodes[INO + 1] = bytearray(world.volume.inodes[INO])
    assert (bytes(world.mount.open(INO + 1).data) == TEXT) is readable


def test_a_snapshot_of_the_volume_reads_what_it_had() -> None:
    world = World("A2")
    file = world.written()
    snapshot = copy.deepcopy(world.volume)
    world.mount.write(file, 0, b"changed after the snapshot")
    world.mount.writeback(file)
    world.volume = snapshot
    world.mount, _ = world.remount()
    assert bytes(world.mount.open(INO).data) == TEXT


def test_no_plaintext_is_in_the_image_and_flags_and_sizes_are() -> None:
    world = World("A2")
    world.written()
    image = world.volume.image()
    assert not any(TEXT[at : at + 16] in image for at in range(len(TEXT) - 16))
    assert (world.record.flags, world.record.size) == (FLAG_INLINE | FLAG_ENCRYPTED, len(TEXT))


def test_every_alternative_has_a_row() -> None:
    assert [row.name for row in DESIGNS] == [f"inline-data-{name.lower()}" for name in ALTERNATIVES]
