"""Bios that nothing stands in the way of are submitted at once, all others step by step: no one can tell."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.bio import Bio
from blkcrypto.block.op import ReqOp
from blkcrypto.block.queue import QueueCounts
from blkcrypto.block.request import Request
from blkcrypto.block.waiting import Task
from scenarios.serve.device import EncryptedDevice
from scenarios.serve.devices import open_device
from scenarios.serve.disk import Transfer
from tests.nbd_world import a_scenario

UNIT = 4096
UNITS = 64


class Seen(NamedTuple):
    """What shows of a session.

    Attributes:
        requests: as the driver got them: operation, sector, bytes, flags, tag, keyslot, DUN, bios.
        counts: of the queue.
        programs: of keyslots.
        idle: keyslots by age.
        read: what came back.
        image: the medium.
    """

    requests: list[tuple[object, ...]]
    counts: QueueCounts
    programs: int
    idle: tuple[int, ...] | None
    read: list[bytes]
    image: bytes
    at_once: int


def lead(
    batches: list[list[tuple[int, int, int, bool]]], engine: str, sets: tuple[str, ...], *, at_once: bool
) -> Seen:
    scenario = a_scenario(*sets, keys="raw", engine=engine)
    with tempfile.TemporaryDirectory() as folder:
        device = open_device(scenario, Path(folder) / "image", UNITS * UNIT)
        assert isinstance(device, EncryptedDevice)
        queue, taken = device.queue, [0]
        requests: list[tuple[object, ...]] = []
        sink = queue._sink
        queue_rq, submit_at_once = sink.queue_rq, queue.submit_at_once

        def watched(rq: Request) -> BlkStatus:
            dun = None if rq.crypt_ctx is None else (rq.crypt_ctx.dun, rq.crypt_ctx.key.raw)
            facts = (rq.op, rq.sector, rq.nbytes, int(rq.flags), rq.tag, rq.keyslot, dun, rq.segments)
            requests.append((*facts, len(rq.bios)))
            return queue_rq(rq)

        def counted(task: Task, bio: Bio) -> bool:
            done = at_once and submit_at_once(task, bio)
            taken[0] += done
            return done

        sink.queue_rq = watched  # type: ignore[method-assign]  # to look on
        queue.submit_at_once = counted  # type: ignore[method-assign]  # to count, or to leave it out
        read = []
        for number, batch in enumerate(batches):
            transfers = []
            for op, unit, count, fua in batch:
                data = np.full(count * UNIT, number + unit, dtype=np.uint8)
                transfers.append(Transfer(ReqOp(op), unit * UNIT, len(data), data, fua and op == ReqOp.WRITE))
            device.submit(transfers)
            assert [each.status for each in transfers] == [BlkStatus.OK] * len(transfers)
            read += [each.data.tobytes() for each in transfers if each.data is not None]
        table = None if queue.profile is None else queue.profile.table
        idle = None if table is None else table.idle_order
        device.close()
        image = (Path(folder) / "image").read_bytes()
        return Seen(requests, queue.counts, device.keyslot_programs, idle, read, image, taken[0])


@st.composite
def batches(draw: st.DrawFn) -> list[list[tuple[int, int, int, bool]]]:
    """Batches of transfers that do not overlap: many neighbours, some of several units, some durable."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        free, batch = set(range(UNITS)), []
        for _ in range(draw(st.integers(1, 24))):
            unit = draw(st.sampled_from(sorted(free)))
            count = 1
            while draw(st.integers(0, 5)) == 0 and unit + count in free:
                count += 1
            free -= set(range(unit, unit + count))
            batch.append((draw(st.integers(0, 1)), unit, count, draw(st.integers(0, 9)) == 0))
            if not free:
                break
        found.append(batch)
    return found


@settings(max_examples=60, deadline=None)
@given(
    batches(),
    st.sampled_from(["inline", "fallback"]),
    st.sampled_from(
        [(), ("device.keyslots.count=2",), ("block.scheduler=mq-deadline",), ("device.controller.tags=3",)]
    ),
)
def test_submitting_at_once_or_step_by_step_gives_the_same_requests_slots_counts_and_bytes(
    work: list[list[tuple[int, int, int, bool]]], engine: str, sets: tuple[str, ...]
) -> None:
    quick, slow = (lead(work, engine, sets, at_once=at_once) for at_once in (True, False))
    assert quick._replace(at_once=0) == slow


def test_random_single_units_are_submitted_at_once() -> None:
    rng = np.random.default_rng(1)
    units = rng.permutation(UNITS)[:16] // 2 * 2  # never neighbours
    batch = [(1, int(unit), 1, False) for unit in sorted(set(units.tolist()), reverse=True)]
    seen = lead([batch, batch], "inline", (), at_once=True)
    # The second time, all keys are in their slots.
    assert seen.at_once >= len(batch)
