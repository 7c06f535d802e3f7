"""Synthetic workloads: what is asked for is what comes out."""

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.block.op import ReqOp
from scenarios import schema
from scenarios.placement.layout import Layout
from scenarios.streams import stream
from scenarios.workload import Workload
from scenarios.zipf import Zipf

Column = npt.NDArray[np.int64]
COLUMNS = ("time_ns", "op", "sector", "nbytes", "stream", "file")
FILES = schema.Layout(files=16, file_size_bytes=8 << 20)


def layout() -> Layout:
    return Layout.build(FILES, 1 << 30, 1)


def asked(**options: object) -> schema.Workload:
    return msgspec.structs.replace(schema.Workload(ios=20_000), **options)


def generated(wanted: schema.Workload, seed: int = 1, batch_rows: int = 65536) -> dict[str, Column]:
    """All rows of a workload, column by column."""
    batches = list(Workload(wanted, layout().file_map, seed).batches(batch_rows))
    return {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMNS}


def exact_zipf(count: int, exponent: float, uniform: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Ranks from the whole table of weights."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.searchsorted(np.cumsum(weights) / weights.sum(), uniform, side="right")


@given(
    seed=st.integers(0, 1000),
    batch_rows=st.integers(1, 400),
    jobs=st.integers(1, 5),
    access=st.sampled_from(["random", "sequential"]),
)
def test_rows_do_not_depend_on_how_they_are_batched(
    seed: int, batch_rows: int, jobs: int, access: str
) -> None:
    wanted = asked(ios=500, jobs=jobs, access=access, rate_per_s=1000.0, read_share=0.5, zipf=0.9)
    whole, parts = generated(wanted, seed), generated(wanted, seed, batch_rows)
    assert all(np.array_equal(whole[name], parts[name]) for name in COLUMNS)


@pytest.mark.parametrize("access", ["random", "sequential"])
def test_another_seed_is_another_workload(access: str) -> None:
    first, second = generated(asked(access=access), 1), generated(asked(access=access), 2)
    assert not np.array_equal(first["file"], second["file"])


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"read_share": 0.3}, "sector"),
        ({"zipf": 1.0}, "op"),
        ({"rate_per_s": 5.0}, "file"),
        ({"jobs": 3}, "file"),
    ],
)
def test_changing_one_quantity_leaves_the_draws_of_another(change: dict[str, object], column: str) -> None:
    base = asked(read_share=0.5, rate_per_s=1000.0)
    changed = msgspec.structs.replace(base, **change)
    assert np.array_equal(generated(base)[column], generated(changed)[column])


def test_the_share_of_reads_is_the_one_asked_for() -> None:
    # 20,000 draws of 0.7: a standard error of 0.0032.
    assert np.mean(generated(asked(read_share=0.7))["op"] == ReqOp.READ) == pytest.approx(0.7, abs=0.015)


@pytest.mark.parametrize(("share", "op"), [(1.0, ReqOp.READ), (0.0, ReqOp.WRITE)])
def test_all_or_nothing_is_exact(share: float, op: ReqOp) -> None:
    assert set(generated(asked(read_share=share))["op"].tolist()) == {int(op)}


def test_block_sizes_come_by_weight() -> None:
    nbytes = generated(asked(block_sizes=((4096, 3.0), (65536, 1.0))))["nbytes"]
    assert set(nbytes.tolist()) == {4096, 65536}
    assert np.mean(nbytes == 4096) == pytest.approx(0.75, abs=0.015)


@pytest.mark.parametrize("access", ["random", "sequential"])
def test_no_row_leaves_its_file(access: str) -> None:
    rows = generated(asked(access=access, block_sizes=((12288, 1.0), (1 << 20, 1.0))))
    assert np.all(rows["sector"] * 512 + rows["nbytes"] <= 8 << 20)


def test_random_positions_are_aligned_to_the_block() -> None:
    rows = generated(asked(block_sizes=((16384, 1.0),)))
    assert not np.any(rows["sector"] * 512 % 16384)


def test_random_positions_cover_the_files_evenly() -> None:
    # 20,000 rows in 16 files of 8 equal parts: 156 +- 12.5 each.
    rows = generated(asked())
    cells = np.bincount(rows["file"].astype(np.int64) * 8 + rows["sector"] * 512 // (1 << 20), minlength=128)
    assert cells.min() > 95
    assert cells.max() < 220


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_sequential_job_passes_once_over_each_file_it_picks(jobs: int) -> None:
    rows = generated(asked(access="sequential", jobs=jobs, ios=6 * 2048 * jobs, block_sizes=((4096, 1.0),)))
    for job in range(jobs):
        mine = rows["stream"] == job
        offsets = (rows["sector"][mine] * 512).reshape(6, 2048)
        files = rows["file"][mine].reshape(6, 2048)
        assert np.array_equal(offsets, np.tile(np.arange(0, 8 << 20, 4096), (6, 1)))
        assert np.all(files == files[:, :1])


def test_the_last_row_of_a_pass_ends_with_the_file() -> None:
    # 8 MiB in blocks of 3 MiB: two whole ones and one of 2 MiB.
    rows = generated(asked(access="sequential", ios=6, block_sizes=((3 << 20, 1.0),)))
    assert (rows["nbytes"] >> 20).tolist() == [3, 3, 2, 3, 3, 2]


def test_jobs_take_turns() -> None:
    assert generated(asked(ios=7, jobs=3))["stream"].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_closed_loop_has_no_arrival_times() -> None:
    assert not generated(asked())["time_ns"].any()


def test_even_arrivals_are_a_period_apart() -> None:
    times = generated(asked(ios=4, rate_per_s=3000.0, arrivals="even"))["time_ns"]
    assert times.tolist() == [0, 333333, 666667, 1000000]


def test_poisson_gaps_have_the_mean_and_the_spread_of_their_law() -> None:
    # An exponential law's standard deviation is its mean; 20,000 gaps pin both to about 1 %.
    gaps = np.diff(generated(asked(rate_per_s=10_000.0))["time_ns"])
    assert gaps.mean() == pytest.approx(100_000, rel=0.03)
    assert gaps.std() == pytest.approx(100_000, rel=0.04)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.99, 1.0, 1.01, 2.0])
def test_zipf_beyond_its_table_is_exact(exponent: float) -> None:
    uniform = np.random.default_rng(1).random(20_000)
    assert np.array_equal(Zipf(300_000, exponent).ranks(uniform), exact_zipf(300_000, exponent, uniform))


@given(count=st.integers(1, 2000), exponent=st.floats(0, 5), seed=st.integers(0, 1000))
def test_zipf_within_its_table_is_exact(count: int, exponent: float, seed: int) -> None:
    uniform = np.random.default_rng(seed).random(50)
    assert np.array_equal(Zipf(count, exponent).ranks(uniform), exact_zipf(count, exponent, uniform))


def test_zipf_reaches_the_last_of_very_many_ranks_and_no_further() -> None:
    ranks = Zipf(2**40, 0.5).ranks(np.array([0.0, 1 - 2**-53]))
    assert ranks[0] == 0
    assert 2**40 - 1000 < ranks[1] < 2**40


def test_popular_files_are_not_the_first_ones() -> None:
    found = {
        int(np.bincount(generated(asked(ios=2000, zipf=2.0), seed)["file"]).argmax()) for seed in range(12)
    }
    assert len(found) > 4


def test_a_stream_depends_on_seed_and_name_only() -> None:
    first, again = stream(1, "a").integers(0, 2**60, 4), stream(1, "a").integers(0, 2**60, 4)
    others = [stream(1, "b").integers(0, 2**60, 4), stream(2, "a").integers(0, 2**60, 4)]
    assert np.array_equal(first, again)
    assert not any(np.array_equal(first, other) for other in others)
