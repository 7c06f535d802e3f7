"""Layered devices: mapping, capabilities, eviction, wrapped keys (reference section 3.17, invariant 25)."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import evict_key, natively_supported, start_using_key
from blkcrypto.block.bio import ReqFlags
from blkcrypto.block.capabilities import ALL_KEY_TYPES, Capabilities, capabilities
from blkcrypto.block.device import Disk
from blkcrypto.block.dm import Linear, MappedDevice, Striped, TableLosesCrypto, Target, table_capabilities
from blkcrypto.block.key import CryptoModeNum, KeyType
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.profile import WrappedKeysNotSupported
from blkcrypto.block.sysfs import crypto_attributes
from blkcrypto.block.trace import Tracepoint
from tests.block_world import MemoryDisk, World, pattern
from tests.oracle.block_xts import ciphertext
from tests.test_block_wrapped_keys import BLOB_BYTES, WrappingDevice

READ, WRITE = ReqOp.READ, ReqOp.WRITE
XTS = CryptoModeNum.AES_256_XTS
WIDE = capabilities({XTS: 0x1E00}, max_dun_bytes=16, key_types=ALL_KEY_TYPES)
NARROW = capabilities({XTS: 0x1000}, max_dun_bytes=8)


class Stack:
    """A layered device over two disks."""

    def __init__(
        self,
        kind: str = "linear",
        children: Sequence[Capabilities | None] = (WIDE, WIDE),
        *,
        era: str = "7.3",
        limits: QueueLimits | None = None,
        chunk: int = 32,
    ) -> None:
        self.kind, self.chunk = kind, chunk
        self.world = World(era, native=children[0], limits=limits, slots=2)
        first = (self.world.memory_disk, self.world.disk)
        self.below: list[tuple[MemoryDisk, Disk]] = [first]
        for number, can in enumerate(children[1:], start=1):
            self.below.append(self.world.add_disk(f"sd{number}", can))
        self.dm = MappedDevice(self.world.kernel, "dm-0", self.table(kind, chunk), self.world.loop)
        self.bdev = self.dm.disk.whole

    def table(self, kind: str, chunk: int = 32) -> list[Target]:
        wholes = [disk.whole for _, disk in self.below]
        if kind == "striped":
            return [Striped(4096, tuple(wholes), chunk)]
        return [Linear(1000, wholes[0], 24, name=kind), Linear(3000, wholes[1], 8, name=kind)]

    def sector(self, number: int) -> bytes:
        """What the disks below hold where sector ``number`` is."""
        targets = self.table(self.kind, self.chunk)
        first = targets[0].sectors
        target, offset = (targets[0], number) if number < first else (targets[1], number - first)
        place = target.locate(offset)
        (medium,) = [driver.medium for driver, disk in self.below if disk is place.bdev.disk]
        return medium[place.sector * 512 :][:512].tobytes()

    def seen(self) -> list[list[tuple[ReqOp, int, int, int | None]]]:
        return [driver.seen for driver, _ in self.below]


def test_a_bio_across_two_linear_targets_is_cut_there_and_each_part_has_its_dun() -> None:
    stack = Stack()
    key = stack.world.key("A", size=4096, bdev=stack.bdev)
    bio = stack.world.bio(WRITE, 984, pattern(8 * 4096), bdev=stack.bdev)

    stack.world.submit((bio, key, 100))

    # Sectors 984 to 999 are on the first disk from 24 + 984 on, the other 48 on the second from 8 on.
    assert stack.seen() == [[(WRITE, 1008, 16, 100)], [(WRITE, 8, 48, 102)]]


def test_a_striped_bio_is_dealt_out_chunk_by_chunk() -> None:
    stack = Stack("striped", chunk=16)
    key = stack.world.key("A", size=4096, bdev=stack.bdev)

    stack.world.submit((stack.world.bio(WRITE, 8, pattern(7 * 4096), bdev=stack.bdev), key, 0), plug=True)

    # 8+8 on disk 0, 16 on disk 1, 16 back on disk 0 in its second row, 16 on disk 1.
    # On disk 0 the sectors 8..15 and 16..31 touch, but DUN 1 does not follow on DUN 3: no merge.
    assert stack.seen() == [
        [(WRITE, 8, 8, 0), (WRITE, 16, 16, 3)],
        [(WRITE, 0, 16, 1), (WRITE, 16, 16, 5)],
    ]


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(["linear", "striped"]),
    native=st.booleans(),
    era=st.sampled_from(["6.12", "7.3"]),
    first=st.integers(0, 60),
    units=st.integers(1, 60),
    max_segments=st.integers(1, 5),
)
def test_15_what_a_layered_device_writes_is_the_direct_encryption_of_every_data_unit(
    kind: str, native: bool, era: str, first: int, units: int, max_segments: int
) -> None:
    if kind == "striped" and era == "6.12":
        native = False  # that target passed no encryption on yet
    can = WIDE if native else None
    stack = Stack(kind, (can, can), era=era, limits=QueueLimits(max_segments=max_segments), chunk=8)
    key = stack.world.key("A", size=512, bdev=stack.bdev)
    plaintext, buffer = pattern(units * 512), np.zeros(units * 512, dtype=np.uint8)
    sector = 984 + first

    for op, data in ((WRITE, plaintext), (READ, buffer)):
        stack.world.submit((stack.world.bio(op, sector, data, bdev=stack.bdev), key, 7))
        stack.world.loop.run()

    medium = b"".join(stack.sector(sector + unit) for unit in range(units))
    assert medium == ciphertext(key.raw, 7, plaintext.tobytes(), 512)
    assert np.array_equal(buffer, plaintext)
    assert {status for _, status in stack.world.done} == {BlkStatus.OK}


@pytest.mark.parametrize(
    ("children", "modes", "dun_bytes", "key_types"),
    [
        ((WIDE, WIDE), 0x1E00, 16, ALL_KEY_TYPES),
        ((WIDE, NARROW), 0x1000, 8, KeyType.RAW),
        ((NARROW, WIDE), 0x1000, 8, KeyType.RAW),
    ],
)
def test_a_layered_device_can_what_all_devices_below_can(
    children: tuple[Capabilities, Capabilities], modes: int, dun_bytes: int, key_types: KeyType
) -> None:
    profile = Stack(children=children).dm.disk.profile

    assert profile is not None
    can = profile.capabilities
    assert (can.modes_supported[XTS], can.max_dun_bytes, can.key_types) == (modes, dun_bytes, key_types)


def test_one_device_below_without_a_profile_leaves_none() -> None:
    assert Stack(children=(WIDE, None)).dm.disk.profile is None


@pytest.mark.parametrize(
    ("era", "passing"),
    [
        ("6.12", {"linear", "flakey"}),
        ("7.0", {"linear", "flakey"}),
        ("7.2", {"linear", "flakey", "striped", "thin", "thin-pool"}),
    ],
)
def test_which_targets_pass_encryption_on(era: str, passing: set[str]) -> None:
    stack = Stack(era=era)
    names = ["linear", "flakey", "striped", "thin", "thin-pool", "crypt", "error"]
    tables = {name: [Linear(100, stack.below[0][1].whole, name=name)] for name in names}

    can = {name for name, table in tables.items() if table_capabilities(stack.world.kernel, table).has_modes}

    assert can == passing


def test_a_table_that_loses_capabilities_is_einval_and_the_live_one_stays() -> None:
    stack = Stack()
    _, narrow = stack.world.add_disk("sdn", NARROW)

    with pytest.raises(TableLosesCrypto, match="EINVAL"):
        stack.dm.reload([Linear(500, narrow.whole)])

    assert stack.dm.disk.capacity == 4000
    assert stack.dm.disk.profile is not None
    assert stack.dm.disk.profile.capabilities == WIDE


def test_a_table_that_gains_capabilities_changes_the_live_profile_in_place() -> None:
    stack = Stack(children=(NARROW, NARROW))
    profile = stack.dm.disk.profile
    _, wide = stack.world.add_disk("sdw", WIDE)

    stack.dm.reload([Linear(500, wide.whole)])

    assert stack.dm.disk.profile is profile
    assert profile is not None
    assert (profile.capabilities, stack.dm.disk.capacity) == (WIDE, 500)


def test_a_device_without_a_profile_may_get_any_table() -> None:
    stack = Stack(children=(WIDE, None))

    stack.dm.reload([Linear(500, stack.below[0][1].whole)])

    assert stack.dm.disk.profile is not None


def test_a_layered_device_has_no_slots_and_programs_nothing_itself() -> None:
    stack = Stack()
    key = stack.world.key("A", size=4096, bdev=stack.bdev)

    stack.world.submit((stack.world.bio(WRITE, 0, pattern(4096), bdev=stack.bdev), key, 0))

    assert crypto_attributes(stack.dm.disk.profile)["num_keyslots"] == "0\n"
    assert [driver.calls for driver, _ in stack.below] == [[("program", "A", 0)], []]


def test_evicting_goes_to_every_device_below_and_reports_nothing() -> None:
    stack = Stack()
    key = stack.world.key("A", size=4096, bdev=stack.bdev)
    bio = stack.world.bio(WRITE, 992, pattern(2 * 4096), bdev=stack.bdev)
    stack.world.submit((bio, key, 0))
    stack.below[0][0].complete_next()  # the second disk is still busy with the key

    evict_key(stack.world.kernel, stack.bdev, key)

    assert [driver.calls[-1][0] for driver, _ in stack.below] == ["evict", "program"]
    assert [line for line in stack.world.kernel.log if "EBUSY" in line]
    tables = [disk.profile.table for _, disk in stack.below if disk.profile is not None]
    assert [table and table.find(key) for table in tables] == [-1, -1]


def test_evicting_through_two_layers_reaches_the_bottom() -> None:
    stack = Stack()
    upper = MappedDevice(stack.world.kernel, "dm-1", [Linear(2000, stack.bdev)], stack.world.loop)
    key = stack.world.key("A", size=4096, bdev=upper.disk.whole)
    stack.world.submit((stack.world.bio(WRITE, 0, pattern(4096), bdev=upper.disk.whole), key, 0))
    stack.world.loop.run()

    evict_key(stack.world.kernel, upper.disk.whole, key)

    assert stack.below[0][0].calls == [("program", "A", 0), ("evict", "A", 0)]


def test_operations_on_wrapped_keys_go_to_the_first_device_below() -> None:
    stack = Stack()
    devices = [WrappingDevice(seed) for seed in (1, 2)]
    for (_, disk), device in zip(stack.below, devices, strict=True):
        assert disk.profile is not None
        disk.profile.ops = device
    profile = stack.dm.disk.profile
    assert profile is not None

    long_term = profile.import_key(bytes(32))
    ephemeral = profile.prepare_key(long_term)

    assert devices[0].derive_sw_secret(ephemeral) == profile.derive_sw_secret(ephemeral)
    assert len(profile.generate_key()) == BLOB_BYTES
    with pytest.raises(Exception, match="EBADMSG"):
        devices[1].prepare_key(long_term)


def test_a_layered_device_whose_children_take_raw_keys_only_has_no_operations_on_wrapped_ones() -> None:
    profile = Stack(children=(WIDE, NARROW)).dm.disk.profile
    assert profile is not None

    with pytest.raises(WrappedKeysNotSupported):
        profile.generate_key()


@pytest.mark.parametrize("era", ["6.12", "7.3"])
def test_without_hardware_below_the_fallback_works_at_the_top(era: str) -> None:
    stack = Stack(children=(None, None), era=era)
    key = stack.world.key("A", size=512, bdev=stack.bdev)

    stack.world.submit((stack.world.bio(WRITE, 984, pattern(16384), bdev=stack.bdev), key, 0))

    assert [dun for rows in stack.seen() for *_, dun in rows] == [None, None]


def test_before_7_0_a_context_may_fall_back_below_although_the_top_passed_it_on() -> None:
    stack = Stack(era="6.12")
    key = stack.world.key("A", size=4096, bdev=stack.bdev)
    start_using_key(stack.world.kernel, World(native=None).bdev, key)
    stack.below[0][1].profile = None  # after the table was loaded

    stack.world.submit((stack.world.bio(WRITE, 0, pattern(4096), bdev=stack.bdev, name="bio"), key, 3))
    stack.world.loop.run()

    medium = stack.below[0][0].medium[24 * 512 :][:4096].tobytes()
    assert medium == ciphertext(key.raw, 3, pattern(4096).tobytes(), 4096)


def test_from_7_0_a_context_a_device_below_cannot_handle_is_notsupp() -> None:
    stack = Stack(era="7.3")
    key = stack.world.key("A", size=4096, bdev=stack.bdev)
    start_using_key(stack.world.kernel, World(native=None).bdev, key)
    stack.below[0][1].profile = None

    stack.world.submit((stack.world.bio(WRITE, 0, pattern(4096), bdev=stack.bdev, name="bio"), key, 3))

    assert stack.world.done == [("bio", BlkStatus.NOTSUPP)]


def test_the_parts_of_a_bio_complete_it_once_with_the_first_error() -> None:
    stack = Stack()
    key = stack.world.key("A", size=4096, bdev=stack.bdev)
    bio = stack.world.bio(WRITE, 992, pattern(2 * 4096), bdev=stack.bdev, name="bio")
    stack.world.submit((bio, key, 0))

    stack.below[1][0].status = BlkStatus.MEDIUM
    stack.below[1][0].complete_next()
    before = list(stack.world.done)
    stack.below[0][0].complete_next()

    assert (before, stack.world.done) == ([], [("bio", BlkStatus.MEDIUM)])


def test_bios_for_devices_below_come_before_the_rest_of_the_bio_they_were_cut_from() -> None:
    stack = Stack("striped", chunk=8)

    stack.world.submit((stack.world.bio(WRITE, 0, pattern(3 * 4096), bdev=stack.bdev), None, 0))

    points = (Tracepoint.SPLIT, Tracepoint.BIO_REMAP, Tracepoint.RQ_ISSUE)
    order = [event.tracepoint for event in stack.world.events if event.tracepoint in points]
    part = [Tracepoint.SPLIT, Tracepoint.BIO_REMAP, Tracepoint.RQ_ISSUE]
    assert order == [*part, *part, Tracepoint.BIO_REMAP, Tracepoint.RQ_ISSUE]


def test_a_flush_goes_to_every_device_and_the_data_follows_when_all_are_done() -> None:
    stack = Stack(limits=QueueLimits(write_cache=True))
    bio = stack.world.bio(WRITE, 0, pattern(4096), bdev=stack.bdev, flags=ReqFlags.PREFLUSH, name="bio")
    stack.world.submit((bio, None, 0))
    flushes = [[row[0] for row in rows] for rows in stack.seen()]

    stack.world.loop.run()

    assert flushes == [[ReqOp.FLUSH], [ReqOp.FLUSH]]
    assert [[row[0] for row in rows] for rows in stack.seen()] == [[ReqOp.FLUSH, WRITE], [ReqOp.FLUSH]]
    assert stack.world.done == [("bio", BlkStatus.OK)]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((BlkStatus.OK, BlkStatus.IOERR), BlkStatus.IOERR),
        ((BlkStatus.IOERR, BlkStatus.OK), BlkStatus.IOERR),
        ((BlkStatus.IOERR, BlkStatus.NOSPC), BlkStatus.IOERR),
    ],
)
def test_a_failed_flush_of_a_device_fails_the_write_without_its_data_with_the_first_error(
    statuses: tuple[BlkStatus, BlkStatus], expected: BlkStatus
) -> None:
    stack = Stack(limits=QueueLimits(write_cache=True))
    bio = stack.world.bio(WRITE, 0, pattern(4096), bdev=stack.bdev, flags=ReqFlags.PREFLUSH, name="bio")
    for (below, _), status in zip(stack.below, statuses, strict=True):
        below.status = status

    stack.world.submit((bio, None, 0))
    stack.world.loop.run()

    assert stack.world.done == [("bio", expected)]
    assert [[row[0] for row in rows] for rows in stack.seen()] == [[ReqOp.FLUSH], [ReqOp.FLUSH]]


def test_a_partition_of_a_layered_device_maps_twice() -> None:
    stack = Stack()
    partition = type(stack.bdev)(stack.dm.disk, 100, 200)

    stack.world.submit((stack.world.bio(WRITE, 4, pattern(512), bdev=partition), None, 0))

    assert stack.seen()[0] == [(WRITE, 128, 1, None)]
    assert natively_supported(partition, stack.world.key("A").crypto_cfg)


def test_a_first_device_below_that_lost_its_profile_does_nothing_with_wrapped_keys() -> None:
    world = World(native=capabilities({XTS: 0x1000}, max_dun_bytes=8, key_types=KeyType.HW_WRAPPED))
    layered = MappedDevice(world.kernel, "dm-0", [Linear(64, world.bdev)], world.loop)
    assert layered.disk.profile is not None
    world.disk.profile = None

    with pytest.raises(WrappedKeysNotSupported, match="sda has no crypto profile"):
        layered.disk.profile.derive_sw_secret(bytes(32))


def test_a_table_of_many_targets_ends_where_the_last_one_does_also_when_it_is_replaced() -> None:
    stack = Stack()
    disk = stack.below[0][1].whole
    three = [Linear(sectors, disk, start) for sectors, start in ((5, 0), (7, 100), (11, 200))]
    capacities = [MappedDevice(stack.world.kernel, "dm-1", three, stack.world.loop).disk.capacity]

    stack.dm.reload(three)

    assert [*capacities, stack.dm.disk.capacity] == [23, 23]
