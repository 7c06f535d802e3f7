"""Which file an address belongs to, and what becomes of a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.errors import BadInput
from blkcrypto.block.op import ReqOp
from blkcrypto.fs.allocation.permutation import PartialPermutation, Permutation
from scenarios import schema
from scenarios.placement.layout import Layout, PlacedBatch
from scenarios.streams import stream
from scenarios.traces.batch import TraceBatch

UNIT = 4096
EXTENT = 65536
CAPACITY = 64 * EXTENT
READ, WRITE = int(ReqOp.READ), int(ReqOp.WRITE)

seeds = st.integers(0, 2**32)
layouts = st.builds(
    schema.Layout,
    files=st.sampled_from([0, 4, 5, 8]),
    file_size_bytes=st.integers(1, 6).map(lambda extents: extents * EXTENT),
    file_size_spread=st.sampled_from([0.0, 0.5]),
    fragmentation=st.sampled_from([0.0, 0.3, 1.0]),
    extent_bytes=st.just(EXTENT),
)
# Operation, first sector, sectors; also past the end of the device.  The smallest layout has 512 sectors.
rows = st.lists(
    st.tuples(st.sampled_from(list(ReqOp)), st.integers(0, 3 * CAPACITY // 512), st.integers(0, 480)),
    max_size=20,
)


def batch(rows: list[tuple[int, int, int]], files: list[int] | None = None) -> TraceBatch:
    """Rows of (operation, sector, sectors); device addresses unless ``files`` says whose they are."""
    count = len(rows)
    columns = np.array(rows, np.int64).reshape(count, 3)
    flush = columns[:, 0] == ReqOp.FLUSH
    return TraceBatch(
        time_ns=np.arange(count, dtype=np.int64),
        op=columns[:, 0].astype(np.uint8),
        sector=np.where(flush, 0, columns[:, 1]),
        nbytes=np.where(flush, 0, columns[:, 2] * 512),
        stream=np.arange(count, dtype=np.int32),
        file=np.array(files if files is not None else [-1] * count, np.int32),
    )


def built(options: schema.Layout, seed: int) -> Layout | None:
    """The layout, or None where lognormal sizes of a fixed number of files happen not to fit."""
    try:
        return Layout.build(options, CAPACITY, seed)
    except BadInput:
        return None


def pieces(placed: PlacedBatch) -> list[tuple[int, int, int, int, int]]:
    """Row, first byte, bytes, file and first data unit of each piece."""
    columns = (placed.row, placed.sector * 512, placed.nbytes, placed.file, placed.unit_index)
    return [(int(a), int(b), int(c), int(d), int(e)) for a, b, c, d, e in zip(*columns, strict=True)]


@given(size=st.integers(1, 5000), seed=seeds)
def test_a_permutation_reaches_every_value_once(size: int, seed: int) -> None:
    permutation = Permutation(size, stream(seed, "test"))
    assert sorted(permutation.forward(np.arange(size)).tolist()) == list(range(size))


@given(size=st.integers(1, 2**62), seed=seeds, data=st.data())
def test_a_permutations_inverse_undoes_it_at_any_size(size: int, seed: int, data: st.DataObject) -> None:
    values = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)), np.int64)
    permutation = Permutation(size, stream(seed, "test"))
    assert permutation.inverse(permutation.forward(values)).tolist() == values.tolist()


@given(size=st.integers(1, 3000), share=st.floats(0, 1), seed=seeds)
def test_a_partial_permutation_reaches_every_value_once(size: int, share: float, seed: int) -> None:
    permutation = PartialPermutation(size, share, stream(seed, "test"))
    assert sorted(permutation.forward(np.arange(size)).tolist()) == list(range(size))


@given(size=st.integers(1, 3000), share=st.floats(0, 1), seed=seeds)
def test_a_partial_permutations_inverse_undoes_it(size: int, share: float, seed: int) -> None:
    permutation = PartialPermutation(size, share, stream(seed, "test"))
    values = np.arange(size)
    assert permutation.inverse(permutation.forward(values)).tolist() == values.tolist()


@given(size=st.integers(1, 3000), share=st.floats(0, 1), seed=seeds)
def test_a_partial_permutation_moves_at_most_its_share(size: int, share: float, seed: int) -> None:
    permutation = PartialPermutation(size, share, stream(seed, "test"))
    moved = int(np.count_nonzero(permutation.forward(np.arange(size)) != np.arange(size)))
    assert moved <= round(share * size)


def test_there_is_no_permutation_of_nothing() -> None:
    with pytest.raises(ValueError, match="a permutation of 0 values"):
        Permutation(0, stream(1, "test"))


def test_a_permutation_leaves_about_one_value_in_place() -> None:
    # A random permutation has 1 fixed point on average, whatever its size; 200 of them have 200 +- 14.
    values = np.arange(1000)
    fixed = sum(
        int(np.count_nonzero(Permutation(1000, stream(seed, "test")).forward(values) == values))
        for seed in range(200)
    )
    assert 140 < fixed < 260


@given(options=layouts, seed=seeds)
def test_every_address_belongs_to_one_place_in_one_file(options: schema.Layout, seed: int) -> None:
    layout = built(options, seed)
    if layout is None:
        return
    addresses = np.arange(0, layout.file_map.covered_bytes, EXTENT // 2)
    files, offsets = layout.file_map.locate(addresses)
    assert layout.file_map.address(files, offsets).tolist() == addresses.tolist()
    assert len(set(zip(files.tolist(), offsets.tolist(), strict=True))) == len(addresses)


@given(options=layouts, seed=seeds)
def test_every_byte_of_every_file_has_its_own_address(options: schema.Layout, seed: int) -> None:
    layout = built(options, seed)
    if layout is None:
        return
    sizes = layout.file_map.file_bytes(np.arange(layout.file_map.files)).tolist()
    assert sum(sizes) == layout.file_map.covered_bytes
    whole = [
        layout.file_map.address(np.full(size // EXTENT, file), np.arange(0, size, EXTENT))
        for file, size in enumerate(sizes)
    ]
    addresses = np.concatenate(whole).tolist()
    assert sorted(addresses) == list(range(0, layout.file_map.covered_bytes, EXTENT))


@given(options=layouts, seed=seeds, rows=rows)
def test_a_place_is_that_of_its_bytes_taken_one_by_one(
    options: schema.Layout, seed: int, rows: list[tuple[int, int, int]]
) -> None:
    """Every data unit a row touches lies in exactly one piece, with the file and index its address has."""
    layout = built(options, seed)
    if layout is None:
        return
    placed = layout.place(batch(rows), UNIT, max_bio_bytes=3 * UNIT)
    found = [
        (row, address + at, file, unit + at // UNIT)
        for row, address, nbytes, file, unit in pieces(placed)
        if file >= 0
        for at in range(0, nbytes, UNIT)
    ]
    expected = []
    for row, (op, sector, sectors) in enumerate(rows):
        if op in (READ, WRITE) and sectors:
            for address in range(sector * 512 // UNIT * UNIT, (sector + sectors) * 512, UNIT):
                address %= layout.file_map.covered_bytes
                file, offset = layout.file_map.locate(np.array([address]))
                expected.append((row, address, int(file[0]), int(offset[0]) // UNIT))
    assert found == expected


@given(options=layouts, seed=seeds, rows=rows)
def test_no_piece_with_data_exceeds_the_largest_bio(
    options: schema.Layout, seed: int, rows: list[tuple[int, int, int]]
) -> None:
    layout = built(options, seed)
    if layout is not None:
        placed = layout.place(batch(rows), UNIT, max_bio_bytes=3 * UNIT)
        assert all(nbytes <= 3 * UNIT for _, _, nbytes, file, _ in pieces(placed) if file >= 0)


@given(options=layouts, seed=seeds, rows=rows)
def test_rows_that_change_are_counted(
    options: schema.Layout, seed: int, rows: list[tuple[int, int, int]]
) -> None:
    layout = built(options, seed)
    if layout is None:
        return
    placed = layout.place(batch(rows), UNIT, max_bio_bytes=3 * UNIT)
    of_row = [[piece for piece in pieces(placed) if piece[0] == row] for row in range(len(rows))]
    data = [op in (READ, WRITE) and sectors > 0 for op, _, sectors in rows]
    assert placed.cut == sum(len(found) > 1 for found in of_row)
    assert placed.empty == sum(not found for found in of_row)
    assert placed.widened == sum(
        wanted and (sector % 8 != 0 or sectors % 8 != 0)
        for wanted, (_, sector, sectors) in zip(data, rows, strict=True)
    )
    assert layout.counts == {
        "widened": placed.widened,
        "cut": placed.cut,
        "wrapped": placed.wrapped,
        "empty": placed.empty,
        "past_end": 0,
        "not_sampled": 0,
    }


def plain() -> Layout:
    """Four files of 16 extents, in order."""
    wanted = schema.Layout(files=4, file_size_bytes=16 * EXTENT, extent_bytes=EXTENT)
    return Layout.build(wanted, CAPACITY, 1)


def test_a_row_across_two_files_becomes_one_piece_in_each() -> None:
    end = 16 * EXTENT
    placed = plain().place(batch([(READ, (end - UNIT) // 512, 16)]), UNIT)
    assert pieces(placed) == [(0, end - UNIT, UNIT, 0, end // UNIT - 1), (0, end, UNIT, 1, 0)]


def test_a_row_across_extents_of_one_unfragmented_file_stays_whole() -> None:
    placed = plain().place(batch([(READ, (EXTENT - UNIT) // 512, 16)]), UNIT)
    assert pieces(placed) == [(0, EXTENT - UNIT, 2 * UNIT, 0, EXTENT // UNIT - 1)]


def test_a_long_row_is_cut_from_its_start() -> None:
    placed = plain().place(batch([(WRITE, 8, 40)]), UNIT, max_bio_bytes=2 * UNIT)
    assert pieces(placed) == [
        (0, UNIT, 2 * UNIT, 0, 1),
        (0, 3 * UNIT, 2 * UNIT, 0, 3),
        (0, 5 * UNIT, UNIT, 0, 5),
    ]


def test_part_of_a_data_unit_becomes_the_whole() -> None:
    placed = plain().place(batch([(READ, 9, 1)]), UNIT)
    assert (pieces(placed), placed.widened) == ([(0, UNIT, UNIT, 0, 1)], 1)


def test_an_address_past_the_files_wraps_around() -> None:
    placed = plain().place(batch([(READ, CAPACITY // 512 + 8, 8)]), UNIT)
    assert (pieces(placed), placed.wrapped) == ([(0, UNIT, UNIT, 0, 1)], 1)


def built_with(past_end: schema.PastEnd) -> Layout:
    wanted = schema.Layout(files=4, file_size_bytes=16 * EXTENT, extent_bytes=EXTENT, past_end=past_end)
    return Layout.build(wanted, CAPACITY, 1)


def test_an_address_past_the_files_can_be_left_out() -> None:
    layout, end = built_with("drop"), CAPACITY // 512
    rows = [(READ, end + 8, 8), (WRITE, end - 8, 16), (ReqOp.DISCARD, end, 8), (READ, 0, 8)]
    placed = layout.place(batch([(int(op), sector, sectors) for op, sector, sectors in rows]), UNIT)
    # Of the write its first half is left, as on a device that ends there.
    assert pieces(placed) == [(1, CAPACITY - UNIT, UNIT, 3, 16 * EXTENT // UNIT - 1), (3, 0, UNIT, 0, 0)]
    assert layout.counts["past_end"] == 3


def test_an_address_past_the_files_can_be_an_error() -> None:
    with pytest.raises(BadInput, match=f"at byte {CAPACITY + UNIT} is past the end"):
        built_with("error").place(batch([(READ, CAPACITY // 512 + 8, 8)]), UNIT)


@given(rows=rows, past_end=st.sampled_from(["drop", "error"]))
def test_rows_inside_the_files_do_not_notice_what_would_happen_outside(
    rows: list[tuple[int, int, int]], past_end: schema.PastEnd
) -> None:
    inside = [(op, sector % (CAPACITY // 512 - 480), sectors) for op, sector, sectors in rows]
    placed = built_with(past_end).place(batch(inside), UNIT)
    assert pieces(placed) == pieces(built_with("wrap").place(batch(inside), UNIT))


def sampled(share: float, seed: int = 1) -> Layout:
    wanted = schema.Layout(files=0, file_size_bytes=EXTENT, extent_bytes=EXTENT)
    return Layout.build(wanted, 4096 * EXTENT, seed, sample_files=share)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_of_a_sample_of_files_all_io_is_kept_and_of_the_others_none(share: float) -> None:
    layout = sampled(share)
    placed = layout.place(batch([(READ, 128 * file, 8) for file in (*range(4096), *range(4096))]), UNIT)
    kept, times = np.unique(placed.file, return_counts=True)
    # A binomial count of 4096: within 5 standard deviations.
    assert abs(len(kept) - 4096 * share) < 5 * np.sqrt(4096 * share * (1 - share))
    assert set(times.tolist()) == {2}
    assert layout.counts["not_sampled"] == 2 * (4096 - len(kept))


def test_a_larger_sample_has_the_files_of_a_smaller_one_and_other_seeds_have_others() -> None:
    io = batch([(READ, 128 * file, 8) for file in range(4096)])
    small, large = (set(sampled(share).place(io, UNIT).file.tolist()) for share in (0.1, 0.4))
    assert small < large
    assert small != set(sampled(0.1, seed=2).place(io, UNIT).file.tolist())


def test_a_flush_is_in_every_sample() -> None:
    assert len(sampled(0.0001).place(batch([(ReqOp.FLUSH, 0, 0)]), UNIT)) == 1


@pytest.mark.parametrize("op", [ReqOp.DISCARD, ReqOp.WRITE_ZEROES, ReqOp.SECURE_ERASE])
def test_an_operation_without_data_has_no_file_and_stays_whole(op: ReqOp) -> None:
    placed = plain().place(batch([(op, 1, 3 * EXTENT // 512)]), UNIT, max_bio_bytes=UNIT)
    assert pieces(placed) == [(0, 512, 3 * EXTENT, -1, -1)]


def test_a_discard_ends_with_the_files() -> None:
    placed = plain().place(batch([(ReqOp.DISCARD, 8, 10 * CAPACITY // 512)]), UNIT)
    assert (pieces(placed), placed.wrapped) == ([(0, UNIT, CAPACITY - UNIT, -1, -1)], 1)


def test_a_flush_has_neither_file_nor_bytes() -> None:
    assert pieces(plain().place(batch([(ReqOp.FLUSH, 0, 0)], files=[3]), UNIT)) == [(0, 0, 0, -1, -1)]


def test_an_io_larger_than_all_files_is_refused() -> None:
    with pytest.raises(BadInput, match="larger than all files"):
        plain().place(batch([(READ, 0, CAPACITY // 512 + 8)]), UNIT)


def test_rows_may_address_the_files_of_the_layout() -> None:
    placed = plain().place(batch([(READ, 8, 8), (READ, 8, 8)], files=[2, 0]), UNIT)
    assert pieces(placed) == [(0, 32 * EXTENT + UNIT, UNIT, 2, 1), (1, UNIT, UNIT, 0, 1)]


@given(options=layouts, seed=seeds, data=st.data())
def test_rows_in_files_lie_where_the_files_lie(
    options: schema.Layout, seed: int, data: st.DataObject
) -> None:
    layout = built(options, seed)
    if layout is None:
        return
    file = data.draw(st.integers(0, layout.file_map.files - 1))
    units = int(layout.file_map.file_bytes(np.array([file]))[0]) // UNIT
    first = data.draw(st.integers(0, units - 1))
    count = data.draw(st.integers(1, units - first))
    placed = layout.place(batch([(READ, first * 8, count * 8)], files=[file]), UNIT)
    found = [address + at for _, address, nbytes, _, _ in pieces(placed) for at in range(0, nbytes, UNIT)]
    offsets = np.arange(first, first + count) * UNIT
    assert found == layout.file_map.address(np.full(count, file), offsets).tolist()


def named(file_size_bytes: int = 4 * EXTENT, fragmentation: float = 0.0) -> Layout:
    options = schema.Layout(file_size_bytes=file_size_bytes, extent_bytes=EXTENT, fragmentation=fragmentation)
    return Layout.build(options, CAPACITY, 1, named_files=True)


def test_a_named_file_takes_the_next_free_region_when_first_touched() -> None:
    region = 4 * EXTENT // 512
    rows = [(READ, 0, 8), (READ, 3 * region, 8), (READ, 0, 8), (READ, 3 * region + 8, 8)]
    placed = named().place(batch(rows, files=[7, 7, 5, 7]), UNIT)
    assert (placed.sector // region).tolist() == [0, 1, 2, 1]


def test_a_named_file_keeps_its_number_and_its_positions() -> None:
    placed = named().place(batch([(READ, 4 * EXTENT // 512 + 8, 8)], files=[7]), UNIT)
    assert [piece[3:] for piece in pieces(placed)] == [(7, 4 * EXTENT // UNIT + 1)]


@given(seed=seeds, split=st.integers(0, 40))
def test_where_named_files_lie_does_not_depend_on_batches(seed: int, split: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [(READ, int(sector), 8) for sector in 8 * rng.integers(0, 4 * EXTENT // UNIT, 40)]
    files = [int(file) for file in rng.integers(0, 16, 40)]
    whole, parts = named(fragmentation=0.5), named(fragmentation=0.5)
    together = pieces(whole.place(batch(rows, files), UNIT))
    first = pieces(parts.place(batch(rows[:split], files[:split]), UNIT))
    second = pieces(parts.place(batch(rows[split:], files[split:]), UNIT))
    assert [piece[1:] for piece in together] == [piece[1:] for piece in first + second]


def test_named_files_that_outgrow_the_space_are_refused() -> None:
    rows = [(READ, 0, 8)] * 17
    with pytest.raises(BadInput, match="more than 16 regions"):
        named().place(batch(rows, files=list(range(17))), UNIT)


@given(options=layouts, seed=seeds)
def test_one_seed_is_one_layout(options: schema.Layout, seed: int) -> None:
    first, second = built(options, seed), built(options, seed)
    if first is None or second is None:
        assert first is second
        return
    addresses = np.arange(0, first.file_map.covered_bytes, EXTENT)
    assert [column.tolist() for column in first.file_map.locate(addresses)] == [
        column.tolist() for column in second.file_map.locate(addresses)
    ]


def test_another_seed_is_another_layout() -> None:
    options = schema.Layout(file_size_bytes=4 * EXTENT, extent_bytes=EXTENT, fragmentation=1.0)
    addresses = np.arange(0, CAPACITY, EXTENT)
    found = {
        tuple(Layout.build(options, CAPACITY, seed).file_map.locate(addresses)[0].tolist())
        for seed in range(10)
    }
    assert len(found) == 10


def test_lognormal_sizes_have_the_mean_that_was_asked_for() -> None:
    # The mean of 20,000 files of sigma 0.5 has a standard error of 0.53 / sqrt(20,000) = 0.4 % of itself;
    # whole extents of 1/64 of the mean add nothing on average.
    options = schema.Layout(files=20_000, file_size_bytes=64 << 20, file_size_spread=0.5)
    layout = Layout.build(options, 4 << 40, 1)
    assert layout.file_map.covered_bytes / 20_000 == pytest.approx(64 << 20, rel=0.02)
