"""Tasks that wait, without time.

The rules of the block layer that sleep are generators: they yield the wait queue they sleep on and go
on when somebody wakes it.  A run loop drives them deterministically, so that tests can interleave
submitters in any order, and a deadlock is an error that names who waits for what.

Rules:

- Waking is explicit, as in the kernel: a task that nobody wakes stays asleep (a lost wake-up is found).
- Woken tasks re-check their condition; nothing is handed to them.
- A task that is about to sleep first flushes its plug, so that nobody waits for requests it holds back.
"""

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from blkcrypto.block.bio import Bio

T = TypeVar("T")
Steps: TypeAlias = Generator["WaitQueue", None, T]


class Deadlock(Exception):
    """Every task sleeps and nothing is under way that could wake one.

    Attributes:
        waits: per sleeping task, its name and what it waits for.
    """

    def __init__(self, waits: list[tuple[str, str]]) -> None:
        self.waits = waits
        super().__init__("deadlock: " + "; ".join(f"{who} waits for {what}" for who, what in waits))


class Flushable(Protocol):
    """What a task flushes before it sleeps: its plug."""

    def flush(self, *, from_schedule: bool) -> None:
        """Hand all held requests on."""


class Task:
    """A submitter: ``current``, with the two lists the block layer keeps there."""

    __slots__ = ("_loop", "bio_list", "name", "plug", "sleeps", "steps")

    def __init__(self, name: str) -> None:
        self.name = name
        self.plug: Flushable | None = None
        self.bio_list: deque[Bio] | None = None
        self.sleeps = 0
        self.steps: Steps[object] | None = None
        self._loop: RunLoop | None = None

    def wake(self) -> None:
        """Make the task ready."""
        if self._loop is not None:
            self._loop.make_ready(self)

    def start(self, loop: "RunLoop", steps: Steps[object]) -> None:
        """Bind the task to the loop that will run ``steps``."""
        self._loop, self.steps = loop, steps


class WaitQueue:
    """Tasks asleep for one reason.

    Args:
        what: what they wait for.
        holders: who holds it, for the error that names a deadlock.
    """

    __slots__ = ("holders", "sleepers", "what")

    def __init__(self, what: str, holders: Callable[[], str] | None = None) -> None:
        self.what = what
        self.holders = holders
        self.sleepers: deque[Task] = deque()

    def wake_all(self) -> None:
        """Wake everybody; they race."""
        while self.sleepers:
            self.sleepers.popleft().wake()

    def describe(self) -> str:
        """What is waited for, and who holds it."""
        return self.what if self.holders is None else f"{self.what} ({self.holders()})"


class RunLoop:
    """Runs tasks until all have ended.

    Args:
        on_idle: called when no task is ready; lets the devices do something.  False when they cannot.
        choose: picks one of ``n`` ready tasks, ``0 <= pick < n``; the default is first come, first served.
    """

    def __init__(
        self, on_idle: Callable[[], bool] = lambda: False, choose: Callable[[int], int] = lambda _ready: 0
    ) -> None:
        self._on_idle = on_idle
        self._choose = choose
        self._ready: deque[Task] = deque()
        self._asleep: dict[Task, WaitQueue] = {}

    def spawn(self, task: Task, steps: Steps[object]) -> None:
        """Make ``task`` ready to run ``steps``."""
        task.start(self, steps)
        self._ready.append(task)

    def make_ready(self, task: Task) -> None:
        """Move a sleeping task to the ready ones."""
        del self._asleep[task]
        self._ready.append(task)

    @property
    def ready(self) -> int:
        """How many tasks could run now."""
        return len(self._ready)

    def sleeping(self) -> list[tuple[str, str]]:
        """Per sleeping task, its name and what it waits for."""
        return [(task.name, queue.describe()) for task, queue in self._asleep.items()]

    def step(self) -> bool:
        """Run one ready task until it sleeps or ends; False when none is ready."""
        if not self._ready:
            return False
        pick = self._choose(len(self._ready))
        task = self._ready[pick]
        del self._ready[pick]
        assert task.steps is not None
        try:
            queue = next(task.steps)
        except StopIteration:
            return True
        task.sleeps += 1
        # Asleep first, then the flush: what the flush completes may already wake this task.
        self._asleep[task] = queue
        queue.sleepers.append(task)
        if task.plug is not None:
            task.plug.flush(from_schedule=True)
        return True

    def run(self) -> None:
        """Run everything to the end.

        Raises:
            Deadlock: tasks are left asleep and ``on_idle`` has nothing more to do.
        """
        while True:
            while self.step():
                pass
            if not self._on_idle() and not self._ready:
                if self._asleep:
                    raise Deadlock(self.sleeping())
                return


def run_to_end(steps: Steps[T]) -> T:
    """Result of steps that need not wait.

    Raises:
        Deadlock: they would sleep, and nobody else is there to wake them.
    """
    try:
        queue = next(steps)
    except StopIteration as stop:
        result: T = stop.value
        return result
    steps.close()
    raise Deadlock([("the only task", queue.describe())])


class WorkQueue:
    """Deferred work: at most ``max_active`` items at a time, the others in order.

    Args:
        name: of its workers.
        loop: runs them.
        max_active: how many at a time.
    """

    def __init__(self, name: str, loop: RunLoop, max_active: int) -> None:
        self.name = name
        self._loop = loop
        self._max_active = max_active
        self._active = 0
        self._started = 0
        self._pending: deque[Callable[[Task], Steps[None]]] = deque()

    def queue(self, work: Callable[[Task], Steps[None]]) -> None:
        """Run ``work`` in a worker, as soon as one is free."""
        self._pending.append(work)
        self._start_more()

    def _start_more(self) -> None:
        while self._pending and self._active < self._max_active:
            self._active += 1
            self._started += 1
            task = Task(f"{self.name}/{self._started}")
            self._loop.spawn(task, self._run(task, self._pending.popleft()))

    def _run(self, task: Task, work: Callable[[Task], Steps[None]]) -> Steps[None]:
        yield from work(task)
        # The only worker goes on while there is work; of several, those that wait come first.
        while self._max_active == 1 and self._pending:
            yield from self._pending.popleft()(task)
        self._active -= 1
        self._start_more()
