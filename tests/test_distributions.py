"""Distributions do not depend on how values come: in which batches, and of which direction first."""

import math

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from hwmodel.request import RECORD, RECORD_WIDTH
from scenarios.results.distribution import BatchMeans, DistributionBuilder, Histogram, student_t975
from scenarios.results.measure import Measure

READ, WRITE, FLUSH = 0, 1, 2


def numbers(seed: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, 10**9, count)


def cut(values: npt.NDArray[np.int64], seed: int) -> list[npt.NDArray[np.int64]]:
    """``values`` in batches of any size, empty ones among them."""
    rng = np.random.default_rng(seed)
    return np.split(values, np.sort(rng.integers(0, len(values) + 1, int(rng.integers(0, 9)))))


def halfwidth_of_equal_batches(values: npt.NDArray[np.int64]) -> float:
    """By definition: the shortest batches, of a power of two, of which there are fewer than 64."""
    length = 1
    while len(values) // length >= 64:
        length *= 2
    means = [values[at : at + length].mean() for at in range(0, len(values) - length + 1, length)]
    if length < 2 or len(means) < 16:
        return 0.0
    return student_t975(len(means) - 1) * float(np.std(means, ddof=1)) / math.sqrt(len(means))


@given(seed=st.integers(0, 1000), count=st.integers(0, 2000))
def test_the_interval_of_the_mean_is_that_of_equal_batches_however_values_come(seed: int, count: int) -> None:
    values, means = numbers(seed, count), BatchMeans()
    for batch in cut(values, seed):
        means.add(batch, int(batch.sum()))
    assert math.isclose(means.halfwidth95(), halfwidth_of_equal_batches(values), rel_tol=1e-9)


@given(seed=st.integers(0, 1000), low=st.integers(0, 3))
def test_a_histogram_counts_every_value_once(seed: int, low: int) -> None:
    values, whole, parts = numbers(seed, 300) // 10 ** (2 + low), Histogram(), Histogram()
    whole.add(values)
    for batch in cut(values, seed):
        parts.add(batch)
    assert whole.counts.sum() == 300
    assert (whole.counts == parts.counts).all()


@given(
    seed=st.integers(0, 1000),
    ops=st.lists(st.sampled_from([READ, WRITE, FLUSH, None]), min_size=1, max_size=6),
)
def test_figures_of_all_bios_are_those_of_every_bio_whichever_direction_comes_first(
    seed: int, ops: list[int | None]
) -> None:
    rng, measure, every = np.random.default_rng(seed), Measure(), DistributionBuilder()
    for op in ops:
        records = np.zeros((50, RECORD_WIDTH), dtype=np.int64)
        records[:, RECORD.index("op")] = rng.choice([READ, WRITE, FLUSH], 50) if op is None else op
        records[:, RECORD.index("total")] = records[:, RECORD.index("media")] = numbers(seed, 50)
        measure.add(records)
        every.add(records[:, RECORD.index("total")].copy())
    assert measure.directions()["all"].lat_ns == every.result()
    assert measure.directions()["all"].total_ios == 50 * len(ops)
