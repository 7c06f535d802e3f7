"""The whole path from bio to medium and back, in random steps: submit, complete, retry, reset, evict.

A plain model of what each region of the medium must decrypt to stands beside it.  ``BLKCRYPTO_STEPS`` sets
how many steps are tried (default 4000).
"""

import os
from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import evict_key
from blkcrypto.block.bio import Bio
from blkcrypto.block.key import BlkCryptoKey
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.sysfs import slot_views
from blkcrypto.block.waiting import Task
from tests.block_world import ProgramFailed, World, crypt_units, pattern

STEPS = int(os.environ.get("BLKCRYPTO_STEPS", "4000"))
PER_EXAMPLE = 40
REGIONS, UNITS, SIZE = 12, 8, 512
BYTES = UNITS * SIZE


class QueueMachine(RuleBasedStateMachine):
    """Twelve regions, each read or written by at most one bio at a time."""

    @initialize(
        slots=st.integers(1, 3),
        depth=st.integers(1, 4),
        scheduler=st.sampled_from(["none", "mq-deadline"]),
        max_segments=st.integers(1, 4),
    )
    def start(self, slots: int, depth: int, scheduler: str, max_segments: int) -> None:
        self.world = World(
            slots=slots, depth=depth, scheduler=scheduler, limits=QueueLimits(max_segments=max_segments)
        )
        self.keys = [self.world.key(name, size=SIZE) for name in "ABCD"]
        self.busy: set[int] = set()
        self.holds: dict[int, tuple[BlkCryptoKey, bytes]] = {}
        self.submitted = 0
        self.ended = 0
        self.seed = 0

    def settle(self) -> None:
        while self.world.loop.step():
            pass

    @rule(
        regions=st.lists(st.integers(0, REGIONS - 1), min_size=1, max_size=4, unique=True),
        key=st.integers(0, 3),
        plug=st.booleans(),
        cut=st.sampled_from([SIZE, 3 * SIZE, BYTES]),
    )
    def write(self, regions: list[int], key: int, plug: bool, cut: int) -> None:
        bios = []
        for region in regions:
            if region in self.busy:
                continue
            self.seed += 1
            data = pattern(BYTES, self.seed)
            layout = [min(cut, BYTES - done) for done in range(0, BYTES, cut)]
            bio = self.bio(ReqOp.WRITE, region, data, layout, self.keys[key])
            bios.append((bio, self.keys[key], region * UNITS))
        self.submit(bios, plug=plug)

    @rule(region=st.integers(0, REGIONS - 1))
    def read(self, region: int) -> None:
        if region in self.busy or region not in self.holds:
            return
        key, _ = self.holds[region]
        data = np.zeros(BYTES, dtype=np.uint8)
        self.submit([(self.bio(ReqOp.READ, region, data, [], key), key, region * UNITS)], plug=False)

    def bio(
        self,
        op: ReqOp,
        region: int,
        data: np.ndarray[tuple[int], np.dtype[np.uint8]],
        layout: list[int],
        key: BlkCryptoKey,
    ) -> Bio:
        self.busy.add(region)
        expected = data.tobytes() if op is ReqOp.WRITE else None

        def ended(bio: Bio) -> None:
            self.ended += 1
            self.busy.remove(region)
            if op is ReqOp.READ:
                assert bio.status is not BlkStatus.OK or data.tobytes() == self.holds[region][1]
            elif bio.status is BlkStatus.OK:
                assert expected is not None
                self.holds[region] = (key, expected)
            else:
                self.holds.pop(region, None)  # some of it may have been written

        return self.world.bio(op, region * UNITS, data, layout=layout, end_io=ended)

    def submit(self, bios: Sequence[tuple[Bio, BlkCryptoKey | None, int]], *, plug: bool) -> None:
        self.submitted += len(bios)
        task = Task(f"task {self.submitted}")
        self.world.loop.spawn(task, self.world.submission(task, bios, plug=plug))
        self.settle()

    @precondition(lambda self: self.world.memory_disk.pending)
    @rule(
        data=st.data(), status=st.sampled_from([BlkStatus.OK, BlkStatus.OK, BlkStatus.OK, BlkStatus.MEDIUM])
    )
    def complete(self, data: st.DataObject, status: BlkStatus) -> None:
        disk = self.world.memory_disk
        disk.status = status
        disk.complete_next(data.draw(st.integers(0, len(disk.pending) - 1)))
        disk.status = BlkStatus.OK
        self.settle()

    @precondition(lambda self: self.world.memory_disk.pending)
    @rule(units=st.integers(1, 3))
    def complete_some_and_requeue_the_rest(self, units: int) -> None:
        disk = self.world.memory_disk
        if disk.pending[0].nbytes <= units * SIZE:
            return
        rq = disk.complete_part(units * SIZE)
        disk.pending.remove(rq)
        self.world.queue.requeue(rq)
        self.world.queue.run()
        self.settle()

    @rule(times=st.integers(0, 2))
    def the_device_is_busy(self, times: int) -> None:
        self.world.memory_disk.busy = times

    @rule(fails=st.booleans())
    def programming_fails(self, fails: bool) -> None:
        self.world.memory_disk.program_error = ProgramFailed("told to") if fails else None

    @rule()
    def the_controller_is_reset(self) -> None:
        if self.world.memory_disk.program_error is None:
            self.world.memory_disk.reset()
            self.world.profile.reprogram_all_keys()

    @rule(key=st.integers(0, 3))
    def evict_an_unused_key(self, key: int) -> None:
        table = self.world.profile.table
        assert table is not None
        slot = table.find(self.keys[key])
        if slot < 0 or not table.refs(slot):
            evict_key(self.world.kernel, self.world.bdev, self.keys[key])

    @invariant()
    def every_request_with_a_tag_holds_its_slot_or_waits_for_one(self) -> None:
        tags = self.world.queue.sched_tags or self.world.queue.tags
        waiting = sum("keyslot" in what for _, what in self.world.loop.sleeping())
        held = sum(view.refs for view in slot_views(self.world.profile))
        assert tags.in_use == held + waiting

    @invariant()
    def every_request_at_the_device_finds_its_key_in_its_slot(self) -> None:
        table = self.world.profile.table
        assert table is not None
        for rq in self.world.memory_disk.pending:
            assert rq.crypt_ctx is not None
            assert table.key_in(rq.keyslot) is rq.crypt_ctx.key
            assert self.world.memory_disk.slots[rq.keyslot] is rq.crypt_ctx.key

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.memory_disk.program_error, world.memory_disk.busy = None, 0
        world.loop.run()
        assert self.ended == self.submitted
        assert [view.refs for view in slot_views(world.profile)] == [0] * world.profile.num_slots
        assert (world.queue.tags.in_use, world.kernel.ctx_pool.in_use, world.queue.in_flight) == (0, 0, set())
        for region, (key, plaintext) in self.holds.items():
            begin = region * BYTES
            stored = world.memory_disk.medium[begin : begin + BYTES]
            assert crypt_units(key, region * UNITS, stored, encrypt=False).tobytes() == plaintext


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=max(1, STEPS // PER_EXAMPLE),
    stateful_step_count=PER_EXAMPLE,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
