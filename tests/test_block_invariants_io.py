"""Invariants 13 to 23 of reference block-layer.md section 7.1, by their numbers.

Invariants 15 and 16 are in ``test_block_master_oracle``, 17 and 19 in ``test_block_dun_and_split``.
"""

import numpy as np
import pytest

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import evict_key
from blkcrypto.block.bio import Bio
from blkcrypto.block.bvec import BioVec
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.mempool import exhausted
from blkcrypto.block.op import ReqOp
from blkcrypto.block.request import Request
from tests.block_world import World, crypt_units, pattern

READ, WRITE = ReqOp.READ, ReqOp.WRITE


def test_13_a_request_reaches_the_device_with_its_key_in_its_slot_also_after_requeues_and_misses() -> None:
    world = World(slots=2)
    keys = [world.key(name) for name in "ABCD"]
    world.memory_disk.busy = 3

    for number, key in enumerate(keys * 2):
        world.submit((world.bio(WRITE, 8 * number, pattern(512, number)), key, number))
        world.loop.run()  # the device checks slot and key of every request

    assert {status for _, status in world.done} == {BlkStatus.OK}
    assert len(world.memory_disk.calls) == 8


def test_13_a_requeued_request_keeps_its_slot() -> None:
    world = World(slots=1)
    key = world.key("A")
    world.submit((world.bio(WRITE, 0, pattern(512)), key, 0))
    (rq,) = world.memory_disk.pending

    world.memory_disk.pending.clear()
    world.queue.requeue(rq)

    assert world.profile.table is not None
    assert (rq.keyslot, world.profile.table.refs(0)) == (0, 1)


def test_14_the_slot_is_free_before_the_callback_runs_so_eviction_there_is_never_busy() -> None:
    world = World(slots=1)
    key = world.key("A")

    def evict(_bio: Bio) -> None:
        evict_key(world.kernel, world.bdev, key)

    world.submit((world.bio(WRITE, 0, pattern(512), end_io=evict), key, 0))
    world.loop.run()

    assert world.memory_disk.calls == [("program", "A", 0), ("evict", "A", 0)]
    assert world.kernel.log == []


def test_14_before_6_4_the_slot_was_still_held_in_the_callback_and_the_key_stayed_linked() -> None:
    world = World("5.18", slots=1)
    key = world.key("A")
    failed: list[str] = []

    def evict(_bio: Bio) -> None:
        with pytest.raises(Exception, match="EBUSY") as caught:
            evict_key(world.kernel, world.bdev, key)
        failed.append(type(caught.value).__name__)

    world.submit((world.bio(WRITE, 0, pattern(512), end_io=evict), key, 0))
    world.loop.run()

    assert world.profile.table is not None
    assert (failed, world.profile.table.key_in(0)) == (["KeyslotBusy"], key)


@pytest.mark.parametrize("how", ["back", "front"])
def test_18_the_dun_of_a_request_is_that_of_its_lowest_bio(how: str) -> None:
    world = World()
    key = world.key("A", size=512)
    low = (world.bio(WRITE, 8, pattern(1024)), key, 100)
    high = (world.bio(WRITE, 10, pattern(1024)), key, 102)

    world.submit(*((low, high) if how == "back" else (high, low)), plug=True)

    assert world.memory_disk.seen == [(WRITE, 8, 4, 100)]


@pytest.mark.parametrize(
    ("label", "dun"), [("A", 103), ("A", 101), ("B", 102)], ids=["dun too high", "dun too low", "other key"]
)
def test_18_adjacent_sectors_alone_do_not_merge(label: str, dun: int) -> None:
    world = World()
    keys = {name: world.key(name, size=512) for name in "AB"}

    world.submit(
        (world.bio(WRITE, 8, pattern(1024)), keys["A"], 100),
        (world.bio(WRITE, 10, pattern(1024)), keys[label], dun),
        plug=True,
    )

    assert [row[3] for row in world.memory_disk.seen] == [100, dun]


def test_18_equal_bytes_in_another_key_object_do_not_merge() -> None:
    world = World()
    one, other = world.key("A", size=512), world.key("A", size=512)
    assert one.raw == other.raw

    world.submit(
        (world.bio(WRITE, 8, pattern(1024)), one, 100),
        (world.bio(WRITE, 10, pattern(1024)), other, 102),
        plug=True,
    )

    assert len(world.memory_disk.seen) == 2


@pytest.mark.parametrize("native", [True, False], ids=["hardware", "fallback"])
@pytest.mark.parametrize("wrong", ["key", "dun"])
def test_20_a_wrong_key_or_dun_never_yields_plaintext(native: bool, wrong: str) -> None:
    world = World()
    key, other = (world.key(name, allow_hw=native) for name in ("A", "B"))
    plaintext = pattern(8 * 512)
    world.write(0, plaintext, key, dun=5)

    read = world.read(0, len(plaintext), other if wrong == "key" else key, dun=5 if wrong == "key" else 6)

    matching = (read.reshape(8, 512) == plaintext.reshape(8, 512)).all(axis=1)
    assert not matching.any()


def test_20_an_encrypted_request_on_an_empty_slot_fails_instead_of_passing_plaintext() -> None:
    world = World(slots=1)
    key = world.key("A")
    world.submit((world.bio(WRITE, 0, pattern(512)), key, 0))

    world.memory_disk.reset()

    with pytest.raises(AssertionError, match="does not hold"):
        world.memory_disk.complete_next()


def seen_contexts(world: World) -> list[Request]:
    return [rq for rq in world.memory_disk.pending if rq.crypt_ctx is not None or rq.bios[0].crypt_ctx]


@pytest.mark.parametrize("op", [READ, WRITE])
@pytest.mark.parametrize("era", ["6.12", "7.3"])
def test_21_the_device_never_sees_a_context_of_the_fallback(era: str, op: ReqOp) -> None:
    world = World(era, native=None)
    key = world.key("A")

    world.submit((world.bio(op, 0, pattern(4096)), key, 0))

    assert len(world.memory_disk.pending) == 1
    assert seen_contexts(world) == []


@pytest.mark.parametrize("era", ["6.12", "7.3"])
def test_21_the_source_of_a_write_is_unharmed(era: str) -> None:
    world = World(era, native=None)
    plaintext = pattern(1 << 16)
    source = plaintext.copy()

    world.write(0, source, world.key("A"))

    assert np.array_equal(source, plaintext)


@pytest.mark.parametrize("era", ["6.12", "7.3"])
@pytest.mark.parametrize("status", [BlkStatus.OK, BlkStatus.IOERR])
def test_21_every_bounce_page_goes_back_once_also_after_errors(era: str, status: BlkStatus) -> None:
    world = World(era, native=None)
    key = world.key("A")
    world.memory_disk.status = status
    fallback = world.kernel.fallback
    assert fallback is not None

    world.submit((world.bio(WRITE, 0, pattern(3 << 20)), key, 0))
    out = fallback.writes.pages.in_use
    world.loop.run()

    assert out > 0
    assert (fallback.writes.pages.in_use, fallback.writes.bios.in_use) == (0, 0)
    assert fallback.writes.pages.curr_nr == fallback.writes.pages.min_nr


def test_21_a_misaligned_write_gives_its_pages_back_without_reaching_the_device() -> None:
    world = World(native=None, memory=exhausted)
    key = world.key("A", size=4096)
    fallback = world.kernel.fallback
    assert fallback is not None

    world.submit((world.bio(WRITE, 0, pattern(8192), layout=[512, 4096, 3584]), key, 0))

    assert (fallback.writes.pages.in_use, world.memory_disk.pending) == (0, [])


def test_22_a_bio_in_parts_completes_once_with_the_first_error_among_them() -> None:
    world = World(limits=QueueLimits(max_sectors=8))
    key = world.key("A")
    world.submit((world.bio(WRITE, 0, pattern(4 * 4096), name="bio"), key, 0))

    for status in (BlkStatus.OK, BlkStatus.MEDIUM, BlkStatus.TIMEOUT, BlkStatus.OK):
        world.memory_disk.status = status
        world.memory_disk.complete_next()

    assert world.done == [("bio", BlkStatus.MEDIUM)]


def test_22_a_fallback_write_in_chunks_completes_once_with_the_first_error() -> None:
    world = World(native=None, limits=QueueLimits(max_sectors=1 << 12, max_segments=256))
    key = world.key("A")
    world.submit((world.bio(WRITE, 0, pattern(3 << 20), name="bio"), key, 0))
    assert len(world.memory_disk.pending) == 3

    for status in (BlkStatus.OK, BlkStatus.MEDIUM, BlkStatus.TIMEOUT):
        world.memory_disk.status = status
        world.memory_disk.complete_next()

    assert world.done == [("bio", BlkStatus.MEDIUM)]


def test_22_completing_a_bio_twice_is_caught() -> None:
    world = World()
    bio = world.bio(WRITE, 0, pattern(512))
    bio.complete()

    with pytest.raises(AssertionError, match="twice"):
        bio.complete()


MISALIGNED = [
    ([512, 4096, 3584], "ends inside a unit"),
    ([3584, 4608], "begins inside a unit"),
]


@pytest.mark.parametrize(("layout", "_why"), MISALIGNED, ids=[why for _, why in MISALIGNED])
@pytest.mark.parametrize("native", [True, False], ids=["hardware", "fallback"])
def test_23_misaligned_memory_is_inval_and_nothing_of_it_is_encrypted(
    native: bool, layout: list[int], _why: str
) -> None:
    world = World()
    key = world.key("A", size=4096, allow_hw=native)

    world.submit((world.bio(WRITE, 0, pattern(8192), layout=layout, name="bio"), key, 0))
    world.loop.run()

    assert (world.done, world.memory_disk.seen) == ([("bio", BlkStatus.INVAL)], [])


def test_23_a_misaligned_read_through_the_fallback_is_inval_after_the_device_read_and_not_decrypted() -> None:
    world = World(native=None)
    key = world.key("A", size=4096)
    plaintext = pattern(8192)
    world.write(0, plaintext, key)
    world.done.clear()
    buffer = np.zeros(8192, dtype=np.uint8)

    world.submit((world.bio(READ, 0, buffer, layout=[512], name="bio"), key, 0))
    world.loop.run()

    assert world.done == [("bio", BlkStatus.INVAL)]
    assert np.array_equal(buffer, crypt_units(key, 0, plaintext, encrypt=True))


def test_23_a_cut_by_the_size_limit_falls_between_data_units() -> None:
    # Linux rounds to the logical block only: 1000 sectors would cut the unit that begins at sector 896.
    world = World(limits=QueueLimits(max_sectors=1000))
    key = world.key("A", size=65536)

    world.submit((world.bio(WRITE, 0, pattern(16 * 65536)), key, 0))

    assert world.memory_disk.seen == [(WRITE, 0, 896, 0), (WRITE, 896, 896, 7), (WRITE, 1792, 256, 14)]


def test_21_a_vector_at_an_odd_place_in_its_page_bounces_to_the_same_place() -> None:
    world = World(native=None)
    key = world.key("A", size=512)
    data = pattern(1024)
    vec = BioVec((1 << 20) + 1536, 1024, data)

    world.submit((world.bio(WRITE, 0, vecs=[vec]), key, 0))

    (bounced,) = world.memory_disk.pending[0].bios[0].vecs
    assert (bounced.address % 4096, bounced.length) == (1536, 1024)
