"""DUN arithmetic, and what splitting and cloning do to DUNs (invariants 17 and 19)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blkcrypto.base import dun as dun_math
from blkcrypto.block.bio import Bio, ReqFlags, SplitRefused
from blkcrypto.block.op import ReqOp
from blkcrypto.block.waiting import Task, run_to_end
from tests.block_world import World, pattern
from tests.oracle import block_dun

EDGES = [0, 1, 2**32 - 1, 2**64 - 1, 2**64, 2**128 - 1, 2**192 - 5, 2**256 - 1]
duns = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**256 - 1))
counts = st.one_of(st.sampled_from([0, 1, 2**32 - 1]), st.integers(0, 2**32 - 1))
SIZES = st.sampled_from([512, 1024, 4096, 65536])


@given(dun=duns, units=counts)
def test_19_increment_agrees_with_limb_by_limb_addition(dun: int, units: int) -> None:
    got = dun_math.to_limbs(dun_math.increment(dun, units))

    assert list(got) == block_dun.increment(list(dun_math.to_limbs(dun)), units)


@given(dun=duns, a=counts, b=counts)
def test_19_increment_is_associative_modulo_2_to_256(dun: int, a: int, b: int) -> None:
    in_steps = dun_math.increment(dun_math.increment(dun, a), b)

    assert in_steps == dun_math.increment(dun, a + b)


@given(dun=duns, units=counts, off=st.sampled_from([-1, 0, 0, 1, 2**64]))
def test_19_contiguity_agrees_with_limb_by_limb_comparison(dun: int, units: int, off: int) -> None:
    following = (dun + units + off) % 2**256

    got = dun_math.is_contiguous(dun, units, following)

    limbs = block_dun.contiguous(list(dun_math.to_limbs(dun)), units, list(dun_math.to_limbs(following)))
    assert got == limbs


def test_19_a_run_that_wraps_to_zero_is_not_contiguous_although_increment_wraps() -> None:
    last = 2**256 - 1

    assert dun_math.increment(last, 1) == 0
    assert not dun_math.is_contiguous(last, 1, 0)


def encrypted(size: int, units: int, dun: int) -> tuple[World, Bio]:
    world = World()
    bio = Bio(world.bdev, ReqOp.WRITE, 0, world.vecs(pattern(units * size)))
    task = Task("task")
    run_to_end(bio.set_ctx(task, world.kernel.ctx_pool, world.key("A", size=size, start=False), dun))
    return world, bio


@settings(deadline=None)
@given(size=SIZES, units=st.integers(2, 20), cut=st.integers(1, 19), dun=duns)
def test_17_the_parts_of_a_split_have_the_duns_of_their_first_units(
    size: int, units: int, cut: int, dun: int
) -> None:
    cut = min(cut, units - 1)
    _, bio = encrypted(size, units, dun)

    front = run_to_end(bio.split(Task("task"), cut * size // 512))

    assert front.crypt_ctx is not None
    assert bio.crypt_ctx is not None
    assert (front.crypt_ctx.dun, bio.crypt_ctx.dun) == (dun, (dun + cut) % 2**256)
    assert (front.sector, front.nbytes) == (0, cut * size)
    assert (bio.sector, bio.nbytes) == (cut * size // 512, (units - cut) * size)


@settings(deadline=None)
@given(size=SIZES, units=st.integers(3, 20), data=st.data())
def test_17_split_then_advance_is_advance(size: int, units: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, units - 2))
    second = data.draw(st.integers(1, units - 1 - first))
    _, one = encrypted(size, units, 7)
    _, other = encrypted(size, units, 7)

    run_to_end(one.split(Task("task"), first * size // 512))
    one.advance(second * size)
    other.advance((first + second) * size)

    assert one.crypt_ctx is not None
    assert other.crypt_ctx is not None
    assert (one.it, one.crypt_ctx.dun) == (other.it, other.crypt_ctx.dun)


def test_17_a_clone_has_the_same_place_memory_key_and_dun_in_a_context_of_its_own() -> None:
    _, bio = encrypted(4096, 4, 9)

    clone = run_to_end(bio.clone(Task("task")))
    bio.advance(4096)

    assert clone.crypt_ctx is not None
    assert bio.crypt_ctx is not None
    assert (clone.sector, clone.nbytes, clone.vecs) == (0, 4 * 4096, bio.vecs)
    assert (clone.crypt_ctx.key, clone.crypt_ctx.dun) == (bio.crypt_ctx.key, 9)


def test_advancing_by_less_than_a_unit_moves_the_bio_but_not_its_dun() -> None:
    _, bio = encrypted(4096, 4, 9)

    bio.advance(512)

    assert bio.crypt_ctx is not None
    assert (bio.sector, bio.crypt_ctx.dun) == (1, 9)


def test_a_bio_moves_to_its_end_and_not_past_it() -> None:
    _, bio = encrypted(4096, 2, 0)

    bio.advance(2 * 4096)

    assert (bio.sector, bio.nbytes, list(bio.bvecs())) == (16, 0, [])
    with pytest.raises(ValueError, match="advancing by 512 bytes, but only 0 are left"):
        bio.advance(512)


@pytest.mark.parametrize("sectors", [-1, 0, 16, 17])
def test_splitting_off_nothing_or_everything_is_refused(sectors: int) -> None:
    _, bio = encrypted(4096, 2, 0)

    with pytest.raises(SplitRefused, match="EINVAL"):
        run_to_end(bio.split(Task("task"), sectors))


def test_an_atomic_bio_is_not_split() -> None:
    _, bio = encrypted(4096, 2, 0)
    bio.flags |= ReqFlags.ATOMIC

    with pytest.raises(SplitRefused, match="atomic"):
        run_to_end(bio.split(Task("task"), 8))


def test_contexts_of_bio_clone_and_split_all_go_back_to_the_pool() -> None:
    world, bio = encrypted(4096, 4, 0)
    task = Task("task")
    front = run_to_end(bio.split(task, 8))
    clone = run_to_end(bio.clone(task))
    out = world.kernel.ctx_pool.in_use

    for part in (front, clone, bio):
        part.complete()

    assert (out, world.kernel.ctx_pool.in_use) == (3, 0)
