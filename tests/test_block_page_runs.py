"""Pages that go through the block layer in columns end as the bios that they stand for, on every kernel."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcrypto.base.status import BlkStatus
from blkcrypto.block.api import start_using_key
from blkcrypto.block.bio import Bio
from blkcrypto.block.device import BlockDevice
from blkcrypto.block.dm import Linear, MappedDevice
from blkcrypto.block.fallback import TakenPages
from blkcrypto.block.init_key import init_key
from blkcrypto.block.key import BlkCryptoKey, CryptoModeNum
from blkcrypto.block.limits import QueueLimits
from blkcrypto.block.op import ReqOp
from blkcrypto.block.pages import Page, PageRun
from blkcrypto.block.plug import plugged
from blkcrypto.block.request import Request
from blkcrypto.block.submit import submit_all
from blkcrypto.block.waiting import Steps, Task
from tests.block_world import ANY_SIZE, U8, MemoryDisk, World, crypt_units, pattern

READ, WRITE = ReqOp.READ, ReqOp.WRITE
PAGE, PLACES, CAPACITY = 4096, 14, 12 * 8  # the last two places lie past the end


@dataclass
class PageDisk(MemoryDisk):
    """A driver that takes pages in columns, and encrypts whole data units only."""

    runs: list[PageRun] = field(default_factory=list)
    in_runs: int = 0
    run_status: BlkStatus = BlkStatus.OK

    def queue_pages(self, run: PageRun) -> None:
        self.seen += [
            (page.op, page.sector, len(page.data) // 512, None if page.key is None else page.dun)
            for page in run.pages
        ]
        self.in_runs += len(run)
        self.runs.append(run)

    def complete_run(self) -> None:
        run = self.runs.pop(0)
        for page in run.pages:
            stored = self.medium[page.sector * 512 :][: len(page.data)]
            if page.op is WRITE:
                stored[:] = self._crypted(page.key, page.dun, page.data, encrypt=True)
            else:
                page.data[:] = self._crypted(page.key, page.dun, stored, encrypt=False)
        run.complete([self.run_status] * len(run))

    def engine(self, rq: Request, data: U8, *, encrypt: bool) -> U8:
        ctx = rq.crypt_ctx
        return data if ctx is None else self._crypted(ctx.key, ctx.dun, data, encrypt=encrypt)

    @staticmethod
    def _crypted(key: BlkCryptoKey | None, dun: int, data: U8, *, encrypt: bool) -> U8:
        if key is None or len(data) % key.crypto_cfg.data_unit_size:
            return data.copy()
        return crypt_units(key, dun, data, encrypt=encrypt)


class PageWorld(World):
    """A world without a tracer, whose disk takes pages in columns.

    Args:
        in_runs: else each page is made a bio.
    """

    def __init__(self, era: str, *, native: bool, in_runs: bool, limits: QueueLimits | None = None) -> None:
        super().__init__(
            era, native=ANY_SIZE if native else None, capacity=CAPACITY, limits=limits, driver=PageDisk
        )
        self.kernel.traced = False
        self.statuses: dict[int, BlkStatus] = {}
        if not in_runs:
            assert self.kernel.fallback is not None
            self.queue.submit_pages = lambda *_: 0  # type: ignore[method-assign]  # one by one
            self.kernel.fallback.take_pages = lambda *_: TakenPages()  # type: ignore[method-assign]  # the same

    @property
    def page_disk(self) -> PageDisk:
        assert isinstance(self.memory_disk, PageDisk)
        return self.memory_disk

    def let_a_device_work(self) -> bool:
        if self.page_disk.runs:
            self.page_disk.complete_run()
            return True
        return super().let_a_device_work()

    def page(
        self, number: int, op: ReqOp, sector: int, data: U8, key: BlkCryptoKey | None = None, dun: int = 0
    ) -> Page:
        """One whose status is recorded under ``number``."""
        return Page(op, sector, data, key, dun, lambda status: self.statuses.update({number: status}))

    def submit_all(self, work: Sequence[Bio | Page], bdev: BlockDevice | None = None) -> None:
        task = Task("task")

        def steps() -> Steps[None]:
            with plugged(task):
                yield from submit_all(self.kernel, task, bdev or self.bdev, work)

        self.loop.spawn(task, steps())
        self.loop.run()


@dataclass(frozen=True)
class Io:
    """What to do with the 4096 bytes at a place.

    Attributes:
        place: in pages of the disk.
        op: READ or WRITE.
        nbytes: from there on.
        key: 0 for none, 1 with data units of 4096 bytes, 2 with 512, 3 the same kept from hardware.
        as_bio: not a page.
    """

    place: int
    op: ReqOp
    nbytes: int
    key: int
    as_bio: bool


@st.composite
def batches(draw: st.DrawFn) -> list[list[Io]]:
    one = st.builds(
        Io,
        place=st.integers(0, PLACES - 1),
        op=st.sampled_from([READ, WRITE]),
        nbytes=st.sampled_from([PAGE, PAGE, PAGE, 512]),
        key=st.integers(0, 3),
        as_bio=st.sampled_from([False, False, False, True]),
    )
    batch = st.lists(one, min_size=1, max_size=PLACES, unique_by=lambda io: io.place)
    return draw(st.lists(batch, min_size=1, max_size=3))


def ran(work: list[list[Io]], era: str, *, native: bool, in_runs: bool) -> tuple[object, ...]:
    """All that shows."""
    world = PageWorld(era, native=native, in_runs=in_runs)
    keys = [
        None,
        world.key("A", size=PAGE),
        world.key("B"),
        world.key("C", allow_hw=not world.kernel.era.allow_hw_flag),
    ]
    memory: list[U8] = []
    for number, batch in enumerate(work):
        todo: list[Bio | Page] = []
        for io in batch:
            data, key, name = pattern(io.nbytes, len(memory)), keys[io.key], len(memory)
            memory.append(data)
            page = world.page(name, io.op, 8 * io.place, data, key, 8 * io.place if io.key != 1 else io.place)
            todo.append(page.bio(world.bdev) if io.as_bio else page)
        world.submit_all(todo)
        assert len(world.statuses) == len(memory), f"batch {number}"
    pools = (world.kernel.ctx_pool, world.kernel.rq_ctx_pool)
    assert (world.queue.tags.in_use, sum(pool.in_use for pool in pools)) == (0, 0)
    read = [data.tobytes() for data in memory]
    return world.statuses, world.page_disk.medium.tobytes(), read, world.page_disk.seen


@given(batches(), st.sampled_from(["5.18", "6.12", "7.0", "7.3"]), st.booleans())
def test_in_runs_or_as_bios_statuses_bytes_and_requests_are_the_same(
    work: list[list[Io]], era: str, native: bool
) -> None:
    assert ran(work, era, native=native, in_runs=True) == ran(work, era, native=native, in_runs=False)


def far_apart(
    world: PageWorld, count: int, key: BlkCryptoKey | None = None, nbytes: int = PAGE
) -> list[Page]:
    """Writes of which none lies next to another."""
    return [
        world.page(number, WRITE, 16 * number, pattern(nbytes, number), key, 16 * number)
        for number in range(count)
    ]


def test_pages_without_a_key_go_in_one_run_on_every_kernel() -> None:
    taken = []
    for era in ("6.4", "6.12", "7.3"):
        world = PageWorld(era, native=True, in_runs=True)
        world.submit_all(far_apart(world, 5))
        taken.append(world.page_disk.in_runs)

    assert taken == [5, 5, 5]


@pytest.mark.parametrize(("era", "expected"), [("6.12", 0), ("7.3", 5)])
def test_a_key_makes_bios_of_pages_while_the_fallback_sits_inside_the_block_layer(
    era: str, expected: int
) -> None:
    world = PageWorld(era, native=True, in_runs=True)
    key = world.key("A")
    world.write(0, pattern(512), key)  # the key is in its slot

    world.submit_all(far_apart(world, 5, key))

    assert world.page_disk.in_runs == expected


def test_before_7_0_a_page_that_is_no_whole_data_unit_is_refused_at_submission() -> None:
    world = PageWorld("6.12", native=True, in_runs=True)

    world.submit_all(far_apart(world, 2, world.key("A", size=PAGE), nbytes=512))

    assert world.statuses == {0: BlkStatus.INVAL, 1: BlkStatus.INVAL}
    assert world.page_disk.seen == []


def test_a_page_past_the_end_is_an_i_o_error_and_those_around_it_are_not() -> None:
    world = PageWorld("7.3", native=True, in_runs=True)
    pages = far_apart(world, 3)
    pages.insert(1, world.page(9, WRITE, CAPACITY - 4, pattern(PAGE)))

    world.submit_all(pages)

    assert world.statuses == {0: BlkStatus.OK, 9: BlkStatus.IOERR, 1: BlkStatus.OK, 2: BlkStatus.OK}


def test_the_last_page_of_a_disk_goes_in_a_run() -> None:
    world = PageWorld("7.3", native=True, in_runs=True)

    world.submit_all([world.page(0, WRITE, CAPACITY - 8, pattern(PAGE))])

    assert (world.statuses, world.page_disk.in_runs) == ({0: BlkStatus.OK}, 1)


def test_pages_of_a_partition_are_bios_that_end_in_their_place_on_the_disk() -> None:
    world = PageWorld("7.3", native=True, in_runs=True)

    world.submit_all(far_apart(world, 2), BlockDevice(world.disk, 32, 48))

    assert world.page_disk.in_runs == 0
    assert world.page_disk.seen == [(WRITE, 32, 8, None), (WRITE, 48, 8, None)]


def test_a_page_off_the_logical_block_is_an_i_o_error() -> None:
    limits = QueueLimits(logical_block_size=4096, physical_block_size=4096)
    world = PageWorld("7.3", native=True, in_runs=True, limits=limits)

    world.submit_all([world.page(0, WRITE, 4, pattern(PAGE)), world.page(1, WRITE, 32, pattern(PAGE))])

    assert world.statuses == {0: BlkStatus.IOERR, 1: BlkStatus.OK}


def test_neighbours_are_merged_into_one_request() -> None:
    world = PageWorld("7.3", native=True, in_runs=True)

    world.submit_all([world.page(n, WRITE, 8 * n, pattern(PAGE, n)) for n in (4, 5, 3)])

    assert world.page_disk.seen == [(WRITE, 24, 24, None)]
    assert world.statuses == dict.fromkeys((4, 5, 3), BlkStatus.OK)


def adiantum(world: PageWorld) -> BlkCryptoKey:
    key = init_key(bytes(range(32)), CryptoModeNum.ADIANTUM, dun_bytes=8, data_unit_size=PAGE, label="A")
    start_using_key(world.kernel, world.bdev, key)
    return key


@pytest.mark.parametrize("kind", ["data unit size", "mode"])
def test_keys_of_different_kinds_are_not_encrypted_together_in_the_fallback(kind: str) -> None:
    world = PageWorld("7.3", native=False, in_runs=True)
    keys = [world.key("B", size=PAGE), adiantum(world) if kind == "mode" else world.key("C", size=512)]
    plain = [pattern(PAGE, number) for number in range(4)]
    for _ in range(2):  # the second time all keys are in their slots
        world.submit_all(
            [world.page(n, WRITE, 16 * n, data.copy(), keys[n % 2], 7 * n) for n, data in enumerate(plain)]
        )
    read = [np.zeros(PAGE, np.uint8) for _ in plain]
    world.submit_all([world.page(n, READ, 16 * n, data, keys[n % 2], 7 * n) for n, data in enumerate(read)])

    assert [data.tolist() for data in read] == [data.tolist() for data in plain]
    for number, data in enumerate(plain):
        stored = world.page_disk.medium[16 * number * 512 :][:PAGE]
        assert stored.tolist() == crypt_units(keys[number % 2], 7 * number, data, encrypt=True).tolist()


def test_a_run_of_pages_is_in_flight_while_the_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = PageWorld("7.3", native=True, in_runs=True)
    seen: list[set[Request | PageRun]] = []
    take = world.page_disk.queue_pages

    def looked_at(run: PageRun) -> None:
        take(run)
        seen.append(set(world.queue.in_flight))

    monkeypatch.setattr(world.page_disk, "queue_pages", looked_at)
    world.submit_all(far_apart(world, 3))

    ((run,),) = seen
    assert isinstance(run, PageRun)
    assert (len(run), world.queue.in_flight) == (3, set())


def test_pages_of_a_layered_device_are_bios() -> None:
    world = PageWorld("7.3", native=True, in_runs=True)
    layered = MappedDevice(world.kernel, "dm-0", [Linear(64, world.bdev, 16)], world.loop)

    world.submit_all(far_apart(world, 2), layered.disk.whole)

    assert world.page_disk.in_runs == 0
    assert world.page_disk.seen == [(WRITE, 16, 8, None), (WRITE, 32, 8, None)]


@pytest.mark.parametrize("at", [0, 2])
def test_pages_beside_the_bio_of_another_device_in_the_plug_are_bios(at: int) -> None:
    seen = []
    for in_runs in (True, False):
        world = PageWorld("7.3", native=True, in_runs=in_runs)
        other, disk = world.add_disk("sdb", None, capacity=CAPACITY)
        work: list[Bio | Page] = list(far_apart(world, 4))
        work.insert(at, world.bio(WRITE, 0, pattern(512), bdev=disk.whole, name="other"))
        world.submit_all(work)
        assert world.done == [("other", BlkStatus.OK)]
        assert world.page_disk.in_runs == 0
        seen.append((world.statuses, world.page_disk.seen, other.seen, world.page_disk.medium.tobytes()))

    assert seen[0] == seen[1]


def test_pages_that_need_a_fallback_which_is_not_built_are_notsupp() -> None:
    world = PageWorld("7.3", native=False, in_runs=True)
    world.kernel.fallback = None

    world.submit_all(far_apart(world, 2, world.key("A", start=False)))

    assert world.statuses == {0: BlkStatus.NOTSUPP, 1: BlkStatus.NOTSUPP}


@pytest.mark.parametrize("another_started", [False, True])
def test_pages_whose_mode_was_not_started_are_i_o_errors(another_started: bool) -> None:
    world = PageWorld("7.3", native=False, in_runs=True)
    if another_started:
        adiantum(world)

    world.submit_all(far_apart(world, 2, world.key("A", start=False)))

    assert world.statuses == {0: BlkStatus.IOERR, 1: BlkStatus.IOERR}
    assert world.page_disk.seen == []


def test_a_page_that_the_device_cannot_read_ends_with_its_status_and_frees_its_read_context() -> None:
    world = PageWorld("7.3", native=False, in_runs=True)
    key = world.key("A", size=PAGE)
    world.submit_all(far_apart(world, 2, key))
    world.page_disk.run_status = BlkStatus.MEDIUM

    data = [pattern(PAGE, 9) for _ in range(2)]
    world.submit_all([world.page(n, READ, 16 * n, each, key, 16 * n) for n, each in enumerate(data)])

    assert world.statuses == {0: BlkStatus.MEDIUM, 1: BlkStatus.MEDIUM}
    assert world.kernel.fallback is not None
    assert world.kernel.fallback.reads.contexts.in_use == 0
