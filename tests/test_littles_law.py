"""Little's law on a run's own figures, against an observer who only counts."""

import math
from collections.abc import Generator

import numpy as np
import simpy

from blkcrypto.base.units import NS_PER_SECOND
from hwmodel.controller import Machine
from scenarios.results.measure import Measure
from tests.machines import READ, US, device, keys, machine

IOS = 60_000


def test_arrival_rate_times_latency_is_what_a_random_observer_counts() -> None:
    rng = np.random.default_rng(9)
    times = np.cumsum(rng.exponential(30 * US, IOS)).astype(np.int64)
    key_numbers = rng.integers(0, 6, IOS).tolist()
    measure = Measure()
    run = machine(device(slots=4, units=4, shape="exponential", tags=16), keys(6), measure)
    seen: list[int] = []

    def observe(observed: Machine) -> Generator[simpy.Event, object, None]:
        # Poisson observers see time averages.
        while True:
            yield observed.clock.timeout(int(rng.exponential(200 * US)) + 1)
            if observed.clock.now > times[-1]:
                return
            seen.append(observed.in_flight)

    run.clock.process(observe(run))
    rows = enumerate(zip(times.tolist(), key_numbers, strict=True))
    run.run((when, row, READ, row * 8, 4096, key, row, 0) for row, (when, key) in rows)
    all_bios = measure.directions()["all"]
    littles = all_bios.iops / NS_PER_SECOND * all_bios.lat_ns.mean
    assert math.isclose(littles, measure.inflight_mean, rel_tol=1e-9)
    counts = np.array(seen)
    # Successive observations are correlated: batches of 100 make the error honest.
    batches = counts[: len(counts) // 100 * 100].reshape(-1, 100).mean(axis=1)
    error = 3 * batches.std(ddof=1) / math.sqrt(len(batches))
    assert abs(counts.mean() - littles) < error


def test_an_overloaded_open_loop_holds_a_bounded_number_of_bios_and_counts_late_arrivals() -> None:
    measure = Measure()
    run = machine(device(units=1, tags=4), [], measure, max_in_flight=10)
    run.run((row * US, row, READ, row * 8, 4096, -1, 0, 0) for row in range(1000))
    # One unit serves 100 us each; the eleventh bio waits for the first completion, as do all that follow.
    assert run.clock.late == 990
    assert measure.bios == 1000
    assert measure.directions()["all"].lat_ns.max == 10 * 100 * US
    assert run.clock.now == 1000 * 100 * US
