"""What is on the medium depends on keys, DUNs and plaintext alone (invariants 15, 16 and 18).

Whole stack, random: how the data is cut into bios and memory vectors, the queue's limits, plugging, the
scheduler, the order in which the device completes, hardware or fallback, kernel version, page size.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.waiting import Task
from tests.block_world import ANY_SIZE, World, pattern
from tests.oracle.block_xts import ciphertext

SIZES = [512 << shift for shift in range(8)]  # 512 to 65536
UNITS = 24


@dataclass(frozen=True)
class Stack:
    """One way through the block layer."""

    era: str
    native: bool
    size: int
    page_bytes: int
    scheduler: str
    plug: bool
    limits: QueueLimits
    seed: int


@st.composite
def stacks(draw: st.DrawFn, *, native: bool, size: int) -> Stack:
    era = draw(st.sampled_from(["6.12", "7.0", "7.3"]))
    page = draw(st.sampled_from([4096, 16384, 65536]))
    if era == "6.12" or not native:
        page = max(page, size)  # there every single-page segment must be whole data units
    least = max(page, size) // 512
    limits = QueueLimits(
        page_bytes=page,
        max_sectors=least * draw(st.integers(1, 4)) + draw(st.sampled_from([0, 1, 7])),
        max_segments=draw(st.integers(1, 6)) * max(1, size // page),
        max_segment_size=draw(st.sampled_from([page, 65536, 1 << 20])),
        virt_boundary_mask=draw(st.sampled_from([0, 0, page - 1])),
    )
    return Stack(
        era=era,
        native=native,
        size=size,
        page_bytes=page,
        scheduler=draw(st.sampled_from(["none", "mq-deadline"])),
        plug=draw(st.booleans()),
        limits=limits,
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def cuts(rng: np.random.Generator, total: int, most: int) -> list[tuple[int, int]]:
    """A random partition of ``range(total)`` as (first, count)."""
    inner = sorted({int(cut) for cut in rng.integers(0, total, size=rng.integers(0, most))} - {0})
    edges = [0, *inner, total]
    return [(first, end - first) for first, end in itertools.pairwise(edges)]


class Bench:
    """One stack with data on it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.rng = np.random.default_rng(stack.seed)
        self.world = World(
            stack.era,
            native=ANY_SIZE if stack.native else None,
            limits=stack.limits,
            page_bytes=stack.page_bytes,
            scheduler=stack.scheduler,
            depth=3,
            choose=lambda count: int(self.rng.integers(count)),
        )
        self.key = self.world.key("key", size=stack.size)
        self.first_sector = int(self.rng.integers(0, 8)) * stack.size // 512
        self.first_dun = int(self.rng.integers(0, 2**62)) << int(self.rng.integers(0, 190))

    def run(self, op: ReqOp, data: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        """Move ``data`` in random pieces, in random order, from one to three tasks."""
        size = self.stack.size
        pieces = cuts(self.rng, UNITS, 12)
        self.rng.shuffle(pieces)
        shares = int(self.rng.integers(1, 4))
        for share in range(shares):
            bios = []
            for first, count in pieces[share::shares]:
                part = data[first * size : (first + count) * size]
                layout = [units * size for _, units in cuts(self.rng, count, 4)]
                sector = self.first_sector + first * size // 512
                bio = self.world.bio(op, sector, part, layout=layout)
                bios.append((bio, self.key, self.first_dun + first))
            task = Task(f"{op.name} {share}")
            self.world.loop.spawn(task, self.world.submission(task, bios, plug=self.stack.plug))
        self.world.loop.run()

    def medium(self) -> bytes:
        begin = self.first_sector * 512
        return self.world.memory_disk.medium[begin : begin + UNITS * self.stack.size].tobytes()


def check(stack: Stack) -> None:
    bench = Bench(stack)
    plaintext = pattern(UNITS * stack.size, seed=stack.seed)
    unharmed = plaintext.copy()

    bench.run(ReqOp.WRITE, plaintext)
    read = np.zeros_like(plaintext)
    bench.run(ReqOp.READ, read)

    assert {status for _, status in bench.world.done} == {BlkStatus.OK}
    assert bench.medium() == ciphertext(bench.key.raw, bench.first_dun, plaintext.tobytes(), stack.size)
    assert np.array_equal(read, plaintext)
    assert np.array_equal(plaintext, unharmed)


@pytest.mark.parametrize("size", SIZES)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_15_hardware_writes_what_a_direct_encryption_of_every_data_unit_gives(
    size: int, data: st.DataObject
) -> None:
    check(data.draw(stacks(native=True, size=size)))


@pytest.mark.parametrize("size", SIZES)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_15_the_fallback_writes_the_same(size: int, data: st.DataObject) -> None:
    check(data.draw(stacks(native=False, size=size)))


@pytest.mark.parametrize("written_natively", [True, False], ids=["hardware writes", "fallback writes"])
def test_16_what_hardware_writes_the_fallback_reads_and_the_other_way_round(written_natively: bool) -> None:
    world = World()
    in_hardware = world.key("same bytes")
    on_cpu = world.key("same bytes", allow_hw=False)
    writer, reader = (in_hardware, on_cpu) if written_natively else (on_cpu, in_hardware)
    plaintext = pattern(64 * 512)

    world.write(8, plaintext, writer, dun=77)
    read = world.read(8, len(plaintext), reader, dun=77)

    assert np.array_equal(read, plaintext)
    assert len(world.memory_disk.calls) == 1  # one of the two used a keyslot of the device
