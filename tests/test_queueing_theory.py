"""The machine as a queue: textbook results within the confidence interval that a run states."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from blkcrypto.base.units import NS_PER_SECOND
from hwmodel.device import ServiceShape
from scenarios.results.measure import Measure
from scenarios.results.result import Distribution
from tests.machines import READ, US, device, machine

SERVICE_NS = 100 * US
IOS = 80_000
SEEDS = range(10)


def poisson_rows(load_per_s: float, seed: int) -> Iterator[tuple[int, ...]]:
    rng = np.random.default_rng([seed, 1])
    times = np.cumsum(rng.exponential(NS_PER_SECOND / load_per_s, IOS)).astype(np.int64)
    return ((when, row, READ, row * 8, 4096, -1, 0, 0) for row, when in enumerate(times.tolist()))


def latency(servers: int, utilisation: float, shape: ServiceShape, seed: int) -> Distribution:
    facts = device(tags=IOS, units=servers, read_ns=SERVICE_NS, shape=shape)
    measure = Measure()
    run = machine(facts, [], measure, seed=seed)
    run.run(poisson_rows(utilisation * servers * NS_PER_SECOND / SERVICE_NS, seed))
    return measure.directions()["read"].lat_ns


def erlang_c(servers: int, offered: float) -> float:
    """Probability of waiting in M/M/c (Erlang 1917)."""
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


def mm1(utilisation: float) -> float:
    return SERVICE_NS / (1 - utilisation)


def md1(utilisation: float) -> float:
    return SERVICE_NS * (1 + utilisation / (2 * (1 - utilisation)))


def mmc(utilisation: float, servers: int = 8) -> float:
    waiting = erlang_c(servers, servers * utilisation) * SERVICE_NS / (servers * (1 - utilisation))
    return SERVICE_NS + waiting


@pytest.mark.parametrize(
    ("servers", "shape", "theory"),
    [(1, "exponential", mm1), (1, "deterministic", md1), (8, "exponential", mmc)],
    ids=["M/M/1", "M/D/1", "M/M/8"],
)
@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_mean_latency_agrees_with_theory_within_the_stated_interval(
    servers: int, shape: ServiceShape, theory: object, utilisation: float
) -> None:
    # 95 % intervals hold in 9.5 of 10 runs on average; 7 or fewer of 10 would be a 1 in 80 accident.
    assert callable(theory)
    expected = theory(utilisation)
    within = 0
    for seed in SEEDS:
        measured = latency(servers, utilisation, shape, seed)
        within += abs(measured.mean - expected) <= measured.mean_halfwidth95
    assert within >= 8
