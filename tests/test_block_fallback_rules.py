"""The crypto API fallback: chunks, pools, keyslots, errors in the middle (reference section 4)."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import evict_key
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.era import KERNELS
from blkcrypto.block.fallback import Fallback
from blkcrypto.block.fallback_cipher import fallback_chunks
from blkcrypto.block.fallback_slots import FallbackEngine, SoftwareCiphers
from blkcrypto.block.init_key import init_key
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.key import BlkCryptoKey, CryptoModeNum
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.modes import CryptoMode
from blkcrypto.block.op import ReqOp
from blkcrypto.block.sysfs import slot_views
from blkcrypto.block.trace import Tracepoint
from blkcrypto.block.waiting import RunLoop, Task
from blkcrypto.crypto.cipher import DataUnitCipher
from tests.block_world import World, crypt_units, pattern, plain_fallback
from tests.oracle.block_xts import ciphertext

READ, WRITE = ReqOp.READ, ReqOp.WRITE
PAGE = 4096
WIDE = QueueLimits(max_sectors=1 << 14, max_segments=1 << 10)
ERAS = ("6.12", "7.0", "7.3")


def engine(world: World) -> FallbackEngine:
    assert world.kernel.fallback is not None
    assert world.kernel.fallback.engine is not None
    return world.kernel.fallback.engine


def slots_in_use(world: World) -> int:
    return sum(view.refs for view in slot_views(engine(world).profile))


def queued(world: World) -> list[int]:
    return [event.arg for event in world.events if event.tracepoint is Tracepoint.BIO_QUEUE]


def start(world: World, name: str, bio: Bio, key: BlkCryptoKey | None, dun: int = 0) -> None:
    task = Task(name)
    world.loop.spawn(task, world.submission(task, [(bio, key, dun)]))
    while world.loop.step():
        pass


@pytest.mark.parametrize(
    ("pages", "expected"), [(256, [2048]), (257, [2048, 8]), (768, [2048, 2048, 2048]), (1, [8])]
)
def test_a_write_becomes_ciphertext_bios_of_at_most_256_pages(pages: int, expected: list[int]) -> None:
    world = World(native=None, limits=WIDE)

    world.submit((world.bio(WRITE, 0, pages * PAGE), world.key("A"), 0))

    assert queued(world) == expected


def test_before_7_0_the_rest_of_a_large_write_is_split_off_and_queued_as_what_it_was() -> None:
    world = World("6.12", native=None, limits=WIDE)

    world.submit((world.bio(WRITE, 0, 600 * PAGE, name="bio"), world.key("A"), 0))

    # One bio was queued; the fallback inside the block layer cut it.
    assert queued(world) == [600 * 8]
    assert [row[2] for row in world.memory_disk.seen] == [2048, 2048, 600 * 8 - 4096]


@given(
    nbytes=st.integers(1, 40 * PAGE),
    offset=st.sampled_from([0, 512, 2048, 4095]),
    max_pages=st.integers(1, 16),
)
def test_chunks_without_memory_equal_counting_single_page_segments(
    nbytes: int, offset: int, max_pages: int
) -> None:
    segments, left, here = [], nbytes, offset
    while left:
        length = min(left, PAGE - here % PAGE)
        segments.append(length)
        left, here = left - length, here + length
    expected = [sum(segments[n : n + max_pages]) for n in range(0, len(segments), max_pages)]

    assert fallback_chunks(nbytes, offset=offset, max_pages=max_pages) == expected


def test_segments_are_counted_by_page_so_unaligned_memory_makes_more_chunks() -> None:
    world = World(native=None, limits=WIDE)
    vec = world.vecs(256 * PAGE)[0]
    shifted = type(vec)(vec.address + 512, vec.length)

    world.submit((world.bio(WRITE, 0, vecs=[shifted]), world.key("A", size=512), 0))

    assert queued(world) == [2047, 1]


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_its_bounce_pool(name: str) -> None:
    world = World(name, native=None)
    assert world.kernel.fallback is not None

    expected = 256 if float(name) >= 7 else 32
    assert world.kernel.fallback.writes.pages.min_nr == expected


def test_pools_and_keyslots_are_as_many_as_the_reference_s_table_says() -> None:
    """Section 1.1."""
    kernel = Kernel()
    fallback = plain_fallback(kernel, RunLoop())
    fallback.start_using_mode(CryptoModeNum.AES_256_XTS)

    assert fallback.engine is not None
    assert kernel.ctx_pool.min_nr == fallback.reads.contexts.min_nr == 128
    assert (fallback.writes.bios.min_nr, fallback.engine.profile.num_slots) == (64, 100)


def test_what_a_ciphertext_bio_copies() -> None:
    world = World(native=None, limits=QueueLimits(write_cache=True, fua=True))
    bio = world.bio(WRITE, 8, pattern(PAGE), flags=ReqFlags.FUA | ReqFlags.SYNC)
    bio.ioprio, bio.write_hint, bio.write_stream, bio.blkg = 3, 4, 5, "cgroup"

    world.submit((bio, world.key("A"), 0))

    (twin,) = world.memory_disk.pending[0].bios
    assert (twin.op, twin.sector, twin.flags) == (WRITE, 8, ReqFlags.FUA | ReqFlags.SYNC)
    assert (twin.ioprio, twin.write_hint, twin.write_stream, twin.blkg) == (3, 4, 5, "cgroup")
    assert twin.crypt_ctx is None


def test_the_chunk_before_an_error_is_already_on_its_way_and_the_one_with_it_is_not() -> None:
    world = World(native=None, limits=WIDE)
    key = world.key("A", size=PAGE)
    layout = [256 * PAGE, 512, PAGE, PAGE - 512, 256 * PAGE]

    world.submit((world.bio(WRITE, 0, pattern(sum(layout)), layout=layout, name="bio"), key, 0))
    submitted = [row[2] for row in world.memory_disk.seen]
    before = list(world.done)
    world.loop.run()

    assert (submitted, before, world.done) == ([2048], [], [("bio", BlkStatus.INVAL)])
    assert slots_in_use(world) == 0


@pytest.mark.parametrize(("era", "during"), [("6.12", 0), ("7.0", 1), ("7.3", 1)])
def test_a_write_holds_its_slot_during_submission_from_7_0_on(era: str, during: int) -> None:
    world = World(era, native=None, depth=1)
    key = world.key("A")
    start(world, "plain", world.bio(WRITE, 500, pattern(512)), None)

    start(world, "write", world.bio(WRITE, 0, pattern(512)), key)

    assert world.loop.sleeping()[0][1].startswith("a tag of sda")
    assert slots_in_use(world) == during


def test_a_read_holds_no_slot_while_the_device_works() -> None:
    world = World(native=None)

    start(world, "read", world.bio(READ, 0, pattern(512)), world.key("A"))

    assert (len(world.memory_disk.pending), slots_in_use(world)) == (1, 0)


def test_a_read_that_was_split_below_is_decrypted_once_and_whole() -> None:
    world = World(native=None, limits=QueueLimits(max_segments=2))
    key = world.key("A")
    plaintext = pattern(8 * PAGE)
    world.write(0, plaintext, key, dun=3)
    world.memory_disk.seen.clear()
    buffer = np.zeros(8 * PAGE, dtype=np.uint8)

    world.submit((world.bio(READ, 0, buffer, layout=[PAGE] * 8), key, 3))
    world.loop.run()

    assert len(world.memory_disk.seen) == 4
    assert np.array_equal(buffer, plaintext)


def test_a_failed_read_is_not_decrypted_and_completes_at_once() -> None:
    world = World(native=None)
    key = world.key("A")
    start(world, "read", world.bio(READ, 0, pattern(512), name="bio"), key)
    world.memory_disk.status = BlkStatus.MEDIUM

    world.memory_disk.complete_next()

    assert (world.done, world.loop.ready) == ([("bio", BlkStatus.MEDIUM)], 0)
    assert engine(world).profile.table is not None
    assert slot_views(engine(world).profile)[0].key is None


def test_decryption_waits_for_a_worker_and_workers_are_as_many_as_cpus() -> None:
    world = World(native=None, fallback=made_with(workers=2))
    key = world.key("A")
    for number in range(5):
        start(world, str(number), world.bio(READ, 100 * number, pattern(512), name=str(number)), key)

    while world.memory_disk.pending:
        world.memory_disk.complete_next()

    assert (world.loop.ready, world.done) == (2, [])
    world.loop.run()
    assert [name for name, _ in world.done] == list("01234")


def made_with(**more: object) -> Callable[[Kernel, RunLoop], Fallback]:
    def make(kernel: Kernel, loop: RunLoop) -> Fallback:
        return Fallback(kernel, loop, np.random.default_rng(7), **more)  # type: ignore[arg-type]  # forwarded

    return make


class CountingCiphers(SoftwareCiphers):
    """Counts keys set; refuses those told to."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.refuse: set[bytes] = set()

    def set_key(self, mode: CryptoMode, raw: bytes) -> DataUnitCipher:
        self.keys.append(raw)
        if raw in self.refuse:
            raise Refused("told to")
        return super().set_key(mode, raw)


class Refused(BlkCryptoError):
    errno = 22


def test_with_as_many_keys_as_slots_every_write_hits_and_with_one_more_in_a_circle_none() -> None:
    counts = []
    for keys in (3, 4):
        provider = CountingCiphers()
        world = World(native=None, fallback=made_with(num_keyslots=3, provider=provider))
        used = [world.key(str(number)) for number in range(keys)]
        for _ in range(5):
            for key in used:
                world.write(0, pattern(512), key)
        counts.append(len(provider.keys))

    assert counts == [3, 20]


def test_changing_the_mode_of_a_slot_blanks_the_old_mode_first() -> None:
    provider = CountingCiphers()
    world = World(native=None, fallback=made_with(num_keyslots=1, provider=provider))
    xts = world.key("A")
    world.write(0, pattern(512), xts)
    sm4 = init_key(pattern(32, 9).tobytes(), CryptoModeNum.SM4_XTS, dun_bytes=8, data_unit_size=512)
    assert world.kernel.fallback is not None
    world.kernel.fallback.start_using_mode(CryptoModeNum.SM4_XTS)

    world.write(0, pattern(512), sm4)

    blank = provider.keys[1]
    assert [provider.keys[0], provider.keys[2]] == [xts.raw, sm4.raw]
    assert len(blank) == 64
    assert blank not in (xts.raw, bytes(64))


def test_the_same_mode_just_gets_the_new_key() -> None:
    provider = CountingCiphers()
    world = World(native=None, fallback=made_with(num_keyslots=1, provider=provider))
    keys = [world.key(name) for name in "AB"]

    for key in keys:
        world.write(0, pattern(512), key)

    assert provider.keys == [key.raw for key in keys]


@pytest.mark.parametrize("era", ERAS)
def test_a_key_the_cipher_refuses_fails_the_io_and_leaves_the_slot_blanked(era: str) -> None:
    world = World(era, native=None)
    good = world.key("A")
    weak = init_key(
        bytes(64), CryptoModeNum.AES_256_XTS, dun_bytes=8, data_unit_size=512, era=world.kernel.era
    )
    world.write(0, pattern(512), good)
    world.done.clear()

    world.submit((world.bio(WRITE, 0, pattern(512), name="bio"), weak, 0))

    assert world.done == [("bio", BlkStatus.INVAL)]
    assert engine(world).slots.active_mode(1) is CryptoModeNum.INVALID


@pytest.mark.parametrize("era", ERAS)
def test_a_mode_that_was_not_started_is_an_i_o_error_with_one_warning_although_another_was(era: str) -> None:
    world = World(era, native=None)
    world.key("A")
    sm4 = init_key(
        pattern(32).tobytes(), CryptoModeNum.SM4_XTS, dun_bytes=8, data_unit_size=512, era=world.kernel.era
    )

    for _ in range(2):
        world.submit((world.bio(WRITE, 0, pattern(512), name="bio"), sm4, 0))

    assert world.done == [("bio", BlkStatus.IOERR)] * 2
    assert world.kernel.log == ["I/O with SM4-XTS before its mode was started"]


def test_a_failed_program_over_an_old_key_leaves_it_linked_to_a_blanked_slot() -> None:
    # Source reading, section 3.12: the hazard of a device that destroys the old key before it fails.
    world = World(native=None, fallback=made_with(num_keyslots=1))
    good = world.key("A")
    world.write(0, pattern(512), good)
    weak = init_key(bytes(64), CryptoModeNum.AES_256_XTS, dun_bytes=8, data_unit_size=512)

    world.submit((world.bio(WRITE, 0, pattern(512)), weak, 0))

    assert slot_views(engine(world).profile)[0].key == "A"
    assert engine(world).slots.active_mode(0) is CryptoModeNum.INVALID


def test_a_slot_failure_of_a_read_becomes_its_status_after_the_device_read() -> None:
    provider = CountingCiphers()
    world = World(native=None, fallback=made_with(provider=provider))
    key = world.key("A")
    provider.refuse.add(key.raw)

    start(world, "read", world.bio(READ, 0, pattern(512), name="bio"), key)
    before = list(world.done)
    world.loop.run()

    assert (before, world.done) == ([], [("bio", BlkStatus.INVAL)])
    assert world.kernel.fallback is not None
    assert world.kernel.fallback.reads.contexts.in_use == 0


@pytest.mark.parametrize("era", ERAS)
def test_a_data_unit_the_cipher_cannot_take_is_an_i_o_error_and_frees_the_bounce_pages(era: str) -> None:
    world = World(era, native=None)
    key = world.key("A", size=8)  # XTS needs 16 bytes; making such a key is allowed

    world.submit((world.bio(WRITE, 0, pattern(512), name="bio"), key, 0))

    assert (world.done, world.memory_disk.seen) == ([("bio", BlkStatus.IOERR)], [])
    assert world.kernel.fallback is not None
    assert (world.kernel.fallback.writes.pages.in_use, slots_in_use(world)) == (0, 0)


@pytest.mark.parametrize("failing", [1, 2], ids=["the ciphertext bio", "the cipher request"])
def test_before_7_0_a_failed_small_allocation_is_a_resource_error(failing: int) -> None:
    calls = iter(range(1, 10))
    world = World("6.12", native=None, fallback=made_with(kmalloc_fails=lambda: next(calls) == failing))

    world.submit((world.bio(WRITE, 0, pattern(512), name="bio"), world.key("A"), 0))

    assert (world.done, slots_in_use(world)) == ([("bio", BlkStatus.RESOURCE)], 0)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("dun", [0, 2**64 - 3, 2**128 - 3, 2**256 - 3])
def test_duns_carry_and_wrap_inside_one_write(era: str, dun: int) -> None:
    world = World(era, native=None)
    key = world.key("A", size=512)
    plaintext = pattern(8 * 512)

    world.write(0, plaintext, key, dun)

    expected = ciphertext(key.raw, dun, plaintext.tobytes(), 512)
    assert world.memory_disk.medium[: 8 * 512].tobytes() == expected


@pytest.mark.parametrize("era", ERAS)
def test_a_write_of_several_chunks_goes_on_with_the_next_dun_in_each(era: str) -> None:
    world = World(era, native=None)
    key = world.key("A", size=PAGE)
    plaintext = pattern(600 * PAGE)

    world.write(0, plaintext, key, 2**64 - 300)

    expected = ciphertext(key.raw, 2**64 - 300, plaintext.tobytes(), PAGE)
    assert world.memory_disk.medium[: 600 * PAGE].tobytes() == expected


def test_all_eras_and_hardware_put_the_same_bytes_on_the_medium() -> None:
    media = []
    for era, native in (*((era, False) for era in ERAS), ("7.3", True)):
        world = World(era) if native else World(era, native=None)
        key = world.key("A")
        world.write(0, pattern(1 << 16), key, 9)
        media.append(world.memory_disk.medium[: 1 << 16].copy())
        assert np.array_equal(media[-1], crypt_units(key, 9, pattern(1 << 16), encrypt=True))

    assert all(np.array_equal(media[0], medium) for medium in media)


@pytest.mark.parametrize("era", ERAS)
def test_evicting_a_key_from_a_fallback_that_never_started_does_nothing_and_starts_nothing(era: str) -> None:
    world = World(era, native=None)
    key = world.key("A", start=False)

    evict_key(world.kernel, world.bdev, key)

    assert world.kernel.fallback is not None
    assert world.kernel.fallback.engine is None
