"""Where a bio is cut to fit its queue (reference block-layer.md section 3.10)."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput
from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import Bio, ReqFlags
from blkcrypto.block.bvec import BioVec
from blkcrypto.block.limits import QueueLimits, stack_limits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.split import (
    CannotSplit,
    MisalignedVector,
    SplitWouldBlock,
    max_io_sectors,
    split_point,
    split_sizes,
)
from blkcrypto.block.waiting import Task, run_to_end
from tests.block_world import World

PAGE = 4096
WORLD = World()


def bio_of(
    lengths: Sequence[int],
    *,
    sector: int = 0,
    flags: ReqFlags = ReqFlags.NONE,
    size: int | None = None,
    offset: int = 0,
    op: ReqOp = ReqOp.WRITE,
) -> Bio:
    """A bio over vectors of ``lengths``, none next to another; encrypted when ``size`` is given."""
    vecs = [BioVec((number << 24) + offset, length) for number, length in enumerate(lengths)]
    bio = Bio(WORLD.bdev, op, sector, vecs, flags=flags)
    if size is not None:
        key = WORLD.key("A", size=size, start=False)
        run_to_end(bio.set_ctx(Task("task"), WORLD.kernel.ctx_pool, key, 0))
    return bio


@pytest.mark.parametrize(
    ("lengths", "limits", "expected"),
    [
        ([PAGE] * 4, QueueLimits(), (0, 4)),
        ([PAGE] * 4, QueueLimits(max_segments=4), (0, 4)),
        ([PAGE] * 4, QueueLimits(max_segments=3), (24, 3)),
        ([PAGE] * 4, QueueLimits(max_sectors=24), (24, 3)),
        ([PAGE] * 4, QueueLimits(max_sectors=20), (20, 3)),
        ([PAGE] * 4, QueueLimits(max_sectors=20, logical_block_size=4096, physical_block_size=4096), (16, 2)),
        ([PAGE] * 4, QueueLimits(chunk_sectors=16), (16, 2)),
        ([4 * PAGE], QueueLimits(), (0, 1)),
        ([16 * PAGE], QueueLimits(max_segment_size=2 * PAGE), (0, 8)),
        ([16 * PAGE], QueueLimits(max_segment_size=2 * PAGE, max_segments=3), (48, 3)),
        ([4 * PAGE], QueueLimits(seg_boundary_mask=2 * PAGE - 1), (0, 2)),
        ([PAGE, 512, PAGE], QueueLimits(virt_boundary_mask=PAGE - 1), (9, 2)),
        ([PAGE, PAGE, PAGE], QueueLimits(virt_boundary_mask=PAGE - 1), (0, 3)),
        ([511, PAGE + 1], QueueLimits(dma_alignment=0), (0, 2)),
    ],
    ids=[
        "fits",
        "as many segments as allowed",
        "one segment too many",
        "size limit on a page",
        "size limit inside a page",
        "size limit rounded down to a physical block",
        "chunk border",
        "a long vector is one segment",
        "long vectors are cut at the segment size",
        "segments of a long vector count",
        "segment boundary",
        "a gap the virtual boundary forbids",
        "no gap",
        "a gap that no boundary forbids",
    ],
)
def test_a_bio_is_cut_at_the_first_limit_it_meets(
    lengths: list[int], limits: QueueLimits, expected: tuple[int, int]
) -> None:
    assert split_point(bio_of(lengths), limits) == expected


@pytest.mark.parametrize(
    ("sector", "physical", "chunk", "expected"),
    [(0, 512, 0, 100), (3, 4096, 0, 93), (8, 4096, 0, 96), (60, 512, 64, 4), (64, 512, 64, 64)],
)
def test_a_size_limited_request_ends_on_a_physical_block_or_chunk(
    sector: int, physical: int, chunk: int, expected: int
) -> None:
    limits = QueueLimits(max_sectors=100, physical_block_size=physical, chunk_sectors=chunk)

    # 3 + 93 = 96 and 8 + 96 = 104 are multiples of 8 sectors; sector 60 has 4 to the next 64.
    assert max_io_sectors(limits, sector) == expected


@pytest.mark.parametrize(
    ("flags", "error"), [(ReqFlags.NOWAIT, SplitWouldBlock), (ReqFlags.ATOMIC, CannotSplit)]
)
def test_a_bio_that_may_not_be_split_fails_instead(flags: ReqFlags, error: type[Exception]) -> None:
    with pytest.raises(error):
        split_point(bio_of([PAGE] * 4, flags=flags), QueueLimits(max_segments=3))


def test_atomic_is_asked_before_nowait() -> None:
    bio = bio_of([PAGE] * 4, flags=ReqFlags.NOWAIT | ReqFlags.ATOMIC)

    with pytest.raises(CannotSplit):
        split_point(bio, QueueLimits(max_segments=3))


def test_a_bio_without_one_whole_block_in_front_of_the_cut_is_einval() -> None:
    limits = QueueLimits(max_segments=2, logical_block_size=4096, physical_block_size=4096)

    with pytest.raises(CannotSplit, match="EINVAL"):
        split_point(bio_of([512] * 8), limits)


def test_a_misaligned_vector_is_found_before_nowait_when_it_comes_first() -> None:
    bio = bio_of([512, PAGE], size=PAGE, flags=ReqFlags.NOWAIT)

    with pytest.raises(MisalignedVector, match="EINVAL"):
        split_point(bio, QueueLimits(max_segments=1))


def test_a_cut_before_the_misaligned_vector_comes_first() -> None:
    bio = bio_of([PAGE, PAGE, 512], size=PAGE)

    assert split_point(bio, QueueLimits(max_segments=1)) == (8, 1)


@pytest.mark.parametrize("size", [None, 512])
def test_offsets_obey_the_dma_alignment_with_and_without_a_context(size: int | None) -> None:
    with pytest.raises(MisalignedVector):
        split_point(bio_of([PAGE, PAGE], offset=4, size=size), QueueLimits(dma_alignment=511))


@pytest.mark.parametrize(
    ("offset", "lengths"), [(512, [PAGE, PAGE]), (0, [PAGE, 512]), (PAGE // 2, [PAGE, PAGE])]
)
def test_vectors_begin_and_end_between_data_units(offset: int, lengths: list[int]) -> None:
    for size in (None, 512):
        assert split_point(bio_of(lengths, offset=offset, size=size), QueueLimits())[0] == 0
    with pytest.raises(MisalignedVector, match="EINVAL"):
        split_point(bio_of(lengths, offset=offset, size=PAGE), QueueLimits())


def test_a_small_single_vector_skips_the_check_for_data_units() -> None:
    # Source reading: only the logical block check protects such a bio on the hardware path.
    assert split_point(bio_of([512], size=PAGE), QueueLimits()) == (0, 1)


@pytest.mark.parametrize(
    ("limits", "offset"),
    [(QueueLimits(chunk_sectors=64), 0), (QueueLimits(), 2), (QueueLimits(), PAGE - 512)],
    ids=["chunks", "dma alignment", "crosses a page"],
)
def test_a_small_vector_is_checked_when_the_queue_has_chunks_or_its_place_is_odd(
    limits: QueueLimits, offset: int
) -> None:
    with pytest.raises(MisalignedVector):
        split_point(bio_of([1024], size=PAGE, offset=offset), limits)


@pytest.mark.parametrize(
    ("sector", "expected"), [(0, 64), (8, 56), (64, 64)], ids=["aligned", "up to the granularity", "later"]
)
def test_a_discard_ends_where_the_next_part_is_aligned(sector: int, expected: int) -> None:
    limits = QueueLimits(max_discard_sectors=70, discard_granularity=16 * 512)
    bio = Bio(WORLD.bdev, ReqOp.DISCARD, sector, nbytes=200 * 512)

    # 70 rounds down to 64; from sector 8 that ends at 72, which is 8 past a multiple of 16.
    assert split_point(bio, limits) == (expected, 1)


def test_write_zeroes_are_cut_at_their_own_limit() -> None:
    bio = Bio(WORLD.bdev, ReqOp.WRITE_ZEROES, 0, nbytes=200 * 512)

    assert split_point(bio, QueueLimits(max_write_zeroes_sectors=64)) == (64, 0)


@pytest.mark.parametrize("sector", [0, 8, 24])
@settings(deadline=None)
@given(
    blocks=st.integers(1, 400),
    segment_pages=st.sampled_from([1, 2, 16]),
    max_segments=st.integers(1, 64),
    max_sectors=st.integers(256, 2560),
    chunk=st.sampled_from([0, 0, 256, 1024]),
    size=st.sampled_from([None, 512, 4096]),
)
def test_the_split_without_memory_equals_the_split_of_bios_with_equal_segments(
    sector: int,
    blocks: int,
    segment_pages: int,
    max_segments: int,
    max_sectors: int,
    chunk: int,
    size: int | None,
) -> None:
    limits = QueueLimits(
        max_segments=max_segments,
        max_sectors=max_sectors,
        chunk_sectors=chunk,
        logical_block_size=4096,
        physical_block_size=4096,
    )
    segment, nbytes = segment_pages * PAGE, blocks * PAGE
    whole, rest = divmod(nbytes, segment)
    bio = bio_of([segment] * whole + ([rest] if rest else []), sector=sector, size=size)
    expected = []
    while sectors := split_point(bio, limits)[0]:
        expected.append(sectors * 512)
        bio.advance(sectors * 512)
    expected.append(bio.nbytes)

    got = split_sizes(sector, nbytes, limits, segment_bytes=segment, data_unit_size=size or 1)

    assert got == expected


def test_the_rest_of_a_split_is_submitted_after_its_front_and_the_front_merges_no_more() -> None:
    world = World(limits=QueueLimits(max_segments=2))
    key = world.key("A")

    world.submit((world.bio(ReqOp.WRITE, 0, 4 * PAGE, layout=[PAGE] * 4), key, 0), plug=True)

    assert [(row[1], row[2], row[3]) for row in world.memory_disk.seen] == [(0, 16, 0), (16, 16, 16)]
    front, rest = (rq.bios[0] for rq in world.memory_disk.pending)
    assert ReqFlags.NOMERGE in front.flags
    assert ReqFlags.NOMERGE not in rest.flags


def test_a_nowait_bio_that_must_be_split_completes_with_again() -> None:
    world = World(limits=QueueLimits(max_segments=2))
    bio = world.bio(ReqOp.WRITE, 0, 4 * PAGE, layout=[PAGE] * 4, flags=ReqFlags.NOWAIT, name="bio")

    world.submit((bio, world.key("A"), 0))

    assert world.done == [("bio", BlkStatus.AGAIN)]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"logical_block_size": 1000}, "logical_block_size"),
        ({"physical_block_size": 512, "logical_block_size": 4096}, "physical_block_size"),
        ({"max_sectors": 7}, "max_sectors"),
        ({"max_segments": 0}, "max_segments"),
    ],
)
def test_impossible_limits_are_refused_with_their_name(wrong: dict[str, int], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        QueueLimits(**wrong)  # type: ignore[arg-type]  # the row decides which field

    assert caught.value.where == where


def test_stacked_limits_are_the_strictest_of_all_children() -> None:
    one = QueueLimits(max_sectors=100, max_segments=9, nowait=False, max_segment_size=8192)
    other = QueueLimits(logical_block_size=4096, physical_block_size=4096, max_segments=5, write_cache=True)

    both = stack_limits([one, other])

    assert (both.max_sectors, both.max_segments, both.logical_block_size) == (100, 5, 4096)
    assert (both.nowait, both.write_cache, both.max_segment_size) == (False, True, 8192)


def test_a_flush_is_never_cut() -> None:
    assert split_point(bio_of([], op=ReqOp.FLUSH), QueueLimits(max_segments=1)) == (0, 0)


def test_a_transfer_of_which_no_data_unit_fits_a_request_cannot_be_cut() -> None:
    limits = QueueLimits(max_segments=1)
    assert split_sizes(0, 2 * PAGE, limits, segment_bytes=PAGE, data_unit_size=PAGE) == [PAGE, PAGE]
    with pytest.raises(CannotSplit, match="EINVAL"):
        split_sizes(0, 4 * PAGE, limits, segment_bytes=PAGE, data_unit_size=2 * PAGE)
