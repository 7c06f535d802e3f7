"""A write cache is found again in what a device with one recorded, and in nothing else."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from hwmodel.device import Device
from scenarios.calibration.cachefit import fit_cache
from scenarios.calibration.calibrate import calibrate, replay
from scenarios.calibration.recording import Recording, held_back_rows
from scenarios.load import load_device
from tests.machines import US, device, fig

MIB = 1 << 20


def bursts(*, count: int, writes: int, gap_us: int, pause_ms: int, read_every: int = 0) -> Recording:
    """Bursts of 16 KiB writes ``gap_us`` apart with pauses in between; every so many requests is a read.

    Completion times are still those of nobody: ``recorded_by`` gives them.
    """
    starts = np.repeat(np.arange(count) * (writes * gap_us * US + pause_ms * 1000 * US), writes)
    issued = starts + np.tile(np.arange(writes) * gap_us * US, count)
    op = np.ones(len(issued), dtype=np.uint8)
    if read_every:
        op[::read_every] = 0
    rows = len(issued)
    return Recording(
        name="made",
        issued_ns=issued.astype(np.int64),
        done_ns=issued.astype(np.int64) + 1,
        op=op,
        sector=np.random.default_rng(1).integers(0, 1 << 20, rows) * 32,
        nbytes=np.full(rows, 16384, dtype=np.int64),
        held_back=held_back_rows(rows, "alternate"),
        held_back_as="alternate",
    )


def recorded_by(facts: Device, load: Recording) -> Recording:
    """``load`` as ``facts`` would complete it, were it issued regardless."""
    rows = len(load)
    together = replace(load, done_ns=load.issued_ns[-1] + np.arange(1, rows + 1))  # no limit in flight
    return replace(load, done_ns=load.issued_ns + replay(facts, together, seed=1))


def storage(*, cache_bytes: int = 0, units: int = 4, write_ns: int = 400 * US) -> Device:
    """Without a cache 16 KiB take ``write_ns`` on any of ``units``; the cache accepts in 20 us."""
    facts = device(tags=1 << 16, units=units, write_ns=write_ns)
    media = msgspec.structs.replace(facts.media, cache_bytes=fig(cache_bytes), cache_write_ns=fig(20 * US))
    if cache_bytes:
        media = msgspec.structs.replace(media, programs="apart")
    return msgspec.structs.replace(facts, media=media)


# 16 KiB every 50 us are 328 MB/s into a cache that drains 4 x 16 KiB / 400 us = 164 MB/s: 4 MiB are full
# after 4 MiB / (164 MB/s) = 25.6 ms, or 512 of the 800 writes.
LOAD = bursts(count=24, writes=800, gap_us=50, pause_ms=60)


def test_size_rate_and_time_of_the_cache_are_found_again() -> None:
    made = recorded_by(storage(cache_bytes=4 * MIB), LOAD)
    cache = fit_cache(made, made.settled)
    assert cache is not None
    assert cache.nbytes == pytest.approx(4 * MIB, rel=0.05)
    assert cache.drain_per_s == pytest.approx(4 * 16384 / 400e-6, rel=0.05)
    assert cache.write_ns == pytest.approx(20 * US, rel=0.05)
    assert cache.explained > 0.9


@pytest.mark.parametrize("units", [1, 4, 16])
def test_a_device_with_units_and_no_cache_shows_none(units: int) -> None:
    made = recorded_by(storage(units=units, write_ns=100 * US * units), LOAD)
    assert fit_cache(made, made.settled) is None


def test_writes_that_never_wait_show_no_cache() -> None:
    made = recorded_by(storage(cache_bytes=64 * MIB), LOAD)
    assert fit_cache(made, made.settled) is None


def test_a_fitted_cache_replays_what_was_held_back() -> None:
    load = bursts(count=24, writes=800, gap_us=50, pause_ms=60, read_every=10)
    found = calibrate(
        recorded_by(storage(cache_bytes=4 * MIB), load), load_device("ufs31-ice-raw"), name="fitted"
    )
    assert found.fit.cache is not None
    assert found.is_within(0.2)
    figures = dict(found.device.figures())
    assert figures["media.cache_bytes"].source.startswith("fitted to made")
    assert figures["media.read_ns"].value == pytest.approx(100 * US, rel=0.05)


def test_what_is_held_back_completes_unseen() -> None:
    made = recorded_by(storage(cache_bytes=4 * MIB), LOAD)
    spoiled = replace(made, done_ns=made.done_ns + np.where(made.held_back, 10**9, 0))
    assert fit_cache(spoiled, made.settled) == fit_cache(made, made.settled)
