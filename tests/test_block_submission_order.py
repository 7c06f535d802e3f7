"""Statuses of refused bios, in Linux's order of checks (reference sections 3.6, 3.7 and 4.1).

One row per check.  Each is tried alone, and with every later one at once: the first one must win.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pytest

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import start_using_key
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.capabilities import ALL_KEY_TYPES, capabilities
from blkcrypto.block.device import BlockDevice
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.submit import blk_crypto_submit_bio, submit_bio_noacct
from blkcrypto.block.trace import Tracepoint
from blkcrypto.block.waiting import Steps, Task
from tests.block_world import XTS, ProgramFailed, World, pattern

IOERR, NOTSUPP, INVAL, AGAIN = BlkStatus.IOERR, BlkStatus.NOTSUPP, BlkStatus.INVAL, BlkStatus.AGAIN
CAPACITY = 1 << 10
HARDWARE = capabilities({XTS: 0x1200}, max_dun_bytes=8, key_types=ALL_KEY_TYPES)


@dataclass(frozen=True)
class Case:
    """A bio that passes every check unless a field says otherwise."""

    era: str
    plain: bool = False
    native: bool = True
    built: bool = True
    started: bool = True
    wrapped: bool = False
    weak: bool = False
    nowait_device: bool = True
    logical_block: int = 512
    no_tag: bool = False
    program_error: BlkCryptoError | None = None
    op: ReqOp = ReqOp.WRITE
    sector: int = 16
    layout: tuple[int, ...] = (4096, 4096)
    flags: ReqFlags = ReqFlags.NONE

    def key(self, world: World) -> BlkCryptoKey:
        raw = bytes(64) if self.weak else pattern(64).tobytes()
        key_type = 2 if self.wrapped else 1
        # On the fallback the flag asks for it; kernels without the flag get a disk that cannot.
        flags = 1 if self.native or self.wrapped else 0
        return init_key(
            raw, XTS, dun_bytes=8, data_unit_size=4096, key_type=key_type, flags=flags, era=world.kernel.era
        )

    def world(self) -> World:
        limits = QueueLimits(
            nowait=self.nowait_device,
            logical_block_size=self.logical_block,
            physical_block_size=self.logical_block,
            write_cache=True,
            max_discard_sectors=1024,
        )
        native = HARDWARE if self.native else None
        return World(self.era, native=native, limits=limits, capacity=CAPACITY, depth=1, built=self.built)

    def run(self) -> list[tuple[str, BlkStatus]]:
        world = self.world()
        if self.started and self.built:
            start_using_key(world.kernel, world.bdev, replace(self, wrapped=False).key(world))
        if self.no_tag:
            world.submit((world.bio(ReqOp.READ, 0, pattern(512)), None, 0))
        world.memory_disk.program_error = self.program_error
        size = sum(self.layout)
        flags = self.flags | (ReqFlags.NONE if self.nowait_device else ReqFlags.NOWAIT)
        if self.no_tag:
            flags |= ReqFlags.NOWAIT
        data = self.op is not ReqOp.DISCARD and size
        bio = world.bio(
            self.op,
            self.sector,
            vecs=world.vecs(pattern(size), self.layout) if data else (),
            nbytes=0 if data or self.op is not ReqOp.DISCARD else 8192,
            flags=flags,
            name="bio",
        )
        task = Task("task")
        world.loop.spawn(task, self.submission(world, task, bio))
        while world.loop.step():
            pass
        if any(status is not BlkStatus.OK for name, status in world.done if name == "bio"):
            return [row for row in world.done if row[0] == "bio"]
        world.loop.run()
        return [row for row in world.done if row[0] == "bio"]

    def submission(self, world: World, task: Task, bio: Bio) -> Steps[None]:
        yield from bio.set_ctx(task, world.kernel.ctx_pool, self.key(world), 0)
        submit = submit_bio_noacct if self.plain else blk_crypto_submit_bio
        yield from submit(world.kernel, task, bio)


Check = tuple[str, dict[str, Any], BlkStatus]
NO_NOWAIT: Check = ("the device takes no REQ_NOWAIT", {"nowait_device": False}, NOTSUPP)
NO_DATA: Check = ("no data", {"layout": ()}, IOERR)
DISCARD: Check = ("a discard with a context", {"op": ReqOp.DISCARD}, IOERR)
PAST_END: Check = ("past the end", {"sector": CAPACITY - 8}, IOERR)
FLUSH_READ: Check = ("a flush that reads", {"op": ReqOp.READ, "flags": ReqFlags.PREFLUSH}, IOERR)
BLOCK: Check = ("not on a logical block", {"logical_block": 8192, "sector": 24}, IOERR)
VECTORS: Check = ("misaligned memory", {"layout": (512, 7680)}, INVAL)
NO_TAG: Check = ("no tag for REQ_NOWAIT", {"no_tag": True}, AGAIN)
PROGRAM: Check = ("programming fails", {"program_error": ProgramFailed("busy")}, BlkStatus.DEV_RESOURCE)
NOT_NATIVE: Check = ("not supported by the device", {"native": False}, NOTSUPP)
NOT_BUILT: Check = ("no fallback built", {"built": False}, NOTSUPP)
NOT_STARTED: Check = ("mode never started", {"started": False}, IOERR)
WRAPPED: Check = ("a wrapped key in the fallback", {"wrapped": True}, NOTSUPP)
WEAK: Check = ("a weak key in the fallback", {"weak": True}, INVAL)

# Per way in, what is true of the case otherwise, and the checks in order.
ORDERS: dict[str, tuple[Case, list[Check]]] = {
    "7.3, submit_bio": (
        Case("7.3", plain=True),
        [NO_NOWAIT, NO_DATA, NOT_NATIVE, PAST_END, FLUSH_READ, BLOCK, VECTORS, NO_TAG, PROGRAM],
    ),
    "7.3, blk_crypto_submit_bio to hardware": (
        Case("7.3"),
        [DISCARD, NO_DATA, NO_NOWAIT, PAST_END, FLUSH_READ, BLOCK, VECTORS, NO_TAG, PROGRAM],
    ),
    "7.3, blk_crypto_submit_bio to the fallback": (
        Case("7.3", native=False),
        [NO_DATA, NOT_BUILT, NOT_STARTED, WRAPPED, WEAK, VECTORS, NO_NOWAIT, PAST_END, BLOCK, NO_TAG],
    ),
    "7.0, blk_crypto_submit_bio to the fallback": (
        Case("7.0", native=False),
        [NO_DATA, NOT_BUILT, NOT_STARTED, WRAPPED, WEAK, VECTORS, NO_NOWAIT, PAST_END, BLOCK, NO_TAG],
    ),
    "6.12, to hardware": (
        Case("6.12"),
        [NO_NOWAIT, PAST_END, FLUSH_READ, NO_DATA, VECTORS, BLOCK, NO_TAG, PROGRAM],
    ),
    "6.15, to the fallback": (
        Case("6.15", native=False),
        [NO_NOWAIT, PAST_END, NO_DATA, VECTORS, NOT_BUILT, NOT_STARTED, WRAPPED, WEAK, BLOCK, NO_TAG],
    ),
}
SINGLE = [(way, check) for way, (_, checks) in ORDERS.items() for check in checks]


def together(first: Check, second: Check) -> bool:
    """Whether both faults fit one bio, and can be told apart."""
    both = first[1].keys() & second[1].keys()
    return not both and first[2] is not second[2] and not (first[1].get("op") and second is NO_DATA)


PAIRS = [
    (way, first, second)
    for way, (_, checks) in ORDERS.items()
    for first, second in combinations(checks, 2)
    if together(first, second)
]


@pytest.mark.parametrize("way", ORDERS)
def test_a_faultless_bio_completes_well(way: str) -> None:
    base, _ = ORDERS[way]

    assert base.run() == [("bio", BlkStatus.OK)]


@pytest.mark.parametrize(("way", "check"), SINGLE, ids=[f"{way}: {check[0]}" for way, check in SINGLE])
def test_each_check_gives_its_status(way: str, check: Check) -> None:
    _, changes, status = check

    assert replace(ORDERS[way][0], **changes).run() == [("bio", status)]


@pytest.mark.parametrize(
    ("way", "first", "second"), PAIRS, ids=[f"{way}: {a[0]} before {b[0]}" for way, a, b in PAIRS]
)
def test_of_two_faults_the_one_checked_first_decides(way: str, first: Check, second: Check) -> None:
    case = replace(ORDERS[way][0], **second[1], **first[1])

    assert case.run() == [("bio", first[2])]


def test_in_5_x_misaligned_memory_was_an_i_o_error() -> None:
    assert replace(Case("5.18"), layout=(512, 7680)).run() == [("bio", IOERR)]


@pytest.mark.parametrize("op", [ReqOp.DISCARD, ReqOp.SECURE_ERASE, ReqOp.WRITE_ZEROES])
def test_operations_without_data_need_the_device_s_support_and_no_context(op: ReqOp) -> None:
    supporting = QueueLimits(max_discard_sectors=64, max_secure_erase_sectors=64, max_write_zeroes_sectors=64)
    statuses = []
    for limits in (QueueLimits(), supporting):
        world = World(limits=limits)
        world.submit((world.bio(op, 0, nbytes=4096, name="bio"), None, 0))
        world.loop.run()
        statuses.append(world.done[0][1])

    assert statuses == [NOTSUPP, BlkStatus.OK]


def test_a_partition_s_bio_moves_to_its_place_on_the_disk_once_and_ends_at_the_partition_s_end() -> None:
    world = World()
    partition = BlockDevice(world.disk, 100, 50)
    inside = world.bio(ReqOp.WRITE, 10, pattern(512), bdev=partition, name="inside")
    across = world.bio(ReqOp.WRITE, 49, pattern(1024), bdev=partition, name="across")

    world.submit((inside, None, 0), (across, None, 0))
    world.loop.run()

    assert world.memory_disk.seen == [(ReqOp.WRITE, 110, 1, None)]
    assert world.done == [("across", IOERR), ("inside", BlkStatus.OK)]


def test_a_bio_is_traced_as_queued_once_although_its_rest_is_submitted_again() -> None:
    world = World(limits=QueueLimits(max_segments=1))

    world.submit((world.bio(ReqOp.WRITE, 0, pattern(12288), layout=[4096] * 3), world.key("A"), 0))

    queued = [event for event in world.events if event.tracepoint is Tracepoint.BIO_QUEUE]
    assert len(queued) == 1
    assert len(world.memory_disk.seen) == 3


def test_a_missing_fallback_is_warned_of_once() -> None:
    world = World(native=None, built=False)
    key = world.key("A", start=False)

    for number in range(3):
        world.submit((world.bio(ReqOp.WRITE, number, pattern(512), name="bio"), key, 0))

    assert world.done == [("bio", NOTSUPP)] * 3
    assert len(world.kernel.log) == 1
