"""Pages that nothing stands in the way of go in runs, all others one by one as bios: no one can tell."""

import errno
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.status import BlkStatus
from blkcrypto.block import fallback_cipher
from blkcrypto.block.fallback import TakenPages
from blkcrypto.block.keyslots import KeyslotTable
from blkcrypto.block.mempool import Mempool, exhausted
from blkcrypto.block.op import ReqOp
from blkcrypto.block.pages import PageRun
from blkcrypto.block.queue import QueueCounts
from blkcrypto.block.request import Request
from blkcrypto.crypto.buffers import WrongDataUnitSize
from blkcrypto.crypto.gather import Gathered
from scenarios.serve.device import EncryptedDevice
from scenarios.serve.devices import open_device
from scenarios.serve.disk import Transfer
from scenarios.serve.driver import ImageDriver
from tests.nbd_world import a_scenario

UNIT = 4096
UNITS = 64


class Seen(NamedTuple):
    """What shows of a session.

    Attributes:
        requests: as the driver got them: operation, sector, bytes, flags, tag, keyslot, DUN, segments, bios.
        counts: of the queue.
        programs: of keyslots.
        idle: keyslots by age, the device's and the fallback's.
        held: tags, contexts and pages that are still out.
        statuses: of all transfers.
        read: what came back.
        image: the medium.
        in_runs: requests that came to the driver in runs.
    """

    requests: list[tuple[object, ...]]
    counts: QueueCounts
    programs: int
    idle: list[tuple[int, ...]]
    held: int
    statuses: list[BlkStatus]
    read: list[bytes]
    image: bytes
    in_runs: int


class Watch:
    """Looks on at a driver; transfers that touch ``bad`` units of the image fail.

    Args:
        driver: of the device.
        bad: numbers of units.
    """

    def __init__(self, driver: ImageDriver, bad: frozenset[int]) -> None:
        self.requests: list[tuple[object, ...]] = []
        self.in_runs = 0
        self._bad = bad
        self._queue_rq, self._queue_pages = driver.queue_rq, driver.queue_pages
        driver.queue_rq = self.queue_rq  # type: ignore[method-assign]  # to look on
        driver.queue_pages = self.queue_pages  # type: ignore[method-assign]  # the same
        image = driver._image
        self._read, self._write = image.read, image.write
        image.read = self.read  # type: ignore[method-assign]  # to fail
        image.write = self.write  # type: ignore[method-assign]  # the same

    def queue_rq(self, rq: Request) -> BlkStatus:
        dun = None if rq.crypt_ctx is None else (rq.crypt_ctx.dun, rq.crypt_ctx.key.raw)
        facts = (rq.op, rq.sector, rq.nbytes, int(rq.flags), rq.tag, rq.keyslot, dun, rq.segments)
        self.requests.append((*facts, len(rq.bios)))
        return self._queue_rq(rq)

    def queue_pages(self, run: PageRun) -> None:
        for page, tag, slot in zip(run.pages, run.tags, run.slots, strict=True):
            dun = None if page.key is None else (page.dun, page.key.raw)
            self.requests.append((page.op, page.sector, len(page.data), 0, tag, slot, dun, 1, 1))
        self.in_runs += len(run)
        self._queue_pages(run)

    def _check(self, offset: int, nbytes: int) -> None:
        if self._bad & set(range(offset // UNIT, (offset + nbytes) // UNIT)):
            raise OSError(errno.ENOSPC, "told to")

    def read(self, offset: int, out: npt.NDArray[np.uint8]) -> None:
        self._check(offset, len(out))
        self._read(offset, out)

    def write(self, offset: int, data: npt.NDArray[np.uint8]) -> None:
        self._check(offset, len(data))
        self._write(offset, data)


def lead(
    batches: list[list[tuple[int, int, int, bool]]],
    engine: str,
    sets: tuple[str, ...],
    *,
    in_runs: bool,
    bad: frozenset[int] = frozenset(),
    short: str = "",
) -> Seen:
    scenario = a_scenario(*sets, keys="raw", engine=engine)
    with tempfile.TemporaryDirectory() as folder:
        device = open_device(scenario, Path(folder) / "image", UNITS * UNIT)
        assert isinstance(device, EncryptedDevice)
        queue, kernel = device.queue, device.disk.kernel
        assert isinstance(queue._sink, ImageDriver)
        assert kernel.fallback is not None
        watch = Watch(queue._sink, bad)
        if not in_runs:
            queue.submit_pages = lambda *_: 0  # type: ignore[method-assign]  # one by one
            kernel.fallback.take_pages = lambda *_: TakenPages()  # type: ignore[method-assign]  # the same
        pools = {
            "bios' contexts": kernel.ctx_pool,
            "requests' contexts": kernel.rq_ctx_pool,
            "read contexts": kernel.fallback.reads.contexts,
            "bounce pages": kernel.fallback.writes.pages,
            "bounce bios": kernel.fallback.writes.bios,
        }
        if short:
            run_short(pools[short])
        read: list[bytes] = []
        statuses: list[BlkStatus] = []
        for number, batch in enumerate(batches):
            transfers = list(transfers_of(batch, number))
            device.submit(transfers)
            statuses += [each.status for each in transfers]
            ended_well = [each.data for each in transfers if each.status is BlkStatus.OK]
            read += [data.tobytes() for data in ended_well if data is not None]
        fallback = kernel.fallback
        profiles = (queue.profile, fallback.engine and fallback.engine.profile)
        idle = [each.table.idle_order for each in profiles if each and isinstance(each.table, KeyslotTable)]
        held = queue.tags.in_use + sum(pool.in_use for pool in pools.values()) + len(queue.in_flight)
        device.close()
        image = (Path(folder) / "image").read_bytes()
        programs, seen = device.keyslot_programs, watch.requests
        return Seen(seen, queue.counts, programs, idle, held, statuses, read, image, watch.in_runs)


def run_short(pool: Mempool) -> None:
    """Leave ``pool`` a few elements: enough for one bio after the other."""
    pool.min_nr = pool.curr_nr = 6
    pool._ordinary = exhausted


def transfers_of(batch: Sequence[tuple[int, int, int, bool]], number: int) -> list[Transfer]:
    found = []
    for op, unit, count, fua in batch:
        if op == ReqOp.FLUSH:
            found.append(Transfer(ReqOp.FLUSH))
            continue
        data = np.full(count * UNIT, number + unit, dtype=np.uint8)
        found.append(Transfer(ReqOp(op), unit * UNIT, len(data), data, fua and op == ReqOp.WRITE))
    return found


@st.composite
def batches(draw: st.DrawFn) -> list[list[tuple[int, int, int, bool]]]:
    """Batches of transfers that do not overlap: many neighbours, some of several units, some durable."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        free, batch = set(range(UNITS)), []
        for _ in range(draw(st.integers(1, 40))):
            unit = draw(st.sampled_from(sorted(free)))
            count = 1
            while draw(st.integers(0, 5)) == 0 and unit + count in free:
                count += 1
            free -= set(range(unit, unit + count))
            batch.append((draw(st.integers(0, 1)), unit, count, draw(st.integers(0, 9)) == 0))
            if draw(st.integers(0, 15)) == 0:
                batch.append((ReqOp.FLUSH, 0, 0, False))
            if not free:
                break
        found.append(batch)
    return found


@settings(max_examples=60, deadline=None)
@given(
    batches(),
    st.sampled_from(["inline", "fallback"]),
    st.sampled_from(
        [
            (),
            ("device.keyslots.count=2",),
            ("block.scheduler=mq-deadline",),
            ("device.controller.tags=3",),
            ("run.kernel=6.12",),
        ]
    ),
    st.frozensets(st.integers(0, UNITS - 1), max_size=3),
)
def test_in_runs_or_one_by_one_requests_slots_counts_statuses_and_bytes_are_the_same(
    work: list[list[tuple[int, int, int, bool]]], engine: str, sets: tuple[str, ...], bad: frozenset[int]
) -> None:
    quick, slow = (lead(work, engine, sets, in_runs=in_runs, bad=bad) for in_runs in (True, False))
    assert quick._replace(in_runs=0) == slow
    assert quick.held == 0


@pytest.mark.parametrize("engine", ["inline", "fallback"])
def test_random_single_units_are_taken_in_runs(engine: str) -> None:
    rng = np.random.default_rng(1)
    units = rng.permutation(UNITS)[:16] // 2 * 2  # never neighbours
    writes = [(1, int(unit), 1, False) for unit in sorted(set(units.tolist()), reverse=True)]
    reads = [(0, unit, 1, False) for _, unit, _, _ in writes]
    seen = lead([writes, writes, reads], engine, (), in_runs=True)
    # From the second time on, all keys are in their slots.
    assert seen.in_runs >= 2 * len(writes)


SINGLE = [[(op, unit, 1, False) for unit in range(0, UNITS, 2)] for op in (1, 1, 0, 0)]


@pytest.mark.parametrize(
    ("engine", "short"),
    [
        ("inline", "bios' contexts"),
        ("inline", "requests' contexts"),
        ("fallback", "read contexts"),
        ("fallback", "bounce pages"),
        ("fallback", "bounce bios"),
    ],
)
def test_when_memory_is_short_pages_wait_for_it_one_by_one(engine: str, short: str) -> None:
    quick, slow = (lead(SINGLE, engine, (), in_runs=in_runs, short=short) for in_runs in (True, False))
    assert quick.held == 0
    assert (quick.statuses, quick.read, quick.image) == (slow.statuses, slow.read, slow.image)


def test_what_a_cipher_refuses_together_is_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Gathered, *, encrypt: bool) -> None:
        raise WrongDataUnitSize(f"told to, encrypt={encrypt}")

    slow = lead(SINGLE, "fallback", (), in_runs=False)
    monkeypatch.setattr(fallback_cipher, "Gathered", type("Refusing", (Gathered,), {"crypt": refuse}))
    quick = lead(SINGLE, "fallback", (), in_runs=True)
    assert quick.held == 0
    assert (quick.statuses, quick.read, quick.image) == (slow.statuses, slow.read, slow.image)
