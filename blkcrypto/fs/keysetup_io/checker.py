"""The checker: a stack of contexts per task, and a verdict on everything a task does."""

import errno
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from blkcrypto.base.errors import BlkCryptoError
from blkcrypto.block.mempool import Grant, plenty
from blkcrypto.block.waiting import Task
from blkcrypto.fs.keysetup_io.contexts import Ctx, Place, Primitive, Strictness, objection


class OutOfMemory(BlkCryptoError):
    """An allocation outside the reserves failed."""

    errno = errno.ENOMEM


@dataclass(frozen=True, slots=True)
class Violation:
    """Something done where it is forbidden: what lockdep or ``might_sleep`` would print.

    Attributes:
        task: who.
        primitive: what, by name.
        place: where.
        why: the rule it breaks.
    """

    task: str
    primitive: str
    place: Place
    why: str


class ContextViolation(Exception):
    """A forbidden primitive, raised by a checker that is told to."""

    def __init__(self, violation: Violation) -> None:
        self.violation = violation
        super().__init__(
            f"{violation.task}: {violation.primitive} in {violation.place.ctx.name}: {violation.why}"
        )


class ContextChecker:
    """Judges primitives, and fails allocations when memory is short.

    Args:
        strictness: which allocations are forgiven.
        raises: raise the first violation; else collect them all.
        memory: what ordinary memory grants: ``plenty``, ``exhausted`` or anything between.

    Attributes:
        violations: in order.
        counts: how often each primitive was done, by name.
    """

    def __init__(self, strictness: Strictness, *, raises: bool = False, memory: Grant = plenty) -> None:
        self.strictness = strictness
        self.memory = memory
        self.violations: list[Violation] = []
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._raises = raises
        self._places: dict[Task, list[Place]] = {}
        self._held: dict[Task, list[int]] = {}

    def place(self, task: Task) -> Place:
        """Where ``task`` is; a task that entered nothing is in process context."""
        stack = self._places.get(task)
        return stack[-1] if stack else Place(Ctx.KERNEL)

    @contextmanager
    def entering(self, task: Task, ctx: Ctx, *, memalloc_scope: bool = False) -> Iterator[None]:
        """Be in ``ctx``, or in what encloses it if that forbids more.

        Args:
            task: who.
            ctx: the context entered.
            memalloc_scope: whether a ``memalloc_nofs`` or ``memalloc_noio`` scope of ``ctx`` goes with it.
        """
        outer = self.place(task)
        scope = min(outer.scope, ctx) if memalloc_scope else outer.scope
        self._places.setdefault(task, []).append(Place(min(outer.ctx, ctx), scope))
        try:
            yield
        finally:
            stack = self._places[task]
            stack.pop()
            if not stack:
                del self._places[task]

    def does(self, task: Task, primitive: Primitive) -> None:
        """``task`` does ``primitive``.

        Raises:
            ContextViolation: it is forbidden there, and the checker raises.
            OutOfMemory: it allocates, and there is no memory (ENOMEM).
        """
        self.counts[primitive.name] += 1
        place = self.place(task)
        held = self._held.get(task)
        why = objection(primitive, place, self.strictness, max(held) if held else 0)
        if why:
            violation = Violation(task.name, primitive.name, place, why)
            self.violations.append(violation)
            if self._raises:
                raise ContextViolation(violation)
        if primitive.gfp is not None and not self.memory(1):
            raise OutOfMemory(f"{primitive.name} for {task.name}")

    @contextmanager
    def holding(self, task: Task, primitive: Primitive) -> Iterator[None]:
        """``task`` holds what ``primitive`` took from its reserve.  Elements may go back in any order."""
        self._held.setdefault(task, []).append(primitive.stage)
        try:
            yield
        finally:
            stages = self._held[task]
            stages.remove(primitive.stage)
            if not stages:
                del self._held[task]
