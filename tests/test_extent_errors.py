"""Which error shows first when an extent is made or loaded, design by design."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.fs.extents import namespace
from blkcrypto.fs.extents.contexts import LightContext
from blkcrypto.fs.extents.designs import HEAVY, IV_FROM_FS, LIGHT, NONCE_ONLY, ExtentDesign
from blkcrypto.fs.extents.errors import (
    ExtentContextInvalid,
    ExtentContextMismatch,
    ExtentPolicyUnsupported,
    KeyRequired,
)
from blkcrypto.fs.extents.items import FileExtent
from blkcrypto.fs.extents.subject import policy_for
from blkcrypto.fs.extents.volume import Volume
from blkcrypto.fs.fscrypt.derive import MasterKeyTooShort, PolicyNeedsRawKey
from blkcrypto.fs.fscrypt.key_args import AddKeyArg, AddKeyFlags, KeySpecifier, KeySpecType
from blkcrypto.fs.fscrypt.key_entry import NoSuchMasterKey
from blkcrypto.fs.fscrypt.master_key import SecretWiped
from blkcrypto.fs.fscrypt.modes import ModeNum
from blkcrypto.fs.fscrypt.policy import Context, ContextUnrecognised, Policy
from tests.extent_world import BLOCK, World, blocks, every_design, items_of
from tests.fscrypt_world import RAW
from tests.small_world import ANY_IDENTIFIER

NONCE = b"n" * 16
UNKNOWN_KEY = b"?" * 16


def light(mode: int = 1, identifier: bytes | None = None) -> Callable[[World], bytes]:
    return lambda world: LightContext(mode, identifier or world.spec.key, NONCE).to_bytes()


def heavy(**changes: object) -> Callable[[World], bytes]:
    return lambda world: Context(replace(world.policy, **changes), NONCE).to_bytes()  # type: ignore[arg-type]  # test data


def load(design: ExtentDesign, stored: bytes, *, removed: bool) -> None:
    """Load an extent through an open inode whose key is present or removed."""
    world = World(design)
    file = world.open("f", make=True)
    entry = file.inode.entry
    assert entry is not None
    if removed:
        world.volume.remove_key(world.spec)
        entry.secret.wipe_secret()
    world.volume.keys.set_up(world.policy, entry, stored)


# The first row of each pair has two faults; what shows is the one that Linux would look at first.
@pytest.mark.parametrize(
    ("design", "stored", "removed", "error", "name"),
    [
        (HEAVY, heavy(master_key=UNKNOWN_KEY), False, NoSuchMasterKey, "ENOKEY"),
        (HEAVY, lambda _: bytes(40), True, ContextUnrecognised, "EINVAL"),
        (HEAVY, heavy(flags=0x08, master_key=UNKNOWN_KEY), False, BlkCryptoError, "EINVAL"),
        (HEAVY, heavy(), True, NoSuchMasterKey, "ENOKEY"),
        (NONCE_ONLY, lambda _: NONCE + b"x", True, ExtentContextInvalid, "EINVAL"),
        (NONCE_ONLY, lambda _: NONCE, True, SecretWiped, "ENOKEY"),
        (LIGHT, lambda _: bytes(34), True, ExtentContextInvalid, "EINVAL"),
        (LIGHT, light(identifier=UNKNOWN_KEY), True, ExtentContextMismatch, "EINVAL"),
        (LIGHT, light(mode=9), True, ExtentContextMismatch, "EINVAL"),
        (LIGHT, light(), True, SecretWiped, "ENOKEY"),
        (IV_FROM_FS, lambda _: bytes(15), True, ExtentContextInvalid, "EINVAL"),
    ],
)
def test_the_first_fault_of_an_extent_shows(
    design: ExtentDesign,
    stored: Callable[[World], bytes],
    removed: bool,
    error: type[BlkCryptoError],
    name: str,
) -> None:
    bytes_on_disk = stored(World(design))

    with pytest.raises(error) as caught:
        load(design, bytes_on_disk, removed=removed)

    assert caught.value.errno_name == name


def test_an_extent_under_iv_from_fs_loads_after_removal_while_a_file_is_open() -> None:
    load(IV_FROM_FS, bytes(16), removed=True)


@every_design
def test_opening_without_the_key_is_enokey(design: ExtentDesign) -> None:
    world = World(design)
    world.write("f", 0, blocks(0, 1))
    world.remount()

    with pytest.raises(KeyRequired):
        world.open("f")


@every_design
def test_a_master_key_too_short_for_the_mode_shows_at_open_as_enokey(design: ExtentDesign) -> None:
    world = World(design)
    spec = world.volume.add_key(AddKeyArg(spec=ANY_IDENTIFIER, raw=RAW[:16], raw_size=16))
    namespace.make_dir(world.volume, "weak", policy_for(design, spec.key))

    with pytest.raises(MasterKeyTooShort) as caught:
        namespace.create(world.volume, "weak/f")

    assert caught.value.errno_name == "ENOKEY"


@every_design
def test_hardware_wrapped_keys_are_refused(design: ExtentDesign) -> None:
    world = World(design)
    arg = AddKeyArg(spec=ANY_IDENTIFIER, raw=bytes(60), raw_size=60, flags=AddKeyFlags.HW_WRAPPED)

    with pytest.raises(PolicyNeedsRawKey) as caught:
        world.volume.add_key(arg)

    assert caught.value.errno_name == "EINVAL"


@pytest.mark.parametrize("design", [NONCE_ONLY, LIGHT, IV_FROM_FS], ids=lambda design: design.name)
def test_v1_policies_are_einval_but_for_the_heavyweight_design(design: ExtentDesign) -> None:
    with pytest.raises(ExtentPolicyUnsupported):
        namespace.make_dir(World(design).volume, "old", Policy(version=1, master_key=b"descript"))


def test_heavyweight_extents_work_under_a_v1_policy_with_contexts_of_28_bytes() -> None:
    world = World(HEAVY)
    spec = KeySpecifier(KeySpecType.DESCRIPTOR, b"descript")
    world.volume.add_key(AddKeyArg(spec=spec, raw=RAW, raw_size=64))
    namespace.make_dir(world.volume, "old", Policy(version=1, master_key=spec.key))
    file = namespace.create(world.volume, "old/f")
    file.write(0, blocks(0, 3))
    file.fsync()
    file.inode.pages.clear()
    world.volume.forget_extents(file.inode)

    assert file.read(0, 3 * BLOCK) == blocks(0, 3)
    appended = [len(data) - 53 for _, data in world.disk.stored_items(world.disk.subvolumes[0])]
    assert appended == [28]


def test_iv_from_fs_asks_for_its_flag() -> None:
    world = World(IV_FROM_FS)

    with pytest.raises(ExtentPolicyUnsupported):
        namespace.make_dir(world.volume, "plain", policy_for(LIGHT, world.spec.key))


@pytest.mark.parametrize(
    "modes",
    [
        (ModeNum.ADIANTUM, ModeNum.ADIANTUM),
        (ModeNum.AES_128_CBC, ModeNum.AES_128_CTS),
        (ModeNum.SM4_XTS, ModeNum.SM4_CTS),
        (ModeNum.AES_256_XTS, ModeNum.AES_256_HCTR2),
    ],
    ids=lambda modes: modes[0].name,
)
@every_design
def test_every_pair_of_modes_reads_back_after_a_remount(
    design: ExtentDesign, modes: tuple[ModeNum, ModeNum]
) -> None:
    world = World(design)
    namespace.make_dir(world.volume, "other", policy_for(design, world.spec.key, modes))
    file = namespace.create(world.volume, "other/f")
    file.write(5, blocks(0, 3))
    file.close()
    world.remount()
    world.add_key()

    seen = namespace.open_file(world.volume, "other/f").read(5, 3 * BLOCK)

    assert seen == blocks(0, 3)
    if design is IV_FROM_FS:
        ((_, item),) = _items(world.volume)
        assert len(item.context) == (32 if modes[0] is ModeNum.ADIANTUM else 16)


def _items(volume: Volume) -> list[tuple[int, FileExtent]]:
    walk = volume.disk.subvolumes[0].tree.walk((0, 0, 0), (1 << 62, 0, 0))
    return [(key[2], item) for key, item in walk if isinstance(item, FileExtent)]


@every_design
def test_an_unknown_context_on_an_item_makes_that_extent_unreadable_and_no_other(
    design: ExtentDesign,
) -> None:
    world = World(design, max_extent_bytes=BLOCK)
    world.write("f", 0, blocks(0, 2))
    world.sync()
    (_, damaged), _ = items_of(world, "f")
    damaged.context = b"\x07"
    world.remount()
    world.add_key()
    file = world.open("f")

    with pytest.raises(BlkCryptoError) as caught:
        file.read(0, BLOCK)

    assert caught.value.errno_name == "EINVAL"
    assert file.read(BLOCK, BLOCK) == blocks(1, 1)
