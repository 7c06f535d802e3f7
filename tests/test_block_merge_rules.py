"""May these two become one request, and what happens when they do (reference section 3.8)."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import BioVec
from blkcrypto.block.crypt_ctx import BioCryptCtx, compatible, mergeable
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import CryptoModeNum
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.merge import Attempt, Merge, attempt, max_request_sectors, requests_merge
from blkcrypto.block.op import ReqOp
from blkcrypto.block.request import Request
from blkcrypto.block.tags import TagSet
from blkcrypto.block.trace import Tracepoint
from tests.block_world import World, pattern

WRITE = ReqOp.WRITE
PAGE = 4096
KEYS = [
    init_key(bytes(64), CryptoModeNum.AES_256_XTS, dun_bytes=8, data_unit_size=PAGE, label=name)
    for name in "AB"
]
WORLD = World()


def bio(sector: int, nbytes: int = PAGE, *, key: int | None = 0, dun: int = 0, **more: object) -> Bio:
    made = WORLD.bio(WRITE, sector, nbytes)
    for name, value in more.items():
        setattr(made, name, value)
    if key is not None:
        made.crypt_ctx = BioCryptCtx(KEYS[key], dun)
    return made


def request(first: Bio, segments: int = 1) -> Request:
    rq = Request(WORLD.queue, first, segments, first.op)
    rq.crypt_ctx = None if first.crypt_ctx is None else first.crypt_ctx.copy()
    return rq


LIMITS = QueueLimits()
MARK = ReqFlags.NOMERGE
# Behind a request of one page at sector 8 with DUN 5.
BACK: list[tuple[str, dict[str, object], bool]] = [
    ("next dun", {"dun": 6}, True),
    ("same dun", {"dun": 5}, False),
    ("dun after a gap", {"dun": 7}, False),
    ("other key", {"dun": 6, "key": 1}, False),
    ("no context", {"key": None}, False),
    ("not adjacent", {"sector": 17, "dun": 6}, False),
    ("other operation", {"dun": 6, "op": ReqOp.READ}, False),
    ("other priority", {"dun": 6, "ioprio": 1}, False),
    ("other write hint", {"dun": 6, "write_hint": 1}, False),
    ("other write stream", {"dun": 6, "write_stream": 1}, False),
    ("other cgroup", {"dun": 6, "blkg": "another"}, False),
    ("atomic", {"dun": 6, "flags": ReqFlags.ATOMIC}, False),
    ("integrity", {"dun": 6, "flags": ReqFlags.INTEGRITY}, False),
    ("front of a split", {"dun": 6, "flags": MARK}, False),
    ("preflush", {"dun": 6, "flags": ReqFlags.PREFLUSH}, False),
    ("forced unit access", {"dun": 6, "flags": ReqFlags.FUA}, False),
    ("other flags do not matter", {"dun": 6, "flags": ReqFlags.SYNC | ReqFlags.IDLE}, True),
]


@pytest.mark.parametrize(("_why", "changes", "expected"), BACK, ids=[row[0] for row in BACK])
def test_a_bio_joins_behind_a_request_only_when_every_condition_holds(
    _why: str, changes: dict[str, object], expected: bool
) -> None:
    rq = request(bio(8, dun=5))
    sector = changes.get("sector", 16)
    assert isinstance(sector, int)
    other = bio(sector, **{name: value for name, value in changes.items() if name != "sector"})  # type: ignore[arg-type]  # rows of mixed fields

    result, _ = attempt(rq, other, 1, LIMITS)

    assert (result is Attempt.OK, len(rq.bios)) == (expected, 2 if expected else 1)


@pytest.mark.parametrize(("dun", "expected"), [(4, True), (5, False), (3, False)])
def test_a_bio_joins_in_front_when_the_request_has_the_dun_after_it(dun: int, expected: bool) -> None:
    rq = request(bio(8, dun=5))

    result, where = attempt(rq, bio(0, dun=dun), 1, LIMITS)

    assert (result is Attempt.OK, where) == (expected, Merge.FRONT)


def test_a_front_merge_gives_the_request_the_bio_s_dun_and_leaves_the_bio_its_context() -> None:
    rq, front = request(bio(8, dun=5)), bio(0, dun=4)

    attempt(rq, front, 1, LIMITS)

    assert rq.crypt_ctx is not None
    assert (rq.crypt_ctx.dun, rq.sector, rq.nbytes) == (4, 0, 2 * PAGE)
    assert front.crypt_ctx is not None


def test_a_back_merge_frees_the_bio_s_context() -> None:
    rq, back = request(bio(8, dun=5)), bio(16, dun=6)

    attempt(rq, back, 1, LIMITS)

    assert back.crypt_ctx is None
    assert rq.crypt_ctx is not None
    assert (rq.crypt_ctx.dun, rq.sector, rq.nbytes) == (5, 8, 2 * PAGE)


def test_two_bios_without_contexts_merge_by_sector_alone() -> None:
    assert attempt(request(bio(8, key=None)), bio(16, key=None), 1, LIMITS)[0] is Attempt.OK


@pytest.mark.parametrize(
    ("limits", "segments"),
    [(QueueLimits(max_sectors=15), 1), (QueueLimits(max_segments=2), 2), (QueueLimits(chunk_sectors=12), 1)],
    ids=["size", "segments", "chunk"],
)
def test_what_does_not_fit_marks_the_request_so_that_nobody_asks_again(
    limits: QueueLimits, segments: int
) -> None:
    rq = request(bio(8, dun=5))

    result, _ = attempt(rq, bio(16, dun=6), segments, limits)

    assert (result, rq.mergeable) == (Attempt.FAILED, False)


FITTING = [
    QueueLimits(max_sectors=16),
    QueueLimits(max_segments=3),
    QueueLimits(chunk_sectors=24),
]


@pytest.mark.parametrize("limits", FITTING, ids=["size", "segments", "chunk"])
@pytest.mark.parametrize(("sector", "dun"), [(16, 6), (0, 4)], ids=["back", "front"])
def test_what_just_fits_is_merged_and_its_segments_are_counted_in(
    sector: int, dun: int, limits: QueueLimits
) -> None:
    rq = request(bio(8, dun=5), 1)

    result, _ = attempt(rq, bio(sector, dun=dun), 2, limits)

    assert (result, rq.segments, rq.sectors, rq.mergeable) == (Attempt.OK, 3, 16, True)


def test_a_discard_that_is_merged_adds_no_segment_and_may_pass_the_limit_of_them() -> None:
    limits = QueueLimits(max_segments=1, max_discard_sectors=16)
    first, second = (WORLD.bio(ReqOp.DISCARD, sector, nbytes=PAGE) for sector in (8, 16))
    rq = request(first)

    assert (attempt(rq, second, 1, limits)[0], rq.segments, rq.sectors) == (Attempt.OK, 1, 16)


@pytest.mark.parametrize(
    ("op", "sectors"),
    [
        (WRITE, 120),  # to the end of the chunk
        (ReqOp.READ, 120),
        (ReqOp.DISCARD, 1000),
        (ReqOp.SECURE_ERASE, 500),
        (ReqOp.WRITE_ZEROES, 100),
    ],
)
def test_chunks_bound_requests_but_for_discard_and_secure_erase(op: ReqOp, sectors: int) -> None:
    limits = QueueLimits(
        chunk_sectors=128,
        max_discard_sectors=1000,
        max_secure_erase_sectors=500,
        max_write_zeroes_sectors=100,
    )

    assert max_request_sectors(limits, op, 8) == sectors


@pytest.mark.parametrize("dun", [5, 7])
def test_a_wrong_dun_does_not_mark_the_request_because_it_is_asked_before_size(dun: int) -> None:
    rq = request(bio(8, dun=5))

    result, _ = attempt(rq, bio(16, dun=dun), 1, QueueLimits(max_sectors=15))

    assert (result, rq.mergeable) == (Attempt.FAILED, True)


def test_a_request_that_was_at_the_device_takes_nothing_more() -> None:
    rq = request(bio(8, dun=5))
    rq.started = True

    assert attempt(rq, bio(16, dun=6), 1, LIMITS)[0] is Attempt.NONE


def with_vec(sector: int, address: int, length: int = PAGE) -> Bio:
    made = bio(sector, length, key=None)
    made.vecs = (BioVec(address, length),)
    return made


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0x10000, PAGE), (0x20000, PAGE), True),
        ((0x10000, 512), (0x20000, PAGE), False),
        ((0x10000, 512), (0x10200, PAGE), True),
        ((0x10200, PAGE - 512), (0x20000, PAGE), False),
        ((0x10000, PAGE), (0x20200, 512), False),
    ],
    ids=["no gap", "ends early", "continues in place", "request begins late", "begins late"],
)
def test_memory_with_a_forbidden_gap_does_not_merge(
    first: tuple[int, int], second: tuple[int, int], expected: bool
) -> None:
    limits = QueueLimits(virt_boundary_mask=PAGE - 1)
    low, high = with_vec(8, *first), with_vec(8 + first[1] // 512, *second)

    assert (attempt(request(low), high, 1, limits)[0] is Attempt.OK) is expected


@pytest.mark.parametrize(("length", "expected"), [(PAGE - 512, True), (PAGE, False)])
def test_memory_that_goes_on_in_place_leaves_no_gap_unless_it_crosses_the_segment_boundary(
    length: int, expected: bool
) -> None:
    limits = QueueLimits(virt_boundary_mask=PAGE - 1, seg_boundary_mask=PAGE - 1)
    low, high = with_vec(8, 0x10000, 512), with_vec(9, 0x10200, length)

    assert (attempt(request(low), high, 1, limits)[0] is Attempt.OK) is expected


def whole_page_in_two(sector: int, address: int) -> Request:
    """A request of 512 bytes and of those that go on in place, up to the end of the page."""
    low, high = with_vec(sector, address, 512), with_vec(sector + 1, address + 512, PAGE - 512)
    rq = request(low)
    assert attempt(rq, high, 1, QueueLimits(virt_boundary_mask=PAGE - 1))[0] is Attempt.OK
    return rq


def test_what_begins_and_ends_whole_pages_merges_although_its_bios_do_not() -> None:
    limits = QueueLimits(virt_boundary_mask=PAGE - 1)
    back, front = with_vec(16, 0x20000, PAGE), with_vec(0, 0x30000, PAGE)
    rq = whole_page_in_two(8, 0x10000)

    assert attempt(rq, front, 1, limits)[0] is Attempt.OK
    assert attempt(whole_page_in_two(8, 0x10000), back, 1, limits)[0] is Attempt.OK
    assert requests_merge(whole_page_in_two(8, 0x10000), whole_page_in_two(16, 0x20000), limits)


def test_a_merged_request_takes_the_bios_of_the_next_and_sums_segments() -> None:
    rq, following = request(bio(8, dun=5), 3), request(bio(16, dun=6), 4)

    assert requests_merge(rq, following, LIMITS)
    assert (rq.nbytes, rq.segments, len(rq.bios), len(following.bios)) == (2 * PAGE, 7, 2, 0)


TWO: list[tuple[str, Callable[[], tuple[Request, Request]], QueueLimits]] = [
    ("dun", lambda: (request(bio(8, dun=5)), request(bio(16, dun=7))), LIMITS),
    ("key", lambda: (request(bio(8, dun=5)), request(bio(16, dun=6, key=1))), LIMITS),
    ("sector", lambda: (request(bio(8, dun=5)), request(bio(24, dun=6))), LIMITS),
    ("operation", lambda: (request(bio(8, dun=5)), request(bio(16, dun=6, op=ReqOp.READ))), LIMITS),
    ("hint", lambda: (request(bio(8, dun=5)), request(bio(16, dun=6, write_hint=1))), LIMITS),
    (
        "gap",
        lambda: (request(bio(8, dun=5)), request(bio(16, dun=6))),
        QueueLimits(virt_boundary_mask=0x1FFFFF),
    ),
    ("priority", lambda: (request(bio(8, dun=5)), request(bio(16, dun=6, ioprio=3))), LIMITS),
    ("cgroup", lambda: (request(bio(8, dun=5)), request(bio(16, dun=6, blkg="x"))), LIMITS),
    ("size", lambda: (request(bio(8, dun=5)), request(bio(16, dun=6))), QueueLimits(max_sectors=15)),
    (
        "segments",
        lambda: (request(bio(8, dun=5), 2), request(bio(16, dun=6), 2)),
        QueueLimits(max_segments=3),
    ),
    ("mark", lambda: (request(bio(8, dun=5, flags=MARK)), request(bio(16, dun=6))), LIMITS),
    ("other mark", lambda: (request(bio(8, dun=5)), request(bio(16, dun=6, flags=MARK))), LIMITS),
]


@pytest.mark.parametrize(("_why", "two", "limits"), TWO, ids=[row[0] for row in TWO])
def test_two_requests_stay_two_when_one_condition_fails(
    _why: str, two: Callable[[], tuple[Request, Request]], limits: QueueLimits
) -> None:
    assert not requests_merge(*two(), limits)


@pytest.mark.parametrize("limits", FITTING, ids=["size", "segments", "chunk"])
def test_two_requests_that_just_fit_become_one(limits: QueueLimits) -> None:
    rq = request(bio(8, dun=5), 1)

    assert requests_merge(rq, request(bio(16, dun=6), 2), limits)
    assert (rq.segments, rq.sectors) == (3, 16)


duns = st.one_of(st.sampled_from([0, 2**64 - 1, 2**256 - 2, 2**256 - 1]), st.integers(0, 2**256 - 1))


@given(first=duns, units=st.integers(1, 1000), second=duns)
def test_mergeable_is_same_key_and_the_dun_after_the_run_without_wrapping(
    first: int, units: int, second: int
) -> None:
    a, b = BioCryptCtx(KEYS[0], first), BioCryptCtx(KEYS[0], second)

    assert mergeable(a, units * PAGE, b) == (first + units == second)
    assert not mergeable(a, units * PAGE, BioCryptCtx(KEYS[1], (first + units) % 2**256))


def test_compatible_asks_for_the_same_key_object_and_nothing_of_the_dun() -> None:
    a, b = BioCryptCtx(KEYS[0], 1), BioCryptCtx(KEYS[0], 99)

    assert compatible(a, b)
    assert not compatible(a, BioCryptCtx(KEYS[1], 1))
    assert not compatible(a, None)
    assert not compatible(None, a)
    assert compatible(None, None)


def test_merging_two_held_requests_releases_the_second_s_slot_reference_at_once() -> None:
    world = World(slots=1, scheduler="mq-deadline", depth=2)
    key = world.key("A", size=512)
    # Two are at the device and a third is next in line: only what follows is held by the scheduler.
    blockers = [(world.bio(WRITE, 900 + 10 * n, pattern(512)), None, 0) for n in range(2)]
    world.queue.sched_tags = TagSet("a scheduler tag", 8)
    blockers.append((world.bio(WRITE, 930, pattern(512)), None, 0))
    # Sectors 0 and 2 first; sector 1 then joins them into one.
    parts = [(world.bio(WRITE, sector, pattern(512)), key, sector) for sector in (0, 2, 1)]

    world.submit(*blockers, *parts)

    assert world.profile.table is not None
    assert world.profile.table.refs(0) == 1
    assert world.queue.counts.request_merges == 1
    assert [e.sector for e in world.events if e.tracepoint is Tracepoint.RQ_MERGE] == [2]
    world.loop.run()
    assert world.memory_disk.seen[3:] == [(WRITE, 0, 3, 0)]
    assert world.queue.sched_tags is not None
    assert (world.queue.sched_tags.in_use, world.kernel.ctx_pool.in_use) == (0, 0)


def test_a_merged_bio_takes_no_keyslot() -> None:
    world = World(slots=1)
    key = world.key("A", size=512)

    world.submit(*((world.bio(WRITE, n, pattern(512)), key, n) for n in range(4)), plug=True)

    assert world.profile.table is not None
    assert (world.profile.table.refs(0), world.queue.counts.back_merges) == (1, 3)


def test_nothing_merges_on_a_queue_with_nomerges() -> None:
    world = World()
    world.queue.nomerges = True
    key = world.key("A", size=512)

    world.submit(*((world.bio(WRITE, n, pattern(512)), key, n) for n in range(4)), plug=True)

    assert len(world.memory_disk.seen) == 4
