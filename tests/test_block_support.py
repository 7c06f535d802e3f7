"""Is it supported, start, evict: results and errnos in Linux's order (reference 3.2 to 3.4, 3.14)."""

import errno

import numpy as np
import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus, blk_status_to_errno, errno_to_blk_status
from blkcrypto.block.api import (
    FallbackNotBuilt,
    NoHardwareForWrappedKey,
    config_supported,
    evict_key,
    natively_supported,
    start_using_key,
)
from blkcrypto.block.capabilities import Capabilities, capabilities
from blkcrypto.block.device import BlockDevice
from blkcrypto.block.era import kernel_profile
from blkcrypto.block.fallback import AlgorithmMissing, Fallback
from blkcrypto.block.fallback_slots import SoftwareCiphers
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.key import ConfigFlags, CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.block.modes import CryptoMode
from blkcrypto.block.op import ReqOp
from blkcrypto.block.sysfs import slot_views
from blkcrypto.block.waiting import RunLoop
from tests.block_world import ANY_SIZE, World, pattern

XTS, ESSIV = CryptoModeNum.AES_256_XTS, CryptoModeNum.AES_128_CBC_ESSIV
DEVICE = capabilities({XTS: 0x1200}, max_dun_bytes=8)


def config(
    mode: CryptoModeNum = XTS,
    size: int = 4096,
    dun_bytes: int = 8,
    key_type: KeyType = KeyType.RAW,
    flags: ConfigFlags = ConfigFlags.ALLOW_HW,
) -> CryptoConfig:
    return CryptoConfig(
        crypto_mode=mode, data_unit_size=size, dun_bytes=dun_bytes, key_type=key_type, flags=flags
    )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (config(), True),
        (config(size=512), True),
        (config(dun_bytes=1), True),
        (config(flags=ConfigFlags.NONE), False),
        (config(mode=ESSIV), False),
        (config(size=1024), False),
        (config(dun_bytes=9), False),
        (config(key_type=KeyType.HW_WRAPPED), False),
    ],
    ids=["fits", "other size", "fewer dun bytes", "no ALLOW_HW", "mode", "size", "dun bytes", "key type"],
)
def test_hardware_takes_a_configuration_when_all_of_it_fits(wanted: CryptoConfig, expected: bool) -> None:
    world = World(native=DEVICE)

    assert natively_supported(world.bdev, wanted) is expected


def test_a_disk_without_a_profile_supports_nothing_natively() -> None:
    assert not natively_supported(World(native=None).bdev, config())


def test_a_partition_shares_the_profile_of_its_disk() -> None:
    world = World(native=DEVICE)

    assert natively_supported(BlockDevice(world.disk, 100, 50), config())


@pytest.mark.parametrize(
    ("era", "flags", "key_type", "expected"),
    [
        ("7.2", ConfigFlags.NONE, KeyType.RAW, True),
        ("7.3", ConfigFlags.NONE, KeyType.RAW, False),
        ("6.12", ConfigFlags.NONE, KeyType.HW_WRAPPED, True),
        ("6.15", ConfigFlags.NONE, KeyType.HW_WRAPPED, False),
    ],
)
def test_allow_hw_counts_from_7_3_and_key_types_from_6_15(
    era: str, flags: ConfigFlags, key_type: KeyType, expected: bool
) -> None:
    world = World(era, native=DEVICE)
    wanted = config(flags=flags, key_type=key_type)

    assert natively_supported(world.bdev, wanted, world.kernel.era) is expected


@pytest.mark.parametrize(
    ("era", "built", "key_type", "native", "expected"),
    [
        ("6.12", True, KeyType.RAW, None, True),
        ("7.2", True, KeyType.RAW, None, True),
        ("7.2", True, KeyType.HW_WRAPPED, None, False),
        ("7.2", False, KeyType.RAW, None, False),
        ("7.2", False, KeyType.RAW, DEVICE, True),
    ],
)
def test_config_supported_counts_the_fallback_for_raw_keys(
    era: str, built: bool, key_type: KeyType, native: Capabilities | None, expected: bool
) -> None:
    world = World(era, native=native, built=built)

    assert config_supported(world.kernel, world.bdev, config(key_type=key_type)) is expected


def test_config_supported_is_gone_in_7_3() -> None:
    world = World("7.3")

    with pytest.raises(AttributeError, match=r"7\.3"):
        config_supported(world.kernel, world.bdev, config())


class FaultyCiphers(SoftwareCiphers):
    """A crypto API that lacks something."""

    def __init__(self, *, pools: int = 0, ciphers: int = 0) -> None:
        self.pools, self.ciphers, self.asked = pools, ciphers, 0

    def build_pools(self) -> None:
        _raise(self.pools)

    def allocate(self, mode: CryptoMode, count: int) -> None:
        self.asked += 1
        _raise(self.ciphers)
        super().allocate(mode, count)


def _raise(number: int) -> None:
    if number:
        error = type("Faulty", (BlkCryptoError,), {"errno": number})
        raise error("told to fail")


def world_with(provider: FaultyCiphers) -> World:
    def make(kernel: Kernel, loop: RunLoop) -> Fallback:
        return Fallback(kernel, loop, np.random.default_rng(7), provider=provider)

    return World(native=None, fallback=make)


def test_starting_a_key_that_hardware_takes_leaves_the_fallback_alone() -> None:
    world = World(native=ANY_SIZE)

    start_using_key(world.kernel, world.bdev, world.key("A", start=False))

    assert world.kernel.fallback is not None
    assert world.kernel.fallback.engine is None


def test_a_wrapped_key_without_hardware_is_eopnotsupp_also_without_a_fallback() -> None:
    world = World(native=None, built=False)

    with pytest.raises(NoHardwareForWrappedKey) as caught:
        start_using_key(world.kernel, world.bdev, world.wrapped_key("W"))

    assert caught.value.errno == errno.EOPNOTSUPP
    assert "no hardware support" in world.kernel.log[0]


def test_a_raw_key_without_hardware_and_fallback_is_enopkg_with_one_warning() -> None:
    world = World(native=None, built=False)
    key = world.key("A", start=False)

    for _ in range(2):
        with pytest.raises(FallbackNotBuilt, match="ENOPKG"):
            start_using_key(world.kernel, world.bdev, key)

    assert len(world.kernel.log) == 1


def test_a_missing_algorithm_is_enopkg_and_can_be_tried_again() -> None:
    provider = FaultyCiphers(ciphers=errno.ENOENT)
    world = world_with(provider)
    key = world.key("A", start=False)

    with pytest.raises(AlgorithmMissing, match="ENOPKG"):
        start_using_key(world.kernel, world.bdev, key)
    provider.ciphers = 0
    start_using_key(world.kernel, world.bdev, key)

    assert provider.asked == 2


@pytest.mark.parametrize("which", ["pools", "ciphers"])
def test_another_errno_of_the_fallback_s_start_passes_through(which: str) -> None:
    world = world_with(FaultyCiphers(**{which: errno.ENOMEM}))

    with pytest.raises(BlkCryptoError, match="ENOMEM"):
        start_using_key(world.kernel, world.bdev, world.key("A", start=False))


def test_a_started_mode_is_not_started_again() -> None:
    provider = FaultyCiphers()
    world = world_with(provider)

    for label in "ABC":
        start_using_key(world.kernel, world.bdev, world.key(label, start=False))

    assert provider.asked == 1


def test_evicting_goes_to_the_device_when_it_takes_the_key_and_else_to_the_fallback() -> None:
    world = World(native=ANY_SIZE)
    native, on_cpu = world.key("A"), world.key("B", allow_hw=False)
    for number, key in enumerate((native, on_cpu)):
        world.write(8 * number, pattern(512), key)
    assert world.kernel.fallback is not None
    assert world.kernel.fallback.engine is not None
    profiles = [world.profile, world.kernel.fallback.engine.profile]
    before = [[view.key for view in slot_views(profile) if view.key] for profile in profiles]

    for key in (native, on_cpu):
        evict_key(world.kernel, world.bdev, key)

    assert before == [["A"], ["B"]]
    assert [[view.key for view in slot_views(profile) if view.key] for profile in profiles] == [[], []]


@pytest.mark.parametrize("era", ["6.4", "6.12", "7.3"])
@pytest.mark.parametrize("built", [True, False])
def test_evicting_without_hardware_from_a_fallback_never_started_does_nothing(era: str, built: bool) -> None:
    world = World(era, native=None, built=built)

    evict_key(world.kernel, world.bdev, world.key("A", start=False))

    assert world.kernel.log == []


def test_evicting_a_busy_key_is_only_logged_and_forgets_it_all_the_same() -> None:
    world = World(slots=1)
    key = world.key("A")
    world.submit((world.bio(ReqOp.WRITE, 0, pattern(512)), key, 0))

    evict_key(world.kernel, world.bdev, key)

    assert [view.key for view in slot_views(world.profile)] == [None]
    assert world.memory_disk.calls == [("program", "A", 0)]
    assert "while in use" in world.kernel.log[0]
    assert "EBUSY" in world.kernel.log[1]


# reference block-layer.md section 1.8
STATUS_TABLE = [
    (BlkStatus.NOTSUPP, errno.EOPNOTSUPP),
    (BlkStatus.INVAL, errno.EINVAL),
    (BlkStatus.IOERR, errno.EIO),
    (BlkStatus.RESOURCE, errno.ENOMEM),
    (BlkStatus.DEV_RESOURCE, errno.EBUSY),
    (BlkStatus.AGAIN, errno.EAGAIN),
]


@pytest.mark.parametrize(("status", "number"), STATUS_TABLE, ids=[str(status) for status, _ in STATUS_TABLE])
def test_statuses_and_errnos_map_both_ways(status: BlkStatus, number: int) -> None:
    assert (blk_status_to_errno(status), errno_to_blk_status(number)) == (number, status)


@pytest.mark.parametrize("number", [errno.EBADMSG, errno.ENOPKG, errno.ENOKEY])
def test_an_errno_without_a_row_is_an_i_o_error(number: int) -> None:
    assert errno_to_blk_status(number) is BlkStatus.IOERR


def test_the_key_in_a_fallback_slot_is_blanked_when_evicted() -> None:
    world = World(native=None)
    key = world.key("A")
    world.write(0, pattern(512), key)
    assert world.kernel.fallback is not None
    engine = world.kernel.fallback.engine
    assert engine is not None
    ivs = np.zeros((1, 16), dtype=np.uint8)
    cipher = engine.slots.cipher(0)
    with_key = cipher.encrypt(ivs, np.zeros((1, 512), dtype=np.uint8))

    evict_key(world.kernel, world.bdev, key)

    blanked = engine.slots.loaded(0, XTS).encrypt(ivs, np.zeros((1, 512), dtype=np.uint8))
    assert engine.slots.active_mode(0) is CryptoModeNum.INVALID
    assert not np.array_equal(blanked, with_key)


def test_the_profile_of_the_fallback_takes_all_modes_any_size_and_the_widest_dun() -> None:
    world = World(native=None)
    world.key("A")
    assert world.kernel.fallback is not None
    engine = world.kernel.fallback.engine
    assert engine is not None

    can = engine.profile.capabilities
    assert (can.modes_supported, can.max_dun_bytes) == ((0, *[0xFFFFFFFF] * 4), 32)
    assert (can.key_types, engine.profile.num_slots) == (KeyType.RAW, 100)
    assert kernel_profile("7.3").bounce_pages == 256
