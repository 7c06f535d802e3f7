"""What key setup may do in which allocation context."""

import pytest

from blkcrypto.block.mempool import exhausted
from blkcrypto.block.waiting import Task
from blkcrypto.fs.keysetup_io import contexts
from blkcrypto.fs.keysetup_io.checker import ContextChecker, ContextViolation, OutOfMemory
from blkcrypto.fs.keysetup_io.contexts import Ctx, Place, Primitive, Strictness, objection
from tests.oracle.design_contexts import LOWEST, allowed

STRICT, REAL = Strictness.STRICT, Strictness.KERNEL_REAL
PRIMITIVES = {item.name: item for item in vars(contexts).values() if isinstance(item, Primitive)}
GFP_NOFS_ALLOCATION = Primitive(name="kmalloc with GFP_NOFS", gfp=Ctx.NOFS)


def test_every_primitive_has_a_row_in_the_reference_and_every_row_a_primitive() -> None:
    assert set(PRIMITIVES) == set(LOWEST)


@pytest.mark.parametrize("ctx", Ctx)
@pytest.mark.parametrize("name", LOWEST)
@pytest.mark.parametrize("strictness", Strictness)
def test_the_reference_table_decides_without_a_scope(name: str, ctx: Ctx, strictness: Strictness) -> None:
    assert (not objection(PRIMITIVES[name], Place(ctx), strictness)) == allowed(name, ctx.name)


@pytest.mark.parametrize(("strictness", "forbidden"), [(STRICT, True), (REAL, False)])
def test_a_nofs_allocation_under_nofs_is_forgiven_only_by_the_real_kernel(
    strictness: Strictness, forbidden: bool
) -> None:
    assert bool(objection(GFP_NOFS_ALLOCATION, Place(Ctx.NOFS), strictness)) is forbidden


def test_a_nofs_allocation_under_noio_may_start_io() -> None:
    assert "GFP_NOFS" in objection(GFP_NOFS_ALLOCATION, Place(Ctx.NOIO), REAL)


def test_a_memalloc_scope_makes_a_kernel_allocation_safe() -> None:
    checker, task = ContextChecker(REAL), Task("writeback")
    with checker.entering(task, Ctx.NOFS, memalloc_scope=True):
        checker.does(task, contexts.KMALLOC_KEY_OBJECT)
    assert checker.violations == []


@pytest.mark.parametrize(
    "primitive", [contexts.ALLOC_SKCIPHER, contexts.KEY_SEMAPHORE, contexts.START_USING_NEW_MODE]
)
def test_a_memalloc_scope_makes_neither_module_loads_nor_the_semaphore_safe(primitive: Primitive) -> None:
    checker, task = ContextChecker(REAL), Task("writeback")
    with checker.entering(task, Ctx.NOFS, memalloc_scope=True):
        checker.does(task, primitive)
    assert [violation.primitive for violation in checker.violations] == [primitive.name]


def test_contexts_nest_and_an_inner_one_never_allows_more() -> None:
    checker, task = ContextChecker(REAL), Task("t")
    with checker.entering(task, Ctx.NOIO), checker.entering(task, Ctx.KERNEL):
        assert checker.place(task) == Place(Ctx.NOIO)
    assert checker.place(task) == Place(Ctx.KERNEL)


def test_contexts_belong_to_tasks() -> None:
    checker, one, other = ContextChecker(REAL), Task("one"), Task("other")
    with checker.entering(one, Ctx.ATOMIC):
        checker.does(other, contexts.ALLOC_SKCIPHER)
    assert checker.violations == []


def test_a_raising_checker_says_who_did_what_where_and_why() -> None:
    checker, task = ContextChecker(STRICT, raises=True), Task("kworker")
    with checker.entering(task, Ctx.ATOMIC), pytest.raises(ContextViolation) as caught:
        checker.does(task, contexts.GET_KEYSLOT)
    assert str(caught.value) == "kworker: blk_crypto_get_keyslot in ATOMIC: may sleep"


def test_a_second_element_of_the_same_stage_is_a_self_deadlock_waiting_to_happen() -> None:
    checker, task = ContextChecker(REAL), Task("t")
    checker.does(task, contexts.TAKE_TRANSFORM)
    with checker.holding(task, contexts.TAKE_TRANSFORM):
        checker.does(task, contexts.TAKE_TRANSFORM)
    assert [item.why for item in checker.violations] == [
        "waits for stage 1 while holding an element of stage 1"
    ]


def test_stages_may_only_ascend_and_are_forgotten_when_given_back() -> None:
    checker, task = ContextChecker(REAL, raises=True), Task("t")
    with checker.holding(task, contexts.TAKE_KEY_OBJECT):
        checker.does(task, contexts.GET_KEYSLOT)
    checker.does(task, contexts.TAKE_KEY_OBJECT)
    with checker.holding(task, contexts.GET_KEYSLOT), pytest.raises(ContextViolation, match="stage 1 while"):
        checker.does(task, contexts.TAKE_KEY_OBJECT)


def test_without_memory_allocations_fail_and_reserves_do_not() -> None:
    checker, task = ContextChecker(REAL, memory=exhausted), Task("t")
    checker.does(task, contexts.TAKE_TRANSFORM)
    with pytest.raises(OutOfMemory, match="ENOMEM"):
        checker.does(task, contexts.KMALLOC_KEY_OBJECT)
