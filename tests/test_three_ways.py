"""The long way through a plain machine, the short one and the compiled one lead to the same, bio by bio."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from blkcrypto.block.key import BlkCryptoKey, KeyType
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.split import split_period, split_sizes
from blkcrypto.crypto.cipher import new_cipher
from hwmodel.columns import Columns
from hwmodel.controller import Machine
from hwmodel.dataplane import BATCH_BYTES, Corruption, UnitCipher, Verified, VerifyingPlane
from hwmodel.device import Device, Quantiles
from hwmodel.engine import DataPath, PooledPath
from hwmodel.media import Media
from hwmodel.plane import PlaneInFront
from scenarios import build
from scenarios.load import load_scenario, shipped_scenarios
from scenarios.run import run
from scenarios.schema import Scenario
from tests.interpreted import interpreted
from tests.machines import US, device, fig, keys

KEYS = 12
BIOS = 400
QUANTILES = Quantiles(((0, 20 * US), (50, 90 * US), (99.5, 300 * US), (100, 2000 * US)), "test")

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba, of the extra fast, is not installed"
)

Way = Callable[[Machine, Iterator[Columns], int], None]


class LongWay(Machine):
    """A machine of a kind of its own is led the long way."""


def by_rows(machine: Machine, batches: Iterator[Columns], depth: int) -> None:
    machine.run((row for columns in batches for row in columns.rows()), queue_depth=depth)


def by_columns(machine: Machine, batches: Iterator[Columns], depth: int) -> None:
    from hwmodel.compiled.way import compiled_way, why_not

    assert not why_not(machine)
    compiled_way(machine, batches, depth)


def by_columns_interpreted(machine: Machine, batches: Iterator[Columns], depth: int) -> None:
    assert not interpreted().why_not(machine)
    interpreted().compiled_way(machine, batches, depth)


WAYS = [
    pytest.param(Machine, by_rows, id="short"),
    pytest.param(Machine, by_columns, id="compiled", marks=needs_numba),
]


class Bytes:
    """Every record, as bytes."""

    def __init__(self) -> None:
        self.seen = bytearray()

    def add(self, records: npt.NDArray[np.int64]) -> None:
        self.seen += records.tobytes()


def batches(seed: int, gap_ns: int, bios: int = BIOS) -> Iterator[Columns]:
    """Bios of all kinds, in batches of many sizes."""
    rng = np.random.default_rng(seed)
    grain_ns = 10 * US if seed % 2 else 1  # at full grains bios come when others are done
    whole = Columns(
        time_ns=np.cumsum(rng.integers(0, 2 * gap_ns, bios)) // grain_ns * grain_ns,
        number=np.arange(bios),
        op=rng.choice([0, 1, 2, 3], bios, p=[0.5, 0.4, 0.05, 0.05]).astype(np.uint8),
        sector=rng.integers(0, 1 << 12, bios) * 8,
        nbytes=rng.choice([1, 2, 16, 64], bios) * 4096,
        key=rng.integers(-1, KEYS, bios),
        dun=rng.integers(0, 1 << 32, bios).astype(np.uint64),
        stream=rng.integers(-1, 5, bios).astype(np.int32),
    )
    cuts = [0, *sorted(rng.integers(0, bios, 5).tolist()), bios]
    for begin, end in pairwise(cuts):
        yield Columns._make(column[begin:end] for column in whole)


def xts(key: BlkCryptoKey) -> UnitCipher:
    return new_cipher("AES-256-XTS", (key.raw * 4)[:32] + b"\xff" * 32)


SOME_KEYS = keys(KEYS // 2) + keys(KEYS // 2, KeyType.HW_WRAPPED)


def the_keys(seed: int) -> list[BlkCryptoKey]:
    """Keys of both types; one of them stands twice."""
    return [*SOME_KEYS[:-1], SOME_KEYS[seed % (KEYS - 1)]]


def state(machine: Machine) -> list[object]:
    """What a machine is like after a run."""
    media, path, slots = machine.storage, machine.path, machine.device_keyslots
    assert isinstance(media, Media)
    assert isinstance(path, DataPath | PooledPath)
    seen: list[object] = [
        *(machine.clock.now, machine.clock.late, machine.submit_ns, machine.splits, machine.is_idle),
        *(machine.tags.free, machine.in_flight, len(machine.pool.every), len(machine.pool.idle)),
        sorted(media.free) if media.takes_any else media.free,
        *(path.free, media.times.draws, media.times.draw(0).tolist() if media.times.draws else None),
    ]
    if slots is None:
        return seen
    return [
        *seen,
        *(slots.acquires, slots.hits, slots.programs, slots.waits, slots.lock_waits, slots.lock_held_ns),
        *(slots.program_cpu_ns, slots.hardware, list(slots.table.programmed()), slots.table.idle_order),
        [slots.table.find(key) for key in machine.keys],
    ]


def outcome(kind: type[Machine], way: Way, facts: Device, *, seed: int, gap_ns: int, depth: int, most: int,
            limits: QueueLimits) -> tuple[bytes, list[object]]:  # fmt: skip
    """All records, and the machine afterwards."""
    records = Bytes()
    machine = kind(
        facts,
        where="inline",
        rng=np.random.default_rng(seed),
        keys=the_keys(seed),
        records=records.add,
        limits=limits,
        max_in_flight=most,
    )
    way(machine, batches(seed, gap_ns), depth)
    return bytes(records.seen), state(machine)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    one_of = st.sampled_from
    facts = device(
        tags=draw(one_of([1, 3, 32, 512])),
        slots=draw(one_of([0, 1, 4, 16])),
        program_ns=draw(one_of([0, 10 * US, 80 * US])),
        program_wrapped_ns=draw(one_of([25 * US, 120 * US])),
        program_on_cpu=draw(st.booleans()),
        units=draw(one_of([1, 3, 8])),
        shape=draw(one_of(["deterministic", "exponential"])),
        placement=draw(one_of(["any", "striped"])),
        link_per_s=draw(one_of([0, 10**9])),
        engine_per_s=draw(one_of([0, 5 * 10**8])),
        engine_latency_ns=draw(one_of([0, 700])),
        cpus=draw(one_of([1, 4])),
        submit_ns=draw(one_of([0, 900])),
        per_data_unit_ns=draw(one_of([0, 50])),
        flush_ns=draw(one_of([0, 300 * US])),
    )
    media = replace(facts.media, stripe_bytes=fig(draw(one_of([4096, 12288, 1 << 20]))))
    media = replace(media, read_per_s=fig(draw(one_of([0, 10**9]))))
    if draw(st.booleans()):
        media = replace(media, shape="empirical", read_quantiles=QUANTILES, flush_quantiles=QUANTILES)
    facts = replace(facts, media=media)
    if facts.engine is not None and draw(st.booleans()):
        cores = {"cores": fig(7), "mixed_read_cores": fig(4), "mixed_write_cores": fig(3)}
        facts = replace(facts, engine=replace(facts.engine, **cores))
    return facts


RUNS = given(
    facts=devices(),
    seed=st.integers(0, 1000),
    gap_ns=st.sampled_from([200, 2 * US, 30 * US, 200 * US]),
    depth=st.sampled_from([0, 0, 1, 8]),
    most=st.sampled_from([5, 1 << 16]),
    limits=st.sampled_from(
        [
            QueueLimits(max_sectors=128),
            QueueLimits(max_sectors=2560),
            QueueLimits(max_sectors=24, physical_block_size=8192, max_segments=2),
        ]
    ),
)
# Without shrinking: a machine that is led differently is told at once, a smaller one after minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.mark.parametrize(("kind", "way"), WAYS)
@settings(deadline=None, max_examples=80, phases=PHASES)
@RUNS
def test_every_bio_takes_the_same_times_and_the_machine_ends_alike(
    kind: type[Machine], way: Way, facts: Device, seed: int, gap_ns: int, depth: int, most: int,
    limits: QueueLimits,
) -> None:  # fmt: skip
    led = partial(outcome, facts=facts, seed=seed, gap_ns=gap_ns, depth=depth, most=most, limits=limits)
    assert led(kind, way) == led(LongWay, by_rows)


@settings(deadline=None, max_examples=30, phases=PHASES)
@RUNS
def test_what_is_compiled_touches_no_row_that_does_not_exist_and_is_the_same_when_interpreted(
    facts: Device, seed: int, gap_ns: int, depth: int, most: int, limits: QueueLimits
) -> None:
    led = partial(outcome, facts=facts, seed=seed, gap_ns=gap_ns, depth=depth, most=most, limits=limits)
    assert led(Machine, by_columns_interpreted) == led(LongWay, by_rows)


def moved(kind: type[Machine], way: Way, seed: int, gap_ns: int, batch_bytes: int) -> tuple[Verified, str]:
    """What comparing the data found, and the digest of the medium."""
    plane = VerifyingPlane(4096, seed=seed, cipher_of=xts, batch_bytes=batch_bytes)
    machine = kind(
        device(slots=4, units=3, shape="exponential"),
        where="inline",
        rng=np.random.default_rng(seed),
        keys=the_keys(seed),
        records=lambda _: None,
        limits=QueueLimits(max_sectors=128),
        plane=plane,
    )
    way(machine, batches(seed, gap_ns), 0)
    plane.process()
    return plane.verified, plane.medium.sha256()


@pytest.mark.parametrize(("kind", "way"), WAYS)
@settings(deadline=None, max_examples=15, phases=PHASES)
@given(
    seed=st.integers(0, 1000),
    gap_ns=st.sampled_from([2 * US, 200 * US]),
    batch_bytes=st.sampled_from([0, 1 << 20, BATCH_BYTES]),
)
def test_the_same_data_is_moved(
    kind: type[Machine], way: Way, seed: int, gap_ns: int, batch_bytes: int
) -> None:
    assert moved(kind, way, seed, gap_ns, batch_bytes) == moved(LongWay, by_rows, seed, gap_ns, 0)


@needs_numba
def test_machines_whose_data_must_be_followed_bio_by_bio_are_not_led_by_compiled_code() -> None:
    from hwmodel.compiled.way import why_not

    damaged = VerifyingPlane(4096, seed=1, cipher_of=xts, corruptions=[Corruption(0, 1, after_bios=9)])
    volatile = VerifyingPlane(4096, seed=1, cipher_of=xts)
    volatile.keep_unflushed(lambda: 0)
    for plane, why in (
        (damaged, "data is damaged on the way"),
        (volatile, "what a power cut would take is known"),
        (PlaneInFront(volatile), "somebody looks at each bio's data"),
    ):
        machine = Machine(
            device(),
            where="inline",
            rng=np.random.default_rng(1),
            keys=keys(1),
            records=lambda _: None,
            plane=plane,
        )
        assert why_not(machine) == why


@needs_numba
def test_only_a_new_machine_is_led_by_compiled_code() -> None:
    from hwmodel.compiled.way import why_not

    machine = Machine(
        device(), where="inline", rng=np.random.default_rng(1), keys=keys(KEYS), records=lambda _: None
    )
    assert not why_not(machine)
    by_rows(machine, batches(seed=3, gap_ns=30 * US), 0)
    assert why_not(machine) == "it has run before"


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_more_readers_than_are_woken_at_once_take_the_same_times(kind: type[Machine], way: Way) -> None:
    facts = device(tags=2048, slots=3, program_ns=900 * US, units=8)

    def led(kind: type[Machine], way: Way) -> bytes:
        records = Bytes()
        machine = kind(
            facts, where="inline", rng=np.random.default_rng(1), keys=keys(KEYS), records=records.add
        )
        way(machine, batches(seed=5, gap_ns=1 * US, bios=2000), 0)
        return bytes(records.seen)

    assert led(kind, way) == led(LongWay, by_rows)


@needs_numba
def test_records_come_in_the_same_batches_whether_compiled_or_not() -> None:
    def lengths(way: Way) -> list[int]:
        seen: list[int] = []
        machine = Machine(
            device(tags=64, slots=4, shape="exponential"),
            where="inline",
            rng=np.random.default_rng(1),
            keys=keys(KEYS),
            records=lambda records: seen.append(len(records)),
        )
        way(machine, batches(seed=7, gap_ns=30 * US, bios=30_000), 0)
        return seen

    assert lengths(by_columns) == lengths(by_rows) == [8192, 8192, 8192, 30_000 - 3 * 8192]


def of_catalog(name: str, *sets: str) -> Scenario:
    """A scenario of the catalog, cut short."""
    ios = {"trace-replay": [], "extents-heavy-versus-light": ["ios=300"]}.get(name, ["ios=5000"])
    return load_scenario(name, sets=[*ios, *sets])


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_numba)])
@pytest.mark.parametrize("name", shipped_scenarios())
def test_every_scenario_of_the_catalog_has_the_same_records_and_result(
    name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = of_catalog(name)
    other, long = Bytes(), Bytes()
    result = run(chosen, sinks=[other], compiled=compiled)
    monkeypatch.setattr(build, "Machine", LongWay)
    assert run(chosen, sinks=[long]) == result
    assert other.seen == long.seen


@needs_numba
def test_these_scenarios_of_the_catalog_are_led_by_compiled_code() -> None:
    from hwmodel.compiled.way import why_not

    machines = {name: build.build(of_catalog(name)).machine for name in shipped_scenarios()}
    led = {name for name, machine in machines.items() if not why_not(machine)}
    assert led == {
        "every-device",
        "key-setup-during-io",
        "keyslot-contention",
        "lock-convoy",
        "md1",
        "merging",
        "mm1",
        "mmc",
        "tag-starvation",
        "trace-replay",
        "whole-disk-versus-per-file",
        "wrapped-versus-raw",
    }


def test_the_short_way_is_taken_where_nothing_holds_bios_back_and_only_there() -> None:
    plain = {"where": "inline", "rng": np.random.default_rng(1), "keys": keys(1), "records": lambda _: None}
    assert Machine(device(), **plain).is_plain  # type: ignore[arg-type]  # of several types
    assert not LongWay(device(), **plain).is_plain  # type: ignore[arg-type]
    assert not Machine(device(drains_io=True), **plain).is_plain  # type: ignore[arg-type]
    assert not Machine(device(), **plain, scheduler="mq-deadline").is_plain  # type: ignore[arg-type]
    assert not Machine(device(), **plain | {"where": "fallback"}).is_plain  # type: ignore[arg-type]


@given(
    sector=st.integers(0, 1 << 20),
    pages=st.integers(1, 64),
    unit=st.sampled_from([1, 4096]),
    physical=st.sampled_from([512, 4096, 16384]),
    chunk=st.sampled_from([0, 96, 128]),
)
def test_a_transfer_is_cut_alike_one_period_further(
    sector: int, pages: int, unit: int, physical: int, chunk: int
) -> None:
    limits = QueueLimits(max_sectors=64, max_segments=5, physical_block_size=physical, chunk_sectors=chunk)
    sector, period = 8 * sector, split_period(limits)
    here, there = (
        split_sizes(at, pages * 4096, limits, segment_bytes=4096, data_unit_size=unit)
        for at in (sector % period, sector + period)
    )
    assert here == there
    assert sum(here) == pages * 4096
