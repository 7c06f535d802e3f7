"""Capability sets, integrity, sysfs and the view of slots: invariants 24 to 26 (reference 3.16 to 3.18)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.block.capabilities import (
    ALL_KEY_TYPES,
    EVERYTHING,
    NO_KEY_TYPES,
    NOTHING,
    Capabilities,
    capabilities,
    has_capabilities,
    intersect,
)
from blkcrypto.block.era import kernel_profile
from blkcrypto.block.key import ConfigFlags, CryptoConfig, CryptoModeNum, KeyType
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.profile import CryptoProfile
from blkcrypto.block.registration import IntegrityExcludesCrypto, register_profile, set_limits
from blkcrypto.block.sysfs import SlotView, crypto_attributes, slot_views
from blkcrypto.block.waiting import run_to_end
from tests.block_world import ANY_SIZE, World

XTS, ESSIV = CryptoModeNum.AES_256_XTS, CryptoModeNum.AES_128_CBC_ESSIV
masks = st.sampled_from([0, 512, 4096, 0x1200, 0xFFFFFFFF])
key_types = st.sampled_from([NO_KEY_TYPES, KeyType.RAW, KeyType.HW_WRAPPED, ALL_KEY_TYPES])
sets = st.builds(
    Capabilities,
    modes_supported=st.tuples(st.just(0), masks, masks, masks, masks),
    max_dun_bytes=st.integers(0, 32),
    key_types=key_types,
)
configs = st.builds(
    CryptoConfig,
    crypto_mode=st.sampled_from(list(CryptoModeNum)),
    data_unit_size=st.sampled_from([512, 1024, 4096]),
    dun_bytes=st.integers(1, 32),
    key_type=st.sampled_from([KeyType.RAW, KeyType.HW_WRAPPED]),
    flags=st.sampled_from(list(ConfigFlags)),
)


@given(small=sets, other=sets, config=configs)
def test_24_a_device_that_can_more_supports_all_that_one_with_less_does(
    small: Capabilities, other: Capabilities, config: CryptoConfig
) -> None:
    both = zip(small.modes_supported, other.modes_supported, strict=True)
    large = Capabilities(
        modes_supported=tuple(a | b for a, b in both),
        max_dun_bytes=max(small.max_dun_bytes, other.max_dun_bytes),
        key_types=small.key_types | other.key_types,
    )

    assert has_capabilities(large, small)
    assert large.supports(config) or not small.supports(config)


@pytest.mark.parametrize(
    ("of_the_device", "of_the_key", "supported"), [(7, 8, False), (8, 8, True), (9, 8, True)]
)
def test_24_a_device_takes_duns_of_as_many_bytes_as_it_has_or_fewer(
    of_the_device: int, of_the_key: int, supported: bool
) -> None:
    device = replace(EVERYTHING, max_dun_bytes=of_the_device)
    config = CryptoConfig(crypto_mode=CryptoModeNum.AES_256_XTS, data_unit_size=4096, dun_bytes=of_the_key)

    assert device.supports(config) is supported


@given(a=sets, b=sets, c=sets)
def test_24_intersecting_is_commutative_associative_and_idempotent(
    a: Capabilities, b: Capabilities, c: Capabilities
) -> None:
    assert intersect(a, b) == intersect(b, a)
    assert intersect(intersect(a, b), c) == intersect(a, intersect(b, c))
    assert intersect(a, a) == a


@given(a=sets)
def test_24_no_profile_below_leaves_nothing_and_everything_changes_nothing(a: Capabilities) -> None:
    assert intersect(a, None) == NOTHING
    assert intersect(NOTHING, a) == replace(NOTHING)
    assert intersect(EVERYTHING, a) == a


@given(a=sets, b=sets, config=configs)
def test_24_the_intersection_supports_exactly_what_both_do(
    a: Capabilities, b: Capabilities, config: CryptoConfig
) -> None:
    assert intersect(a, b).supports(config) == (a.supports(config) and b.supports(config))


@given(target=sets, reference=sets)
def test_25_a_superset_intersected_with_its_subset_is_the_subset(
    target: Capabilities, reference: Capabilities
) -> None:
    assert has_capabilities(target, reference) == (intersect(target, reference) == reference)


@pytest.mark.parametrize(
    ("target", "reference", "expected"),
    [(None, None, True), (EVERYTHING, None, True), (None, EVERYTHING, False), (None, NOTHING, False)],
)
def test_25_a_queue_without_a_profile_can_do_what_none_can(
    target: Capabilities | None, reference: Capabilities | None, expected: bool
) -> None:
    assert has_capabilities(target, reference) is expected


def test_26_a_disk_with_integrity_gets_no_profile_and_a_warning() -> None:
    world = World(limits=QueueLimits(integrity_tag_size=8))
    profile = world.profile

    registered = register_profile(world.kernel, world.disk, profile)

    assert (registered, world.disk.profile) == (False, None)
    assert "integrity" in world.kernel.log[0]


def test_26_a_disk_without_integrity_gets_its_profile() -> None:
    world = World(native=None)
    profile = CryptoProfile("sda", 2, ANY_SIZE, world.memory_disk)

    assert register_profile(world.kernel, world.disk, profile)
    assert world.disk.profile is profile


def test_26_limits_with_integrity_are_einval_on_a_disk_with_a_profile_and_change_nothing() -> None:
    world = World()
    before = world.disk.limits

    with pytest.raises(IntegrityExcludesCrypto, match="EINVAL"):
        set_limits(world.disk, QueueLimits(integrity_tag_size=8))

    assert world.disk.limits is before


def test_26_limits_with_integrity_are_taken_by_a_disk_without_a_profile() -> None:
    world = World(native=None)

    set_limits(world.disk, QueueLimits(integrity_tag_size=8))

    assert world.disk.limits.integrity_tag_size == 8


DEVICE = capabilities({XTS: 0x1200, ESSIV: 0x1000}, max_dun_bytes=8, key_types=ALL_KEY_TYPES)


def test_sysfs_shows_what_the_device_can_in_the_formats_of_the_abi() -> None:
    files = crypto_attributes(CryptoProfile("sda", 32, DEVICE, object()))

    assert files == {
        "max_dun_bits": "64\n",
        "num_keyslots": "32\n",
        "modes/AES-256-XTS": "0x1200\n",
        "modes/AES-128-CBC-ESSIV": "0x1000\n",
        "raw_keys": "supported\n",
        "hw_wrapped_keys": "supported\n",
    }


@pytest.mark.parametrize(
    ("era", "expected"),
    [
        ("5.16", set()),
        ("5.18", {"max_dun_bits", "num_keyslots", "modes/AES-256-XTS"}),
        ("6.15", {"max_dun_bits", "num_keyslots", "modes/AES-256-XTS", "raw_keys"}),
    ],
)
def test_sysfs_came_in_5_18_and_key_types_in_6_15(era: str, expected: set[str]) -> None:
    raw_only = capabilities({XTS: 4096}, max_dun_bytes=8)

    files = crypto_attributes(CryptoProfile("sda", 0, raw_only, object()), kernel_profile(era))

    assert files.keys() == expected


def test_a_disk_without_a_profile_has_no_crypto_directory() -> None:
    assert crypto_attributes(None) == {}


def test_the_view_of_slots_shows_index_key_references_and_place_in_the_lru_order() -> None:
    world = World(slots=3)
    a, b = world.key("A"), world.key("B")
    run_to_end(world.profile.get_keyslot(a))
    run_to_end(world.profile.get_keyslot(a))
    grant = run_to_end(world.profile.get_keyslot(b))
    world.profile.put_keyslot(grant.slot)

    assert slot_views(world.profile) == [
        SlotView(0, "A", 2, None),
        SlotView(1, "B", 0, 1),
        SlotView(2, None, 0, 0),
    ]


def test_a_device_without_slots_has_an_empty_view() -> None:
    assert slot_views(CryptoProfile("dm-0", 0, DEVICE, object())) == []
