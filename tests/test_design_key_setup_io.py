"""Variants V1 to V6 of key setup: the same bytes on disk, different places where keys are made."""

import errno
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.fallback import Fallback
from blkcrypto.block.kernel import Kernel
from blkcrypto.block.mempool import Grant, Mempool, exhausted, plenty
from blkcrypto.block.waiting import Deadlock, RunLoop, Steps, Task, WaitQueue, run_to_end
from blkcrypto.crypto.buffers import U8Array
from blkcrypto.fs.keysetup_io import contexts
from blkcrypto.fs.keysetup_io.always_blk_crypto import AlwaysBlkCrypto
from blkcrypto.fs.keysetup_io.cached_pool import CachedPool
from blkcrypto.fs.keysetup_io.checker import ContextChecker
from blkcrypto.fs.keysetup_io.contexts import Ctx, Strictness
from blkcrypto.fs.keysetup_io.designs import DESIGNS
from blkcrypto.fs.keysetup_io.extent_io import (
    TRANSFORM_BYTES,
    Extent,
    ExtentFile,
    ExtentIo,
    KeySetupVariant,
    OnCpu,
    at_once,
)
from blkcrypto.fs.keysetup_io.makers import MAKERS
from blkcrypto.fs.keysetup_io.master import ExtentMasterKey
from blkcrypto.fs.keysetup_io.pools import GlobalPool, PoolPerFile
from blkcrypto.fs.keysetup_io.progress import Take, obstacle
from tests.fscrypt_world import NONCE, RAW
from tests.oracle.design_extents import extent_unit
from tests.oracle.design_progress import can_deadlock

STRICT, REAL = Strictness.STRICT, Strictness.KERNEL_REAL
NAMES = [f"key-setup-v{number}" for number in range(1, 7)]
KNOWN, NEW = Extent(NONCE), Extent(bytes(16))
IN_IO = (Ctx.NOFS, Ctx.NOIO)


def nonce(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Bench:
    """One variant, one master key, one open file with the extents given."""

    def __init__(
        self,
        name: str,
        strictness: Strictness = STRICT,
        *,
        extents: tuple[Extent, ...] = (KNOWN,),
        memory: Grant = plenty,
        on_cpu: OnCpu = at_once,
        slots: int = 100,
        make: Callable[[ContextChecker], KeySetupVariant] | None = None,
    ) -> None:
        self.memory: Grant = plenty
        self.checker = ContextChecker(strictness, memory=lambda count: self.memory(count))
        fallback = Fallback(Kernel(), RunLoop(), np.random.default_rng(7), num_keyslots=slots)
        self.variant = (
            make(self.checker) if make is not None else MAKERS[name](self.checker, fallback, on_cpu)
        )
        self.master = ExtentMasterKey(RAW)
        self.file = ExtentFile(self.master, list(extents))
        self.task = Task("t")
        self.variant.open_file(self.task, self.file)
        self.memory = memory

    def steps(self, task: Task, extent: Extent, unit: int, data: U8Array, *, encrypt: bool) -> Steps[U8Array]:
        return self.variant.crypt(task, self.file, ExtentIo(extent, unit, data, encrypt))

    def write(self, extent: Extent, unit: int, data: bytes, ctx: Ctx = Ctx.KERNEL) -> bytes:
        units = np.frombuffer(data, dtype=np.uint8).reshape(-1, extent.data_unit_size)
        with self.checker.entering(self.task, ctx):
            return run_to_end(self.steps(self.task, extent, unit, units, encrypt=True)).tobytes()

    def read(self, extent: Extent, unit: int, data: bytes) -> bytes:
        units = np.frombuffer(data, dtype=np.uint8).reshape(-1, extent.data_unit_size)
        return run_to_end(self.steps(self.task, extent, unit, units, encrypt=False)).tobytes()

    def violations(self) -> set[str]:
        return {item.primitive for item in self.checker.violations}


def page(fill: int) -> bytes:
    return bytes((fill + at) % 256 for at in range(4096))


def test_every_variant_has_a_row() -> None:
    assert [row.name for row in DESIGNS] == NAMES == list(MAKERS)


@pytest.mark.parametrize("name", NAMES)
def test_known_answer_of_an_extent(name: str) -> None:
    """Master key 01..40, nonce a0..af, zeros: reference fscrypt.md section 2.6."""
    stored = Bench(name).write(KNOWN, 0, bytes(8192))
    assert stored[:16].hex() == "af7ddb7502f94da402c787736991f8e7"
    assert stored[4096:4112].hex() == "035dc4b36c8eadfc97cc0974cb031a51"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("extent", [KNOWN, NEW], ids=["known at open", "new"])
def test_what_lies_on_disk_is_what_the_oracle_says_and_reads_back(name: str, extent: Extent) -> None:
    bench = Bench(name)
    stored = bench.write(extent, 3, page(1) + page(2))
    assert stored == extent_unit(RAW, extent.nonce, 3, page(1)) + extent_unit(RAW, extent.nonce, 4, page(2))
    assert bench.read(extent, 3, stored) == page(1) + page(2)


V1_VIOLATIONS = {contexts.KEY_SEMAPHORE.name, contexts.KMALLOC_KEY_OBJECT.name, contexts.ALLOC_SKCIPHER.name}


@pytest.mark.parametrize("strictness", Strictness)
@pytest.mark.parametrize("ctx", IN_IO)
def test_i26_v1_breaks_three_rules_at_every_io(strictness: Strictness, ctx: Ctx) -> None:
    bench = Bench(NAMES[0], strictness)
    bench.write(KNOWN, 0, page(0), ctx)
    assert bench.violations() == V1_VIOLATIONS


def test_v1_in_a_memalloc_scope_still_breaks_two() -> None:
    bench = Bench(NAMES[0], REAL)
    with bench.checker.entering(bench.task, Ctx.NOFS, memalloc_scope=True):
        bench.write(KNOWN, 0, page(0))
    assert bench.violations() == V1_VIOLATIONS - {contexts.KMALLOC_KEY_OBJECT.name}


@pytest.mark.parametrize("strictness", Strictness)
@pytest.mark.parametrize("ctx", IN_IO)
@pytest.mark.parametrize("extent", [KNOWN, NEW], ids=["known at open", "new"])
@pytest.mark.parametrize("name", NAMES[2:])
def test_i26_v3_to_v6_allocate_nothing_during_io(
    name: str, extent: Extent, ctx: Ctx, strictness: Strictness
) -> None:
    bench = Bench(name, strictness)
    bench.write(extent, 0, page(0), ctx)
    assert bench.checker.violations == []


def test_v2_breaks_none_until_a_new_extent_is_written() -> None:
    bench = Bench(NAMES[1])
    bench.write(KNOWN, 0, page(0), Ctx.NOFS)
    before = bench.violations()
    bench.write(NEW, 0, page(0), Ctx.NOFS)
    assert (before, bench.violations()) == (set(), V1_VIOLATIONS)


@pytest.mark.parametrize("name", NAMES[3:])
def test_a_mode_that_was_not_there_at_open_must_be_made_during_io(name: str) -> None:
    bench = Bench(name)
    bench.write(Extent(NONCE, "Adiantum"), 0, page(0), Ctx.NOFS)
    expected = contexts.START_USING_NEW_MODE if name == NAMES[5] else contexts.ALLOC_SKCIPHER
    assert bench.violations() == {expected.name}


@pytest.mark.parametrize(
    ("strictness", "found"),
    [
        (REAL, {contexts.KEY_SEMAPHORE.name}),
        (STRICT, {contexts.KEY_SEMAPHORE.name, contexts.KMALLOC_KEY_OBJECT.name}),
    ],
)
def test_version_7_takes_the_semaphore_under_nofs(strictness: Strictness, found: set[str]) -> None:
    bench = Bench(NAMES[5], strictness)
    assert isinstance(bench.variant, AlwaysBlkCrypto)
    bench.variant.load_as_posted(bench.task, bench.file, NEW)
    assert bench.violations() == found
    assert bench.write(NEW, 0, page(3)) == extent_unit(RAW, NEW.nonce, 0, page(3))


@pytest.mark.parametrize("name", NAMES[:2])
def test_without_memory_setup_at_io_fails(name: str) -> None:
    bench = Bench(name, memory=exhausted)
    with pytest.raises(BlkCryptoError) as caught:
        bench.write(NEW, 0, page(0))
    assert caught.value.errno == errno.ENOMEM


@pytest.mark.parametrize("name", NAMES[2:])
@pytest.mark.parametrize("extent", [KNOWN, NEW], ids=["known at open", "new"])
def test_without_memory_the_others_go_on(name: str, extent: Extent) -> None:
    assert Bench(name, memory=exhausted).write(extent, 0, page(0)) == extent_unit(
        RAW, extent.nonce, 0, page(0)
    )


@pytest.mark.parametrize("name", NAMES[1:5])
@pytest.mark.parametrize("granted", [0, 1, 5])
def test_an_open_that_runs_out_of_memory_leaves_nothing_behind(name: str, granted: int) -> None:
    bench = Bench(name, extents=())
    left = [granted]

    def some(count: int) -> int:
        left[0] -= count
        return count if left[0] >= 0 else 0

    bench.memory = some
    before = bench.variant.memory_bytes
    file = ExtentFile(bench.master, [Extent(nonce(number)) for number in range(9)])
    with pytest.raises(BlkCryptoError, match="ENOMEM"):
        bench.variant.open_file(bench.task, file)
    assert bench.variant.memory_bytes == before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (NAMES[0], 0),
        (NAMES[1], 2 * 9 * TRANSFORM_BYTES),
        (NAMES[2], 2 * 128 * TRANSFORM_BYTES),
        (NAMES[3], 128 * TRANSFORM_BYTES),
        (NAMES[4], 128 * TRANSFORM_BYTES),
        (NAMES[5], (2 * 9 + 1) * 192 + 100 * TRANSFORM_BYTES),
    ],
)
def test_memory_of_two_open_files_of_nine_extents_each(name: str, expected: int) -> None:
    extents = tuple(Extent(nonce(number)) for number in range(9))
    bench = Bench(name, extents=extents)
    bench.variant.open_file(bench.task, ExtentFile(bench.master, list(extents)))
    assert bench.variant.memory_bytes == expected


@pytest.mark.parametrize(
    ("name", "at_open", "per_io"),
    [
        (NAMES[0], 0, 1),
        (NAMES[1], 1, 0),
        (NAMES[2], 0, 1),
        (NAMES[3], 0, 1),
        (NAMES[4], 0, 0),
        (NAMES[5], 1, 0),
    ],
)
def test_derivations_of_four_ios_to_one_extent(name: str, at_open: int, per_io: int) -> None:
    bench = Bench(name)
    opened = bench.master.derivations
    for _ in range(4):
        bench.write(KNOWN, 0, page(0))
    first_use = 1 if name == NAMES[4] else 0
    assert (opened, bench.master.derivations - opened) == (at_open, 4 * per_io + first_use)


@pytest.mark.parametrize(("name", "held"), list(zip(NAMES, [0, 1, 0, 0, 1, 1], strict=True)))
def test_keys_in_memory_after_an_io(name: str, held: int) -> None:
    bench = Bench(name)
    bench.write(KNOWN, 0, page(0))
    before = bench.variant.keys_held
    bench.variant.free_extent(bench.file, KNOWN)
    assert (before, bench.variant.keys_held) == (held, 0)


def test_i26_removing_the_master_key_wipes_every_key_of_the_cache() -> None:
    assert removed(NAMES[4]).variant.keys_held == 0


def test_the_cache_hits_by_value_so_two_files_share_a_transform() -> None:
    bench = Bench(NAMES[4])
    bench.write(KNOWN, 0, page(0))
    other = ExtentFile(bench.master, [KNOWN])
    io = ExtentIo(KNOWN, 0, np.zeros((1, 4096), dtype=np.uint8), True)
    run_to_end(bench.variant.crypt(bench.task, other, io))
    assert isinstance(bench.variant, CachedPool)
    assert (bench.variant.figures.hits, bench.variant.figures.misses) == (1, 1)


class Machine:
    """Tasks that give up the CPU in the middle of an I/O, and go on in any order."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.busy = WaitQueue("the CPU")
        self.loop = RunLoop(self.idle, lambda ready: int(self.rng.integers(ready)))

    def idle(self) -> bool:
        woken = bool(self.busy.sleepers)
        self.busy.wake_all()
        return woken

    def on_cpu(self, _task: Task) -> Steps[None]:
        for _ in range(int(self.rng.integers(3))):
            yield self.busy


SMALL: dict[str, Callable[[ContextChecker, OnCpu], KeySetupVariant]] = {
    "V3": lambda checker, on_cpu: PoolPerFile(checker, on_cpu, size=1),
    "V4": lambda checker, on_cpu: GlobalPool(checker, on_cpu, size=1),
    "V5 of one": lambda checker, on_cpu: CachedPool(checker, on_cpu, size=1),
    "V5 of two": lambda checker, on_cpu: CachedPool(checker, on_cpu, size=2),
    "V6": lambda checker, on_cpu: AlwaysBlkCrypto(
        checker, Fallback(Kernel(), RunLoop(), np.random.default_rng(7), num_keyslots=1), on_cpu
    ),
}


@pytest.mark.parametrize("name", SMALL)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_io_finishes_with_one_of_everything_and_no_memory(name: str, seed: int) -> None:
    machine = Machine(seed)
    bench = Bench("", make=lambda checker: SMALL[name](checker, machine.on_cpu), memory=exhausted)
    extents = [KNOWN, NEW, Extent(nonce(1)), Extent(nonce(2))]
    done: dict[int, bytes] = {}

    def io(task: Task, number: int) -> Steps[None]:
        units = np.frombuffer(page(number), dtype=np.uint8).reshape(1, -1)
        with bench.checker.entering(task, Ctx.NOIO):
            result = yield from bench.steps(task, extents[number % 4], number, units, encrypt=True)
        done[number] = result.tobytes()

    for number in range(8):
        task = Task(f"io {number}")
        machine.loop.spawn(task, io(task, number))
    machine.loop.run()

    assert bench.checker.violations == []
    assert done == {n: extent_unit(RAW, extents[n % 4].nonce, n, page(n)) for n in range(8)}


def test_two_writers_that_hold_a_transform_and_want_a_second_wait_for_ever() -> None:
    machine, pool = Machine(1), Mempool("transforms", 2, exhausted)

    def greedy(task: Task) -> Steps[None]:
        yield from pool.alloc(task)
        yield machine.busy
        yield from pool.alloc(task)

    for number in range(2):
        task = Task(f"writer {number}")
        machine.loop.spawn(task, greedy(task))
    with pytest.raises(Deadlock, match="writer 0 waits for transforms"):
        machine.loop.run()
    assert obstacle([Take("transforms", 1, 2), Take("transforms", 1, 2)]) != ""


PATHS = st.lists(
    st.builds(Take, st.sampled_from("abc"), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=300)
@given(path=PATHS, ios=st.integers(1, 3))
def test_a_path_without_obstacle_never_deadlocks_in_any_interleaving(path: list[Take], ios: int) -> None:
    path = [Take(f"reserve {take.stage}", take.stage, 2, take.count) for take in path]
    if not obstacle(path):
        steps = [(take.reserve, take.count) for take in path]
        assert not can_deadlock([steps] * ios, {take.reserve: take.min_nr for take in path})


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ([Take("a", 1, 1), Take("a", 1, 1)], "is waited for while stage 1 is held"),
        ([Take("a", 1, 1, 2)], "sets aside 1, but 2"),
    ],
)
def test_each_obstacle_is_a_deadlock_that_brute_force_finds(path: list[Take], why: str) -> None:
    steps = [(take.reserve, take.count) for take in path]
    assert why in obstacle(path)
    assert can_deadlock([steps] * 2, {take.reserve: take.min_nr for take in path})


def test_two_paths_in_opposite_order_deadlock_and_one_of_them_has_the_obstacle() -> None:
    up, down = [Take("a", 1, 1), Take("b", 2, 1)], [Take("b", 2, 1), Take("a", 1, 1)]
    assert (obstacle(up), obstacle(down)) == ("", "a (stage 1) is waited for while stage 2 is held")
    assert can_deadlock([[("a", 1), ("b", 1)], [("b", 1), ("a", 1)]], {"a": 1, "b": 1})


def removed(name: str) -> Bench:
    bench = Bench(name)
    bench.write(KNOWN, 0, page(0))
    bench.master.wipe_secret()
    bench.variant.remove_key(bench.master)
    return bench


@pytest.mark.parametrize("name", NAMES)
def test_a_new_extent_after_key_removal_is_enokey_never_a_zero_key(name: str) -> None:
    with pytest.raises(BlkCryptoError) as caught:
        removed(name).write(NEW, 0, page(0))
    assert caught.value.errno == errno.ENOKEY


@pytest.mark.parametrize("name", [NAMES[1], NAMES[5]])
def test_keys_of_open_files_outlive_the_master_key(name: str) -> None:
    assert removed(name).write(KNOWN, 0, page(5)) == extent_unit(RAW, KNOWN.nonce, 0, page(5))


@pytest.mark.parametrize("name", [NAMES[0], NAMES[2], NAMES[3], NAMES[4]])
def test_variants_that_derive_at_io_lose_open_files_with_the_master_key(name: str) -> None:
    with pytest.raises(BlkCryptoError, match="ENOKEY"):
        removed(name).write(KNOWN, 0, page(5))


def test_a_failed_derivation_gives_its_transform_back() -> None:
    bench = Bench("", make=lambda checker: GlobalPool(checker, size=1))
    bench.master.wipe_secret()
    for _ in range(2):
        with pytest.raises(BlkCryptoError, match="ENOKEY"):
            bench.write(KNOWN, 0, page(0))


CACHE_OPS = st.lists(
    st.one_of(
        st.tuples(st.just("io"), st.integers(0, 1), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("free"), st.integers(0, 1), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("remove"), st.integers(0, 1), st.just(0), st.just(False)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=40)
@given(ops=CACHE_OPS)
def test_i26_the_cache_never_serves_another_key_and_nothing_after_removal(
    ops: list[tuple[str, int, int, bool]],
) -> None:
    """Two master keys, equal nonces under both, two modes: I26."""
    raws = [RAW, RAW[::-1]]
    cache = CachedPool(ContextChecker(REAL), size=2)
    task = Task("t")
    files = [ExtentFile(ExtentMasterKey(raw)) for raw in raws]
    gone: set[int] = set()
    for what, who, which, is_adiantum in ops:
        extent = Extent(nonce(which), "Adiantum" if is_adiantum else "AES-256-XTS", 512)
        if what == "remove":
            files[who].master.wipe_secret()
            cache.remove_key(files[who].master)
            gone.add(who)
        elif what == "free":
            cache.free_extent(files[who], extent)
        else:
            io = ExtentIo(extent, which, np.zeros((1, 512), dtype=np.uint8), True)
            if who in gone:
                with pytest.raises(BlkCryptoError, match="ENOKEY"):
                    run_to_end(cache.crypt(task, files[who], io))
            else:
                stored = run_to_end(cache.crypt(task, files[who], io)).tobytes()
                expected = extent_unit(raws[who], extent.nonce, which, bytes(512), extent.mode)
                assert stored == expected


@pytest.mark.parametrize("how", ["close the file", "free its extents"])
def test_keys_of_files_that_are_closed_and_of_extents_that_are_freed_leave_the_fallback(how: str) -> None:
    fallback = Fallback(Kernel(), RunLoop(), np.random.default_rng(7), num_keyslots=3)
    known = (KNOWN, Extent(nonce(1)))
    bench = Bench("", extents=known, make=lambda checker: AlwaysBlkCrypto(checker, fallback))
    for extent in (*known, NEW):
        bench.write(extent, 0, page(0))
    assert fallback.engine is not None
    table = fallback.engine.profile.table
    assert table is not None
    assert sorted(slot for slot, _ in table.programmed()) == [0, 1]
    if how == "close the file":
        bench.variant.close_file(bench.file)
    else:
        for extent in known:
            bench.variant.free_extent(bench.file, extent)
    assert list(table.programmed()) == []


def test_only_extents_unknown_at_open_take_a_reserved_key_object() -> None:
    bench = Bench(NAMES[5])
    for extent in (KNOWN, NEW, KNOWN, NEW, NEW):
        bench.write(extent, 0, page(0))
    assert bench.checker.counts[contexts.TAKE_KEY_OBJECT.name] == 3


def test_a_key_that_cannot_be_programmed_is_eio_and_its_reserved_object_serves_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fallback = Fallback(Kernel(), RunLoop(), np.random.default_rng(7))
    bench = Bench("V6", extents=(), make=lambda checker: AlwaysBlkCrypto(checker, fallback))
    monkeypatch.setattr(ExtentMasterKey, "extent_key", lambda _self, _nonce, size: bytes(size))  # weak
    for _ in range(2):
        with pytest.raises(BlkCryptoError) as caught:
            bench.write(NEW, 0, page(1))
        assert caught.value.errno == errno.EIO
    monkeypatch.undo()

    assert bench.write(NEW, 0, page(1)) != page(1)
