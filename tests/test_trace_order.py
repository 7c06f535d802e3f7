"""The rules of order, size and volume, each with its count."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traces import BATCH_ROWS, TraceError, open_trace
from scenarios.traces.order import Clock, sorted_rows
from scenarios.traces.rows import Rows, no_files
from scenarios.traces.tally import COUNTS, Tally
from tests.test_trace_formats import rows_of

COLUMNS = "time=1:ns,op=2:rw,offset=3:bytes,size=4:bytes,volume=5"


def write(path: Path, *lines: str) -> Path:
    file = path / "trace.csv"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def counted(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def test_a_time_that_goes_backwards_becomes_the_latest_before_it(tmp_path: Path) -> None:
    file = write(tmp_path, "100,R,0,512,1", "150,R,0,512,1", "90,R,0,512,1", "149,R,0,512,1", "151,R,0,512,1")
    reader = open_trace(file, columns=COLUMNS)
    assert [row[0] for row in rows_of(reader)] == [0, 50, 50, 50, 51]
    assert counted(reader.counts) == {"time_backwards": 2}


def test_within_a_sorting_window_rows_are_put_in_order_instead(tmp_path: Path) -> None:
    file = write(tmp_path, "100,R,0,512,1", "150,R,512,512,1", "90,R,1024,512,1", "150,W,0,512,1")
    reader = open_trace(file, columns=COLUMNS, sort_window=8)
    assert [(row[0], row[2]) for row in rows_of(reader)] == [(0, 2), (10, 0), (60, 1), (60, 0)]
    assert counted(reader.counts) == {"reordered": 1}


def test_zero_sizes_are_dropped_but_a_flush_is_kept_without_an_address(tmp_path: Path) -> None:
    file = write(tmp_path, "1,R,512,0,1", "2,F,512,0,1", "3,F,512,4096,1", "4,W,512,512,1", "5,D,0,0,1")
    reader = open_trace(file, columns=COLUMNS)
    assert [row[1:4] for row in rows_of(reader)] == [(2, 0, 0), (2, 0, 0), (1, 1, 512)]
    assert counted(reader.counts) == {"zero_size": 2}


def test_bytes_off_sector_borders_are_widened_to_the_sectors_they_touch(tmp_path: Path) -> None:
    file = write(tmp_path, "1,R,511,2,1", "2,R,512,1,1", "3,R,1024,512,1")
    reader = open_trace(file, columns=COLUMNS)
    assert [row[2:4] for row in rows_of(reader)] == [(0, 1024), (1, 512), (2, 512)]
    assert counted(reader.counts) == {"unaligned": 2}


def test_one_volume_of_several_can_be_chosen(tmp_path: Path) -> None:
    file = write(tmp_path, "1,R,0,512,7", "2,R,0,512,70", "3,W,0,512,7")
    reader = open_trace(file, columns=COLUMNS, volume="7")
    assert [row[1] for row in rows_of(reader)] == [0, 1]
    assert counted(reader.counts) == {"other_volumes": 1}
    assert reader.volumes == {"7": 2, "70": 1}


def test_a_volume_the_trace_does_not_have_is_an_error_that_names_those_it_has(tmp_path: Path) -> None:
    reader = open_trace(write(tmp_path, "1,R,0,512,sda"), columns=COLUMNS, volume="sdb")
    with pytest.raises(TraceError, match=r"no I/O in it for volume 'sdb': it has sda"):
        rows_of(reader)


def test_a_trace_without_io_is_an_error_that_tells_what_there_was(tmp_path: Path) -> None:
    reader = open_trace(write(tmp_path, "1,R,0,0,1", "1,W,0,0,1"), columns=COLUMNS)
    with pytest.raises(TraceError, match=r"no I/O in it: zero_size 2"):
        rows_of(reader)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_limit_is_the_number_of_rows_and_what_comes_after_is_not_read(tmp_path: Path, limit: int) -> None:
    lines = [f"{index},R,0,512,1" for index in range(3)]
    reader = open_trace(write(tmp_path, *lines, "not a row"), columns=COLUMNS, limit=limit)
    assert len(rows_of(reader)) == limit


def test_rows_before_a_bad_line_are_handed_out_before_the_error(tmp_path: Path) -> None:
    file = write(tmp_path, "1,R,0,512,1", "2,R,0,512,1", "3,R,zero,512,1")
    with open_trace(file, columns=COLUMNS) as reader:
        batches = reader.batches()
        assert len(next(batches)) == 2
        with pytest.raises(TraceError):
            next(batches)


def test_batches_are_bounded_and_a_trace_is_read_once(tmp_path: Path) -> None:
    count = BATCH_ROWS + 10
    with open_trace(write(tmp_path, *(f"{i},R,0,512,1" for i in range(count))), columns=COLUMNS) as reader:
        sizes = [len(batch) for batch in reader.batches()]
        assert sum(sizes) == count
        assert 0 < min(sizes) <= max(sizes) <= BATCH_ROWS
        with pytest.raises(RuntimeError):
            next(reader.batches())


def test_every_count_is_always_there(tmp_path: Path) -> None:
    reader = open_trace(write(tmp_path, "1,R,0,512,1"), columns=COLUMNS)
    rows_of(reader)
    assert list(reader.counts) == list(COUNTS)
    assert not any(reader.counts.values())


BACK = ("100,R,0,512,1", "150,R,0,512,1", "90,R,0,512,1", "100,R,0,512,1", "10,R,0,512,1")


def test_a_clock_that_was_set_back_can_shift_what_follows_so_that_gaps_stay(tmp_path: Path) -> None:
    reader = open_trace(write(tmp_path, *BACK), columns=COLUMNS, time_backwards="shift")
    assert [row[0] for row in rows_of(reader)] == [0, 50, 50, 60, 60]
    assert counted(reader.counts) == {"time_backwards": 2}


def test_a_time_that_goes_backwards_can_be_an_error(tmp_path: Path) -> None:
    reader = open_trace(write(tmp_path, *BACK), columns=COLUMNS, time_backwards="error")
    with pytest.raises(TraceError, match=r"trace\.csv: an I/O is 60 ns earlier than one before it"):
        rows_of(reader)


@given(
    times=st.lists(st.integers(0, 1000), min_size=1, max_size=80),
    cuts=st.lists(st.integers(1, 79), max_size=4),
)
def test_shifted_times_keep_every_gap_that_is_not_negative_however_they_are_batched(
    times: list[int], cuts: list[int]
) -> None:
    expected = [0]
    for before, now in pairwise(times):
        expected.append(expected[-1] + max(0, now - before))
    clock = Clock(Tally(), "shift")
    parts = [part for part in np.split(np.array(times, np.int64), sorted(cuts)) if len(part)]
    assert [time for part in parts for time in clock.since_first(part).tolist()] == expected


def test_an_io_of_no_bytes_can_be_an_error_after_those_before_it(tmp_path: Path) -> None:
    file = write(tmp_path, "1,R,512,512,1", "2,F,0,0,1", "3,W,1024,0,1", "4,W,0,512,1")
    with open_trace(file, columns=COLUMNS, zero_size="error") as reader:
        batches = reader.batches()
        assert len(next(batches)) == 2
        with pytest.raises(TraceError, match="sector 2 has no bytes"):
            next(batches)


@pytest.mark.parametrize(
    ("begin_ns", "end_ns", "expected"),
    [
        (0, None, [(0, 0), (50, 1), (51, 2), (90, 3)]),
        (50, None, [(0, 1), (1, 2), (40, 3)]),
        (40, 90, [(10, 1), (11, 2)]),
        (0, 51, [(0, 0), (50, 1)]),
    ],
)
def test_a_time_range_is_cut_from_the_trace_and_counts_from_its_begin(
    tmp_path: Path, begin_ns: int, end_ns: int | None, expected: list[tuple[int, int]]
) -> None:
    lines = (f"{1000 + time},R,{512 * at},512,1" for at, time in enumerate((0, 50, 51, 90)))
    reader = open_trace(write(tmp_path, *lines), columns=COLUMNS, begin_ns=begin_ns, end_ns=end_ns)
    assert [(row[0], row[2]) for row in rows_of(reader)] == expected
    assert reader.counts["before_range"] == sum(time < begin_ns for time in (0, 50, 51, 90))


def test_nothing_after_the_range_is_read(tmp_path: Path) -> None:
    lines = [f"{index},R,0,512,1" for index in range(3 * BATCH_ROWS)]
    reader = open_trace(write(tmp_path, *lines, "not a row"), columns=COLUMNS, begin_ns=5, end_ns=9)
    assert [row[0] for row in rows_of(reader)] == [0, 1, 2, 3]


def test_the_limit_counts_rows_of_the_range(tmp_path: Path) -> None:
    lines = [f"{index},R,0,512,1" for index in range(2 * BATCH_ROWS)]
    reader = open_trace(write(tmp_path, *lines), columns=COLUMNS, begin_ns=BATCH_ROWS + 7, limit=3)
    assert [row[0] for row in rows_of(reader)] == [0, 1, 2]
    assert reader.counts["before_range"] == BATCH_ROWS + 7


def test_a_range_without_io_is_an_error(tmp_path: Path) -> None:
    reader = open_trace(write(tmp_path, "1,R,0,512,1"), columns=COLUMNS, begin_ns=5)
    with pytest.raises(TraceError, match="no I/O in it: before_range 1"):
        rows_of(reader)


@given(
    jitter=st.lists(st.integers(0, 50), min_size=1, max_size=200),
    block=st.integers(1, 20),
)
def test_sorting_in_a_window_is_a_stable_sort_when_nothing_is_further_from_its_place(
    jitter: list[int], block: int
) -> None:
    # Row i is at most 50 // 10 rows from its place: its time is 10 * i plus a jitter of at most 50.
    times = [10 * index + late for index, late in enumerate(jitter)]
    sectors = np.arange(len(times), dtype=np.int64)
    rows = Rows(
        time_ns=np.array(times, dtype=np.int64),
        op=np.zeros(len(times), dtype=np.uint8),
        sector=sectors,
        nbytes=np.full(len(times), 512, dtype=np.int64),
        stream=np.zeros(len(times), dtype=np.int32),
        file=no_files(len(times)),
    )
    parts = (rows.take(slice(start, start + block)) for start in range(0, len(times), block))

    out = Rows.joined(list(sorted_rows(parts, Tally(), window=6)))

    expected = sorted(zip(times, sectors.tolist(), strict=True), key=lambda pair: pair[0])
    assert list(zip(out.time_ns.tolist(), out.sector.tolist(), strict=True)) == expected


def test_volumes_with_long_names_are_told_apart(tmp_path: Path) -> None:
    names = ["a-very-long-name-0", "a-very-long-name-1", "short"]
    lines = [f"{index},R,0,512,{names[index % 3]}" for index in range(7)]
    reader = open_trace(write(tmp_path, *lines), columns=COLUMNS, volume=names[1])
    assert [row[0] for row in rows_of(reader)] == [0, 3]
    assert reader.volumes == {names[0]: 3, names[1]: 2, names[2]: 2}
