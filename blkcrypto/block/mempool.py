"""Preallocated pools: memory that is there when there is none.

Rules (mm/mempool.c; reference block-layer.md sections 1.1, 4.2 and 4.3):

- An element comes from ordinary memory while there is some, else from the pool's reserve.
- A freed element first refills the reserve.
- When both are empty the task waits for an element to be freed.
- A bulk request takes all it lacks from the reserve or none of it: two tasks never hold half of what
  each needs.  It may not ask for more than the reserve has when full.
"""

from collections import Counter
from collections.abc import Callable

from blkcrypto.block.waiting import Steps, Task, WaitQueue

Grant = Callable[[int], int]


def plenty(count: int) -> int:
    """Ordinary memory that never runs out: grants all ``count`` elements."""
    return count


def exhausted(_count: int) -> int:
    """Ordinary memory that has run out: grants nothing, so that only reserves are left."""
    return 0


class Mempool:
    """Elements are counted, not made: the pool knows who holds how many.

    Args:
        name: of one element, as an error names it.
        reserve: elements set aside.
        ordinary: how many of ``n`` elements ordinary memory grants now.
    """

    def __init__(self, name: str, reserve: int, ordinary: Grant = plenty) -> None:
        if reserve < 1:
            raise ValueError(f"the pool of {name} needs a reserve of at least 1")
        self.name = name
        self.min_nr = reserve
        self.curr_nr = reserve
        self.taken: Counter[str] = Counter()
        self._ordinary = ordinary
        self.freed = WaitQueue(name, self._holders)

    def _holders(self) -> str:
        held = ", ".join(f"{count} by {who}" for who, count in sorted(self.taken.items()) if count)
        return f"{self.curr_nr} of {self.min_nr} in reserve, held: {held or 'none'}"

    @property
    def in_use(self) -> int:
        """Elements out, from memory and reserve together."""
        return self.taken.total()

    def try_alloc(self, task: Task, count: int = 1) -> bool:
        """Take ``count`` elements, or none if one is missing: most callers need not wait for any."""
        missing = count - self._ordinary(count)
        if missing > self.curr_nr:
            return False
        self.curr_nr -= missing
        self.taken[task.name] += count
        return True

    def alloc(self, task: Task) -> Steps[None]:
        """Take one element, waiting if there is none."""
        while not self.try_alloc(task):
            yield self.freed

    def alloc_bulk(self, task: Task, count: int) -> Steps[None]:
        """Take ``count`` elements, the part that ordinary memory lacks all at once from the reserve."""
        if count > self.min_nr:
            raise ValueError(f"{count} of {self.name} at once, but the pool guarantees only {self.min_nr}")
        # Elements that memory granted are kept while waiting: they are not what others wait for.
        missing = count - self._ordinary(count)
        while missing > self.curr_nr:
            yield self.freed
            missing -= self._ordinary(missing)
        self.curr_nr -= missing
        self.taken[task.name] += count

    def free(self, owner: str, count: int = 1) -> None:
        """Give back ``count`` elements that ``owner`` took, and wake who waits for one."""
        self.taken[owner] -= count
        assert self.taken[owner] >= 0, f"{owner} freed more {self.name} than it took"
        if self.curr_nr != self.min_nr:
            self.curr_nr = min(self.min_nr, self.curr_nr + count)
        if self.freed.sleepers:
            self.freed.wake_all()
